package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// operator answers the control socket: it puts what the agent knows into the documented schema.
type operator struct {
	agent   *agent.Agent
	version string
}

// Flush removes all that is ours from the kernel.
func (o operator) Flush(ctx context.Context) error { return o.agent.Flush(ctx) }

// Status is what the agent knows.
func (o operator) Status(ctx context.Context) (control.Status, error) {
	s, err := o.agent.Status(ctx)
	if err != nil {
		return control.Status{}, err
	}
	out := control.Status{
		Version: o.version, Protocol: s.Protocol, Suspended: s.Suspended, Problems: s.Problems, Notes: s.Notes,
		Drift: s.Stats.Drift, Filtered: s.Filtered, LastReconcile: s.Stats.LastLook, LastError: s.Stats.LastError,
	}
	for _, u := range s.Uplinks {
		out.Uplinks = append(out.Uplinks, controlUplink(u, s.Leases))
	}
	for _, l := range s.Leases {
		if !slices.ContainsFunc(s.Uplinks, func(u uplink.Uplink) bool { return u.Link.Index == l.Index }) {
			out.Problems = append(out.Problems, refusals(l)...)
		}
	}
	return out, nil
}

// refusals are the values of a lease that were refused. They do not degrade the uplink: what is good of it is used.
func refusals(l state.StoredLease) []string {
	var out []string
	for _, p := range l.Problems {
		out = append(out, fmt.Sprintf("lease of %s by %s on %s: %s", l.Lease.Address, l.Lease.Source, rpdb.Printable(l.Interface), p))
	}
	return out
}

func controlUplink(u uplink.Uplink, leases []state.StoredLease) control.Uplink {
	out := control.Uplink{
		Name: u.Name, Interface: u.Link.Name, Index: u.Link.Index, Table: u.Table, State: string(u.State),
		Problems: slices.Clone(u.Problems), Notes: slices.Clone(u.Notes),
	}
	for _, a := range u.Addresses {
		out.Addresses = append(out.Addresses, control.Address{Address: a.Addr, Bits: a.Bits, Peer: a.Peer.Addr()})
	}
	out.Delegated = slices.Clone(u.Delegated)
	for _, g := range u.Gateways {
		out.Gateways = append(out.Gateways, control.Gateway{
			Family: g.Family.String(), Address: g.Via, Onlink: g.Onlink, Source: g.Source,
		})
	}
	for _, l := range leases {
		if l.Index == u.Link.Index {
			out.Leases = append(out.Leases, controlLease(l))
			out.Problems = append(out.Problems, refusals(l)...)
		}
	}
	return out
}

func controlLease(l state.StoredLease) control.Lease {
	out := control.Lease{Source: string(l.Lease.Source), Address: l.Lease.Address, Prefix: l.Lease.Prefix, Received: l.Received}
	if l.Lease.Lifetime > 0 {
		out.ExpiresAt = l.Received.Add(l.Lease.Lifetime).Truncate(time.Second)
	}
	return out
}

// names publishes table names in rt_tables.d. It is comparable: the agent asks whether the place changed.
type names struct {
	dir      string
	protocol uint8
}

// namesOf is nil where the configuration wants no names.
func namesOf(cfg config.Config) agent.Names {
	if cfg.RTTablesDir == "" {
		return nil
	}
	return names{dir: cfg.RTTablesDir, protocol: cfg.Protocol}
}

// Write publishes the names.
func (n names) Write(m map[uint32]string) ([]string, error) {
	return state.WriteNames(n.dir, m, n.protocol)
}

// Remove takes them back.
func (n names) Remove() error { return state.RemoveNames(n.dir) }
