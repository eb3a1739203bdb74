package kernel

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// The protocol numbers of these tests: ours, the one before a change of configuration, and two strangers'.
const (
	ours     = 157
	former   = 158
	stranger = 99
)

// open opens a Kernel in the namespace with the given protocol number.
func open(t testing.TB, ns *testnet.NS, protocol uint8, formerly ...uint8) *Kernel {
	t.Helper()
	var k *Kernel
	ns.Do(t, func() {
		var err error
		if k, err = Open(protocol, zaptest.NewLogger(t), formerly...); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { _ = k.Close() }) // some tests close it themselves
	return k
}

// uplinks makes a namespace with two links, wan0 and wan1, each with an address of either family.
func uplinks(t testing.TB) *testnet.NS {
	t.Helper()
	ns, isp := testnet.New(t), testnet.New(t)
	for i, dev := range []string{"wan0", "wan1"} {
		testnet.Must(t, testnet.Veth(ns, dev, isp, dev))
		n := string(rune('1' + i))
		testnet.Must(t,
			ns.Addr(dev, "192.0."+n+".10/24"),
			ns.Addr(dev, "2001:db8:"+n+"::10/64"),
			ns.Ready(dev),
		)
	}
	return ns
}

func index(t testing.TB, ns *testnet.NS, dev string) int {
	t.Helper()
	i, err := ns.Index(dev)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// apply ends the test where an operation fails.
func apply(t testing.TB, k *Kernel, ops ...rpdb.Op) {
	t.Helper()
	for i, err := range k.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
}

func snapshot(t testing.TB, k *Kernel) rpdb.Snapshot {
	t.Helper()
	s, err := k.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func addRule(r rpdb.Rule) rpdb.Op       { return rpdb.Op{Verb: rpdb.AddRule, Rule: r} }
func delRule(r rpdb.Rule) rpdb.Op       { return rpdb.Op{Verb: rpdb.DelRule, Rule: r} }
func addRoute(r rpdb.Route) rpdb.Op     { return rpdb.Op{Verb: rpdb.AddRoute, Route: r} }
func delRoute(r rpdb.Route) rpdb.Op     { return rpdb.Op{Verb: rpdb.DelRoute, Route: r} }
func replaceRoute(r rpdb.Route) rpdb.Op { return rpdb.Op{Verb: rpdb.ReplaceRoute, Route: r} }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// rule is "from PREFIX lookup TABLE" at a priority, of ours.
func rule(priority uint32, from string, table uint32) rpdb.Rule {
	r := rpdb.Rule{Family: rpdb.IPv4, Priority: priority, Action: rpdb.ActLookup, Table: table, Protocol: ours}
	if from != "" {
		r.Src = prefix(from)
		r.Family = rpdb.FamilyOf(r.Src.Addr())
	}
	return r
}

// route is "DST via GATEWAY" in a table, of ours.
func route(table uint32, dst, via string, oif int) rpdb.Route {
	r := rpdb.Route{Type: rpdb.Unicast, OIF: oif, Protocol: ours}
	r.Dst, r.Table = prefix(dst), table
	if via != "" {
		r.Via = addr(via)
	} else if r.Family() == rpdb.IPv4 {
		r.Scope = rpdb.ScopeLink
	}
	if r.Family() == rpdb.IPv6 {
		r.Metric = 1024
	}
	return r
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	if err := k.Check(); err != nil {
		t.Fatalf("with the privilege: %v", err)
	}
	withoutNetAdmin(t, func() {
		err := k.Check()
		if err == nil || !strings.HasPrefix(err.Error(), "uplinkd may not change routes: run it as root or with CAP_NET_ADMIN") {
			t.Errorf("without the privilege: %v", err)
		}
		if _, err := k.Snapshot(t.Context()); err != nil {
			t.Errorf("reading needs no privilege: %v", err)
		}
		errs := k.Apply(t.Context(), []rpdb.Op{addRule(rule(100, "192.0.2.1/32", 7001))})
		if !isAny(errs[0], unix.EPERM) {
			t.Errorf("adding a rule without the privilege: %v", errs[0])
		}
	})
	if rules, err := ns.Rules(); err != nil || len(rules) != 5 {
		t.Errorf("checking changed the rules: %v, %v", rules, err)
	}
}

// withoutNetAdmin calls f on a thread whose effective capabilities lack CAP_NET_ADMIN.
func withoutNetAdmin(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	testnet.Must(t, unix.Capget(&hdr, &had[0]))
	less := had
	less[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	testnet.Must(t, unix.Capset(&hdr, &less[0]))
	defer func() { testnet.Must(t, unix.Capset(&hdr, &had[0])) }()
	f()
}

func TestCloseEndsEverything(t *testing.T) {
	k := open(t, testnet.New(t), ours)
	ended := make(chan error)
	go func() { ended <- k.Run(context.Background()) }()
	testnet.Must(t, k.Close())
	if err := <-ended; err == nil {
		t.Error("Run ended by Close reports nothing")
	}
	if _, err := k.Snapshot(context.Background()); err == nil {
		t.Error("a snapshot of a closed Kernel succeeds")
	}
	if errs := k.Apply(context.Background(), []rpdb.Op{addRule(rule(100, "192.0.2.1/32", 7001))}); errs[0] == nil {
		t.Error("a change through a closed Kernel succeeds")
	}
}
