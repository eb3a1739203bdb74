package lease_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// Calls of NetworkManager's dispatcher; what follows them in a test counts.
const (
	dualStack = "DEVICE_IFACE=wan0|DEVICE_IP_IFACE=wan0|IP4_ADDRESS_0=192.0.2.9/24 192.0.2.1|IP4_GATEWAY=192.0.2.1|" +
		"IP6_ADDRESS_0=2001:db8::9/64 fe80::1|IP6_ADDRESS_1=fe80::9/64 fe80::1|IP6_GATEWAY=fe80::1|"
	vpn = "DEVICE_IFACE=eth0|DEVICE_IP_IFACE=eth0|IP4_ADDRESS_0=192.0.2.9/24 192.0.2.1|IP4_GATEWAY=192.0.2.1|VPN_IP_IFACE=wan0|" +
		"VPN_IP4_ADDRESS_0=10.8.0.2/24 10.8.0.1|VPN_IP4_GATEWAY=10.8.0.1|VPN_IP4_NAMESERVERS=10.8.0.53|"
	leased = "IP4_ADDRESS_0=192.0.2.9/24 192.0.2.1|IP4_GATEWAY=192.0.2.1|DHCP4_IP_ADDRESS=192.0.2.9|DHCP4_DHCP_LEASE_TIME=60|"
)

func TestNetworkManagerValues(t *testing.T) {
	const good4, good6 = "\n    + 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]", "\n    + 2001:db8::9/64 gateways []"
	for _, c := range []struct{ name, action, env, want string }{
		{"both families", "up", dualStack, "up: replace" + good4 + good6},
		{"pre-up with addresses, as no NetworkManager yet", "pre-up", dualStack, "pre-up: replace" + good4 + good6},
		{"an IPv6 gateway that no router advertisement names", "up", dualStack + "IP6_GATEWAY=2001:db8::1",
			"up: replace" + good4 + "\n    + 2001:db8::9/64 routers [2001:db8::1] gateways [2001:db8::1]"},
		{"a lease's router that the profile keeps out of main", "up", leased + "IP4_GATEWAY=0.0.0.0|DHCP4_ROUTERS=192.0.2.7 192.0.2.8",
			"up: replace\n    + 192.0.2.9/24 routers [192.0.2.7 192.0.2.8] gateways [192.0.2.7 192.0.2.8] for 1m0s"},
		{"such a router that can be none", "up", leased + "IP4_GATEWAY=0.0.0.0|DHCP4_ROUTERS=127.0.0.1",
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! router \"127.0.0.1\": loopback"},
		{"the lease's router is another address's", "up", leased + "DHCP4_IP_ADDRESS=192.0.2.8|IP4_GATEWAY=0.0.0.0|DHCP4_ROUTERS=192.0.2.7",
			"up: replace\n    + 192.0.2.9/24 gateways []"},
		{"reapply", "reapply", dualStack, "reapply: replace" + good4 + good6},
		{"link-local addresses only", "dhcp4-change", "IP4_ADDRESS_0=169.254.7.7/16 0.0.0.0|IP6_ADDRESS_0=fe80::9/64|IP4_GATEWAY=0.0.0.0", "dhcp4-change: replace"},
		{"IPv6 only", "up", "IP6_ADDRESS_0=2001:db8::9/64 fe80::1|IP6_GATEWAY=fe80::1", "up: replace" + good6},
		{"no gateway, in the spelling of IPv4", "up", dualStack + "IP6_GATEWAY=0.0.0.0|IP4_GATEWAY=0.0.0.0",
			"up: replace\n    + 192.0.2.9/24 gateways []\n    + 2001:db8::9/64 gateways []"},
		{"no gateway at all", "up", dualStack + "IP6_GATEWAY=::|IP4_GATEWAY=", "up: replace\n    + 192.0.2.9/24 gateways []\n    + 2001:db8::9/64 gateways []"},
		{"gateways of the other family", "up", dualStack + "IP6_GATEWAY=192.0.2.1|IP4_GATEWAY=fe80::1",
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED\n    + 2001:db8::9/64 gateways [] REFUSED" +
				"\n    ! gateway \"fe80::1\": not an address of the family\n    ! gateway \"192.0.2.1\": not an address of the family"},
		{"own gateways", "up", dualStack + "IP6_GATEWAY=2001:db8::9|IP4_GATEWAY=192.0.2.9",
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED\n    + 2001:db8::9/64 gateways [] REFUSED" +
				"\n    ! gateway \"192.0.2.9\": the host's own address\n    ! gateway \"2001:db8::9\": the host's own address"},
		{"gateway with a zone, and text", "up", dualStack + "IP6_GATEWAY=fe80::1%wan0|IP4_GATEWAY=$(id)",
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED\n    + 2001:db8::9/64 gateways [] REFUSED" +
				"\n    ! gateway \"$(id)\": not an address\n    ! gateway \"fe80::1%wan0\": not an address of the family"},
		{"the gateway is in the other address's subnet", "up", dualStack + "IP4_ADDRESS_1=10.7.7.7/24 192.0.2.1|IP4_ADDRESS_2=198.51.100.9/32",
			"up: replace" + good4 + "\n    + 198.51.100.9/32 routers [192.0.2.1] gateways [192.0.2.1]" + good6},
		{"the gateway is in nobody's subnet", "up", "IP4_ADDRESS_0=192.0.2.9/24|IP4_ADDRESS_1=10.7.7.7/24|IP4_GATEWAY=203.0.113.1",
			"up: replace\n    + 192.0.2.9/24 routers [203.0.113.1] gateways [203.0.113.1]\n    + 10.7.7.7/24 routers [203.0.113.1] gateways [203.0.113.1]"},
		{"twice, with another length", "up", dualStack + "IP4_ADDRESS_1=192.0.2.9/32", "up: replace" + good4 + good6},
		{"bad addresses", "up", "IP4_ADDRESS_0=127.0.0.1/8 192.0.2.1|IP4_ADDRESS_1=|IP4_ADDRESS_2=2001:db8::1/64|IP4_ADDRESS_3=192.0.2.9/33|IP4_GATEWAY=192.0.2.1",
			"up: replace\n    + 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1]\n    ! address \"127.0.0.1/8\": loopback\n    ! address \"\": not an address" +
				"\n    ! address \"2001:db8::1/64\": not an address of the family\n    ! prefix length \"33\": not from 1 to 32"},
		{"name servers: link-local ones are nothing to us", "up", dualStack + "IP4_NAMESERVERS=192.0.2.53 127.0.0.53|IP6_NAMESERVERS=fe80::53 2001:db8::53",
			"up: replace" + good4 + " dns [192.0.2.53]" + good6 + " dns [2001:db8::53]\n    ! name server \"127.0.0.53\": loopback"},
		{"9 name servers", "up", dualStack + "IP4_NAMESERVERS=" + strings.Repeat("192.0.2.53 ", 9),
			"up: replace" + good4 + good6 + " keep-dns\n    ! name server: 9 of them, at most 8 are taken: all refused"},
		{"option 121", "up", leased + "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES=0.0.0.0/0 192.0.2.7 10.1.2.3/23 192.0.2.8",
			"up: replace\n    + 192.0.2.9/24 classless (0.0.0.0/0 via 192.0.2.7, 10.1.2.0/23 via 192.0.2.8) gateways [192.0.2.7] for 1m0s"},
		{"option 121 is the leased address's only", "up", leased + "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES=0.0.0.0/0 192.0.2.7|IP4_ADDRESS_1=192.0.2.10/24",
			"up: replace\n    + 192.0.2.9/24 classless (0.0.0.0/0 via 192.0.2.7) gateways [192.0.2.7] for 1m0s\n    + 192.0.2.10/24 routers [192.0.2.1] gateways [192.0.2.1]"},
		{"option 121 cut short: no way back to the router", "up", leased + "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES=0.0.0.0/0",
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! option 121 \"0.0.0.0/0\": cut short: refused, no default"},
		{"option 121 of 129 routes", "up", leased + "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES=" + strings.Repeat("10.0.0.0/8 192.0.2.7 ", 129),
			"up: replace\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! option 121: 129 routes, at most 128 are taken: all refused"},
		{"a lease time of text", "up", leased + "DHCP4_DHCP_LEASE_TIME=soon", "up: replace" + good4 + "\n    ! lease time \"soon\": not a number of seconds"},
		{"nothing named", "up", "IP4_NUM_ADDRESSES=0|IP4_GATEWAY=0.0.0.0", "up: resync"},
		{"external", "dhcp4-change", dualStack + "CONNECTION_EXTERNAL=1", "dhcp4-change: ignore (configured by somebody else, NetworkManager only looks on)"},
		{"VPN: its own variables, not those of the link underneath", "vpn-up", vpn, "vpn-up: replace\n    + 10.8.0.2/24 routers [10.8.0.1] gateways [10.8.0.1] dns [10.8.0.53]"},
		{"VPN: the lease underneath is not its own", "vpn-up", vpn + "DHCP4_IP_ADDRESS=10.8.0.2|DHCP4_DHCP_LEASE_TIME=60",
			"vpn-up: replace\n    + 10.8.0.2/24 routers [10.8.0.1] gateways [10.8.0.1] dns [10.8.0.53]"},
		{"VPN without addresses", "vpn-up", "VPN_IP_IFACE=wan0|IP4_ADDRESS_0=192.0.2.9/24", "vpn-up: resync"},
		{"VPN on the link itself, as IPsec", "vpn-up", vpn + "DEVICE_IP_IFACE=wan0", "vpn-up: resync"},
		{"VPN without an interface", "vpn-up", vpn + "VPN_IP_IFACE=", "vpn-up: resync"},
		{"VPN of another interface", "vpn-down", vpn + "VPN_IP_IFACE=tun7", "vpn-down: resync"},
		{"VPN goes", "vpn-down", vpn, "vpn-down: remove all"},
		{"IPsec goes: the link underneath keeps its leases", "vpn-down", vpn + "DEVICE_IFACE=wan0", "vpn-down: resync"},
		{"VPN before", "vpn-pre-up", vpn, "vpn-pre-up: resync"},
		{"VPN after", "vpn-pre-down", vpn, "vpn-pre-down: resync"},
		{"no action", "", dualStack, ": ignore (no action named)"},
		{"action by the variable", "", dualStack + "NM_DISPATCHER_ACTION=down", "down: remove all"},
		{"unknown action", "\x1b[2J", dualStack, "\"\\x1b[2J\": ignore (unknown action)"},
		{"dns-change", "dns-change", "", "dns-change: ignore (about no address of a link)"},
		{"device-add", "device-add", "", "device-add: ignore (about no address of a link)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := text(parse(t, call("networkmanager", c.env, "wan0", c.action)))
			if d := cmp.Diff("networkmanager "+c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNetworkManagerLimits: what is over a limit leaves what was known as it is.
func TestNetworkManagerLimits(t *testing.T) {
	var many strings.Builder
	for i := range lease.MaxLeases + 1 {
		fmt.Fprintf(&many, "IP4_ADDRESS_%d=192.0.2.%d/24|", i, i+1)
	}
	for name, in := range map[string]lease.Input{
		"17 addresses": call("networkmanager", many.String(), "wan0", "up"),
		"an address over the limit of a value": func() lease.Input {
			in := call("networkmanager", dualStack, "wan0", "up")
			in.Refused = []string{"IP4_ADDRESS_1"}
			return in
		}(),
		"an IPv6 address over the limit of a value": func() lease.Input {
			in := call("networkmanager", dualStack, "wan0", "up")
			in.Refused = []string{"IP6_ADDRESS_2"}
			return in
		}(),
		"more keys than a message has": func() lease.Input {
			in := call("networkmanager", dualStack, "wan0", "up")
			in.Refused = []string{"*"}
			return in
		}(),
	} {
		if ev := parse(t, in); ev.Verb != lease.Ignore || len(ev.Problems) != 1 || len(ev.Leases) > 0 {
			t.Errorf("%s: %s", name, text(ev))
		}
	}
	for key, want := range map[string]lease.Keep{
		"IP4_GATEWAY": lease.KeepGateways, "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES": lease.KeepGateways, "IP6_NAMESERVERS": lease.KeepDNS,
	} {
		in := call("networkmanager", leased+"IP6_ADDRESS_0=2001:db8::9/64|", "wan0", "up")
		delete(in.Env, key)
		in.Refused = []string{key}
		ev := parse(t, in)
		if ev.Verb != lease.Replace || ev.Keep != want || len(ev.Problems) != 1 || ev.Leases[0].Refused != (want == lease.KeepGateways) {
			t.Errorf("%s: %s", key, text(ev))
		}
	}
	in := call("networkmanager", leased, "lo", "up")
	in.Interface = "lo"
	if ev := parse(t, in); ev.Verb != lease.Ignore {
		t.Errorf("lo: %s", text(ev))
	}
}
