package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestEventsOfOthers(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	for _, tc := range []struct {
		name string
		do   func() error
		want Event
	}{
		{"nothing", func() error { return nil }, Event{}},
		{"a link", func() error { return ns.MTU("wan0", 1400) }, Event{Links: true}},
		{"IPv4 address without a subnet", func() error { return ns.Addr("lo", "192.0.9.1/32") }, Event{Addresses: true}},
		{"IPv4 address", func() error { return ns.Addr("wan0", "192.0.3.1/24") }, Event{Addresses: true, Routes: true}},
		{"IPv6 address", func() error { return ns.Addr("wan0", "2001:db8:3::1/64") }, Event{Addresses: true, Routes: true}},
		{"IPv4 rule", func() error { return ns.Rule(rpdb.IPv4, "from all lookup 9 priority 9 proto 99") }, Event{Rules: true}},
		{"IPv6 rule", func() error { return ns.Rule(rpdb.IPv6, "from all lookup 9 priority 9 proto 99") }, Event{Rules: true}},
		{"rule goes", func() error { return ns.DelRule(rpdb.IPv4, "from all lookup 9 priority 9 proto 99") }, Event{Rules: true}},
		{"default route", func() error { return ns.Route("default via 192.0.1.1 dev wan0 proto dhcp") }, Event{Routes: true}},
		{"IPv6 default route", func() error { return ns.Route("default via fe80::1 dev wan0 proto ra") }, Event{Routes: true}},
		{"default route goes", func() error { return ns.DelRoute("default via 192.0.1.1 dev wan0 proto dhcp") }, Event{Routes: true}},
		{"connected route in main", func() error { return ns.Route("10.1.0.0/16 dev wan0 scope link proto dhcp") }, Event{Routes: true}},
		{"another table", func() error { return ns.Route("10.2.0.0/16 via 192.0.1.1 dev wan0 table 100") }, Event{Routes: true}},
		{"a table above 255", func() error { return ns.Route("10.2.0.0/16 via 192.0.1.1 dev wan0 table 1000") }, Event{Routes: true}},
		{"our number in main", func() error { return ns.Route("10.3.0.0/16 via 192.0.1.1 dev wan0 proto 157") }, Event{Routes: true}},
		{"a route in main", func() error { return ns.Route("10.4.0.0/16 via 192.0.1.1 dev wan0 proto 12") }, Event{}},
		{"an IPv6 route in main", func() error { return ns.Route("2001:db8:4::/48 via fe80::1 dev wan0 proto 12") }, Event{}},
		{"a host's route in main", func() error { return ns.Route("203.0.113.1/32 via 192.0.1.1 dev wan0") }, Event{Routes: true}},
		{"an IPv6 host's route in main", func() error { return ns.Route("2001:db8:5::1/128 via fe80::1 dev wan0 proto static") }, Event{Routes: true}},
		{"a host's route goes", func() error { return ns.DelRoute("203.0.113.1/32 via 192.0.1.1 dev wan0") }, Event{Routes: true}},
		{"a routing daemon's to a host", func() error { return ns.Route("203.0.113.2/32 via 192.0.1.1 dev wan0 proto 186") }, Event{}},
		{"an IPv6 route of 32 bits", func() error { return ns.Route("2001:dc0::/32 via fe80::1 dev wan0") }, Event{}},
		{"a host's route in default", func() error { return ns.Route("203.0.113.3/32 via 192.0.1.1 dev wan0 table 253") }, Event{}},
		{"a route in default", func() error { return ns.Route("10.5.0.0/16 via 192.0.1.1 dev wan0 table 253") }, Event{}},
		{"a multipath route in main", func() error {
			multipathIn(t, ns, rpdb.TableMain, "10.6.0.0/16")
			return nil
		}, Event{}},
		{"a link goes", func() error { return ns.Delete("wan1") }, Event{Links: true, Addresses: true, Routes: true}},
	} {
		testnet.Must(t, tc.do())
		var got Event
		if ev := pending(t, k); ev != nil {
			got = *ev
		}
		if d := diff(tc.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, d)
		}
	}
}

func TestOwnEventsGiveNoHint(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	r := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	u := rule(100, "192.0.1.10/32", 7001)
	apply(t, k, addRoute(r), addRule(u), replaceRoute(r), delRule(u), delRoute(r), addRule(u))
	if ev := pending(t, k); ev != nil {
		t.Errorf("our own requests gave %+v", *ev)
	}
	// What somebody else does among them is not hidden by them.
	testnet.Must(t, ns.Rule(rpdb.IPv4, "from all lookup 9 priority 9 proto 99"))
	apply(t, k, delRule(u))
	if ev := pending(t, k); ev == nil || !ev.Rules {
		t.Errorf("the foreign rule gave %+v", ev)
	}
}

// Who deletes something of ours is named; who deletes something else is not, and neither is the kernel.
func TestCulprits(t *testing.T) {
	ns := uplinks(t)
	k, other := open(t, ns, ours), open(t, ns, stranger)
	r := route(7001, "0.0.0.0/0", "192.0.1.1", index(t, ns, "wan0"))
	r6 := route(7001, "::/0", "fe80::1", index(t, ns, "wan0"))
	u := rule(100, "192.0.1.10/32", 7001)
	theirs := u
	theirs.Protocol = stranger
	apply(t, k, addRoute(r), addRoute(r6), addRule(u), addRule(theirs))
	apply(t, other, delRule(theirs))
	if ev := pending(t, k); ev == nil || !ev.Rules || len(ev.By) > 0 {
		t.Errorf("somebody deleted his own rule: %+v", ev)
	}
	apply(t, other, delRule(u), delRoute(r))
	want := &Event{Routes: true, Rules: true, By: []rpdb.Culprit{
		{Port: other.ask.port, Comm: comm(other.ask.port), What: "rule"},
		{Port: other.ask.port, Comm: comm(other.ask.port), What: "route"},
	}}
	if d := diff(want, pending(t, k)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	testnet.Must(t, ns.Down("wan0")) // flushes r6, with an event
	if ev := pending(t, k); ev == nil || !ev.Routes || len(ev.By) > 0 {
		t.Errorf("the kernel took the route of a link that went down: %+v", ev)
	}
}

func TestComm(t *testing.T) {
	text, err := os.ReadFile("/proc/self/comm")
	testnet.Must(t, err)
	want := strings.TrimSuffix(string(text), "\n")
	if got := comm(uint32(os.Getpid())); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := comm(0xfffffff0); got != "" {
		t.Errorf("a port that is no pid: %q", got)
	}
	testnet.Must(t, os.WriteFile(fmt.Sprintf("/proc/%d/comm", os.Getpid()), []byte("a\x1b[31m b"), 0))
	defer func() { _ = os.WriteFile(fmt.Sprintf("/proc/%d/comm", os.Getpid()), []byte(want), 0) }()
	if got := comm(uint32(os.Getpid())); got != `a\x1b[31m\x20b` {
		t.Errorf("%q", got)
	}
}

// A routing daemon's routes do not push our events out of the buffer.
func TestForeignRoutesDoNotOverrun(t *testing.T) {
	ns := uplinks(t)
	k, other := open(t, ns, ours), open(t, ns, stranger)
	wan0 := index(t, ns, "wan0")
	pending(t, k)
	var ops []rpdb.Op
	for i := range 20_000 {
		r := route(rpdb.TableMain, fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255), "192.0.1.1", wan0)
		r.Protocol = stranger
		ops = append(ops, addRoute(r))
	}
	apply(t, other, ops[:10_000]...)
	for i := range 10 {
		u := rule(uint32(100+i), "", 7001)
		u.Protocol = stranger
		apply(t, other, addRule(u))
	}
	apply(t, other, ops[10_000:]...)
	if d := diff(&Event{Rules: true}, pending(t, k)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n := len(snapshot(t, k).Routes); n > 20 {
		t.Errorf("the snapshot holds %d routes", n)
	}
}

// A full receive buffer is a hint as well, and the watch goes on.
func TestOverrun(t *testing.T) {
	ns := testnet.New(t)
	k, other := open(t, ns, ours), open(t, ns, stranger)
	testnet.Must(t, k.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }))
	for i := range 200 {
		u := rule(uint32(100+i), "", 7001)
		u.Protocol = stranger
		apply(t, other, addRule(u))
	}
	if ev := pending(t, k); ev == nil || !ev.Overrun || !ev.Rules {
		t.Errorf("after an overrun: %+v", ev)
	}
	u := rule(99, "", 7001)
	u.Protocol = stranger
	apply(t, other, addRule(u))
	if d := diff(&Event{Rules: true}, pending(t, k)); d != "" {
		t.Errorf("after the overrun: (-want +got)\n%s", d)
	}
}

// An event that does not fit into the buffer may have been any, but nothing else was lost.
func TestEventTooLong(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	k.buf = make([]byte, unix.SizeofNlMsghdr)
	testnet.Must(t, ns.Rule(rpdb.IPv4, "from all lookup 9 priority 9 proto 99"))
	if d := diff(&Event{Links: true, Addresses: true, Routes: true, Rules: true}, pending(t, k)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRunDeliversAndEnds(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	for round := range 2 { // it may be started again
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.Run(ctx) }()
		testnet.Must(t, ns.Rule(rpdb.IPv4, fmt.Sprintf("from all lookup 9 priority %d proto 99", 9+round)))
		select {
		case ev := <-k.Events():
			if !ev.Rules {
				t.Errorf("%+v", ev)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no hint")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended by its context: %v", err)
		}
	}
}

// Nobody takes the hints: they become one, and its size is bounded.
func TestHintsMerge(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	k.mu.Lock()
	k.hint(Event{Links: true})
	for i := range 100 {
		k.hint(Event{Rules: true, By: []rpdb.Culprit{{Port: 0xffff0000 + uint32(i), What: "rule"}}})
	}
	k.hint(Event{})
	k.mu.Unlock()
	ev := pending(t, k)
	if ev == nil || !ev.Links || !ev.Rules || ev.Routes || len(ev.By) != 8 {
		t.Errorf("%+v", ev)
	}
	if ev := pending(t, k); ev != nil {
		t.Errorf("a second one: %+v", ev)
	}
}

// Several messages in one datagram are read one by one: one of ours hides none of the others.
func TestEventReadsEveryMessage(t *testing.T) {
	w := watched{port: 1, protocols: []uint8{ours}}
	body, err := encodeRule(rule(100, "192.0.2.1/32", 7001))
	testnet.Must(t, err)
	message := func(typ uint16, port uint32) []byte {
		b := appendMessage(nil, request{typ: typ, body: body}, 0, 1)
		binary.NativeEndian.PutUint32(b[12:], port)
		return b
	}
	b := append(message(unix.RTM_DELRULE, 1), message(unix.RTM_DELRULE, 7)...)
	if d := diff(Event{Rules: true, By: []rpdb.Culprit{{Port: 7, What: "rule"}}}, w.event(b)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, quiet := range [][]byte{message(unix.RTM_DELRULE, 1), message(unix.NLMSG_NOOP, 7), nil, b[:20]} {
		if d := diff(Event{}, w.event(quiet)); d != "" {
			t.Errorf("%x: (-want +got)\n%s", quiet, d)
		}
	}
}

func multipathIn(t *testing.T, ns *testnet.NS, table uint32, dst string) {
	t.Helper()
	n, err := netlink.ParseIPNet(dst)
	testnet.Must(t, err)
	r := &netlink.Route{Dst: n, Table: int(table), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: index(t, ns, "wan0"), Gw: addr("192.0.1.1").AsSlice()}, {LinkIndex: index(t, ns, "wan1"), Gw: addr("192.0.2.1").AsSlice()},
	}}
	ns.Do(t, func() { testnet.Must(t, netlink.RouteAdd(r)) })
}

// Another process may send to our socket where it has the privilege; that is no event.
func TestEventsComeFromTheKernel(t *testing.T) {
	ns := testnet.New(t)
	k, other := open(t, ns, ours), open(t, ns, stranger)
	var port uint32
	testnet.Must(t, k.raw.Control(func(fd uintptr) {
		var err error
		port, err = localPort(int(fd))
		testnet.Must(t, err)
	}))
	body, err := encodeRule(rule(100, "192.0.2.1/32", 7001))
	testnet.Must(t, err)
	forged := appendMessage(nil, request{typ: unix.RTM_DELRULE, body: body}, 0, 1)
	testnet.Must(t, unix.Sendto(other.ask.fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}))
	if ev := pending(t, k); ev != nil {
		t.Errorf("a forged event gave %+v", ev)
	}
}
