package plan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/plan"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// text is a plan as iproute2 would print it, with the reasons.
func text(p plan.Plan) string {
	var lines []string
	rules := slices.Clone(p.Rules)
	slices.SortStableFunc(rules, func(a, b plan.Rule) int { return rpdb.CompareRules(a.Rule, b.Rule) })
	for _, r := range rules {
		lines = append(lines, fmt.Sprintf("%s %s  # %s: %s", r.Family, r.Rule, r.Uplink, r.Why))
	}
	for _, r := range p.Routes {
		lines = append(lines, fmt.Sprintf("%s %s  # %s: %s", r.Family(), r.Text(func(int) string { return "eth0" }), r.Uplink, r.Why))
	}
	return strings.Join(lines, "\n")
}

func dsl() uplink.Uplink {
	return uplink.Uplink{
		Name: "dsl", Table: 7001, Link: rpdb.Link{Index: 2, Name: "eth0", Up: true}, Primary: true, State: uplink.Up,
		Settings: config.Settings{Fence: true},
		Addresses: []uplink.Address{
			{Addr: addr("192.0.2.10"), Bits: 24, Subnet: prefix("192.0.2.0/24")},
			{Addr: addr("2001:db8::10"), Bits: 64, Subnet: prefix("2001:db8::/64")},
		},
		Sources: []uplink.Source{
			{Prefix: prefix("192.0.2.10/32"), Addresses: []netip.Addr{addr("192.0.2.10")}},
			{Prefix: prefix("2001:db8::/64"), Local: true, Addresses: []netip.Addr{addr("2001:db8::10")}},
		},
		Gateways: []uplink.Gateway{
			{Family: rpdb.IPv4, Via: addr("192.0.2.1"), Src: addr("192.0.2.10"), Source: "dhclient"},
			{Family: rpdb.IPv6, Via: addr("fe80::1"), Source: "route proto ra"},
		},
	}
}

// second gives an uplink another IPv4 address in its subnet, so that one source serves both.
func second(u uplink.Uplink) uplink.Uplink {
	u.Addresses = append(u.Addresses, uplink.Address{Addr: addr("192.0.2.11"), Bits: 24, Subnet: prefix("192.0.2.0/24")})
	u.Sources[0] = uplink.Source{Prefix: prefix("192.0.2.0/24"), Local: true, Addresses: []netip.Addr{addr("192.0.2.10"), addr("192.0.2.11")}}
	return u
}

func TestMake(t *testing.T) {
	want := `inet 4190: from 192.0.2.10 to 192.0.2.0/24 lookup main suppress_prefixlength 24  # dsl: what main knows closer than the subnet stays there
inet6 4190: from 2001:db8::/64 to 2001:db8::/64 iif lo lookup main suppress_prefixlength 64  # dsl: what main knows closer than the subnet stays there
inet 4200: from 192.0.2.10 lookup 7001 suppress_prefixlength 0  # dsl: its own subnets by its own link
inet6 4200: from 2001:db8::/64 iif lo lookup 7001 suppress_prefixlength 0  # dsl: its own subnets by its own link
inet 4300: from 192.0.2.10 lookup main suppress_prefixlength 1  # dsl: LAN, VPN and containers stay in reach
inet6 4300: from 2001:db8::/64 iif lo lookup main suppress_prefixlength 4  # dsl: LAN, VPN and containers stay in reach
inet 4400: from 192.0.2.10 lookup 7001  # dsl: replies leave by the link that they came in on
inet6 4400: from 2001:db8::/64 iif lo lookup 7001  # dsl: replies leave by the link that they came in on
inet 4500: from 192.0.2.10 unreachable  # dsl: the fence: never by another uplink
inet6 4500: from 2001:db8::/64 iif lo unreachable  # dsl: the fence: never by another uplink
inet 4600: from all oif eth0 lookup main suppress_prefixlength 1  # dsl: bound to device eth0
inet6 4600: from all oif eth0 lookup main suppress_prefixlength 4  # dsl: bound to device eth0
inet 4610: from all oif eth0 lookup 7001  # dsl: bound to device eth0
inet6 4610: from all oif eth0 lookup 7001  # dsl: bound to device eth0
inet 192.0.2.0/24 dev eth0 table 7001 scope link src 192.0.2.10  # dsl: the subnet of 192.0.2.10
inet6 2001:db8::/64 dev eth0 table 7001 metric 1024  # dsl: the subnet of 2001:db8::10
inet default via 192.0.2.1 dev eth0 table 7001 src 192.0.2.10  # dsl: gateway by dhclient
inet6 default via fe80::1 dev eth0 table 7001 metric 1024  # dsl: gateway by route proto ra`
	if d := cmp.Diff(want, text(plan.Make([]uplink.Uplink{dsl()}, uplink.Others{}, config.Default()))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestMakeVariants compares with the plain plan: the lines that go, and those that come.
func TestMakeVariants(t *testing.T) {
	plain := strings.Split(text(plan.Make([]uplink.Uplink{dsl()}, uplink.Others{}, config.Default())), "\n")
	for _, tc := range []struct {
		name   string
		change func(u *uplink.Uplink)
		gone   int
		come   []string
	}{
		{"no fence", func(u *uplink.Uplink) { u.Settings.Fence = false }, 2, nil},
		{"no table", func(u *uplink.Uplink) { u.Table = 0 }, 18, nil},
		{"link down: only the fence stands", func(u *uplink.Uplink) { u.State = uplink.Down }, 16, nil},
		{"the address is left to others", func(u *uplink.Uplink) { u.Addresses[0].Left, u.Sources = true, u.Sources[1:] }, 5, nil},
		{"a further uplink of its link has no oif rules", func(u *uplink.Uplink) { u.Primary = false }, 4, nil},
		{"no IPv6 gateway any more", func(u *uplink.Uplink) { u.Gateways = u.Gateways[:1] }, 3, nil},
		{"to_rules", func(u *uplink.Uplink) { u.Settings.ToRules = true }, 0, []string{
			"inet 4700: from all to 192.0.2.10 lookup 7001  # dsl: to_rules of the configuration",
			"inet6 4700: from all to 2001:db8::10 lookup 7001  # dsl: to_rules of the configuration",
		}},
		{"fwmark", func(u *uplink.Uplink) { u.Settings.Mark, u.Settings.Mask = 0x100, 0xff00 }, 0, []string{
			"inet 4010: from all fwmark 0x100/0xff00 lookup 7001  # dsl: fwmark of the configuration",
			"inet6 4010: from all fwmark 0x100/0xff00 lookup 7001  # dsl: fwmark of the configuration",
		}},
		{"iif", func(u *uplink.Uplink) { u.Settings.IIF = []string{"lan0"}; u.Gateways = u.Gateways[:1] }, 3, []string{
			"inet 4100: from all iif lan0 lookup main suppress_prefixlength 1  # dsl: what arrives on lan0 leaves by this uplink",
			"inet 4110: from all iif lan0 lookup 7001  # dsl: what arrives on lan0 leaves by this uplink",
		}},
		{"dns_rules", func(u *uplink.Uplink) {
			u.Settings.DNSRules = true
			u.DNS = []netip.Addr{addr("192.0.2.53"), addr("2001:db8::53")}
		}, 0, []string{
			"inet 4710: from all to 192.0.2.53 lookup 7001  # dsl: name server of the lease",
			"inet6 4710: from all to 2001:db8::53 lookup 7001  # dsl: name server of the lease",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := dsl()
			tc.change(&u)
			got := strings.Split(text(plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default())), "\n")
			come := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return l == "" || slices.Contains(plain, l) })
			gone := slices.DeleteFunc(slices.Clone(plain), func(l string) bool { return slices.Contains(got, l) })
			if !slices.Equal(come, tc.come) || len(gone) != tc.gone {
				t.Errorf("come:\n%s\ngone (want %d):\n%s", strings.Join(come, "\n"), tc.gone, strings.Join(gone, "\n"))
			}
		})
	}
}

// TestPointToPoint: a default route without a next hop, and one to the other end.
func TestPointToPoint(t *testing.T) {
	u := dsl()
	u.Addresses = []uplink.Address{{Addr: addr("10.64.0.100"), Bits: 32, Peer: prefix("10.64.0.1/32")}}
	u.Gateways = []uplink.Gateway{{Family: rpdb.IPv4, Src: addr("10.64.0.100"), Source: "point-to-point link"}}
	got := text(plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default()))
	for _, want := range []string{
		"inet 10.64.0.1 dev eth0 table 7001 scope link src 10.64.0.100  # dsl: the other end of 10.64.0.100",
		"inet default dev eth0 table 7001 scope link src 10.64.0.100  # dsl: gateway by point-to-point link",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestPrefixes: one set of rules serves a prefix, and only what the host itself sends: neighbours live in it, too. Rules to an
// address are about the host, and stay by address.
func TestPrefixes(t *testing.T) {
	u := second(dsl())
	u.Settings.ToRules = true
	u.Addresses, u.Sources, u.Gateways = slices.Delete(u.Addresses, 1, 2), u.Sources[:1], u.Gateways[:1]
	others := uplink.Others{Tables: []uplink.Table{{Family: rpdb.IPv4, Number: 52}}}
	u.Own = []netip.Prefix{prefix("192.0.2.1/32")}
	want := []string{
		"4180: from 192.0.2.0/24 to 192.0.2.1 iif lo lookup 7001 suppress_prefixlength 0",
		"4190: from 192.0.2.0/24 to 192.0.2.0/24 iif lo lookup main suppress_prefixlength 24",
		"4200: from 192.0.2.0/24 iif lo lookup 7001 suppress_prefixlength 0",
		"4300: from 192.0.2.0/24 iif lo lookup main suppress_prefixlength 1",
		"4310: from 192.0.2.0/24 iif lo lookup 52 suppress_prefixlength 1",
		"4400: from 192.0.2.0/24 iif lo lookup 7001",
		"4500: from 192.0.2.0/24 iif lo unreachable",
		"4600: from all oif eth0 lookup main suppress_prefixlength 1",
		"4610: from all oif eth0 lookup 7001",
		"4700: from all to 192.0.2.10 lookup 7001",
		"4700: from all to 192.0.2.11 lookup 7001",
	}
	if d := cmp.Diff(want, rules(u, others)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	u.State = uplink.Down
	if d := cmp.Diff(want[6:7], rules(u, others)); d != "" {
		t.Errorf("down (-want +got):\n%s", d)
	}
}

// rules are those of one uplink, in the order of the kernel's.
func rules(u uplink.Uplink, others uplink.Others) []string {
	rs := plan.Make([]uplink.Uplink{u}, others, config.Default()).State().Rules
	slices.SortFunc(rs, rpdb.CompareRules)
	var out []string
	for _, r := range rs {
		out = append(out, r.String())
	}
	return out
}

// TestOnce: two addresses of one subnet are one route, and no rule is there twice.
func TestOnce(t *testing.T) {
	u := second(dsl())
	p := plan.Make([]uplink.Uplink{u, u}, uplink.Others{}, config.Default())
	s := p.State()
	for i, r := range s.Rules {
		if slices.Index(s.Rules, r) != i {
			t.Errorf("twice: %s", r)
		}
	}
	for i, r := range s.Routes {
		if slices.IndexFunc(s.Routes, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey }) != i {
			t.Errorf("twice: %+v", r.RouteKey)
		}
	}
	if len(s.Rules) != 14 || len(s.Routes) != 4 {
		t.Errorf("%d rules and %d routes, want 14 and 4", len(s.Rules), len(s.Routes))
	}
}

// TestOthers: tables that somebody else has looked up beside main are asked like main; table local is put before ours where it
// is not there any more.
func TestOthers(t *testing.T) {
	others := uplink.Others{
		Tables:  []uplink.Table{{Family: rpdb.IPv4, Number: 52}, {Family: rpdb.IPv6, Number: 52}, {Family: rpdb.IPv4, Number: 99}},
		NoLocal: []rpdb.Family{rpdb.IPv4},
	}
	got := text(plan.Make([]uplink.Uplink{dsl()}, others, config.Default()))
	for _, want := range []string{
		"inet 4000: from all lookup local  # dsl: the rule of table local stands behind ours",
		"inet 4310: from 192.0.2.10 lookup 52 suppress_prefixlength 1  # dsl: somebody else has this table asked beside main",
		"inet6 4310: from 2001:db8::/64 iif lo lookup 52 suppress_prefixlength 4  # dsl: somebody else has this table asked beside main",
		"inet 4311: from 192.0.2.10 lookup 99 suppress_prefixlength 1  # dsl: somebody else has this table asked beside main",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "inet6 4000:") || strings.Contains(got, "inet6 4311:") {
		t.Errorf("IPv6 has what is IPv4's:\n%s", got)
	}
}

// TestOthersBounded: however many tables others have, an address gets no more rules than fit.
func TestOthersBounded(t *testing.T) {
	var others uplink.Others
	for n := range uint32(200) {
		others.Tables = append(others.Tables, uplink.Table{Family: rpdb.IPv4, Number: 10000 + n})
	}
	n := 0
	for _, r := range plan.Make([]uplink.Uplink{dsl()}, others, config.Default()).Rules {
		if r.Table >= 10000 {
			n++
		}
	}
	if n != 8 {
		t.Errorf("%d rules, want 8", n)
	}
}

// TestMetrics: the default route has the metrics of the route that its gateway is known from.
func TestMetrics(t *testing.T) {
	u := dsl()
	u.Gateways[0].Metrics = "mtu"
	for _, r := range plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default()).Routes {
		if want := r.Dst == rpdb.IPv4.Any(); (r.Metrics == "mtu") != want {
			t.Errorf("%s has metrics %q", r.Dst, r.Metrics)
		}
	}
}

func TestOwner(t *testing.T) {
	p := plan.Make([]uplink.Uplink{dsl()}, uplink.Others{}, config.Default())
	for _, op := range []rpdb.Op{
		{Verb: rpdb.AddRule, Rule: p.Rules[3].Rule}, {Verb: rpdb.AddRoute, Route: p.Routes[1].Route}, {Verb: rpdb.ReplaceRoute, Route: p.Routes[0].Route},
	} {
		if got := p.Owner(op); got != "dsl" {
			t.Errorf("%v is %q's", op.Verb, got)
		}
	}
	if got := p.Owner(rpdb.Op{Verb: rpdb.DelRule, Rule: p.Rules[0].Rule}) + p.Owner(rpdb.Op{Verb: rpdb.AddRule}); got != "" {
		t.Errorf("what is not in the plan is %q's", got)
	}
}
