package kernel

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// metricCases are the metrics of a foreign default route, in the words of ip-route(8) and as another program sends them.
func metricCases() map[string]string {
	return map[string]string{
		"none":                         "",
		"mtu 1400":                     metric(unix.RTAX_MTU, 1400),
		"mtu lock 1400, the lock last": metric(unix.RTAX_MTU, 1400) + lock(unix.RTAX_MTU),
		"lock without a value":         lock(unix.RTAX_MTU, unix.RTAX_HOPLIMIT),
		"mtu 1400 advmss 1200 initcwnd 10 hoplimit 64 rto_min 50ms quickack 1 congctl cubic": metric(unix.RTAX_MTU, 1400) +
			metric(unix.RTAX_ADVMSS, 1200) + metric(unix.RTAX_INITCWND, 10) + metric(unix.RTAX_HOPLIMIT, 64) +
			metric(unix.RTAX_RTO_MIN, 50) + metric(unix.RTAX_QUICKACK, 1) + congctl("cubic"),
		"congctl lock reno, no NUL": lock(unix.RTAX_CC_ALGO) + string(appendAttr(nil, unix.RTAX_CC_ALGO, []byte("reno"))),
		"features ecn":              metric(unix.RTAX_FEATURES, unix.RTAX_FEATURE_ECN),
		"window 0 mtu 1400":         metric(unix.RTAX_WINDOW, 0) + metric(unix.RTAX_MTU, 1400),
		"window 0":                  metric(unix.RTAX_WINDOW, 0),
		"mtu twice":                 metric(unix.RTAX_MTU, 1300) + metric(unix.RTAX_MTU, 1400),
		"over the limits":           metric(unix.RTAX_HOPLIMIT, 300) + metric(unix.RTAX_ADVMSS, 70000) + metric(unix.RTAX_MTU, 70000),
		"unspecified":               metric(unix.RTAX_UNSPEC, 7) + metric(unix.RTAX_MTU, 1400),
		"all that are numbers": metric(unix.RTAX_FASTOPEN_NO_COOKIE, 1) + metric(unix.RTAX_INITRWND, 11) + metric(unix.RTAX_INITCWND, 10) +
			metric(unix.RTAX_REORDERING, 9) + metric(unix.RTAX_CWND, 8) + metric(unix.RTAX_SSTHRESH, 7) + metric(unix.RTAX_RTTVAR, 6) +
			metric(unix.RTAX_RTT, 5) + metric(unix.RTAX_WINDOW, 4),
	}
}

func families(wan0 int) map[rpdb.Family]rpdb.Route {
	return map[rpdb.Family]rpdb.Route{
		rpdb.IPv4: route(7001, "0.0.0.0/0", "192.0.1.1", wan0),
		rpdb.IPv6: route(7001, "::/0", "fe80::1", wan0),
	}
}

// What Diff rests on: a route that is added with the metrics of a listed one is listed with equal metrics; and so is
// one that is added with what the lister's own program sent.
func TestMetricsOfOthersAreListedBackEqual(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for f, base := range families(index(t, ns, "wan0")) {
		for name, sent := range metricCases() {
			t.Run(fmt.Sprintf("%s %s", f, name), func(t *testing.T) {
				foreign := base
				foreign.Table, foreign.Protocol = rpdb.TableMain, stranger
				addRaw(t, k, foreign, sent)
				want, copied := base, base
				want.Metrics = find(t, k, foreign).Metrics
				copied.Metrics, copied.Table = sent, 7002
				apply(t, k, addRoute(want), addRoute(copied))
				if got := find(t, k, want); got != want {
					t.Errorf("(-want +got)\n%s", diff(want, got))
				}
				if got := find(t, k, copied); got != normalRoute(copied) || got.Metrics != want.Metrics {
					t.Errorf("(-want +got)\n%s", diff(normalRoute(copied), got))
				}
				theirs, mine := judged(t, ns, foreign), judged(t, ns, want)
				if theirs != mine {
					t.Errorf("another program reads (-theirs +ours)\n%s", diff(theirs, mine))
				}
				apply(t, k, addRoute(want)) // EEXIST, and exactly ours
				apply(t, k, delRoute(want), delRoute(copied), delRoute(foreign))
			})
		}
	}
}

// addRaw adds a route with metrics as they are, past the codec.
func addRaw(t *testing.T, k *Kernel, r rpdb.Route, metrics string) {
	t.Helper()
	body, err := encodeRoute(r)
	testnet.Must(t, err)
	if metrics != "" {
		body = appendAttr(body, unix.RTA_METRICS, []byte(metrics))
	}
	testnet.Must(t, k.ask.execute(request{unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_EXCL, body})[0])
}

// find is what a snapshot holds at a route's key.
func find(t *testing.T, k *Kernel, want rpdb.Route) rpdb.Route {
	t.Helper()
	at := slices.DeleteFunc(snapshot(t, k).Routes, func(r rpdb.Route) bool { return r.RouteKey != want.RouteKey })
	if len(at) != 1 {
		t.Fatalf("at %+v: %+v", want.RouteKey, at)
	}
	return at[0]
}

// judgement is what a decoder that is not ours makes of a route's metrics.
type judgement struct {
	MTU, AdvMSS, Hoplimit, InitCwnd, InitRwnd, RtoMin, QuickACK, Window, Rtt, RttVar, Ssthresh, Cwnd, Reordering, Features, FastOpenNoCookie int
	MTULock                                                                                                                                  bool
	Congctl                                                                                                                                  string
}

func judged(t *testing.T, ns *testnet.NS, want rpdb.Route) (j judgement) {
	t.Helper()
	ns.Do(t, func() {
		rs, err := netlink.RouteListFiltered(int(want.Family()), &netlink.Route{Table: int(want.Table), Protocol: netlink.RouteProtocol(want.Protocol)},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		testnet.Must(t, err)
		if len(rs) != 1 {
			t.Fatalf("%d routes of protocol %d in table %d", len(rs), want.Protocol, want.Table)
		}
		r := rs[0]
		j = judgement{r.MTU, r.AdvMSS, r.Hoplimit, r.InitCwnd, r.InitRwnd, r.RtoMin, r.QuickACK, r.Window, r.Rtt, r.RttVar, r.Ssthresh,
			r.Cwnd, r.Reordering, r.Features, r.FastOpenNoCookie, r.MTULock, r.Congctl}
	})
	return j
}

// Another program's writer and reader, so that both ends of ours are held against something.
func TestMetricsOfAnotherProgram(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for f, base := range families(index(t, ns, "wan0")) {
		base.Protocol = stranger
		gw := base.Via.AsSlice()
		ns.Do(t, func() {
			_, dst, err := net.ParseCIDR(f.Any().String())
			testnet.Must(t, err, netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: gw, LinkIndex: base.OIF, Table: 7001, Protocol: stranger,
				MTU: 1400, MTULock: true, AdvMSS: 1200, InitCwnd: 10, Hoplimit: 64, RtoMin: 50, QuickACK: 1, Congctl: "cubic"}))
		})
		base.Metrics = lock(unix.RTAX_MTU) + metric(unix.RTAX_MTU, 1400) + metric(unix.RTAX_ADVMSS, 1200) + metric(unix.RTAX_HOPLIMIT, 64) +
			metric(unix.RTAX_INITCWND, 10) + metric(unix.RTAX_RTO_MIN, 50) + metric(unix.RTAX_QUICKACK, 1) + congctl("cubic")
		if got := find(t, k, base); got != base {
			t.Errorf("%s: (-want +got)\n%s", f, diff(base, got))
		}
		mine := base
		mine.Protocol, mine.Table = ours, 7002
		apply(t, k, addRoute(mine))
		want := judgement{MTU: 1400, MTULock: true, AdvMSS: 1200, InitCwnd: 10, Hoplimit: 64, RtoMin: 50, QuickACK: 1, Congctl: "cubic"}
		if d := diff(want, judged(t, ns, mine)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", f, d)
		}
	}
}

// What a router advertisement makes of a route: its lifetime is no metric, and its preference is listed back.
func TestPreferenceAndLifetime(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for _, pref := range []rpdb.Preference{rpdb.PrefLow, rpdb.PrefMedium, rpdb.PrefHigh} {
		r := route(7001, "::/0", "fe80::1", index(t, ns, "wan0"))
		r.Protocol, r.Pref, r.Metrics = rpdb.ProtoRA, pref, metric(unix.RTAX_HOPLIMIT, 64)
		body, err := encodeRoute(r)
		testnet.Must(t, err)
		testnet.Must(t, k.ask.execute(request{unix.RTM_NEWROUTE, unix.NLM_F_CREATE, appendUint32(body, unix.RTA_EXPIRES, 1800)})[0])
		if got := find(t, k, r); got != r {
			t.Errorf("(-want +got)\n%s", diff(r, got))
		}
		apply(t, k, delRoute(r))
	}
	for _, typ := range []rpdb.RouteType{rpdb.Blackhole, rpdb.Unreachable, rpdb.Prohibit, rpdb.Throw} {
		for _, f := range rpdb.Families() {
			r := rpdb.Route{Type: typ, Protocol: ours, Pref: rpdb.PrefHigh, Metrics: metric(unix.RTAX_MTU, 1400)}
			r.Dst, r.Table = f.Any(), 7001
			r = normalRoute(r)
			apply(t, k, addRoute(r))
			if got := find(t, k, r); got != r {
				t.Errorf("type %d: (-want +got)\n%s", typ, diff(r, got))
			}
			apply(t, k, delRoute(r))
		}
	}
}

// A route that is ours but for its metrics is not the one that was wanted.
func TestAddRouteTellsMetricsApart(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for f, r := range families(index(t, ns, "wan0")) {
		with := r
		with.Metrics = metric(unix.RTAX_MTU, 1400)
		apply(t, k, addRoute(r))
		if err := k.Apply(t.Context(), []rpdb.Op{addRoute(with)})[0]; !isAny(err, unix.EEXIST) {
			t.Errorf("%s: added beside the one without metrics: %v", f, err)
		}
		apply(t, k, replaceRoute(with), addRoute(with))
		if got := find(t, k, with); got != with {
			t.Errorf("%s: (-want +got)\n%s", f, diff(with, got))
		}
		apply(t, k, delRoute(r)) // whose metrics have changed meanwhile
		if got := ourRoutes(t, ns); slices.ContainsFunc(got, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey }) {
			t.Errorf("%s: left %+v", f, got)
		}
	}
}

// IPv4 holds routes side by side that differ in metrics or source only, and a delete takes the first of them. Whichever
// comes first, the one that was wanted is there in the end, and no other.
func TestReplaceRouteAmongItsLikes(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	plain := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	mtu, window, src := plain, plain, plain
	mtu.Metrics, window.Metrics, src.Src = metric(unix.RTAX_MTU, 1400), metric(unix.RTAX_WINDOW, 9), addr("192.0.1.10")
	likes := []rpdb.Route{plain, mtu, window, src}
	for first := range likes {
		there := append(slices.Clone(likes[first:]), likes[:first]...)
		for i, want := range likes {
			for _, r := range there {
				appendRoute(t, k, r)
			}
			if got := ourRoutes(t, ns); len(got) != len(likes) {
				t.Fatalf("nothing to do: %v", got)
			}
			apply(t, k, replaceRoute(want))
			if got := find(t, k, want); got != want {
				t.Errorf("route %d wanted, route %d first: (-want +got)\n%s", i, first, diff(want, got))
			}
			apply(t, k, delRoute(want))
		}
	}
}

// The kernel's habits that normalMetrics is there for: should one change, this says so.
func TestKernelNormalizesMetrics(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for f, base := range families(index(t, ns, "wan0")) {
		for name, sent := range metricCases() {
			addRaw(t, k, base, sent)
			var got string
			_, err := k.ask.dump(routeRequest(f, base.Table), func(b []byte) error {
				for as := attributesAfter(b, unix.SizeofRtMsg); as.next() && b[5] == ours; {
					if as.typ == unix.RTA_METRICS {
						got = string(as.val)
					}
				}
				return nil
			})
			testnet.Must(t, err)
			want, err := normalMetrics([]byte(sent))
			testnet.Must(t, err)
			if got != want {
				t.Errorf("%s %s: the kernel lists %x, want %x", f, name, got, want)
			}
			apply(t, k, delRoute(base))
		}
	}
}

// A link's new MTU is written into the IPv6 routes that have one, unless it is locked (net/ipv6/route.c: fib6_nh_mtu_change):
// into the foreign route and into our copy alike.
func TestMetricsStayEqualWhenTheLinksMTUChanges(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for f, base := range families(index(t, ns, "wan0")) {
		for i, metrics := range []string{metric(unix.RTAX_MTU, 1400), lock(unix.RTAX_MTU) + metric(unix.RTAX_MTU, 1400)} {
			theirs, mine := base, base
			theirs.Table, theirs.Protocol, theirs.Metric = rpdb.TableMain, stranger, uint32(1024+i)
			mine.Metric, mine.Metrics = theirs.Metric, metrics
			addRaw(t, k, theirs, metrics)
			apply(t, k, addRoute(mine))
			for _, mtu := range []int{1300, 1350, 1500} {
				testnet.Must(t, ns.MTU("wan0", mtu))
				if a, b := find(t, k, theirs).Metrics, find(t, k, mine).Metrics; a != b {
					t.Errorf("%s %x, link %d: theirs %x, ours %x", f, metrics, mtu, a, b)
				}
			}
		}
	}
}
