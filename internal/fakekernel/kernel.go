// Package fakekernel is a kernel in memory with the real one's manners, as far as uplinkd sees them: what is refused,
// what vanishes without a word, what stays for ever. For tests; the same scenarios run on it and on the real one.
package fakekernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Kernel is the state of one network namespace. Its methods may be called from any goroutine.
type Kernel struct {
	mu     sync.Mutex
	links  []rpdb.Link
	addrs  []rpdb.Address
	routes []rpdb.Route
	rules  []rpdb.Rule
	index  int // the last one given to a link

	settings  map[rpdb.SettingKey]int // those that are not 0
	neighbors []rpdb.Neighbor
	filtered  uint64

	events chan rpdb.Event
	refuse func(rpdb.Op) error // what an operation ends with; nil: it works
	// promote are the links whose secondary addresses stay: see Promote.
	promote map[int]bool
	// nexthops are the nexthop objects, and named the routes that name one.
	nexthops map[uint32]nexthop
	named    map[rpdb.RouteKey]namedRoute
}

// New is a namespace with lo, up, and the kernel's own rules.
func New() *Kernel {
	k := &Kernel{events: make(chan rpdb.Event, 1), index: 1}
	k.links = []rpdb.Link{{Index: 1, Name: "lo", Type: unix.ARPHRD_LOOPBACK, Up: true, Carrier: true, Loopback: true}}
	for _, f := range rpdb.Families() {
		k.rules = append(k.rules, kernelRule(f, 0, rpdb.TableLocal), kernelRule(f, 32766, rpdb.TableMain))
	}
	k.rules = append(k.rules, kernelRule(rpdb.IPv4, 32767, rpdb.TableDefault))
	return k
}

func kernelRule(f rpdb.Family, priority, table uint32) rpdb.Rule {
	return rpdb.Rule{Family: f, Priority: priority, Action: rpdb.ActLookup, Table: table, Protocol: rpdb.ProtoKernel}
}

// Snapshot is a copy of the state.
func (k *Kernel) Snapshot(context.Context) (rpdb.Snapshot, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := rpdb.Snapshot{
		Links: slices.Clone(k.links), Addresses: slices.Clone(k.addrs),
		Routes: slices.Clone(k.routes), Rules: slices.Clone(k.rules), Neighbors: slices.Clone(k.neighbors),
	}
	k.snapshotSettings(&s)
	return s, nil
}

// Events are hints about what others did.
func (k *Kernel) Events() <-chan rpdb.Event { return k.events }

// emit merges a hint into the one that waits. The caller holds the lock.
func (k *Kernel) emit(ev rpdb.Event) {
	select {
	case waiting := <-k.events:
		ev.Merge(waiting)
	default:
	}
	k.events <- ev
}

// Fail makes all operations of Apply end with err; nil lets them work again.
func (k *Kernel) Fail(err error) { k.Refuse(func(rpdb.Op) error { return err }) }

// Refuse makes the operations of Apply for which it gives an error end with that.
func (k *Kernel) Refuse(refuse func(rpdb.Op) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = refuse
}

// Apply does operations as the kernel does.
func (k *Kernel) Apply(_ context.Context, ops []rpdb.Op) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := make([]error, len(ops))
	for i, o := range ops {
		if k.refuse != nil {
			errs[i] = k.refuse(o)
		}
		if errs[i] == nil {
			errs[i] = k.apply(o)
		}
	}
	return errs
}

func (k *Kernel) apply(o rpdb.Op) error {
	switch o.Verb {
	case rpdb.AddRoute, rpdb.ReplaceRoute:
		if err := k.putRoute(o.Route, o.Verb == rpdb.ReplaceRoute); err != nil {
			return fmt.Errorf("%s %q: %w", o.Verb, o.Route.Text(k.name), err)
		}
	case rpdb.DelRoute:
		k.deleteRoute(func(r rpdb.Route) bool { return r.RouteKey == o.Route.RouteKey && r.Protocol == o.Route.Protocol })
	case rpdb.AddRule:
		if !slices.Contains(k.rules, o.Rule) {
			k.rules = append(k.rules, o.Rule)
		}
	case rpdb.DelRule:
		k.rules = slices.DeleteFunc(k.rules, func(r rpdb.Rule) bool { return r == o.Rule })
	case rpdb.SetSetting, rpdb.PutBack:
		return k.applySetting(o)
	}
	return nil
}

func (k *Kernel) name(index int) string {
	s := rpdb.Snapshot{Links: k.links}
	return s.LinkName(index)
}

// putRoute adds a route, or puts it in place of the first with its key, whoever owns that.
func (k *Kernel) putRoute(r rpdb.Route, replace bool) error {
	if r.Family() == rpdb.IPv6 && r.Metric == 0 {
		r.Metric = 1024
	}
	if err := k.checkRoute(r); err != nil {
		return err
	}
	i := slices.IndexFunc(k.routes, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey })
	switch {
	case i < 0:
		k.routes = append(k.routes, r)
	case !replace:
		return unix.EEXIST
	default:
		k.routes[i] = r
	}
	return nil
}

// checkRoute refuses what fib_create_info and ip6_route_info_create refuse.
func (k *Kernel) checkRoute(r rpdb.Route) error {
	if r.Type != rpdb.Unicast {
		return nil
	}
	i := slices.IndexFunc(k.links, func(l rpdb.Link) bool { return l.Index == r.OIF })
	switch {
	case i < 0:
		return unix.ENODEV
	case !k.links[i].Up:
		return unix.ENETDOWN
	case r.Src.IsValid() && !k.hasAddress(r.Src):
		return unix.EINVAL
	case r.Via.IsValid() && !r.Onlink && !k.reachable(r):
		return unix.ENETUNREACH
	case r.Via.Is6() && k.hasAddress(r.Via):
		return unix.EINVAL // IPv4 takes its own address for a gateway
	}
	return nil
}

func (k *Kernel) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(k.addrs, func(o rpdb.Address) bool { return o.Prefix.Addr() == a && !o.Tentative })
}

// reachable says whether the next hop is on the link by a route of the same table or of main.
func (k *Kernel) reachable(r rpdb.Route) bool {
	if r.Via.IsLinkLocalUnicast() && r.Via.Is6() {
		return true
	}
	return slices.ContainsFunc(k.routes, func(o rpdb.Route) bool {
		return o.OIF == r.OIF && !o.Via.IsValid() && o.Dst.Bits() > 0 && o.Dst.Contains(r.Via) &&
			(o.Table == r.Table || o.Table == rpdb.TableMain)
	})
}

func (k *Kernel) deleteRoute(match func(rpdb.Route) bool) (gone bool) {
	n := len(k.routes)
	k.routes = slices.DeleteFunc(k.routes, match)
	return len(k.routes) != n
}
