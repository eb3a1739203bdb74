package rpdb_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

const ours, theirs = 117, 4

func prefixOf(t *rapid.T, label string) netip.Prefix {
	return netip.MustParsePrefix(rapid.SampledFrom([]string{
		"0.0.0.0/0", "192.0.2.0/24", "10.0.0.0/8", "::/0", "2001:db8::/64",
	}).Draw(t, label))
}

// routes draws routes of few keys, so that they meet; one a key, as a kernel's table has them.
func routes(t *rapid.T, label string, protocols ...uint8) []rpdb.Route {
	var out []rpdb.Route
	for range rapid.IntRange(0, 8).Draw(t, label) {
		r := rpdb.Route{Type: rpdb.Unicast, OIF: rapid.IntRange(2, 3).Draw(t, "oif")}
		r.Table = rapid.SampledFrom([]uint32{254, 7000, 7001}).Draw(t, "table")
		r.Dst = prefixOf(t, "dst")
		r.Metric = rapid.SampledFrom([]uint32{0, 1024}).Draw(t, "metric")
		r.Protocol = rapid.SampledFrom(protocols).Draw(t, "protocol")
		if !slices.ContainsFunc(out, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey }) {
			out = append(out, r)
		}
	}
	return out
}

func rules(t *rapid.T, label string, protocols ...uint8) []rpdb.Rule {
	var out []rpdb.Rule
	for range rapid.IntRange(0, 8).Draw(t, label) {
		r := rpdb.Rule{Action: rpdb.ActLookup, Table: rapid.SampledFrom([]uint32{254, 7000}).Draw(t, "table")}
		r.Src = prefixOf(t, "src")
		r.Family = rpdb.FamilyOf(r.Src.Addr())
		r.Priority = rapid.SampledFrom([]uint32{4200, 4400, 4500}).Draw(t, "priority")
		r.Protocol = rapid.SampledFrom(protocols).Draw(t, "protocol")
		if rapid.Bool().Draw(t, "suppressed") {
			r.Suppress = rpdb.Suppress(0)
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// apply does operations on a plain model, and fails the test where one makes no sense.
func apply(t *rapid.T, s rpdb.Snapshot, ops []rpdb.Op) rpdb.Snapshot {
	s.Routes, s.Rules = slices.Clone(s.Routes), slices.Clone(s.Rules)
	at := func(r rpdb.Route) int {
		return slices.IndexFunc(s.Routes, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey })
	}
	for _, o := range ops {
		switch o.Verb {
		case rpdb.AddRoute:
			if at(o.Route) >= 0 {
				t.Fatalf("adds a route whose key is taken: %+v", o.Route)
			}
			s.Routes = append(s.Routes, o.Route)
		case rpdb.ReplaceRoute:
			i := at(o.Route)
			if i < 0 || s.Routes[i].Protocol == theirs {
				t.Fatalf("replaces what is not ours: %+v", o.Route)
			}
			s.Routes[i] = o.Route
		case rpdb.DelRoute:
			i := at(o.Route)
			if i < 0 || s.Routes[i].Protocol == theirs {
				t.Fatalf("deletes what is not ours: %+v", o.Route)
			}
			s.Routes = slices.Delete(s.Routes, i, i+1)
		case rpdb.AddRule:
			s.Rules = append(s.Rules, o.Rule)
		case rpdb.DelRule:
			s.Rules = slices.DeleteFunc(s.Rules, func(r rpdb.Rule) bool { return r == o.Rule })
		}
	}
	return s
}

func split[T any](all []T, protocol func(T) uint8) (mine, others []T) {
	for _, v := range all {
		if protocol(v) == theirs {
			others = append(others, v)
		} else {
			mine = append(mine, v)
		}
	}
	return mine, others
}

// TestDiffReachesThePlan: from any state, the operations lead to what is desired, less what another's route stands in
// the way of; nothing of others is touched; and then there is nothing left to do.
func TestDiffReachesThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		desired := rpdb.State{Routes: routes(t, "desired routes", ours), Rules: rules(t, "desired rules", ours)}
		before := rpdb.Snapshot{Routes: routes(t, "routes", ours, theirs), Rules: rules(t, "rules", ours, theirs)}
		ops, conflicts := rpdb.Diff(desired, &before, ours)
		after := apply(t, before, ops)

		routeProtocol := func(r rpdb.Route) uint8 { return r.Protocol }
		ruleProtocol := func(r rpdb.Rule) uint8 { return r.Protocol }
		mine, others := split(after.Routes, routeProtocol)
		_, othersBefore := split(before.Routes, routeProtocol)
		want := slices.DeleteFunc(slices.Clone(desired.Routes), func(r rpdb.Route) bool {
			return slices.ContainsFunc(conflicts, func(c rpdb.Conflict) bool { return c.Want == r })
		})
		same(t, "routes of ours", want, mine)
		same(t, "routes of others", othersBefore, others)
		myRules, otherRules := split(after.Rules, ruleProtocol)
		_, otherRulesBefore := split(before.Rules, ruleProtocol)
		same(t, "rules of ours", desired.Rules, myRules)
		same(t, "rules of others", otherRulesBefore, otherRules)
		for _, c := range conflicts {
			if c.Foreign.Protocol != theirs || c.Foreign.RouteKey != c.Want.RouteKey {
				t.Errorf("not a conflict: %+v", c)
			}
		}
		if again, _ := rpdb.Diff(desired, &after, ours); len(again) != 0 {
			t.Errorf("a second diff finds %v", again)
		}
	})
}

// same compares two sets.
func same[T comparable](t *rapid.T, what string, want, got []T) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(want), func(v T) bool { return slices.Contains(got, v) })
	extra := slices.DeleteFunc(slices.Clone(got), func(v T) bool { return slices.Contains(want, v) })
	if len(missing) > 0 || len(extra) > 0 || len(want) != len(got) {
		t.Errorf("%s: missing %v, too many %v", what, missing, extra)
	}
}

// exported lets cmp compare what is comparable as it is.
func exported() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b rpdb.Route) bool { return a == b }),
		cmp.Comparer(func(a, b rpdb.Rule) bool { return a == b }),
	}
}

// TestDiffOrder: routes before rules on the way up, rules before routes on the way down, nothing goes before all has
// come, a subnet comes before the default route that needs it, a fence after the lookups and away before them.
func TestDiffOrder(t *testing.T) {
	subnet := rpdb.Route{RouteKey: rpdb.RouteKey{Table: 7000, Dst: netip.MustParsePrefix("192.0.2.0/24")}, Type: rpdb.Unicast, OIF: 2, Protocol: ours}
	gateway := rpdb.Route{RouteKey: rpdb.RouteKey{Table: 7000, Dst: netip.MustParsePrefix("0.0.0.0/0")}, Type: rpdb.Unicast, OIF: 2, Protocol: ours}
	lookup := rpdb.Rule{Family: rpdb.IPv4, Priority: 4400, Action: rpdb.ActLookup, Table: 7000, Protocol: ours}
	fence := rpdb.Rule{Family: rpdb.IPv4, Priority: 4500, Action: rpdb.ActUnreachable, Protocol: ours}
	oldSubnet, oldLookup := subnet, lookup
	oldSubnet.Table, oldLookup.Table = 7001, 7001

	up, _ := rpdb.Diff(rpdb.State{Routes: []rpdb.Route{gateway, subnet}, Rules: []rpdb.Rule{fence, lookup}},
		&rpdb.Snapshot{Routes: []rpdb.Route{oldSubnet}, Rules: []rpdb.Rule{oldLookup}}, ours)
	want := []rpdb.Op{
		{Verb: rpdb.AddRoute, Route: subnet}, {Verb: rpdb.AddRoute, Route: gateway},
		{Verb: rpdb.AddRule, Rule: lookup}, {Verb: rpdb.AddRule, Rule: fence},
		{Verb: rpdb.DelRule, Rule: oldLookup}, {Verb: rpdb.DelRoute, Route: oldSubnet},
	}
	if d := cmp.Diff(want, up, exported()); d != "" {
		t.Errorf("up (-want +got):\n%s", d)
	}
	down, _ := rpdb.Diff(rpdb.State{}, &rpdb.Snapshot{Routes: []rpdb.Route{subnet, gateway}, Rules: []rpdb.Rule{lookup, fence}}, ours)
	want = []rpdb.Op{
		{Verb: rpdb.DelRule, Rule: fence}, {Verb: rpdb.DelRule, Rule: lookup},
		{Verb: rpdb.DelRoute, Route: gateway}, {Verb: rpdb.DelRoute, Route: subnet},
	}
	if d := cmp.Diff(want, down, exported()); d != "" {
		t.Errorf("down (-want +got):\n%s", d)
	}
}

// TestDiffTakesOver: what a former run left under another protocol number is ours: a route is replaced in place, a rule
// by one of the new number.
func TestDiffTakesOver(t *testing.T) {
	old := rpdb.Route{RouteKey: rpdb.RouteKey{Table: 7000, Dst: netip.MustParsePrefix("0.0.0.0/0")}, Type: rpdb.Unicast, OIF: 2, Protocol: 99}
	now := old
	now.Protocol = ours
	oldRule := rpdb.Rule{Family: rpdb.IPv4, Priority: 4400, Action: rpdb.ActLookup, Table: 7000, Protocol: 99}
	nowRule := oldRule
	nowRule.Protocol = ours
	ops, conflicts := rpdb.Diff(rpdb.State{Routes: []rpdb.Route{now}, Rules: []rpdb.Rule{nowRule}},
		&rpdb.Snapshot{Routes: []rpdb.Route{old}, Rules: []rpdb.Rule{oldRule}}, ours, 99)
	want := []rpdb.Op{{Verb: rpdb.ReplaceRoute, Route: now}, {Verb: rpdb.AddRule, Rule: nowRule}, {Verb: rpdb.DelRule, Rule: oldRule}}
	if d := cmp.Diff(want, ops, exported()); d != "" || conflicts != nil {
		t.Errorf("(-want +got), conflicts %v:\n%s", conflicts, d)
	}
}
