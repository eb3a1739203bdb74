package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// found is what a table gave.
type found struct {
	none  bool // no route: the next rule is asked
	errno syscall.Errno
	route *rpdb.RouteDetail
	hops  []rpdb.Hop // one of them is taken
	why   string
}

// covering are a table's routes to the destination, the longest prefix first, and else in the kernel's own order.
func (w *walker) covering(table uint32, dst netip.Addr) []*rpdb.RouteDetail {
	var out []*rpdb.RouteDetail
	for i := range w.db.Routes {
		if r := &w.db.Routes[i]; r.Table == table && r.Dst.Contains(dst) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *rpdb.RouteDetail) int { return cmp.Compare(b.Dst.Bits(), a.Dst.Bits()) })
	return out
}

// lookup4 is fib_table_lookup (net/ipv4/fib_trie.c).
func (w *walker) lookup4(step *Step) found {
	var skip netip.Addr // a leaf that is left: see below
	routes := w.covering(step.Table, w.flow.Dst)
	for i, r := range routes {
		why := w.unfit4(r)
		left := skip == r.Dst.Addr()
		if left {
			why = "the kernel left this prefix with the nexthop object before it"
		}
		if why != "" {
			step.Routes = append(step.Routes, Considered{Route: *r, Why: why})
			// Where no next hop of an object fits, the kernel goes to shorter prefixes with another network address at once.
			if r.Object != 0 && !left && w.tos4(r) && typeError(r.Type) == 0 {
				skip = r.Dst.Addr()
			}
			continue
		}
		f := w.win4(r, routes[i+1:])
		if f.none {
			step.Routes = append(step.Routes, Considered{Route: *r, Why: f.why})
			return f
		}
		step.Routes = append(step.Routes, Considered{Route: *r, Wins: true, Why: wins(f)})
		for _, r := range routes[i+1:] {
			step.Routes = append(step.Routes, Considered{Route: *r, Why: loses4(f.route, r)})
		}
		return f
	}
	return found{none: true}
}

func wins(f found) string {
	if f.errno != 0 {
		return "the longest prefix, and it leads nowhere"
	}
	return "the longest prefix"
}

func loses4(winner, r *rpdb.RouteDetail) string {
	switch {
	case r.Dst.Bits() < winner.Dst.Bits():
		return "a shorter prefix"
	case r.TOS != winner.TOS:
		return "a route with a TOS goes before"
	case r.Metric > winner.Metric:
		return "a higher metric"
	}
	return "listed later"
}

func (w *walker) tos4(r *rpdb.RouteDetail) bool { return r.TOS == 0 || w.flow.tosFits(r.TOS) }

// unfit4 says why a route is passed over.
func (w *walker) unfit4(r *rpdb.RouteDetail) string {
	if !w.tos4(r) {
		return fmt.Sprintf("the TOS is %#x, not %#x", w.flow.TOS, r.TOS)
	}
	if typeError(r.Type) != 0 || slices.ContainsFunc(r.Hops, w.good4) {
		return ""
	}
	if slices.ContainsFunc(r.Hops, func(h rpdb.Hop) bool { return !h.Dead }) {
		return fmt.Sprintf("no next hop of it is by %s", w.nameOf(w.flow.oif))
	}
	return "its next hops are dead"
}

// good4 is fib_lookup_good_nhc.
func (w *walker) good4(h rpdb.Hop) bool { return !h.Dead && (w.flow.oif == 0 || w.flow.oif == h.OIF) }

// win4 makes a result of the route that is taken: its type's error, or its next hops (fib_select_path).
func (w *walker) win4(r *rpdb.RouteDetail, others []*rpdb.RouteDetail) found {
	switch errno := typeError(r.Type); {
	case errno == syscall.EAGAIN:
		return found{none: true, why: "throw: the table is left, and the next rule asked"}
	case errno != 0:
		return found{errno: errno, route: r}
	}
	f := found{route: r}
	for _, h := range r.Hops {
		if w.good4(h) {
			f.hops = append(f.hops, h)
		}
	}
	switch {
	case w.flow.oif != 0:
		f.hops = f.hops[:1]
	case w.flow.IIF == 0 && len(r.Hops) > 1, w.flow.IIF != 0 && len(r.Hops) > 1:
		f.why = "a hash of the packet chooses among the next hops"
	case r.Dst.Bits() == 0 && r.Type == rpdb.Unicast:
		f.hops = append(f.hops, equals4(r, others)...)
		if len(f.hops) > 1 {
			f.why = "several default routes of one metric: the kernel takes one whose gateway answers"
		}
	}
	return f
}

// equals4 are the next hops of the default routes that the kernel takes for one another (fib_select_default).
func equals4(r *rpdb.RouteDetail, others []*rpdb.RouteDetail) []rpdb.Hop {
	var hops []rpdb.Hop
	gateway := func(r *rpdb.RouteDetail) bool { return len(r.Hops) > 0 && r.Hops[0].Via.IsValid() }
	for _, o := range others {
		if o.Dst.Bits() == 0 && o.TOS == r.TOS && o.Metric == r.Metric && o.Type == rpdb.Unicast && gateway(o) && !o.Hops[0].Dead {
			hops = append(hops, o.Hops[0])
		}
	}
	return hops
}

// typeError is the error of a route's type (fib_props of net/ipv4/fib_semantics.c, ip6_rt_type_to_error of net/ipv6/route.c).
func typeError(t rpdb.RouteType) syscall.Errno {
	switch t {
	case rpdb.Blackhole:
		return syscall.EINVAL
	case rpdb.Unreachable:
		return syscall.EHOSTUNREACH
	case rpdb.Prohibit:
		return syscall.EACCES
	case rpdb.Throw:
		return syscall.EAGAIN
	}
	return 0
}
