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

// added is what a change of the plain uplink brings, in the order of the kernel's rules.
func added(others uplink.Others, change func(u *uplink.Uplink)) string {
	plain := strings.Split(text(plan.Make([]uplink.Uplink{dsl()}, uplink.Others{}, config.Default())), "\n")
	u := dsl()
	change(&u)
	got := strings.Split(text(plan.Make([]uplink.Uplink{u}, others, config.Default())), "\n")
	return strings.Join(slices.DeleteFunc(got, func(l string) bool { return slices.Contains(plain, l) }), "\n")
}

func route(dst, via string) uplink.Route {
	r := uplink.Route{Dst: prefix(dst), Src: addr("192.0.2.10"), Source: "dhclient"}
	if via != "" {
		r.Via = addr(via)
	}
	return r
}

// TestClasslessRoutes: each is in the uplink's table, of both families alike, and main keeps what it knows closer. Nothing is
// closer than a host.
func TestClasslessRoutes(t *testing.T) {
	want := `inet 4190: from 192.0.2.10 to 10.0.0.0/8 lookup main suppress_prefixlength 8  # dsl: what main knows closer than the classless route stays there
inet6 4190: from 2001:db8::/64 to 2001:db8:7::/48 iif lo lookup main suppress_prefixlength 48  # dsl: what main knows closer than the classless route stays there
inet 10.0.0.0/8 via 192.0.2.7 dev eth0 table 7001 src 192.0.2.10  # dsl: classless route by dhclient
inet 172.16.0.0/12 dev eth0 table 7001 scope link src 192.0.2.10  # dsl: classless route by dhclient
inet 203.0.113.7 via 198.51.100.1 dev eth0 table 7001 src 192.0.2.10 onlink  # dsl: classless route by dhclient
inet6 2001:db8:7::/48 via fe80::7 dev eth0 table 7001 metric 1024  # dsl: classless route by dhclient`
	want = strings.Replace(want, "\n", "\ninet 4190: from 192.0.2.10 to 172.16.0.0/12 lookup main suppress_prefixlength 12  # dsl: what main knows closer than the classless route stays there\n", 1)
	got := added(uplink.Others{}, func(u *uplink.Uplink) {
		u.Routes = []uplink.Route{route("10.0.0.0/8", "192.0.2.7"), route("172.16.0.0/12", ""), route("203.0.113.7/32", "198.51.100.1"), route("2001:db8:7::/48", "fe80::7")}
		u.Routes[2].Onlink = true
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestClasslessRoutesNested: of prefixes that lie in one another the inner one is decided first, by what main has closer than
// that, and then by the uplink's own table.
func TestClasslessRoutesNested(t *testing.T) {
	got := added(uplink.Others{Tables: []uplink.Table{{Family: rpdb.IPv6, Number: 99}, {Family: rpdb.IPv4, Number: 52}}}, func(u *uplink.Uplink) {
		u.Gateways, u.Addresses, u.Sources = u.Gateways[:1], u.Addresses[:1], u.Sources[:1]
		u.Routes = []uplink.Route{route("192.0.2.128/25", "192.0.2.7"), route("192.0.0.0/16", "192.0.2.7"), route("192.0.2.200/32", "192.0.2.8")}
	})
	var rules []string
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "inet 41") {
			rule, _, _ := strings.Cut(line, "  #")
			rules = append(rules, rule)
		}
	}
	want := []string{
		"inet 4185: from 192.0.2.10 to 192.0.2.200 lookup 7001 suppress_prefixlength 0",
		"inet 4186: from 192.0.2.10 to 192.0.2.128/25 lookup main suppress_prefixlength 25",
		"inet 4186: from 192.0.2.10 to 192.0.2.128/25 lookup 52 suppress_prefixlength 25",
		"inet 4187: from 192.0.2.10 to 192.0.2.128/25 lookup 7001 suppress_prefixlength 0",
		"inet 4188: from 192.0.2.10 to 192.0.2.0/24 lookup main suppress_prefixlength 24",
		"inet 4189: from 192.0.2.10 to 192.0.2.0/24 lookup 7001 suppress_prefixlength 0",
		"inet 4190: from 192.0.2.10 to 192.0.0.0/16 lookup main suppress_prefixlength 16",
		"inet 4190: from 192.0.2.10 to 192.0.0.0/16 lookup 52 suppress_prefixlength 16",
	}
	slices.Sort(rules)
	slices.Sort(want)
	if d := cmp.Diff(want, rules); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestClasslessRoutesDeep: however deep they lie, the steps keep to their room.
func TestClasslessRoutesDeep(t *testing.T) {
	u := dsl()
	for bits := 2; bits < 32; bits++ {
		u.Routes = append(u.Routes, route(netip.PrefixFrom(addr("192.0.2.0"), bits).Masked().String(), "192.0.2.7"))
	}
	for _, r := range plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default()).Rules {
		if step := r.Priority - config.DefaultPriorityBase; r.Dst.IsValid() && (step < plan.StepNested || step > plan.StepCloser) {
			t.Errorf("%s is out of its room", r)
		}
	}
}

// TestClasslessRoutesDown: while the link is down only the fence stands.
func TestClasslessRoutesDown(t *testing.T) {
	got := added(uplink.Others{}, func(u *uplink.Uplink) {
		u.State, u.Routes = uplink.Down, []uplink.Route{route("10.0.0.0/8", "192.0.2.7")}
	})
	if got != "" {
		t.Errorf("added:\n%s", got)
	}
}

// TestManySubnets: a source's own subnet always has its rule, and the number of all of them is not squared.
func TestManySubnets(t *testing.T) {
	const subnets, most = 40, 8
	u := dsl()
	u.Addresses, u.Sources, u.Gateways = nil, nil, u.Gateways[1:]
	for n := range subnets {
		p := prefix(fmt.Sprintf("2001:db8:%x::/64", n))
		u.Addresses = append(u.Addresses, uplink.Address{Addr: p.Addr().Next(), Bits: 64, Subnet: p})
		u.Sources = append(u.Sources, uplink.Source{Prefix: p, Local: true})
	}
	rules, own := 0, 0
	for _, r := range plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default()).Rules {
		if r.Dst.IsValid() {
			rules++
		}
		if r.Dst.IsValid() && r.Dst == r.Src {
			own++
		}
	}
	if rules != subnets*most || own != subnets {
		t.Errorf("%d rules to a subnet, %d of them to the source's own; want %d and %d", rules, own, subnets*most, subnets)
	}
}
