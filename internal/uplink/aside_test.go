package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// foreign is a rule of somebody else's for everybody.
func foreign(priority, table uint32, change ...func(*rpdb.Rule)) rpdb.Rule {
	r := rpdb.Rule{Family: rpdb.IPv4, Priority: priority, Action: rpdb.ActLookup, Table: table, Protocol: rpdb.ProtoBoot}
	for _, c := range change {
		c(&r)
	}
	return r
}

func unmarked(r *rpdb.Rule)       { r.Mark, r.Mask, r.Invert = 51820, ^uint32(0), true }
func marked(r *rpdb.Rule)         { r.Mark, r.Mask = 0x100, 0x3f00 }
func opaque(r *rpdb.Rule)         { r.Opaque = true }
func suppressing(r *rpdb.Rule)    { r.Suppress = rpdb.Suppress(0) }
func mine(r *rpdb.Rule)           { r.Protocol = config.DefaultProtocol }
func opaqueInverted(r *rpdb.Rule) { r.Opaque, r.Invert = true, true }

// sees derives with these rules of others, as the next look after the last one.
func (h *host) sees(rules ...rpdb.Rule) uplink.View {
	h.snap.Rules = rules
	v := uplink.Derive(h.Input)
	h.CatchAlls = v.CatchAlls
	return v
}

// TestBlockStepsAside: for which rules the block goes where, at the first look of a host that has no rules of ours.
func TestBlockStepsAside(t *testing.T) {
	for name, c := range map[string]struct {
		rules []rpdb.Rule
		want  uint32
	}{
		"none":                             {nil, 0},
		"wg-quick's":                       {[]rpdb.Rule{foreign(4188, rpdb.TableMain, suppressing), foreign(4189, 51820, unmarked)}, 4188},
		"of IPv6":                          {[]rpdb.Rule{foreign(4189, 51820, unmarked, func(r *rpdb.Rule) { r.Family = rpdb.IPv6 })}, 4189},
		"right before the block":           {[]rpdb.Rule{foreign(3999, 51820, unmarked)}, 3999},
		"further before it: somebody's":    {[]rpdb.Rule{foreign(3900, 51820, unmarked)}, 0},
		"behind it":                        {[]rpdb.Rule{foreign(5000, 51820, unmarked)}, 0},
		"at its end":                       {[]rpdb.Rule{foreign(4999, 51820, unmarked)}, 4999},
		"a mark":                           {[]rpdb.Rule{foreign(4189, 1, marked)}, 0},
		"ports, users and the like":        {[]rpdb.Rule{foreign(4189, 1, opaque)}, 0},
		"all but certain ports":            {[]rpdb.Rule{foreign(4189, 1, opaqueInverted)}, 4189},
		"ours":                             {[]rpdb.Rule{foreign(4189, 1, mine)}, 0},
		"a jump over the block":            {[]rpdb.Rule{foreign(4189, 0, func(r *rpdb.Rule) { r.Action, r.Goto = rpdb.ActGoto, 32766 })}, 4189},
		"mwan3's do not stop it":           {[]rpdb.Rule{foreign(3250, 1, marked), foreign(4189, 51820, unmarked)}, 4189},
		"no room behind somebody's":        {[]rpdb.Rule{foreign(3990, 1, marked), foreign(4010, 51820, unmarked)}, 0},
		"room behind somebody's":           {[]rpdb.Rule{foreign(3990, 1, marked), foreign(4055, 51820, unmarked)}, 4055},
		"room before one of two":           {[]rpdb.Rule{foreign(3990, 1, marked), foreign(4010, 51820, unmarked), foreign(4189, 51821, unmarked)}, 4189},
		"table local stays the first":      {[]rpdb.Rule{foreign(0, rpdb.TableLocal), foreign(4189, 51820, unmarked)}, 4189},
		"not for table local in the block": {[]rpdb.Rule{foreign(4100, rpdb.TableLocal)}, 0},
	} {
		if got := newHost().sees(c.rules...).Others.Before; got != c.want {
			t.Errorf("%s: before %d, want %d", name, got, c.want)
		}
	}
}

// TestPlacedIsRemembered: a rule that landed where the block had stepped aside was put there by nobody, and one that stood before
// the block was; each for as long as it is there.
func TestPlacedIsRemembered(t *testing.T) {
	h := newHost()
	somebodys, first := foreign(3500, 9, unmarked), foreign(4001, 51820, unmarked)
	second := foreign(3950, 51821, unmarked)
	for i, c := range []struct {
		rules []rpdb.Rule
		want  uint32
	}{
		{[]rpdb.Rule{somebodys}, 0},
		{[]rpdb.Rule{somebodys, first}, 4001},
		{[]rpdb.Rule{somebodys, second, first}, 3950},
		{[]rpdb.Rule{somebodys, second}, 3950}, // the first is gone: this one is still nobody's choice
		{[]rpdb.Rule{somebodys}, 0},
		{[]rpdb.Rule{somebodys, second}, 0}, // now it is: the block was at home
	} {
		if got := h.sees(c.rules...).Others.Before; got != c.want {
			t.Errorf("step %d: before %d, want %d", i, got, c.want)
		}
	}
}

// TestPlacedAfterARestart: where nothing is remembered, the first of our own rules tells where the block stood.
func TestPlacedAfterARestart(t *testing.T) {
	h := newHost()
	own := foreign(3950-uplink.AsideSpan+uplink.AsideRoom+5, 7000, mine)
	if got := h.sees(own, foreign(3950, 51821, unmarked)).Others.Before; got != 3950 {
		t.Errorf("before %d", got)
	}
	h = newHost()
	if got := h.sees(foreign(3950, 51821, unmarked), foreign(4190, 7000, mine)).Others.Before; got != 0 {
		t.Errorf("a rule that stood before the block is passed: before %d", got)
	}
}

// TestAsideIsStable: whatever rules there are, a second look finds the block where the first put it, in whatever order the
// kernel lists them; and it never goes before a rule with a selector that somebody put before the block's own place.
func TestAsideIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := rapid.Custom(func(t *rapid.T) rpdb.Rule {
			change := rapid.SampledFrom([]func(*rpdb.Rule){unmarked, marked, suppressing, opaque, mine}).Draw(t, "change")
			priority := rapid.OneOf(rapid.Uint32Range(0, 5200), rapid.Uint32Range(3900, 4300)).Draw(t, "priority")
			return foreign(priority, rapid.SampledFrom([]uint32{254, 255, 100}).Draw(t, "table"), change)
		})
		rules := rapid.SliceOfNDistinct(rule, 0, 8, func(r rpdb.Rule) rpdb.Rule { return r }).Draw(t, "rules")
		h := newHost()
		first := h.sees(rules...)
		shuffled := slices.Clone(rules)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := h.sees(shuffled...); again.Others.Before != first.Others.Before || fmt.Sprint(again.Notes, again.Problems) != fmt.Sprint(first.Notes, first.Problems) {
			t.Errorf("before %d and then %d:\n%v\n%v", first.Others.Before, again.Others.Before, first.Notes, again.Notes)
		}
		for _, r := range rules {
			selects := r.Mask == 0x3f00 && !r.Invert && r.Protocol != config.DefaultProtocol && r.Priority < config.DefaultPriorityBase
			if b := first.Others.Before; b != 0 && selects && r.Priority >= b-uplink.AsideSpan {
				t.Errorf("the block at %d is before %q", b-uplink.AsideSpan, r)
			}
		}
	})
}

// TestBypass: which routes of main are a default route by another name, and for whom.
func TestBypass(t *testing.T) {
	two := func() *host {
		return newHost().eth("eth0", "eth1").addr("eth0", "192.0.2.10/24").addr("eth1", "198.51.100.20/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP).gateway("eth1", "198.51.100.1", rpdb.ProtoDHCP)
	}
	via := func(gw string, metric uint32) func(*rpdb.Route) {
		return func(r *rpdb.Route) { r.Via, r.Metric, r.Scope = addr(gw), metric, rpdb.ScopeUniverse }
	}
	for name, c := range map[string]struct {
		host *host
		want string // eth0's and eth1's
	}{
		"none":                              {two(), "[] []"},
		"by the first":                      {two().route("eth0", "203.0.113.1/32", via("192.0.2.1", 0)), "[] [203.0.113.1/32]"},
		"by the second":                     {two().route("eth1", "203.0.113.1/32", via("198.51.100.1", 0)), "[203.0.113.1/32] []"},
		"by both: the kernel takes one":     {two().route("eth1", "203.0.113.1/32", via("198.51.100.1", 9)).route("eth0", "203.0.113.1/32", via("192.0.2.1", 5)), "[] [203.0.113.1/32]"},
		"a better one by a tunnel":          {two().link(rpdb.Link{Name: "tun0", Kind: "tun"}).route("eth0", "203.0.113.1/32", via("192.0.2.1", 5)).route("tun0", "203.0.113.1/32"), "[] []"},
		"by another router":                 {two().route("eth0", "203.0.113.1/32", via("192.0.2.7", 0)), "[] []"},
		"private":                           {two().route("eth0", "10.9.9.9/32", via("192.0.2.1", 0)).route("eth0", "100.64.1.1/32", via("192.0.2.1", 0)), "[] []"},
		"link-local":                        {two().route("eth0", "169.254.169.254/32", via("192.0.2.1", 0)), "[] []"},
		"multicast":                         {two().route("eth0", "224.0.0.9/32", via("192.0.2.1", 0)), "[] []"},
		"a network":                         {two().route("eth0", "203.0.113.0/24", via("192.0.2.1", 0)), "[] []"},
		"in another table":                  {two().route("eth0", "203.0.113.1/32", via("192.0.2.1", 0), func(r *rpdb.Route) { r.Table = 9 }), "[] []"},
		"barred":                            {two().route("eth0", "203.0.113.1/32", via("192.0.2.1", 0), func(r *rpdb.Route) { r.Type = rpdb.Unreachable }), "[] []"},
		"the other uplink has gone down":    {two().route("eth0", "203.0.113.1/32", via("192.0.2.1", 0)).down("eth1"), "[] []"},
		"several, in order of their number": {two().route("eth0", "203.0.113.9/32", via("192.0.2.1", 0)).route("eth0", "203.0.113.2/32", via("192.0.2.1", 0)), "[] [203.0.113.2/32 203.0.113.9/32]"},
	} {
		var got []string
		for _, u := range uplink.Derive(c.host.Input).Uplinks {
			got = append(got, fmt.Sprint(u.Bypass))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestBypassOfPointToPoint: a route by a link that needs no gateway, but not the other end's own.
func TestBypassOfPointToPoint(t *testing.T) {
	h := newHost().link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).eth("eth1").
		addr("ppp0", "192.0.2.10/32", func(a *rpdb.Address) { a.Peer = prefix("203.0.113.7/32") }).
		addr("eth1", "198.51.100.20/24").gateway("eth1", "198.51.100.1", rpdb.ProtoDHCP).
		route("ppp0", "203.0.113.7/32", func(r *rpdb.Route) { r.Protocol = rpdb.ProtoKernel }).route("ppp0", "203.0.113.1/32")
	us := uplink.Derive(h.Input).Uplinks
	if len(us) != 2 || len(us[0].Bypass) != 0 || fmt.Sprint(us[1].Bypass) != "[203.0.113.1/32]" {
		t.Errorf("%+v", us)
	}
}

// TestBypassIsBounded: of many, the first by number, and a note.
func TestBypassIsBounded(t *testing.T) {
	h := newHost().eth("eth0", "eth1").addr("eth0", "192.0.2.10/24").addr("eth1", "198.51.100.20/24").
		gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP).gateway("eth1", "198.51.100.1", rpdb.ProtoDHCP)
	for i := range 20 {
		h.route("eth0", fmt.Sprintf("203.0.113.%d/32", 100-i), func(r *rpdb.Route) { r.Via = addr("192.0.2.1") })
	}
	v := uplink.Derive(h.Input)
	got := v.Uplinks[1].Bypass
	if len(got) != 16 || got[0] != prefix("203.0.113.81/32") || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "20 routes") {
		t.Errorf("%v, notes %v", got, v.Notes)
	}
	h.snap.Routes = slices.DeleteFunc(h.snap.Routes, func(r rpdb.Route) bool {
		return r.Dst.IsSingleIP() && r.Dst.Addr().Less(addr("203.0.113.85"))
	})
	if v := uplink.Derive(h.Input); len(v.Uplinks[1].Bypass) != 16 || len(v.Notes) != 0 {
		t.Errorf("as many as may be: %v, notes %v", v.Uplinks[1].Bypass, v.Notes)
	}
}

// TestStandsBefore: a rule that somebody chose to have before ours is told of where it ends the way of packets to the Internet.
func TestStandsBefore(t *testing.T) {
	to := func(dst string) func(*rpdb.Route) {
		return func(r *rpdb.Route) { r.Table, r.Dst = 9, prefix(dst) }
	}
	suppress := func(n int) func(*rpdb.Rule) {
		return func(r *rpdb.Rule) { r.Suppress.Set, r.Suppress.Len = true, uint8(n) }
	}
	none := func(*rpdb.Rule) {}
	for name, c := range map[string]struct {
		dst    string
		change func(*rpdb.Rule)
		want   bool
	}{
		"a default route":                   {"0.0.0.0/0", none, true},
		"half of one":                       {"128.0.0.0/1", none, true},
		"a network":                         {"10.0.0.0/8", none, false},
		"a default route, suppressed":       {"0.0.0.0/0", suppress(0), false},
		"half of one, which is not":         {"128.0.0.0/1", suppress(0), true},
		"half of one, suppressed":           {"128.0.0.0/1", suppress(1), false},
		"a jump":                            {"0.0.0.0/0", func(r *rpdb.Rule) { r.Action, r.Goto = rpdb.ActGoto, 3600 }, false},
		"nothing goes out, by no route":     {"10.0.0.0/8", func(r *rpdb.Rule) { r.Action = rpdb.ActUnreachable }, true},
		"a default route, of other packets": {"::/0", none, false},
	} {
		v := newHost().eth("eth0").route("eth0", c.dst, to(c.dst)).sees(foreign(3500, 9, c.change))
		if told := len(v.Notes) > 0 && strings.Contains(v.Notes[0], "stands before ours"); told != c.want {
			t.Errorf("%s: notes %q", name, v.Notes)
		}
	}
}
