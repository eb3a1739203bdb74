package kernel

import (
	"context"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// bareObjects is a namespace whose kernel lists no next hops with what names an object.
func bareObjects(t *testing.T) (*testnet.NS, *Kernel) {
	t.Helper()
	ns := uplinks(t)
	testnet.Must(t, ns.Sysctl("net/ipv4/nexthop_compat_mode", "0"))
	return ns, open(t, ns, ours)
}

// defaults are the default routes of a snapshot as text.
func defaults(t *testing.T, k *Kernel) string {
	t.Helper()
	s := snapshot(t, k)
	var routes []rpdb.Route
	for _, r := range s.Routes {
		if r.Dst.Bits() == 0 {
			routes = append(routes, r)
		}
	}
	return testnet.Text(nil, routes, s.LinkName, nil)
}

// TestBareNexthopObjects: what the kernel lists by an object's number alone is asked of the object: a gateway of either family,
// a link without one, a group. What is a hole is none, and whatever happens to an object gives a hint.
func TestBareNexthopObjects(t *testing.T) {
	ns, k := bareObjects(t)
	testnet.Must(t,
		ns.Nexthop("add", "id 1 via 192.0.1.1 dev wan0"),
		ns.Nexthop("add", "id 2 via 192.0.2.1 dev wan1"),
		ns.Nexthop("add", "id 3 via fe80::1 dev wan1"),
		ns.Nexthop("add", "id 4 blackhole"),
		ns.Nexthop("add", "id 5 dev wan1"),
		ns.Nexthop("add", "id 6 via 10.254.0.1 dev wan0 onlink"),
		ns.Nexthop("add", "id 10 group 1,2"),
		ns.RouteByNexthop("default", 1),
		ns.RouteByNexthop("default metric 2", 10),
		ns.RouteByNexthop("default metric 3", 3),
		ns.RouteByNexthop("default metric 4", 4),
		ns.RouteByNexthop("default metric 5 table 100", 5),
		ns.RouteByNexthop("default metric 6", 6),
		ns.RouteByNexthop("default6 metric 7", 3),
	)
	pending(t, k)
	for _, step := range []struct {
		name string
		do   func() error
		want string
		hint bool
	}{
		{"as they are", func() error { return nil }, `inet route default dev wan1 table 100 metric 5 proto boot
inet route blackhole default table main metric 4 proto boot
inet route default via 10.254.0.1 dev wan0 table main metric 6 onlink proto boot
inet route default via 192.0.1.1 dev wan0 table main proto boot
inet route default via 192.0.1.1 dev wan0 table main metric 2 proto boot
inet route default via 192.0.2.1 dev wan1 table main metric 2 proto boot
inet route default via inet6 fe80::1 dev wan1 table main metric 3 proto boot
inet6 route default via fe80::1 dev wan1 table main metric 7 proto boot
`, false},
		{"an object of nobody's", func() error { return ns.Nexthop("add", "id 99 via 192.0.1.9 dev wan0") }, "", false},
		{"a group's member is replaced", func() error { return ns.Nexthop("replace", "id 2 via 192.0.2.9 dev wan1") }, `inet route default dev wan1 table 100 metric 5 proto boot
inet route blackhole default table main metric 4 proto boot
inet route default via 10.254.0.1 dev wan0 table main metric 6 onlink proto boot
inet route default via 192.0.1.1 dev wan0 table main proto boot
inet route default via 192.0.1.1 dev wan0 table main metric 2 proto boot
inet route default via 192.0.2.9 dev wan1 table main metric 2 proto boot
inet route default via inet6 fe80::1 dev wan1 table main metric 3 proto boot
inet6 route default via fe80::1 dev wan1 table main metric 7 proto boot
`, true},
		{"an object goes, and its routes with it", func() error { return ns.Nexthop("del", "id 1") }, `inet route default dev wan1 table 100 metric 5 proto boot
inet route blackhole default table main metric 4 proto boot
inet route default via 10.254.0.1 dev wan0 table main metric 6 onlink proto boot
inet route default via 192.0.2.9 dev wan1 table main metric 2 proto boot
inet route default via inet6 fe80::1 dev wan1 table main metric 3 proto boot
inet6 route default via fe80::1 dev wan1 table main metric 7 proto boot
`, true},
	} {
		testnet.Must(t, step.do())
		if ev := pending(t, k); (ev != nil) != step.hint || ev != nil && !ev.Routes {
			t.Errorf("%s: hint %+v, want one: %v", step.name, ev, step.hint)
		}
		if d := diff(step.want, defaults(t, k)); step.want != "" && d != "" {
			t.Errorf("%s: (-want +got)\n%s", step.name, d)
		}
	}
}

// TestNexthopEventWhileLooking: what a look meets is known only at its end, and an object may have changed meanwhile.
func TestNexthopEventWhileLooking(t *testing.T) {
	ns, k := bareObjects(t)
	testnet.Must(t, ns.Nexthop("add", "id 1 via 192.0.1.1 dev wan0"), ns.RouteByNexthop("default", 1),
		ns.Nexthop("add", "id 2 via 192.0.1.2 dev wan0"))
	looks := 0
	_, err := k.settle(func() (*look, error) {
		looks++
		return k.watchObjects(func() (*look, error) {
			l, err := k.look(context.Background())
			if looks == 1 {
				testnet.Must(t, ns.Nexthop("replace", "id 1 via 192.0.1.9 dev wan0"))
			} else {
				testnet.Must(t, ns.Nexthop("replace", "id 2 via 192.0.1.9 dev wan0"))
			}
			_, drained := k.drain()
			testnet.Must(t, drained)
			return l, err
		})
	})
	testnet.Must(t, err)
	if looks != 2 {
		t.Errorf("%d looks, want one more for the object that was met and changed, and none for the other", looks)
	}
}

// TestSeenObjectsAreBounded: where more objects change during a look than are noted, it counts as a change.
func TestSeenObjectsAreBounded(t *testing.T) {
	var o objectEvents
	o.begin()
	for id := range uint32(10 * maxSeen) {
		o.matters(appendUint32(make([]byte, sizeofNhmsg), nhaID, id))
	}
	if len(o.seen) != maxSeen {
		t.Errorf("%d objects noted, want %d", len(o.seen), maxSeen)
	}
	if !o.end(map[uint32]bool{10*maxSeen - 1: true}) {
		t.Error("the last one's change was missed")
	}
	if o.looking || o.many || len(o.seen) != 0 || !o.known[10*maxSeen-1] {
		t.Errorf("left over: %+v", o)
	}
	o.many = true
	if o.end(nil) {
		t.Error("changes of many objects matter to a snapshot that met none")
	}
}

func TestResolve(t *testing.T) {
	r := route(rpdb.TableMain, "0.0.0.0/0", "", 0)
	objects := map[uint32]nexthopObject{
		1: {id: 1, via: addr("192.0.1.1"), oif: 2},
		2: {id: 2, members: []uint32{1, 3, 4, 5, 9}},
		3: {id: 3, blackhole: true},
		4: {id: 4, oif: 2, other: true},
		5: {id: 5, members: []uint32{1}}, // groups do not nest
	}
	hop := r
	hop.Via, hop.OIF = addr("192.0.1.1"), 2
	member := hop
	member.Multipath = true
	hole := r
	hole.Type = rpdb.Blackhole
	for _, tc := range []struct {
		name string
		id   uint32
		want []rpdb.Route
	}{
		{"one", 1, []rpdb.Route{hop}},
		{"a group, of which one member can be a route's", 2, []rpdb.Route{member}},
		{"a hole", 3, nil},
		{"a bridge's", 4, nil},
		{"gone meanwhile", 9, nil},
	} {
		if d := diff(tc.want, resolve([]bareRoute{{r, tc.id}}, objects)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, d)
		}
	}
}

func TestDecodeNexthopRefuses(t *testing.T) {
	head := []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}
	for name, b := range map[string][]byte{
		"nothing":                nil,
		"a short header":         head[:7],
		"a short id":             appendAttr(head, nhaID, []byte{1, 0}),
		"a gateway of 16 octets": appendAttr(head, nhaGateway, make([]byte, 16)),
		"a group of 9 octets":    appendAttr(head, nhaGroup, make([]byte, 9)),
		"an attribute too long":  append(head[:8:8], 9, 0, 1, 0),
	} {
		if n, err := decodeNexthop(b); err == nil {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func FuzzDecodeNexthop(f *testing.F) {
	head := []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}
	f.Add(appendAttr(appendUint32(appendUint32(head, nhaID, 1), nhaOIF, 2), nhaGateway, []byte{192, 0, 2, 1}))
	f.Add(appendAttr(appendUint32(make([]byte, 8), nhaID, 10), nhaGroup, binary.NativeEndian.AppendUint64(nil, 1)))
	f.Add(appendAttr(head, nhaBlackhole, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNexthop(b)
		if err == nil && n.via.IsValid() && byte(rpdb.FamilyOf(n.via)) != b[0] {
			t.Errorf("family %d with %s", b[0], n.via)
		}
		if len(n.members) > len(b)/sizeofNexthopGrp {
			t.Errorf("%d members of %d octets", len(n.members), len(b))
		}
	})
}

// TestNexthopObjectGoes: with its object the kernel flushes an IPv4 route without a word about that, whatever it lists.
func TestNexthopObjectGoes(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	testnet.Must(t, ns.Nexthop("add", "id 1 via 192.0.1.1 dev wan0"), ns.RouteByNexthop("default", 1))
	if d := diff("inet route default via 192.0.1.1 dev wan0 table main proto boot\n", defaults(t, k)); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	pending(t, k)
	testnet.Must(t, ns.Nexthop("del", "id 1"))
	if ev := pending(t, k); ev == nil || !ev.Routes {
		t.Errorf("hint %+v, want one", ev)
	}
	if d := diff("", defaults(t, k)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
