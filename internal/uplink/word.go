package uplink

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Class is the kind of evidence that a gateway is known from. Where age says nothing, the higher one wins.
type Class uint8

// The classes, weakest first. A route of protocol boot or static may be stale: dhclient-script leaves its own behind
// when the router changes under the same address. One of protocol dhcp or ra is kept true by its owner.
const (
	ClassNone   Class = iota
	ClassStatic       // a default route of protocol boot, static or a routing daemon's
	ClassLease        // a lease
	ClassClient       // a default route of protocol dhcp or ra
	ClassConfig       // the configuration
)

// WordKey identifies a route's statement about a gateway, whatever metric or table it stands in.
type WordKey struct {
	Link    int
	Family  rpdb.Family
	Class   Class
	Gateway netip.Addr
}

// Ages says since which event each statement has stood; 0: since before this run.
type Ages map[WordKey]uint64

// Observe carries ages over to a new snapshot: what is new gets seq, what is gone is forgotten.
func (a Ages) Observe(s *rpdb.Snapshot, seq uint64) Ages {
	next := make(Ages)
	for _, r := range s.Routes {
		if !r.IsDefault() {
			continue
		}
		k := WordKey{r.OIF, r.Family(), classOf(r.Protocol), r.Via}
		if old, ok := a[k]; ok {
			next[k] = old
		} else {
			next[k] = seq
		}
	}
	return next
}

func classOf(protocol uint8) Class {
	if protocol == rpdb.ProtoDHCP || protocol == rpdb.ProtoRA {
		return ClassClient
	}
	return ClassStatic
}

// word is one statement about the default gateway of a link.
type word struct {
	class  Class
	family rpdb.Family
	via    netip.Addr // invalid: no next hop needed
	onlink bool
	addr   netip.Addr // the one address that it is about; invalid: any that fits
	seq    uint64
	table  uint32
	metric uint32
	pref   rpdb.Preference
	// metrics are the route's own; see metricsOf
	metrics string
	source  string
	by      lease.Source // of a lease: whose it is
	boot    bool         // of a route: it is of protocol boot
	bad     error        // what made its gateways useless before they came here
	// announced says, of a route, that its router announced the prefix of the address; see heed
	announced bool
}

// routeWords are the statements that the default routes of others make about a link, best first.
// In a table other than main only a client's own route counts: what an administrator puts there is policy routing, and
// says of a LAN's link that some packets leave by it, not that it is an uplink.
func (d *deriver) routeWords(link rpdb.Link) []word {
	in := d.in
	var ws []word
	for _, r := range in.Snapshot.Routes {
		if r.OIF != link.Index || !r.IsDefault() || r.Protocol == in.Config.Protocol || d.ours(r.Table) {
			continue
		}
		if r.Table != rpdb.TableMain && classOf(r.Protocol) != ClassClient || nobodys(r, link) {
			continue
		}
		ws = append(ws, word{
			class: classOf(r.Protocol), family: r.Family(), via: r.Via, onlink: r.Onlink, addr: r.Src,
			seq:   in.Ages[WordKey{r.OIF, r.Family(), classOf(r.Protocol), r.Via}],
			table: r.Table, metric: r.Metric, pref: r.Pref, metrics: r.Metrics,
			source: routeSource(r), boot: r.Protocol == rpdb.ProtoBoot,
		})
	}
	slices.SortStableFunc(ws, compareRouteWords)
	return ws
}

// nobodys says whether the kernel made a default route of an on-link prefix ::/0 that a router advertised: anybody's bait, since
// everybody would be a neighbour then. A point-to-point link has one neighbour only.
func nobodys(r rpdb.Route, l rpdb.Link) bool {
	return r.Protocol == rpdb.ProtoKernel && !r.Via.IsValid() && !l.PointToPoint
}

// metricsOf are the metrics of the best route to a word's gateway, whoever said the word: a client may have learned the
// path's MTU with the lease.
func metricsOf(routes []word, w word) string {
	for _, r := range routes {
		if r.family == w.family && r.via == w.via {
			return r.metrics
		}
	}
	return ""
}

// routeSource names a route as the source of a word: "route proto dhcp", or with its table where that is not main.
func routeSource(r rpdb.Route) string {
	s := "route proto " + protocolText(r.Protocol)
	if r.Table != rpdb.TableMain {
		s += " table " + rpdb.TableText(r.Table)
	}
	return s
}

// ourTables says which tables hold routes of ours alone.
func ourTables(in Input) func(uint32) bool {
	known := make(map[uint32]bool)
	for _, t := range in.Tables {
		known[t] = true
	}
	for _, u := range in.Config.Uplinks {
		if u.Table != 0 {
			known[u.Table] = true
		}
	}
	return func(t uint32) bool {
		return known[t] || t >= in.Config.FirstTable && t <= in.Config.LastTable
	}
}

// compareRouteWords is the kernel's own preference: the main table, then the smaller metric, then the router's own word
// (RFC 4191); the rest makes it total. Whose route it is does not matter: an administrator who puts a better one beside the
// client's means it, and the host itself follows that one.
func compareRouteWords(a, b word) int {
	return cmp.Or(
		-compareBool(a.table == rpdb.TableMain, b.table == rpdb.TableMain),
		cmp.Compare(a.metric, b.metric),
		-cmp.Compare(a.pref, b.pref),
		-cmp.Compare(a.class, b.class),
		cmp.Compare(a.table, b.table),
		a.via.Compare(b.via),
		a.addr.Compare(b.addr),
	)
}

// newest picks the word that counts: the newest, and where age says nothing the one of the higher class. What an ordinary
// user may have said counts only where nobody else said anything.
func newest(ws []word) (word, bool) {
	trusted := slices.DeleteFunc(slices.Clone(ws), func(w word) bool { return w.by.TunnelOnly() })
	if w, ok := newestOf(trusted); ok {
		return w, true
	}
	return newestOf(ws)
}

// newestOf is newest among equals: between the lease and the route that come first in their own order, unless the
// configuration says something.
func newestOf(ws []word) (word, bool) {
	first := func(classes ...Class) (w word, ok bool) {
		i := slices.IndexFunc(ws, func(w word) bool { return slices.Contains(classes, w.class) })
		if i >= 0 {
			w = ws[i]
		}
		return w, i >= 0
	}
	if w, ok := first(ClassConfig); ok {
		return w, true
	}
	l, leased := first(ClassLease)
	r, routed := first(ClassStatic, ClassClient)
	if leased && routed && !r.overrides(l) && cmp.Or(cmp.Compare(l.seq, r.seq), cmp.Compare(l.class, r.class)) > 0 {
		return l, true
	}
	if routed {
		return r, true
	}
	return l, leased
}

// overrides says whether a route counts whatever the age of a lease. A client that keeps its own routes true (protocol dhcp or
// ra) has put its gateway into main, or was told not to: a route that is there is truer than its lease. dhclient's and udhcpc's
// scripts leave stale ones, of protocol boot; one of protocol static is no client's, and somebody meant it.
func (w word) overrides(l word) bool {
	return keepsKernel(l.by) || w.class == ClassStatic && !w.boot
}

// keepsKernel says whether a client keeps what it puts into the kernel true: its default routes, and the lifetimes of its
// addresses.
func keepsKernel(s lease.Source) bool {
	switch s {
	case lease.SourceDhcpcd, lease.SourceDhcpcd6, lease.SourceDhcpcdRA, lease.SourceNetworkd, lease.SourceNetworkManager:
		return true
	}
	return false
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// protocolText is the name of a route's protocol as iproute2 has it.
func protocolText(p uint8) string {
	switch p {
	case rpdb.ProtoKernel:
		return "kernel"
	case rpdb.ProtoBoot:
		return "boot"
	case rpdb.ProtoStatic:
		return "static"
	case rpdb.ProtoRA:
		return "ra"
	case rpdb.ProtoDHCP:
		return "dhcp"
	}
	return fmt.Sprint(p)
}

// String is the class as it is kept on disk.
func (c Class) String() string {
	switch c {
	case ClassStatic:
		return "static"
	case ClassLease:
		return "lease"
	case ClassClient:
		return "client"
	case ClassConfig:
		return "config"
	}
	return "none"
}

// ParseClass is the inverse of String; an unknown word is ClassNone.
func ParseClass(s string) Class {
	for c := ClassStatic; c <= ClassConfig; c++ {
		if c.String() == s {
			return c
		}
	}
	return ClassNone
}
