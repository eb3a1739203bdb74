package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// replaceCases are changes of a default route, each with every change back.
func replaceCases(wan0, wan1 int) map[string][]rpdb.Route {
	src := func(r rpdb.Route, s string) rpdb.Route { r.Src = addr(s); return r }
	onlink := func(r rpdb.Route) rpdb.Route { r.Onlink = true; return r }
	mtu := func(r rpdb.Route, v uint32) rpdb.Route {
		r.Metrics = metric(unix.RTAX_MTU, v) + congctl("cubic")
		return r
	}
	high := func(r rpdb.Route) rpdb.Route { r.Pref = rpdb.PrefHigh; return r }
	return map[string][]rpdb.Route{
		"inet gateway":                  {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), route(7001, "0.0.0.0/0", "192.0.1.2", wan0)},
		"inet6 gateway":                 {route(7001, "::/0", "fe80::1", wan0), route(7001, "::/0", "fe80::2", wan0)},
		"inet link":                     {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), route(7001, "0.0.0.0/0", "192.0.2.1", wan1)},
		"inet6 link":                    {route(7001, "::/0", "fe80::1", wan0), route(7001, "::/0", "fe80::1", wan1)},
		"inet point-to-point and back":  {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), route(7001, "0.0.0.0/0", "", wan1)},
		"inet6 point-to-point and back": {route(7001, "::/0", "fe80::1", wan0), route(7001, "::/0", "", wan1)},
		"inet source":                   {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), src(route(7001, "0.0.0.0/0", "192.0.1.1", wan0), "192.0.1.10")},
		"inet6 source":                  {route(7001, "::/0", "fe80::1", wan0), src(route(7001, "::/0", "fe80::1", wan0), "2001:db8:1::10")},
		"inet onlink":                   {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), onlink(route(7001, "0.0.0.0/0", "203.0.113.1", wan0))},
		"inet6 onlink":                  {route(7001, "::/0", "fe80::1", wan0), onlink(route(7001, "::/0", "2001:db8:ffff::1", wan0))},
		"inet metrics or none":          {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), mtu(route(7001, "0.0.0.0/0", "192.0.1.1", wan0), 1400)},
		"inet6 metrics or none":         {route(7001, "::/0", "fe80::1", wan0), mtu(route(7001, "::/0", "fe80::1", wan0), 1400)},
		"inet metrics":                  {mtu(route(7001, "0.0.0.0/0", "192.0.1.1", wan0), 1300), mtu(route(7001, "0.0.0.0/0", "192.0.1.1", wan0), 1400)},
		"inet6 metrics":                 {mtu(route(7001, "::/0", "fe80::1", wan0), 1300), mtu(route(7001, "::/0", "fe80::1", wan0), 1400)},
		"inet6 preference":              {route(7001, "::/0", "fe80::1", wan0), high(route(7001, "::/0", "fe80::1", wan0))},
	}
}

// A replaced route leaves no second one, and there is no instant without one: while it is replaced again and again,
// lookups find a way out, and the kernel announces no removal.
func TestReplaceRouteInPlace(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for _, f := range rpdb.Families() {
		apply(t, k, addRule(rpdb.Rule{Family: f, Priority: 10, Action: rpdb.ActLookup, Table: 7001, Protocol: ours}))
	}
	for name, routes := range replaceCases(index(t, ns, "wan0"), index(t, ns, "wan1")) {
		t.Run(name, func(t *testing.T) {
			apply(t, k, addRoute(routes[0]))
			defer apply(t, k, delRoute(routes[0]))
			removals := watchRemovals(t, ns)
			stop := lookups(t, ns, routes[0].Family())
			for i := range 50 {
				want := routes[(i+1)%2]
				apply(t, k, replaceRoute(want))
				if d := diff(want, find(t, k, want)); d != "" {
					t.Fatalf("replace %d: (-want +got)\n%s", i, d)
				}
				want.Metrics, want.Pref = "", 0 // the judge does not read them
				if d := diff([]rpdb.Route{want}, ourRoutes(t, ns)); d != "" {
					t.Fatalf("replace %d: (-want +got)\n%s", i, d)
				}
			}
			if n, err := stop(); err != nil || n == 0 {
				t.Errorf("of %d lookups: %v", n, err)
			}
			if n := removals(); n > 0 {
				t.Errorf("%d removals announced", n)
			}
		})
	}
}

// watchRemovals counts the RTM_DELROUTE messages from now on.
func watchRemovals(t *testing.T, ns *testnet.NS) (count func() int) {
	t.Helper()
	var all program
	all.ret(accept)
	var events *os.File
	ns.Do(t, func() {
		var err error
		events, err = openEvents(all.link())
		testnet.Must(t, err)
	})
	return func() (n int) {
		defer events.Close()
		raw, err := events.SyscallConn()
		testnet.Must(t, err)
		seen := 0
		testnet.Must(t, raw.Control(func(fd uintptr) {
			b := make([]byte, datagram)
			for {
				got, _, err := receive(int(fd), b, unix.MSG_DONTWAIT)
				if err != nil {
					if !errors.Is(err, unix.EAGAIN) || seen == 0 {
						t.Errorf("after %d events: %v", seen, err)
					}
					return
				}
				seen++
				if h, _, _, _ := nextMessage(got); h.Type == unix.RTM_DELROUTE {
					n++
				}
			}
		}))
		return n
	}
}

// lookups asks the kernel for a route, over and over, until stop, which gives their number and the first that failed.
//
// An IPv6 lookup that has just picked a route can find that its last reference is gone when it comes to take one, and then
// it says "unreachable" (net/ipv6/route.c: ip6_rt_pcpu_alloc), for replaced routes as for deleted ones. It means that one
// lookup, not an instant: only one that fails three times in a row counts.
func lookups(t *testing.T, ns *testnet.NS, f rpdb.Family) (stop func() (int, error)) {
	dst, tries := "198.51.100.1", 1
	if f == rpdb.IPv6 {
		dst, tries = "2001:db8:aaaa::1", 3
	}
	lookup := func() error {
		got, err := ns.RouteGet(testnet.Lookup{Dst: addr(dst)})
		if err == nil && got.Type != rpdb.Unicast {
			err = fmt.Errorf("the way to %s is %+v", dst, got)
		}
		return err
	}
	var end atomic.Bool
	n := 0
	ended, started := make(chan error), make(chan bool)
	go func() {
		var failures []error
		for ; !end.Load() && len(failures) < tries; n++ {
			if err := lookup(); err != nil {
				failures = append(failures, err)
			} else {
				failures = nil
			}
			if n == 0 {
				close(started)
			}
		}
		if len(failures) < tries {
			failures = nil
		}
		ended <- errors.Join(failures...)
	}()
	<-started
	return func() (int, error) {
		end.Store(true)
		err := <-ended
		return n, err
	}
}

func ourRoutes(t *testing.T, ns *testnet.NS) []rpdb.Route {
	t.Helper()
	all, err := ns.Routes()
	if err != nil {
		t.Fatal(err)
	}
	var out []rpdb.Route
	for _, r := range all {
		if r.Protocol == ours {
			out = append(out, r)
		}
	}
	return out
}

// Somebody appended a second route with our number at the key: the kernel replaces one of them, and the other goes too.
func TestReplaceRouteLeavesNoSecond(t *testing.T) {
	ns := uplinks(t)
	wan0, wan1 := index(t, ns, "wan0"), index(t, ns, "wan1")
	for name, there := range map[string][]rpdb.Route{
		"inet":                           {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), route(7001, "0.0.0.0/0", "192.0.2.1", wan1)},
		"inet, wanted one last":          {route(7001, "0.0.0.0/0", "192.0.1.1", wan0), route(7001, "0.0.0.0/0", "192.0.1.3", wan0)},
		"inet6 multipath":                {route(7001, "::/0", "fe80::1", wan0), route(7001, "::/0", "fe80::1", wan1)},
		"inet6 with and without gateway": {route(7001, "::/0", "", wan0), route(7001, "::/0", "fe80::1", wan1)},
	} {
		t.Run(name, func(t *testing.T) {
			k := open(t, ns, ours)
			for _, r := range there {
				appendRoute(t, k, r)
			}
			want := route(7001, there[0].Dst.String(), "192.0.1.3", wan0)
			if there[0].Family() == rpdb.IPv6 {
				want.Via = addr("fe80::3")
			}
			if got := ourRoutes(t, ns); len(got) != 2 {
				t.Fatalf("nothing to do: %v", got)
			}
			apply(t, k, replaceRoute(want))
			if d := diff([]rpdb.Route{want}, ourRoutes(t, ns)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			apply(t, k, delRoute(want))
		})
	}
}
