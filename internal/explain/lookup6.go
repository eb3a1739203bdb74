package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// node is what the kernel tries at once: the routes of one destination and one source prefix, by ascending metric.
type node []*rpdb.RouteDetail

// lookup6 is ip6_pol_route: fib6_table_lookup and fib6_select_path (net/ipv6/route.c).
func (w *walker) lookup6(step *Step) found {
	routes := w.covering(step.Table, w.flow.Dst)
	nodes := w.nodes(routes)
	passes := []bool{w.flow.reachable}
	if w.flow.reachable {
		passes = append(passes, false) // better a router that does not answer than none
	}
	for _, reachable := range passes {
		for _, n := range nodes {
			if r := w.selectRoute(n, reachable); r != nil {
				return w.win6(step, r, routes, n, reachable)
			}
		}
	}
	for _, r := range routes {
		step.Routes = append(step.Routes, Considered{Route: *r, Why: w.unfit6(r, nodes)})
	}
	return found{none: true}
}

// nodes is the order in which fib6_node_lookup and fib6_backtrack come by: the longest destination first, of each the longest
// source first, its routes without a source last. But the first lookup leaves a destination whose source routes all do not fit,
// with its routes without a source (fib6_node_lookup_1); only at the root it comes back to these.
func (w *walker) nodes(routes []*rpdb.RouteDetail) []node {
	var out []node
	for len(routes) > 0 {
		n := 0
		for n < len(routes) && routes[n].Dst == routes[0].Dst {
			n++
		}
		here := routes[:n]
		routes = routes[n:]
		fitting, sources := w.bySource(here)
		if sources && len(out) == 0 && here[0].Dst.Bits() > 0 && (len(fitting) == 0 || fitting[0][0].From.Bits() == 0) {
			continue
		}
		out = append(out, fitting...)
	}
	return out
}

// bySource are the routes to one destination that fit the source, by source; sources says that there are source routes at all.
func (w *walker) bySource(here []*rpdb.RouteDetail) (fitting []node, sources bool) {
	by := make(map[netip.Prefix]int)
	for _, r := range here {
		sources = sources || r.From.Bits() > 0
		if !w.fromFits(r) {
			continue
		}
		i, ok := by[r.From]
		if !ok {
			i = len(fitting)
			by[r.From] = i
			fitting = append(fitting, nil)
		}
		fitting[i] = append(fitting[i], r)
	}
	slices.SortStableFunc(fitting, func(a, b node) int { return b[0].From.Bits() - a[0].From.Bits() })
	return fitting, sources
}

// fromFits compares a route's source; without one, the kernel compares "::".
func (w *walker) fromFits(r *rpdb.RouteDetail) bool {
	src := w.flow.Src
	if !src.IsValid() {
		src = netip.IPv6Unspecified()
	}
	return r.From.Contains(src)
}

// selectRoute is rt6_select and find_rr_leaf: the best score of the lowest metric; where none of that fits, of all the others.
func (w *walker) selectRoute(n node, reachable bool) *rpdb.RouteDetail {
	first := 0
	for first < len(n) && n[first].Metric == n[0].Metric {
		first++
	}
	if r := w.best(n[:first], reachable); r != nil {
		return r
	}
	return w.best(n[first:], reachable)
}

func (w *walker) best(n node, reachable bool) *rpdb.RouteDetail {
	var best *rpdb.RouteDetail
	top := -1
	for _, r := range n {
		if r.Expires < 0 {
			continue
		}
		if r.Object != 0 && r.Type == rpdb.Blackhole {
			return r
		}
		for _, h := range r.Hops {
			if s := w.score(r, h, reachable); s > top {
				best, top = r, s
				if r.Object != 0 {
					break
				}
			}
		}
	}
	return best
}

// score is find_match and rt6_score_route; below 0 a next hop does not fit.
func (w *walker) score(r *rpdb.RouteDetail, h rpdb.Hop, reachable bool) int {
	if h.Dead {
		return -1
	}
	score := 0
	switch {
	case w.flow.preferable == 0 || h.OIF == w.flow.preferable:
		score = 2
	case w.flow.strict:
		return -1
	}
	score |= map[rpdb.Preference]int{rpdb.PrefLow: 1, rpdb.PrefMedium: 2, rpdb.PrefHigh: 3}[r.Pref] << 2
	if reachable && h.Via.IsValid() && w.silent(h) {
		return -1
	}
	return score
}

func (w *walker) silent(h rpdb.Hop) bool {
	return slices.ContainsFunc(w.db.Failed, func(f rpdb.Hop) bool { return f.Via == h.Via && f.OIF == h.OIF })
}

// win6 makes a result of the route that is selected.
func (w *walker) win6(step *Step, r *rpdb.RouteDetail, routes []*rpdb.RouteDetail, n node, reachable bool) found {
	f := found{route: r, errno: typeError(r.Type)}
	if f.errno == syscall.EAGAIN {
		f = found{none: true, why: "throw: the table is left, and the next rule asked"}
	}
	if f.errno == 0 && !f.none {
		f.hops = w.choice6(r, reachable)
		if len(f.hops) > 1 {
			f.why = "a hash of the packet chooses among the next hops"
		}
	}
	for _, o := range routes {
		c := Considered{Route: *o, Wins: o == r && !f.none, Why: w.loses6(r, o, n)}
		if o == r {
			c.Why = wins(f)
			if f.none {
				c.Why = f.why
			}
		}
		step.Routes = append(step.Routes, c)
	}
	return f
}

// choice6 are the next hops that fib6_select_path may take: of a nexthop object any; of a plain multipath route any but the
// dead and those that do not fit.
func (w *walker) choice6(r *rpdb.RouteDetail, reachable bool) []rpdb.Hop {
	if r.Object != 0 {
		return r.Hops
	}
	var hops []rpdb.Hop
	for _, h := range r.Hops {
		if w.score(r, h, reachable) >= 0 {
			hops = append(hops, h)
		}
	}
	return hops
}

func (w *walker) loses6(winner, r *rpdb.RouteDetail, n node) string {
	switch {
	case !w.fromFits(r):
		return w.fromText(r)
	case r.Expires < 0:
		return "its time is over"
	case r.Dst.Bits() < winner.Dst.Bits():
		return "a shorter prefix"
	case r.Dst.Bits() == winner.Dst.Bits() && r.From.Bits() < winner.From.Bits():
		return "a shorter source prefix"
	case !slices.Contains(n, r):
		return w.unfit6(r, []node{{r}})
	case !w.anyFits(r):
		return w.unfit6(r, []node{n})
	case r.Metric > winner.Metric:
		return "a higher metric"
	case r.Pref < winner.Pref:
		return "its router is less preferred"
	}
	return "another route scores higher, or as high and is listed first"
}

func (w *walker) anyFits(r *rpdb.RouteDetail) bool {
	return slices.ContainsFunc(r.Hops, func(h rpdb.Hop) bool { return w.score(r, h, w.flow.reachable) >= 0 })
}

func (w *walker) fromText(r *rpdb.RouteDetail) string {
	if !w.flow.Src.IsValid() {
		return fmt.Sprintf("no source is chosen yet, so it is not in %s", r.From)
	}
	return fmt.Sprintf("the source %s is not in %s", w.flow.Src, r.From)
}

// unfit6 says why a route is passed over.
func (w *walker) unfit6(r *rpdb.RouteDetail, nodes []node) string {
	live := func(h rpdb.Hop) bool { return !h.Dead }
	switch {
	case !w.fromFits(r):
		return w.fromText(r)
	case r.Expires < 0:
		return "its time is over"
	case !slices.ContainsFunc(nodes, func(n node) bool { return slices.Contains(n, r) }):
		return "IPv6 passes over the routes of a prefix that has source routes, none of which fits"
	case !slices.ContainsFunc(r.Hops, live):
		return "its next hops are dead"
	case w.flow.strict && !slices.ContainsFunc(r.Hops, func(h rpdb.Hop) bool { return h.OIF == w.flow.preferable }):
		return fmt.Sprintf("it is not by %s", w.nameOf(w.flow.preferable))
	case w.anyFits(r):
		return "another route scores higher"
	}
	return "its router does not answer"
}
