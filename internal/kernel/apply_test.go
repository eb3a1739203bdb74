package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestApplyUplink(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	wan0 := index(t, ns, "wan0")
	from4, from6 := rule(1000, "192.0.1.10/32", 7001), rule(1000, "2001:db8:1::10/128", 7001)
	from4.Suppress = rpdb.Suppress(0)
	fence := rpdb.Rule{Family: rpdb.IPv4, Priority: 1003, Src: from4.Src, Action: rpdb.ActUnreachable, Protocol: ours}
	up := []rpdb.Op{
		addRoute(route(7001, "192.0.1.0/24", "", wan0)),
		addRoute(route(7001, "0.0.0.0/0", "192.0.1.1", wan0)),
		addRoute(route(7001, "::/0", "fe80::1", wan0)),
		addRule(from4), addRule(from6), addRule(fence),
	}
	const want = `inet rule 1000: from 192.0.1.10 lookup 7001 suppress_prefixlength 0
inet rule 1003: from 192.0.1.10 unreachable
inet route default via 192.0.1.1 dev wan0 table 7001
inet route 192.0.1.0/24 dev wan0 table 7001 scope link
inet6 rule 1000: from 2001:db8:1::10 lookup 7001
inet6 route default via fe80::1 dev wan0 table 7001 metric 1024
`
	before := testnet.State(t, ns)
	for _, round := range []string{"new", "there already"} {
		apply(t, k, up...)
		if diff := cmp.Diff(want, testnet.StateOf(t, ns, ours)); diff != "" {
			t.Fatalf("%s: (-want +got)\n%s", round, diff)
		}
	}
	down := []rpdb.Op{delRule(fence), delRule(from6), delRule(from4),
		delRoute(up[2].Route), delRoute(up[1].Route), delRoute(up[0].Route)}
	for range 2 { // gone already is gone
		apply(t, k, down...)
		if diff := cmp.Diff(before, testnet.State(t, ns)); diff != "" {
			t.Fatalf("something is left behind, or gone with it: (-want +got)\n%s", diff)
		}
	}
}

func TestApplyErrorsNameTheOperation(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	wan0 := index(t, ns, "wan0")
	errs := k.Apply(t.Context(), []rpdb.Op{
		addRoute(route(7001, "0.0.0.0/0", "198.51.100.1", wan0)),
		addRoute(route(7001, "0.0.0.0/0", "", 4711)),
		{Verb: rpdb.AddRoute, Route: func() rpdb.Route {
			r := route(7001, "0.0.0.0/0", "192.0.1.1", wan0)
			r.Src = addr("198.51.100.7")
			return r
		}()},
		addRule(rpdb.Rule{Family: rpdb.IPv4, Action: rpdb.ActLookup, Table: 7001}),
		delRule(rpdb.Rule{Family: rpdb.IPv4, Action: rpdb.ActLookup, Table: 7001}),
		{},
		addRoute(route(7001, "0.0.0.0/0", "192.0.1.1", wan0)), // goes on behind errors
	})
	want := []string{
		`add route "default via 198.51.100.1 dev wan0 table 7001": network is unreachable (Nexthop has invalid gateway)`,
		`add route "default dev if4711 table 7001 scope link": no such device`,
		`add route "default via 192.0.1.1 dev wan0 table 7001 src 198.51.100.7": invalid argument (Invalid prefsrc address)`,
		`add rule "0: from all lookup 7001": it carries no protocol number: it would be nobody's, and deleting it would delete anybody's`,
		`delete rule "0: from all lookup 7001": it carries no protocol number: it would be nobody's, and deleting it would delete anybody's`,
		` "": no such operation: 0`,
		"<nil>",
	}
	var got []string
	for _, err := range errs {
		got = append(got, fmt.Sprint(err))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !errors.Is(errs[0], unix.ENETUNREACH) {
		t.Errorf("%v is not ENETUNREACH", errs[0])
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := k.Apply(ctx, []rpdb.Op{addRule(rule(100, "192.0.2.1/32", 7001)), addRule(rule(100, "192.0.2.2/32", 7001))})
	for i, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("result %d: %v", i, err)
		}
	}
	if got := testnet.StateOf(t, ns, ours); got != "" {
		t.Errorf("added all the same: %s", got)
	}
}

// Batches are cut, and the result of every operation is its own.
func TestApplyManyRulesEachItsResult(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	var ops []rpdb.Op
	for i := range 1000 {
		r := rule(100, fmt.Sprintf("10.%d.%d.1/32", i/250, i%250), 7001)
		if i%100 == 63 {
			r.Protocol = 0 // refused
		}
		ops = append(ops, addRule(r))
	}
	for i, err := range k.Apply(t.Context(), ops) {
		if refused := i%100 == 63; (err != nil) != refused {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if rules, err := ns.Rules(); err != nil || len(rules) != 990+5 {
		t.Errorf("%d rules, %v", len(rules), err)
	}
	if ev := pending(t, k); ev != nil {
		t.Errorf("our own rules gave the hint %+v", ev)
	}
}

func TestForeignRoutesAreNotOverwritten(t *testing.T) {
	for _, tc := range []struct{ foreign, want, via, err string }{
		{"default via 192.0.1.1 dev wan0 table 7001 proto dhcp", "0.0.0.0/0", "192.0.1.254", "default via 192.0.1.1 dev wan0 table 7001 proto 16"},
		{"default via 192.0.1.254 dev wan0 table 7001 proto dhcp", "0.0.0.0/0", "192.0.1.254", "proto 16"}, // differs in its owner only
		{"default via fe80::1 dev wan0 table 7001 proto ra metric 1024", "::/0", "fe80::2", "default via fe80::1 dev wan0 table 7001 metric 1024 proto 9"},
	} {
		ns := uplinks(t)
		k := open(t, ns, ours, former)
		testnet.Must(t, ns.Route(tc.foreign))
		before := testnet.State(t, ns)
		want := route(7001, tc.want, tc.via, index(t, ns, "wan0"))
		for _, op := range []rpdb.Op{addRoute(want), replaceRoute(want)} {
			err := k.Apply(t.Context(), []rpdb.Op{op})[0]
			if !isAny(err, unix.EEXIST) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%v over %s: %v", op.Verb, tc.foreign, err)
			}
		}
		apply(t, k, delRoute(want))
		if diff := cmp.Diff(before, testnet.State(t, ns)); diff != "" {
			t.Errorf("%s was touched: (-want +got)\n%s", tc.foreign, diff)
		}
	}
}

func TestAddRouteOverAnotherOfOursIsAnError(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	r := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	apply(t, k, addRoute(r))
	r.Via = addr("192.0.1.2")
	if err := k.Apply(t.Context(), []rpdb.Op{addRoute(r)})[0]; !isAny(err, unix.EEXIST) {
		t.Errorf("%v, want EEXIST", err)
	}
}

// A change of the configured protocol number takes the old routes over.
func TestReplaceRouteOfAFormerProtocol(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours, former)
	r := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	r.Protocol = former
	apply(t, k, addRoute(r))
	r.Protocol = ours
	apply(t, k, replaceRoute(r))
	if got := testnet.StateOf(t, ns, former); got != "" {
		t.Errorf("left of the former protocol: %s", got)
	}
}

// The delete names metric 0, which IPv4 takes for any.
func TestDelRouteWithMetricZeroTakesNoOther(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	r := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	other := r
	other.Metric = 100
	apply(t, k, addRoute(other), delRoute(r))
	if got, want := testnet.StateOf(t, ns, ours), "inet route default via 192.0.1.1 dev wan0 table 7001 metric 100\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	apply(t, k, addRoute(r), delRoute(r))
	if got, want := testnet.StateOf(t, ns, ours), "inet route default via 192.0.1.1 dev wan0 table 7001 metric 100\n"; got != want {
		t.Errorf("both there: got %q, want %q", got, want)
	}
}

func TestDelRouteNeedsItsIdentityOnly(t *testing.T) {
	for _, dst := range []string{"0.0.0.0/0", "::/0"} {
		ns := uplinks(t)
		k := open(t, ns, ours)
		via, other := "192.0.1.1", "192.0.1.9"
		if dst == "::/0" {
			via, other = "fe80::1", "fe80::9"
		}
		r := route(7001, dst, via, index(t, ns, "wan0"))
		apply(t, k, addRoute(r))
		r.Via, r.OIF = addr(other), 4711 // what we remember of it is out of date
		apply(t, k, delRoute(r))
		if got := testnet.StateOf(t, ns, ours); got != "" {
			t.Errorf("left behind: %s", got)
		}
	}
}

// The kernel flushes the routes of a link that goes, IPv4 ones without a word.
func TestDelRouteOfALinkThatIsGone(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	rs := []rpdb.Route{
		route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0")),
		route(7001, "10.0.0.0/8", "192.0.1.1", index(t, ns, "wan0")),
		route(7001, "::/0", "fe80::1", index(t, ns, "wan0")),
	}
	rs[1].Metric = 5
	for _, r := range rs {
		apply(t, k, addRoute(r))
	}
	testnet.Must(t, ns.Delete("wan0"))
	if got := testnet.StateOf(t, ns, ours); got != "" {
		t.Fatalf("the kernel keeps routes of a dead link: %s", got)
	}
	for _, r := range rs {
		apply(t, k, delRoute(r))
	}
}
