package rpdb

import (
	"cmp"
	"net/netip"
	"slices"
)

// State is a set of rules, routes and settings of links: what is wanted, or what is there.
type State struct {
	Routes   []Route
	Rules    []Rule
	Settings []Setting
}

// Conflict is a route that we want and cannot have: somebody else's sits at its key, and is not ours to overwrite.
type Conflict struct {
	Want, Foreign Route
}

// Diff gives the operations that lead from what a snapshot holds to what is desired. owners are the protocol numbers
// that mark rules and routes as ours; what carries another is never part of an operation.
//
// The order is the one that loses no packet: routes before rules on the way up, rules before routes on the way down,
// everything that comes before anything that goes, and a route that changes is replaced in place. Settings are
// the first to come and the last to go: a reverse path filter is loose for as long as rules make packets cross it.
func Diff(desired State, actual *Snapshot, owners ...uint8) ([]Op, []Conflict) {
	ours := func(protocol uint8) bool { return slices.Contains(owners, protocol) }
	ops, conflicts := diffRoutes(desired.Routes, actual.Routes, ours)
	ops = append(ops, diffRules(desired.Rules, actual.Rules, ours)...)
	ops = append(ops, diffSettings(desired.Settings, actual)...)
	slices.SortStableFunc(ops, compareOps)
	return ops, conflicts
}

func diffRoutes(desired, actual []Route, ours func(uint8) bool) ([]Op, []Conflict) {
	have := make(map[RouteKey][]Route)
	for _, r := range actual {
		have[r.RouteKey] = append(have[r.RouteKey], r)
	}
	var ops []Op
	var conflicts []Conflict
	wanted := make(map[RouteKey]bool, len(desired))
	for _, want := range desired {
		wanted[want.RouteKey] = true
		op, conflict := diffRoute(want, have[want.RouteKey], ours)
		if conflict != nil {
			conflicts = append(conflicts, *conflict)
		} else if op.Verb != 0 {
			ops = append(ops, op)
		}
	}
	for key, rs := range have {
		for _, r := range rs {
			if ours(r.Protocol) && !wanted[key] {
				ops = append(ops, Op{Verb: DelRoute, Route: r})
			}
		}
	}
	return ops, conflicts
}

// diffRoute compares one wanted route with what sits at its key. The zero Op means that nothing is to be done.
func diffRoute(want Route, at []Route, ours func(uint8) bool) (Op, *Conflict) {
	for _, r := range at {
		if !ours(r.Protocol) {
			return Op{}, &Conflict{Want: want, Foreign: r}
		}
	}
	switch {
	case len(at) == 0:
		return Op{Verb: AddRoute, Route: want}, nil
	case len(at) > 1 || at[0] != want:
		return Op{Verb: ReplaceRoute, Route: want}, nil
	}
	return Op{}, nil
}

func diffRules(desired, actual []Rule, ours func(uint8) bool) []Op {
	have := make(map[Rule]bool)
	for _, r := range actual {
		if ours(r.Protocol) && !r.Opaque {
			have[r] = true
		}
	}
	var ops []Op
	wanted := make(map[Rule]bool, len(desired))
	for _, r := range desired {
		if !have[r] && !wanted[r] {
			ops = append(ops, Op{Verb: AddRule, Rule: r})
		}
		wanted[r] = true
	}
	for r := range have {
		if !wanted[r] {
			ops = append(ops, Op{Verb: DelRule, Rule: r})
		}
	}
	return ops
}

// compareOps orders operations. Subnets come before the default route that needs them and go after it; a fence comes
// after the lookups that it follows and goes before them.
func compareOps(a, b Op) int {
	if c := cmp.Compare(phase(a.Verb), phase(b.Verb)); c != 0 {
		return c
	}
	switch a.Verb {
	case SetSetting, PutBack:
		return compareSettings(a.Setting, b.Setting)
	case AddRoute, ReplaceRoute:
		return compareRoutes(a.Route, b.Route)
	case DelRoute:
		return compareRoutes(b.Route, a.Route)
	case AddRule:
		return CompareRules(a.Rule, b.Rule)
	}
	return CompareRules(b.Rule, a.Rule)
}

// phase is the verb's place in the order; adding and replacing routes is one phase, since either may need the other.
func phase(v Verb) Verb {
	if v == ReplaceRoute {
		return AddRoute
	}
	return v
}

// compareRoutes puts longer prefixes first, and is total over routes of different keys.
func compareRoutes(a, b Route) int {
	return cmp.Or(
		cmp.Compare(b.Dst.Bits(), a.Dst.Bits()),
		cmp.Compare(a.Table, b.Table),
		a.Dst.Addr().Compare(b.Dst.Addr()),
		cmp.Compare(a.Metric, b.Metric),
		a.Via.Compare(b.Via),
	)
}

// CompareRules orders rules as the kernel walks them, by priority, and then by everything else, so that the order of
// two lists of the same rules is the same.
func CompareRules(a, b Rule) int {
	return cmp.Or(
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.Family, b.Family),
		comparePrefixes(a.Src, b.Src),
		comparePrefixes(a.Dst, b.Dst),
		cmp.Compare(a.OIF, b.OIF),
		cmp.Compare(a.IIF, b.IIF),
		cmp.Compare(a.Mark, b.Mark),
		cmp.Compare(a.Mask, b.Mask),
		cmp.Compare(a.Action, b.Action),
		cmp.Compare(a.Table, b.Table),
		cmp.Compare(a.Suppress.Len, b.Suppress.Len),
		cmp.Compare(a.Protocol, b.Protocol),
	)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
