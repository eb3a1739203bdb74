package agent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// replace is what a client says that names all its leases, each "ADDR GATEWAY".
func (b *bench) replace(source lease.Source, leases ...string) error {
	i, err := b.kernel.Index("eth0")
	b.must(err)
	ev := lease.Event{Verb: lease.Replace, Source: source, Interface: "eth0", Index: i}
	for _, text := range leases {
		ip, gw, _ := strings.Cut(text, " ")
		l := lease.Lease{Source: source, Address: netip.MustParseAddr(ip), Bits: -1}
		if gw != "" {
			l.Routers = []netip.Addr{netip.MustParseAddr(gw)}
		}
		ev.Leases = append(ev.Leases, l)
	}
	return b.agent.Hook(b.t.Context(), ev)
}

func (b *bench) removeAll(source lease.Source) error {
	i, err := b.kernel.Index("eth0")
	b.must(err)
	return b.agent.Hook(b.t.Context(), lease.Event{Verb: lease.RemoveAll, Source: source, Interface: "eth0", Index: i})
}

// book is what is on disk: each lease with its source and its age, oldest news first.
func (b *bench) book() (all []string) {
	for _, l := range b.disk.load().Leases {
		all = append(all, fmt.Sprintf("%s %s %v", l.Lease.Source, l.Lease.Address, l.Lease.Routers))
	}
	return all
}

func (b *bench) wantBook(want ...string) {
	b.t.Helper()
	if d := cmp.Diff(want, b.book()); d != "" {
		b.t.Errorf("leases (-want +got):\n%s", d)
	}
}

// defaults are the default routes of ours that the kernel has.
func (b *bench) defaults() (all []string) {
	s, err := b.kernel.Kernel.Snapshot(b.t.Context())
	b.must(err)
	for _, r := range s.Routes {
		if r.IsDefault() && r.Protocol == 117 {
			all = append(all, r.Via.String())
		}
	}
	slices.Sort(all)
	return all
}

func (b *bench) wantDefaults(want ...string) {
	b.t.Helper()
	if d := cmp.Diff(want, b.defaults()); d != "" {
		b.t.Errorf("default routes (-want +got):\n%s", d)
	}
}

// TestReplace: what a source names is all that it has; that is no end of a lease, so the fences stay until it gives up all.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth0", "198.51.100.20/24"), b.kernel.Addr("eth0", "2001:db8::1/64"))
		b.must(b.replace("dhcpcd6", "2001:db8::1 fe80::1"))
		b.must(b.replace("nm", "192.0.2.10 192.0.2.1", "198.51.100.20 198.51.100.1"))
		b.wantBook("dhcpcd6 2001:db8::1 [fe80::1]", "nm 192.0.2.10 [192.0.2.1]", "nm 198.51.100.20 [198.51.100.1]")
		b.wantDefaults("192.0.2.1", "198.51.100.1", "fe80::1")

		b.must(b.replace("nm", "198.51.100.20 198.51.100.1"))
		b.wantBook("dhcpcd6 2001:db8::1 [fe80::1]", "nm 198.51.100.20 [198.51.100.1]")
		b.must(b.replace("nm"))
		b.wantBook("dhcpcd6 2001:db8::1 [fe80::1]")
		b.wantDefaults("fe80::1")
		b.wantFences("192.0.2.10", "198.51.100.20", "2001:db8::/64")

		b.must(b.removeAll("other"), b.removeAll("dhcpcd"))
		b.wantFences("192.0.2.10", "198.51.100.20", "2001:db8::/64")
		b.stop() // the memory of whose they were outlives a restart
		b.start()
		<-b.agent.Ready()
		b.wantFences("192.0.2.10", "198.51.100.20", "2001:db8::/64")
		b.must(b.removeAll("nm"))
		b.wantFences("2001:db8::/64")
		b.must(b.removeAll("dhcpcd6"))
		b.wantRules(0)
	})
}

func (b *bench) wantFences(want ...string) {
	b.t.Helper()
	var got []string
	for _, r := range b.kernel.rules() {
		if r.Action == rpdb.ActUnreachable {
			got = append(got, strings.TrimSuffix(r.Src.String(), "/32"))
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		b.t.Errorf("fences (-want +got):\n%s", d)
	}
}

// TestReplaceIsNoNews: a lease that is named again as it was keeps its age, and another one that changes does not make it newer.
func TestReplaceIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth0", "198.51.100.20/24"))
		b.must(b.replace("nm", "192.0.2.10 192.0.2.1", "198.51.100.20 198.51.100.1"))
		first := b.disk.load().Leases
		b.must(b.replace("nm", "198.51.100.20 198.51.100.9", "192.0.2.10 192.0.2.1"))
		b.wantBook("nm 192.0.2.10 [192.0.2.1]", "nm 198.51.100.20 [198.51.100.9]")
		then := b.disk.load().Leases
		if first[0].Seq != then[0].Seq || first[1].Seq >= then[1].Seq {
			t.Errorf("ages %d and %d, then %d and %d", first[0].Seq, first[1].Seq, then[0].Seq, then[1].Seq)
		}
	})
}

// TestReplaceKeeps: a list of gateways over its limit leaves each lease the ones that it had.
func TestReplaceKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth0", "198.51.100.20/24"))
		b.must(b.replace("nm", "192.0.2.10 192.0.2.1", "198.51.100.20 198.51.100.1"))
		i, err := b.kernel.Index("eth0")
		b.must(err)
		ev := lease.Event{Verb: lease.Replace, Source: "nm", Interface: "eth0", Index: i, Keep: lease.KeepGateways}
		for _, ip := range []string{"192.0.2.10", "198.51.100.20"} {
			ev.Leases = append(ev.Leases, lease.Lease{Source: "nm", Address: netip.MustParseAddr(ip)})
		}
		b.must(b.agent.Hook(t.Context(), ev))
		b.wantBook("nm 192.0.2.10 [192.0.2.1]", "nm 198.51.100.20 [198.51.100.1]")
		b.wantDefaults("192.0.2.1", "198.51.100.1")
	})
}

// TestReplaceOfUnknownLink: it is said, and nothing of other links changes.
func TestReplaceOfUnknownLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.replace("nm", "192.0.2.10 192.0.2.1"))
		ev := lease.Event{Verb: lease.Replace, Source: "nm", Interface: "eth9", Leases: []lease.Lease{{Source: "nm", Address: netip.MustParseAddr("192.0.2.10")}}}
		if err := b.agent.Hook(t.Context(), ev); err == nil || !strings.Contains(err.Error(), `there is no link "eth9"`) {
			t.Errorf("error %v", err)
		}
		b.wantBook("nm 192.0.2.10 [192.0.2.1]")
	})
}

// TestCarrierAndReplace: the loss of the carrier changes nothing, also where the client then names no leases: what it has no more
// was not given up.
func TestCarrierAndReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.replace("nm", "192.0.2.10 192.0.2.1"))
		b.must(b.kernel.Carrier("eth0", false))
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
		b.wantDefaults("192.0.2.1")
		b.must(b.replace("nm"))
		b.wantDefaults()
		b.wantFences("192.0.2.10")
		b.must(b.kernel.Carrier("eth0", true), b.replace("nm", "192.0.2.10 192.0.2.1"))
		b.wantDefaults("192.0.2.1")
		b.wantRules(uplinkRules)
	})
}

// TestRefusedRouterOfRA: a link-local router is checked and kept like any other, whoever names it.
func TestRefusedRouterOfRA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "2001:db8::1/64"), b.kernel.Addr("eth0", "fe80::10/64"))
		b.must(b.replace("dhcpcd-ra", "2001:db8::1 fe80::1"))
		b.wantDefaults("fe80::1")
		b.must(b.replace("dhcpcd-ra", "2001:db8::1 fe80::10")) // the host's own: what worked stays
		b.wantDefaults("fe80::1")
		i, err := b.kernel.Index("eth0")
		b.must(err)
		refused := lease.Event{Verb: lease.Replace, Source: "dhcpcd-ra", Interface: "eth0", Index: i,
			Leases: []lease.Lease{{Source: "dhcpcd-ra", Address: netip.MustParseAddr("2001:db8::1"), Refused: true}}}
		b.must(b.agent.Hook(t.Context(), refused))
		b.wantDefaults("fe80::1")
		b.must(b.replace("dhcpcd-ra", "2001:db8::1")) // no word about a router: for IPv6 that says nothing
		b.wantDefaults()
		b.wantFences("2001:db8::/64")
	})
}

// TestAnotherRouteIsNoNews: a lease whose classless routes change says nothing new of its gateway, and so does not overrule a
// newer word about that. One that names another gateway does.
func TestAnotherRouteIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		i, err := b.kernel.Index("eth0")
		b.must(err, b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		route := rpdb.Route{RouteKey: rpdb.RouteKey{Table: rpdb.TableMain, Dst: rpdb.IPv4.Any()}, Type: rpdb.Unicast, OIF: i,
			Protocol: rpdb.ProtoDHCP, Via: netip.MustParseAddr("192.0.2.2")}
		b.must(b.kernel.PutRoute(route, false))
		time.Sleep(time.Second)
		b.wantDefaults("192.0.2.2")

		ev := bind("eth0", i, "192.0.2.10", "192.0.2.1")
		ev.Lease.Classless = []lease.Route{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.7")}}
		b.must(b.agent.Hook(t.Context(), ev))
		b.wantDefaults("192.0.2.2")
		if l := b.disk.load().Leases; len(l) != 1 || len(l[0].Lease.Classless) != 1 {
			t.Errorf("the routes are not kept: %+v", l)
		}
		b.must(b.hook("192.0.2.10", "192.0.2.3"))
		b.wantDefaults("192.0.2.3")
	})
}

// TestOrdinaryUsersFlood: leases that an ordinary user invents for a link that is no tunnel are refused, and never push out one of
// root's that only waits for its address.
func TestOrdinaryUsersFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.hook("192.0.2.10", "192.0.2.1"))
		i, err := b.kernel.Index("eth0")
		b.must(err)
		for n := range 200 {
			ev := bind("eth0", i, netip.AddrFrom4([4]byte{10, 1, 0, byte(n)}).String(), "10.1.255.1")
			ev.Source = ev.Source.OfUser(65534)
			ev.Lease.Source, ev.Sole = ev.Source, false
			if err := b.agent.Hook(t.Context(), ev); err == nil || !strings.Contains(err.Error(), "eth0 does not count: that is no tunnel") {
				t.Fatalf("the outcome is %v", err)
			}
		}
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		time.Sleep(time.Second)
		b.wantDefaults("192.0.2.1")
		if n := len(b.book()); n != 1 {
			t.Errorf("%d leases are kept", n)
		}
	})
}

// TestGivenUpAlone: who gives up something gives up that: the fence of another address, and of the same client on another link,
// stays.
func TestGivenUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth0", "198.51.100.20/24"))
		b.must(b.replace("nm", "192.0.2.10 192.0.2.1", "198.51.100.20 198.51.100.1"), b.replace("nm"))
		b.wantFences("192.0.2.10", "198.51.100.20")
		i, err := b.kernel.Index("eth0")
		b.must(err)
		b.must(b.agent.Hook(t.Context(), lease.Event{Verb: lease.RemoveAll, Source: "nm", Interface: "eth9", Index: i + 100}))
		b.wantFences("192.0.2.10", "198.51.100.20")
		one := lease.Event{Verb: lease.Remove, Source: "nm", Interface: "eth0", Index: i, Address: netip.MustParseAddr("192.0.2.10")}
		b.must(b.agent.Hook(t.Context(), one))
		b.wantFences("198.51.100.20")
	})
}

// TestRemoveByName: a hook that ran when its link was gone, or unknown to it, has no ifindex: then the name counts.
func TestRemoveByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.replace("nm", "192.0.2.10 192.0.2.1"))
		b.must(b.agent.Hook(t.Context(), lease.Event{Verb: lease.RemoveAll, Source: "nm", Interface: "eth9"}))
		b.wantBook("nm 192.0.2.10 [192.0.2.1]")
		b.must(b.agent.Hook(t.Context(), lease.Event{Verb: lease.RemoveAll, Source: "nm", Interface: "eth0"}))
		b.wantBook()
	})
}
