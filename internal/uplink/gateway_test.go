package uplink_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// inet6 makes a default route an IPv4 one by an IPv6 next hop.
func inet6(r *rpdb.Route) { r.Dst = rpdb.IPv4.Any() }

func metric(n uint32) func(*rpdb.Route) { return func(r *rpdb.Route) { r.Metric = n } }

// TestSilentGateways: a next hop that is link-local, or of the other family, is about the link. It says nothing of who is behind
// it, public or private; one that is in a subnet, or is private itself, does.
func TestSilentGateways(t *testing.T) {
	lla := func(h *host) *host {
		return h.addr("eth0", "fe80::5/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink })
	}
	for _, tc := range []struct {
		name string
		host *host
		want string
	}{
		{"a private IPv4 address by an IPv6 next hop", lla(newHost().eth("eth0").addr("eth0", "10.0.0.2/24")).
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, inet6), "eth0 up 10.0.0.2/24 > fe80::1 src 10.0.0.2"},
		{"and a host address", newHost().eth("eth0").addr("eth0", "10.0.0.2/32").
			gateway("eth0", "fe80::1", rpdb.ProtoDHCP, inet6), "eth0 up 10.0.0.2/32 > fe80::1 src 10.0.0.2"},
		{"and by a global one", newHost().eth("eth0").addr("eth0", "10.0.0.2/24").addr("eth0", "2001:db8::2/64").
			gateway("eth0", "2001:db8::1", rpdb.ProtoStatic, inet6), "eth0 up 10.0.0.2/24 > 2001:db8::1 src 10.0.0.2"},
		{"a public one beside it is what the link itself has", newHost().eth("eth0").addr("eth0", "10.0.0.2/24").addr("eth0", "198.51.100.9/32").
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, inet6), "eth0 up 10.0.0.2/24 198.51.100.9/32 > fe80::1 src 198.51.100.9"},
		{"but a deprecated one is not", newHost().eth("eth0").addr("eth0", "10.0.0.2/24").
			addr("eth0", "198.51.100.9/32", func(a *rpdb.Address) { a.Deprecated = true }).
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, inet6), "eth0 up 10.0.0.2/24 198.51.100.9/32 > fe80::1 src 10.0.0.2"},
		{"an address whose own subnet has a gateway keeps that", newHost().eth("eth0").addr("eth0", "10.0.0.2/24").addr("eth0", "198.51.100.9/32").
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, inet6, func(r *rpdb.Route) { r.Src = addr("198.51.100.9") }).
			gateway("eth0", "10.0.0.1", rpdb.ProtoStatic, metric(9)),
			"eth0 up 10.0.0.2/24 > 10.0.0.1 src 10.0.0.2\neth0-fe80::1 up 198.51.100.9/32 > fe80::1 src 198.51.100.9"},
		{"the host's own address is no next hop of the other family either", lla(newHost().eth("eth0").addr("eth0", "10.0.0.2/24")).
			gateway("eth0", "fe80::5", rpdb.ProtoStatic, inet6), ""},
		{"a ULA by a link-local router", lla(newHost().eth("eth0").addr("eth0", "fd00::2/64")).
			gateway("eth0", "fe80::1", rpdb.ProtoRA), "eth0 up fd00::2/64 > fe80::1"},
		{"beside a global address", lla(newHost().eth("eth0").addr("eth0", "fd00::2/64").addr("eth0", "2001:db8::2/64")).
			gateway("eth0", "fe80::1", rpdb.ProtoRA), "eth0 up 2001:db8::2/64 fd00::2/64 > fe80::1"},
		{"a ULA behind a router that is global", newHost().eth("eth0").addr("eth0", "fd00::2/64").addr("eth0", "2001:db8::2/64").
			gateway("eth0", "2001:db8::1", rpdb.ProtoStatic), "eth0 up 2001:db8::2/64 > 2001:db8::1"},
		{"a cloud's link-local IPv4 router", newHost().eth("eth0").addr("eth0", "10.0.0.2/32").addr("eth0", "169.254.7.7/16").
			gateway("eth0", "169.254.1.1", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Onlink = true }),
			"eth0 up 10.0.0.2/32 > 169.254.1.1 onlink src 10.0.0.2"},
		{"a LAN's address beside a public gateway", newHost().eth("eth0").addr("eth0", "198.51.100.9/24").addr("eth0", "10.0.0.2/24").
			gateway("eth0", "198.51.100.1", rpdb.ProtoStatic), "eth0 up 198.51.100.9/24 > 198.51.100.1 src 198.51.100.9"},
	} {
		if d := cmp.Diff(tc.want, outline(uplink.Derive(tc.host.Input))); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

// TestOwnLinkLocalGateway: a word about the link that cannot be followed is told with the reason, not passed over.
func TestOwnLinkLocalGateway(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "10.0.0.2/24").addr("eth0", "fe80::5/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).
		gateway("eth0", "fe80::5", rpdb.ProtoStatic, inet6)
	want := []string{"eth0: gateway fe80::5 of 10.0.0.2 by route proto static is refused: it is the host's own address"}
	if d := cmp.Diff(want, uplink.Derive(h.Input).Problems); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestAdvertisedDefault: anybody on a link can advertise ::/0 as an on-link prefix, and the kernel makes a default route of it.
// That is no gateway; on a point-to-point link it could be.
func TestAdvertisedDefault(t *testing.T) {
	for _, pointToPoint := range []bool{false, true} {
		h := newHost().link(rpdb.Link{Name: "wan0", PointToPoint: pointToPoint}).addr("wan0", "2001:db8::10/64").
			route("wan0", "::/0", func(r *rpdb.Route) { r.Protocol, r.Metric = rpdb.ProtoKernel, 256 })
		if n := len(uplink.Derive(h.Input).Uplinks); (n == 1) != pointToPoint {
			t.Errorf("point-to-point %v: %d uplinks", pointToPoint, n)
		}
	}
}
