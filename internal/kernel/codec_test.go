package kernel

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

func TestRuleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRule(t)
		b, err := encodeRule(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRule(b)
		if err != nil || got != want {
			t.Fatalf("%v: %s", err, diff(want, got))
		}
	})
}

func TestRouteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRoute(t)
		b, err := encodeRoute(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRoute(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff([]rpdb.Route{want}, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestDelRouteNamesItsIdentity(t *testing.T) {
	r := route(7001, "10.0.0.0/8", "192.0.2.1", 3)
	r.Metric, r.Src, r.Onlink = 5, addr("192.0.2.2"), true
	b, err := encodeDelRoute(r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint16]bool{unix.RTA_TABLE: true, unix.RTA_DST: true, unix.RTA_PRIORITY: true}
	for as := attributesAfter(b, unix.SizeofRtMsg); as.next(); {
		if !want[as.typ] {
			t.Errorf("attribute %d is in the delete", as.typ)
		}
		delete(want, as.typ)
	}
	if len(want) > 0 {
		t.Errorf("attributes %v are not", want)
	}
	if b[5] != ours || b[6] != unix.RT_SCOPE_NOWHERE || b[7] != 0 {
		t.Errorf("protocol %d, scope %d, type %d", b[5], b[6], b[7])
	}
}

func TestEncodeRefuses(t *testing.T) {
	good := rule(1, "192.0.2.1/32", 7001)
	if _, err := encodeRule(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*rpdb.Rule){
		"no protocol":         func(r *rpdb.Rule) { r.Protocol = 0 },
		"address family 0":    func(r *rpdb.Rule) { r.Family = 0 },
		"does not know":       func(r *rpdb.Rule) { r.Opaque = true },
		"no action":           func(r *rpdb.Rule) { r.Action = 0 },
		"no table":            func(r *rpdb.Rule) { r.Table = 0 },
		"mixes":               func(r *rpdb.Rule) { r.Dst = prefix("2001:db8::/32") },
		"at most 15 bytes":    func(r *rpdb.Rule) { r.OIF = "0123456789abcdef" },
		"mixes address famil": func(r *rpdb.Rule) { r.Family = rpdb.IPv6 },
	} {
		r := good
		change(&r)
		if _, err := encodeRule(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, change := range map[string]func(*rpdb.Route){
		"no protocol":    func(r *rpdb.Route) { r.Protocol = 0 },
		"no destination": func(r *rpdb.Route) { r.Dst = rpdb.Route{}.Dst },
		"no table":       func(r *rpdb.Route) { r.Table = 0 },
		"mixes":          func(r *rpdb.Route) { r.Src = addr("2001:db8::1") },
		"index -1":       func(r *rpdb.Route) { r.OIF = -1 },
	} {
		r := route(7001, "0.0.0.0/0", "192.0.2.1", 3)
		change(&r)
		for _, encode := range []func(rpdb.Route) ([]byte, error){encodeRoute, encodeDelRoute} {
			if _, err := encode(r); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
	}
	for _, change := range []func(*rpdb.Route){
		func(r *rpdb.Route) { r.Type = 0 },
		func(r *rpdb.Route) { r.Multipath = true },
	} {
		r := route(7001, "0.0.0.0/0", "192.0.2.1", 3)
		change(&r)
		if _, err := encodeRoute(r); err == nil {
			t.Errorf("%+v is encoded", r)
		}
	}
}

// What the decoders say of messages that no kernel sends.
func TestDecodeRefuses(t *testing.T) {
	good, err := encodeRule(rule(1, "192.0.2.1/32", 7001))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(b []byte) []byte) []byte { return change(append([]byte(nil), good...)) }
	for name, b := range map[string][]byte{
		"empty":               nil,
		"cut header":          good[:11],
		"cut attribute":       good[:len(good)-1],
		"family 7":            with(func(b []byte) []byte { b[0] = 7; return b }),
		"source length 33":    with(func(b []byte) []byte { b[2] = 33; return b }),
		"no destination":      with(func(b []byte) []byte { b[1] = 24; return b }),
		"IPv6 with 4 bytes":   with(func(b []byte) []byte { b[0] = 10; return b }),
		"priority of 2 bytes": with(func(b []byte) []byte { return appendAttr(b, unix.FRA_PRIORITY, []byte{1, 2}) }),
		"protocol of none":    with(func(b []byte) []byte { return appendAttr(b, unix.FRA_PROTOCOL, nil) }),
	} {
		if r, err := decodeRule(b); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
	route := make([]byte, unix.SizeofRtMsg)
	route[0], route[7] = 2, 1
	for name, b := range map[string][]byte{
		"short":            route[:11],
		"short hop":        appendAttr(route, unix.RTA_MULTIPATH, []byte{8, 0, 0}),
		"long hop":         appendAttr(route, unix.RTA_MULTIPATH, []byte{9, 0, 0, 0, 1, 0, 0, 0}),
		"hop of length 0":  appendAttr(route, unix.RTA_MULTIPATH, make([]byte, 8)),
		"no hops":          appendAttr(route, unix.RTA_MULTIPATH, nil),
		"gateway of 16":    appendAttr(route, unix.RTA_GATEWAY, make([]byte, 16)),
		"via of 1":         appendAttr(route, unix.RTA_VIA, []byte{2}),
		"via of family 16": appendAttr(route, unix.RTA_VIA, []byte{16, 0, 1, 2, 3, 4}),
		"source of 5":      appendAttr(route, unix.RTA_PREFSRC, make([]byte, 5)),
	} {
		if r, err := decodeRoute(b); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestDecodeRuleOpaque(t *testing.T) {
	base, err := encodeRule(rule(1, "192.0.2.1/32", 7001))
	if err != nil {
		t.Fatal(err)
	}
	opaque := func(change func(b []byte) []byte) bool {
		r, err := decodeRule(change(append([]byte(nil), base...)))
		if err != nil {
			t.Fatal(err)
		}
		return r.Opaque
	}
	for _, attr := range []uint16{unix.FRA_TUN_ID, unix.FRA_L3MDEV, unix.FRA_UID_RANGE, unix.FRA_IP_PROTO, unix.FRA_SPORT_RANGE,
		unix.FRA_DPORT_RANGE, unix.FRA_FLOW, unix.FRA_SUPPRESS_IFGROUP, 99} {
		if !opaque(func(b []byte) []byte { return appendAttr(b, attr, make([]byte, 8)) }) {
			t.Errorf("attribute %d does not make a rule opaque", attr)
		}
	}
	if !opaque(func(b []byte) []byte { b[3] = 4; return b }) {
		t.Error("a TOS does not make a rule opaque")
	}
	if !opaque(func(b []byte) []byte { binary.NativeEndian.PutUint32(b[8:], unix.FIB_RULE_FIND_SADDR); return b }) {
		t.Error("FIB_RULE_FIND_SADDR does not make a rule opaque")
	}
	if opaque(func(b []byte) []byte { return appendAttr(b, unix.FRA_PAD, nil) }) {
		t.Error("padding makes a rule opaque")
	}
	if opaque(func(b []byte) []byte { return appendUint32(b, unix.FRA_SUPPRESS_PREFIXLEN, noSuppress) }) {
		t.Error("no suppress_prefixlength makes a rule opaque")
	}
}

// A mark without a mask is compared whole (net/core/fib_rules.c: fib_nl2rule).
func TestDecodeRuleMarkWithoutMask(t *testing.T) {
	b, err := encodeRule(rule(1, "192.0.2.1/32", 7001))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeRule(appendUint32(b, unix.FRA_FWMARK, 5)); err != nil || r.Mark != 5 || r.Mask != ^uint32(0) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAddressFlags(t *testing.T) {
	for _, tc := range []struct {
		family rpdb.Family
		flags  uint32
		want   rpdb.Address
	}{
		{rpdb.IPv6, unix.IFA_F_PERMANENT, rpdb.Address{Permanent: true}},
		{rpdb.IPv6, unix.IFA_F_TENTATIVE, rpdb.Address{Tentative: true}},
		{rpdb.IPv6, unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC, rpdb.Address{}},
		{rpdb.IPv6, unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED, rpdb.Address{Tentative: true, DADFailed: true}},
		{rpdb.IPv6, unix.IFA_F_DEPRECATED, rpdb.Address{Deprecated: true}},
		{rpdb.IPv6, unix.IFA_F_TEMPORARY, rpdb.Address{Temporary: true}},
		{rpdb.IPv4, unix.IFA_F_SECONDARY, rpdb.Address{}},
		{rpdb.IPv4, unix.IFA_F_NOPREFIXROUTE, rpdb.Address{NoPrefixRoute: true}},
	} {
		var got rpdb.Address
		setAddressFlags(&got, tc.family, tc.flags)
		if got != tc.want {
			t.Errorf("%s %#x: %+v, want %+v", tc.family, tc.flags, got, tc.want)
		}
	}
}

// Each of these came from a real link; the addresses say what they are.
func TestMACText(t *testing.T) {
	for _, tc := range []struct {
		b    []byte
		want string
	}{
		{nil, ""},
		{[]byte{0x02, 0, 0, 0xaa, 0xbb, 0xcc}, "02:00:00:aa:bb:cc"},
		{make([]byte, 6), ""},             // lo
		{[]byte{192, 0, 2, 1}, ""},        // ipip
		{append(make([]byte, 15), 1), ""}, // ip6tnl
		{append(make([]byte, 19), 1), "00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01"}, // InfiniBand
	} {
		if got := macText(tc.b); got != tc.want {
			t.Errorf("%x: %q, want %q", tc.b, got, tc.want)
		}
	}
}
