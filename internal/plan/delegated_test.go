package plan_test

import (
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

// TestDelegated: the rules of a delegated prefix, those of addresses left out. They are about forwarded packets too: no "iif lo".
func TestDelegated(t *testing.T) {
	const (
		reach = "4300: from 2001:db8:100::/56 lookup main suppress_prefixlength 4"
		out   = "4410: from 2001:db8:100::/56 lookup 7001"
		fence = "4500: from 2001:db8:100::/56 unreachable"
	)
	for _, tc := range []struct {
		name   string
		change func(u *uplink.Uplink)
		others uplink.Others
		want   []string
	}{
		{"up", func(*uplink.Uplink) {}, uplink.Others{}, []string{reach, out, fence}},
		{"link down: the fence, and the LANs", func(u *uplink.Uplink) { u.State = uplink.Down }, uplink.Others{}, []string{reach, fence}},
		{"no fence", func(u *uplink.Uplink) { u.Settings.Fence = false }, uplink.Others{}, []string{reach, out}},
		{"no gateway any more", func(u *uplink.Uplink) { u.Gateways = nil }, uplink.Others{}, []string{reach, out, fence}},
		{"no addresses any more", func(u *uplink.Uplink) { u.Addresses, u.Sources, u.Gateways = nil, nil, nil }, uplink.Others{}, []string{reach, out, fence}},
		{"a table beside main, a VPN's server by another uplink", func(u *uplink.Uplink) {
			u.Bypass = []netip.Prefix{prefix("203.0.113.1/32"), prefix("2001:db8:ffff::9/128")}
		}, uplink.Others{Tables: []uplink.Table{{Family: rpdb.IPv6, Number: 52}, {Family: rpdb.IPv4, Number: 53}}}, []string{
			"4250: from 2001:db8:100::/56 to 2001:db8:ffff::9 lookup 7001", reach,
			"4310: from 2001:db8:100::/56 lookup 52 suppress_prefixlength 4", out, fence,
		}},
		{"a routed IPv4 subnet is the same", func(u *uplink.Uplink) { u.Delegated = []netip.Prefix{prefix("203.0.113.8/29")} }, uplink.Others{}, []string{
			"4300: from 203.0.113.8/29 lookup main suppress_prefixlength 1", "4410: from 203.0.113.8/29 lookup 7001", "4500: from 203.0.113.8/29 unreachable",
		}},
	} {
		u := dsl()
		u.Delegated = []netip.Prefix{prefix("2001:db8:100::/56")}
		tc.change(&u)
		var got []string
		for _, r := range plan.Make([]uplink.Uplink{u}, tc.others, config.Default()).Rules {
			if slices.Contains(u.Delegated, r.Src) {
				got = append(got, r.String())
			}
		}
		slices.Sort(got)
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

// TestDelegatedLocal: where table local was moved behind our rules, it is asked before the fence of a LAN too, whose packets to this
// host itself would end there; also while the link is down.
func TestDelegatedLocal(t *testing.T) {
	u := dsl()
	u.State, u.Addresses, u.Sources, u.Gateways, u.Delegated = uplink.Down, nil, nil, nil, []netip.Prefix{prefix("2001:db8:100::/56")}
	p := plan.Make([]uplink.Uplink{u}, uplink.Others{NoLocal: []rpdb.Family{rpdb.IPv6}}, config.Default())
	if want := "4000: from all lookup local"; !slices.ContainsFunc(p.Rules, func(r plan.Rule) bool { return r.String() == want }) {
		t.Errorf("no %q in\n%s", want, text(p))
	}
}

// TestDelegatedAside: where the block has stepped aside, the lookup is still behind that of addresses and before the fence.
func TestDelegatedAside(t *testing.T) {
	u := dsl()
	u.Delegated = []netip.Prefix{prefix("2001:db8:100::/56")}
	p := plan.Make([]uplink.Uplink{u}, uplink.Others{Before: 3000}, config.Default())
	priority := func(text string) uint32 {
		i := slices.IndexFunc(p.Rules, func(r plan.Rule) bool { return strings.HasSuffix(r.String(), text) })
		if i < 0 {
			t.Fatalf("no rule %q in\n%s", text, p.Rules)
		}
		return p.Rules[i].Priority
	}
	address, prefix, fence := priority("2001:db8::/64 iif lo lookup 7001"), priority("/56 lookup 7001"), priority("/56 unreachable")
	if address >= prefix || prefix >= fence {
		t.Errorf("the address's lookup is at %d, the prefix's at %d, its fence at %d", address, prefix, fence)
	}
}
