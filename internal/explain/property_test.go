package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// envLong is for how long the property is tested, as "10m"; a few seconds where it is not set.
const envLong = "UPLINKD_TEST_EXPLAIN"

// shortRun is for how long each variant is tested by default.
const shortRun = 3 * time.Second

// questions are asked of each set of rules and routes.
const questions = 12

// world is a namespace with three uplinks, a link to forward from, and nexthop objects.
type world struct {
	ns     *testnet.NS
	far    *testnet.NS
	reader *kernel.Reader
	links  []int // wan0, wan1, wan2, lan0
	tally  map[string]int
}

// newWorld makes the namespace; whoever calls f is in it.
func newWorld(t *testing.T, f func(*world)) {
	t.Helper()
	ns, far := testnet.New(t), testnet.New(t)
	w := &world{ns: ns, far: far, tally: map[string]int{}}
	for i, dev := range []string{"wan0", "wan1", "wan2", "lan0"} {
		testnet.Must(t, testnet.Veth(ns, dev, far, dev))
		testnet.Must(t, ns.Addr(dev, fmt.Sprintf("192.0.%d.1/24", i+1)), ns.Addr(dev, fmt.Sprintf("2001:db8:%d::1/64", i+1)), ns.Ready(dev))
		index, err := ns.Index(dev)
		testnet.Must(t, err)
		w.links = append(w.links, index)
	}
	for _, n := range []string{"id 1 via 192.0.1.254 dev wan0", "id 2 via 192.0.2.254 dev wan1", "id 3 blackhole", "id 4 group 1,2",
		"id 5 group 3", "id 11 via 2001:db8:1::254 dev wan0", "id 12 via 2001:db8:2::254 dev wan1", "id 14 group 11,12"} {
		testnet.Must(t, ns.Nexthop("add", n))
	}
	ns.Do(t, func() {
		t.Helper()
		testnet.Must(t, group(w.links[2], 7), silent(w.links[1], netip.MustParseAddr("2001:db8:2::253")))
		testnet.Must(t, ns.Sysctl("net/ipv4/conf/all/rp_filter", "0"))
		for _, dev := range []string{"wan0", "wan1", "wan2", "lan0"} {
			testnet.Must(t, ns.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"))
		}
		// From the first rule on IPv4 keeps the tables local and main apart (fib_unmerge).
		first := ruleMessage(&rpdb.RuleDetail{Family: rpdb.IPv4, Priority: 9, Action: rpdb.ActNop, SuppressLen: -1, SuppressGroup: -1})
		testnet.Must(t, first.send(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL), first.send(unix.RTM_DELRULE, 0))
		r, err := kernel.OpenReader()
		testnet.Must(t, err)
		w.reader = r
		defer func() { testnet.Must(t, r.Close()) }()
		f(w)
	})
}

// group puts a link into an interface group.
func group(index int, group uint32) error {
	m := &message{body: make(body, unix.SizeofIfInfomsg)}
	m.body[4] = byte(index)
	m.add32(unix.IFLA_GROUP, group)
	return m.send(unix.RTM_NEWLINK, 0)
}

// silent notes that an IPv6 neighbor does not answer.
func silent(index int, a netip.Addr) error {
	m := &message{body: make(body, unix.SizeofNdMsg)}
	m.body[0], m.body[4], m.body[8] = unix.AF_INET6, byte(index), unix.NUD_FAILED
	m.add(unix.NDA_DST, a.AsSlice())
	return m.send(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
}

// TestWalkIsTheKernels walks random rules and tables for random packets and compares with the kernel's own answers.
func TestWalkIsTheKernels(t *testing.T) {
	run := shortRun
	if s := os.Getenv(envLong); s != "" {
		var err error
		if run, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, variant := range []struct {
		name   string
		family rpdb.Family
		set    map[string]string
		down   bool
	}{
		{"inet", rpdb.IPv4, nil, false},
		{"inet6 router", rpdb.IPv6, map[string]string{"net/ipv6/conf/all/forwarding": "1"}, false},
		{"inet6 host", rpdb.IPv6, nil, false},
		{"inet no carrier", rpdb.IPv4, map[string]string{"net/ipv4/conf/all/ignore_routes_with_linkdown": "1"}, true},
	} {
		t.Run(variant.name, func(t *testing.T) {
			newWorld(t, func(w *world) {
				testnet.Must(t, w.ns.Sysctl("net/ipv4/conf/all/forwarding", "1"))
				for path, value := range variant.set {
					testnet.Must(t, w.ns.Sysctl(path, value))
				}
				if variant.down {
					w.loseCarrier(t)
				}
				end := time.Now().Add(run)
				rapid.Check(t, func(rt *rapid.T) {
					if time.Now().After(end) && !rt.Failed() {
						return
					}
					w.check(rt, variant.family)
				})
				for time.Now().Before(end) && !t.Failed() {
					rapid.Check(t, func(rt *rapid.T) { w.check(rt, variant.family) })
				}
				t.Logf("%v", w.tally)
				if w.tally["agreed"] < 100 {
					t.Errorf("only %d comparisons", w.tally["agreed"])
				}
			})
		})
	}
}

// loseCarrier takes the carrier of wan1 away and waits until its routes know.
func (w *world) loseCarrier(t *testing.T) {
	t.Helper()
	testnet.Must(t, w.far.Down("wan1"))
	q := rpdb.Flow{Dst: netip.MustParseAddr("192.0.2.77")}
	testnet.Eventually(t, 5*time.Second, func() error {
		db, err := w.reader.Database(context.Background(), q)
		for _, r := range db.Routes {
			if r.Table == rpdb.TableMain && r.Hops[0].Down {
				return nil
			}
		}
		return errors.Join(err, errors.New("the route of wan1 has its carrier"))
	})
}

// check makes one set of rules and routes, and asks its questions.
func (w *world) check(t *rapid.T, f rpdb.Family) {
	var rules, routes []*message
	defer func() {
		for _, m := range rules {
			must(t, ignore(m.send(unix.RTM_DELRULE, 0), unix.ENOENT))
		}
		for _, m := range routes {
			for m.send(unix.RTM_DELROUTE, 0) == nil { // IPv6 may take another of the same destination and metric
			}
		}
	}()
	gateways := make(map[string]bool)
	for _, r := range rapid.SliceOfN(w.genRoute(f), 0, 14).Draw(t, "routes") {
		m := routeMessage(&r)
		if err := m.send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|appendable(&r, gateways)); err != nil {
			w.tally["routes refused: "+err.Error()]++
			continue // what the kernel does not take, it does not have
		}
		routes = append(routes, m)
	}
	for _, r := range rapid.SliceOfN(genRule(f), 0, 8).Draw(t, "rules") {
		m := ruleMessage(&r)
		if err := m.send(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL); err != nil {
			w.tally["rules refused: "+err.Error()]++
			continue
		}
		rules = append(rules, m)
	}
	for range questions {
		w.ask(t, w.genFlow(f).Draw(t, "packet"))
	}
}

// appendable is how a route is added beside others of its destination and metric. IPv6 leaves routes out of its listing that
// stand between the next hops of a multipath route (net/ipv6/ip6_fib.c: fib6_dump_node goes to the last of these at once), so
// those by gateways, of which it makes one multipath route, stay alone.
func appendable(r *rpdb.RouteDetail, gateways map[string]bool) int {
	key := fmt.Sprint(r.Table, r.Dst, r.From, max(r.Metric, 1))
	routed := r.Object != 0 || len(r.Hops) > 0 && r.Hops[0].Via.IsValid()
	before := gateways[key]
	gateways[key] = before || routed
	if r.Family() == rpdb.IPv6 && (routed || before) {
		return unix.NLM_F_EXCL
	}
	return unix.NLM_F_APPEND
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func ignore(err error, errnos ...unix.Errno) error {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// ask compares the walk and the kernel for one packet.
func (w *world) ask(t *rapid.T, q rpdb.Flow) {
	db, err := w.reader.Database(context.Background(), q)
	must(t, err)
	found, err := w.reader.RouteGet(q)
	must(t, err)
	walk := Do(&db, q)
	why := Compare(&db, q, &walk, found)
	switch {
	case why == "":
		w.tally["agreed"]++
		w.tally[fmt.Sprintf("ends: %v", found.Errno)]++
	case SourceCheck(q, &walk, found):
		w.tally["source refused"]++
	default:
		t.Fatalf("%s\npacket %+v\n%s\nkernel %+v", why, q, dump(&db, &walk), found)
	}
}

// dump is all that is needed to understand a failure.
func dump(db *rpdb.Database, walk *Walk) string {
	var b strings.Builder
	number := func(t uint32) string { return fmt.Sprint(t) }
	name := func(i int) string { return linkName(db, i) }
	for _, s := range walk.Steps {
		fmt.Fprintf(&b, "%s\n  %v %s | %s\n", s.Rule.Text(number), s.Matches, s.Why, s.Result)
		for _, r := range s.Routes {
			fmt.Fprintf(&b, "    %v %s: %s\n", r.Wins, r.Route.Text(name), r.Why)
		}
	}
	fmt.Fprintf(&b, "%s %s %+v\n", walk.Before, walk.After, walk.Outcomes)
	for _, r := range db.Rules {
		fmt.Fprintf(&b, "rule %s\n", r.Text(number))
	}
	return b.String()
}

// TestLastRuleSuppresses asks the kernel what becomes of a suppressed route where no further rule is asked.
func TestLastRuleSuppresses(t *testing.T) {
	for _, f := range rpdb.Families() {
		newWorld(t, func(w *world) {
			testnet.Must(t, w.ns.DelRule(f, "from all lookup main priority 32766 proto kernel"),
				w.ns.Rule(f, "from all lookup main suppress_prefixlength 127 priority 50 proto static"))
			if f == rpdb.IPv4 {
				testnet.Must(t, w.ns.DelRule(f, "from all lookup default priority 32767 proto kernel"))
			}
			q := rpdb.Flow{Dst: netip.MustParseAddr("192.0.1.77"), Proto: 17}
			if f == rpdb.IPv6 {
				q.Dst = netip.MustParseAddr("2001:db8:1::77")
			}
			db, err := w.reader.Database(context.Background(), q)
			testnet.Must(t, err)
			found, err := w.reader.RouteGet(q)
			testnet.Must(t, err)
			walk := Do(&db, q)
			if why := Compare(&db, q, &walk, found); why != "" {
				t.Errorf("%s: %s\n%s\nkernel %+v", f, why, dump(&db, &walk), found)
			}
			t.Logf("%s: the kernel says %+v", f, found)
		})
	}
}

// TestSharedNexthopSuppresses shows why the walk does not judge suppress_prefixlength of an IPv6 route by a nexthop object: the
// answer hangs on which route by the same object was asked first. Either answer has to be one of the walk's ends.
func TestSharedNexthopSuppresses(t *testing.T) {
	short, long := rpdb.Flow{Dst: netip.MustParseAddr("fd00::5"), Proto: 17}, rpdb.Flow{Dst: netip.MustParseAddr("fd77::5"), Proto: 17}
	for _, first := range []rpdb.Flow{short, long} {
		newWorld(t, func(w *world) {
			testnet.Must(t, w.ns.RouteByNexthop("fd00::/16 table 100 proto static", 11), w.ns.RouteByNexthop("fd77::/48 table main proto static", 11),
				w.ns.Rule(rpdb.IPv6, "from all lookup 100 suppress_prefixlength 32 priority 50 proto static"))
			_, err := w.reader.RouteGet(first)
			testnet.Must(t, err)
			found, err := w.reader.RouteGet(short)
			testnet.Must(t, err)
			t.Logf("%s asked first: %s has %v", first.Dst, short.Dst, found.Errno)
			db, err := w.reader.Database(context.Background(), short)
			testnet.Must(t, err)
			walk := Do(&db, short)
			if why := Compare(&db, short, &walk, found); len(walk.Unjudged) != 1 || why != "" {
				t.Errorf("%s: %+v\n%s", why, found, dump(&db, &walk))
			}
		})
	}
}
