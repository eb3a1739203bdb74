package lease_test

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// FuzzParse: whatever the variables hold, Parse does not panic, and what it gives holds to its promises.
func FuzzParse(f *testing.F) {
	for dir, folder := range folders() {
		for _, r := range records(f, dir, folder.count) {
			args, environ := folder.call(f, r)
			f.Add(folder.client, strings.Join(args, "|"), strings.Join(environ, "|"), "")
		}
	}
	f.Add("dhclient", "", base, "new_routers|*")
	f.Add("networkmanager", "wan0|dhcp6-change", dualStack, "IP4_GATEWAY")
	f.Add("networkmanager", "tun0|vpn-up", vpn, "")
	f.Add("openvpn", "", tunnel+"script_type=route-up", "")
	f.Add("openvpn", "", net30+"script_type=route-up", "foreign_option_1|route_network_1")
	f.Add("ifupdown", "", static6, "")
	f.Add("generic", genericAll, "", "")
	f.Add("generic", "--interface|wan0|--remove|--source|x", "", "$2")
	f.Add("generic", "--interface|wan0|--delegated=2001:db8:100::/56|--lifetime|60", "", "")
	f.Add("dhcpcd", "", "reason=BOUND6|interface=wan0|new_dhcp6_ia_pd1_prefix1=2001:db8:100::|new_dhcp6_ia_pd1_prefix1_length=0", "")
	f.Add("wg-quick", "down|wg0", "", "")
	f.Add("networkd-dispatcher", "", "STATE=routable|IFACE=wan0", "")
	f.Fuzz(func(t *testing.T, client, args, env, refused string) {
		in := call(client, env, strings.Split(args, "|")...)
		in.Refused = strings.Split(refused, "|")
		evs, err := lease.Parse(in)
		if err != nil {
			return
		}
		for _, ev := range evs {
			checkPromises(t, ev)
		}
	})
}

// checkPromises asserts what those who use an event rely on.
func checkPromises(t *testing.T, ev lease.Event) {
	t.Helper()
	if (ev.Verb == lease.Bind) != ev.Lease.Address.IsValid() || (ev.Verb == lease.Remove) != ev.Address.IsValid() || (ev.Verb == lease.Ignore) != (ev.Why != "") {
		t.Errorf("verb and content differ: %s", text(ev))
	}
	leases := ev.Leases
	if ev.Verb == lease.Bind {
		leases = append(leases, ev.Lease)
	}
	if ev.Verb != lease.Replace && len(ev.Leases) > 0 || len(ev.Leases) > lease.MaxLeases || len(ev.Problems) > 13 {
		t.Errorf("leases without their verb, or over a limit: %s", text(ev))
	}
	for i, l := range leases {
		if slices.ContainsFunc(leases[:i], func(o lease.Lease) bool { return o.Address == l.Address }) {
			t.Errorf("%s twice: %s", l.Address, text(ev))
		}
		checkLease(t, ev, l)
	}
	for _, line := range append(ev.Problems, ev.Why, ev.Reason) {
		if len(line) > 300 || strings.IndexFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
			t.Errorf("not fit for a log: %q", line)
		}
	}
}

func checkLease(t *testing.T, ev lease.Event, l lease.Lease) {
	t.Helper()
	if !usable(l.Address) || l.Source != ev.Source || l.Bits < -1 || l.Bits == 0 || l.Bits > l.Address.BitLen() {
		t.Errorf("bad lease: %s", text(ev))
	}
	if l.Delegated != l.Prefix.IsValid() || l.Delegated && (l.Prefix != l.Prefix.Masked() || l.Prefix.Addr() != l.Address || l.Address.Is4() ||
		len(l.Routers)+len(l.DNS)+len(l.Classless) > 0) {
		t.Errorf("bad delegated prefix %v: %s", l.Prefix, text(ev))
	}
	if l.Peer.IsValid() && (l.Peer == l.Address || l.Peer.IsLoopback() || l.Peer.IsMulticast() || l.Peer.IsUnspecified()) {
		t.Errorf("bad peer: %s", text(ev))
	}
	if len(l.Routers) > lease.MaxRouters || len(l.DNS) > lease.MaxDNS || len(l.Classless) > lease.MaxRoutes {
		t.Errorf("over a limit: %s", text(ev))
	}
	for _, r := range append(l.Gateways(), l.Routers...) {
		if !usable(r) && (r.Is4() || !r.IsLinkLocalUnicast() || r.Zone() != "") || r.Is4() != l.Address.Is4() || r == l.Address {
			t.Errorf("bad router %s: %s", r, text(ev))
		}
	}
	for _, r := range l.Classless {
		if r.Dst != r.Dst.Masked() || r.Gateway.Is4() != l.Address.Is4() || r.Dst.Addr().Is4() != l.Address.Is4() {
			t.Errorf("bad route %v: %s", r, text(ev))
		}
	}
}

// usable is told apart from the package's own check on purpose: by a list of prefixes.
func usable(a netip.Addr) bool {
	if a.Zone() != "" || a.Is4In6() {
		return false
	}
	for _, p := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/128", "::1/128", "fe80::/10", "ff00::/8"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return a.IsValid()
}

// TestOption121AsOthersEncodeIt: what another implementation of RFC 3442 writes, Parse reads.
func TestOption121AsOthersEncodeIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var routes dhcpv4.Routes
		var want []lease.Route
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			octets := [4]byte{10, rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")}
			p := netip.PrefixFrom(netip.AddrFrom4(octets), rapid.IntRange(8, 32).Draw(t, "bits")).Masked()
			gw := netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteRange(10, 200).Draw(t, "gw")})
			want = append(want, lease.Route{Dst: p, Gateway: gw})
			routes = append(routes, &dhcpv4.Route{
				Dest:   &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
				Router: gw.AsSlice(),
			})
		}
		evs, err := lease.Parse(call("dhclient", base+"new_rfc3442_classless_static_routes="+decimal(routes.ToBytes())))
		if err != nil {
			t.Fatal(err)
		}
		ev := evs[0]
		if len(ev.Lease.Classless) != len(want) {
			t.Fatalf("%d routes, want %d: %s", len(ev.Lease.Classless), len(want), text(ev))
		}
		for i, r := range ev.Lease.Classless {
			if r != want[i] {
				t.Errorf("route %d is %v, want %v", i, r, want[i])
			}
		}
	})
}

func decimal(b []byte) string {
	var w []string
	for _, c := range b {
		w = append(w, strconv.Itoa(int(c)))
	}
	return strings.Join(w, " ")
}
