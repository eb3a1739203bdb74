package lease_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// Environments of OpenVPN's scripts: topology subnet with both families, and topology net30.
const (
	tunnel = "dev=wan0|ifconfig_local=10.8.0.2|ifconfig_netmask=255.255.255.0|route_vpn_gateway=10.8.0.1|" +
		"ifconfig_ipv6_local=fd00:8::1000|ifconfig_ipv6_netbits=64|ifconfig_ipv6_remote=fd00:8::1|"
	net30 = "dev=wan0|ifconfig_local=10.8.0.6|ifconfig_remote=10.8.0.5|route_vpn_gateway=10.8.0.5|"
)

func TestOpenVPNValues(t *testing.T) {
	const good4 = "\n    + 10.8.0.2/24 routers [10.8.0.1] gateways [10.8.0.1]"
	const good6 = "\n    + fd00:8::1000/64 routers [fd00:8::1] gateways [fd00:8::1]"
	const good = "replace" + good4 + good6
	const p2p = "replace\n    + 10.8.0.6/32 peer 10.8.0.5 routers [10.8.0.5]"
	for _, c := range []struct{ name, env, want string }{
		{"both families", tunnel, good},
		{"net30", net30, p2p + " gateways [10.8.0.5]"},
		{"a mask counts before the other end", tunnel + "ifconfig_remote=10.8.0.1|ifconfig_ipv6_local=", "replace" + good4},
		{"IPv6 only", tunnel + "ifconfig_local=", "replace" + good6},
		{"no gateways, in figures", tunnel + "route_vpn_gateway=0.0.0.0|ifconfig_ipv6_remote=::", "replace\n    + 10.8.0.2/24 gateways []\n    + fd00:8::1000/64 gateways []"},
		{"the other end is oneself", net30 + "ifconfig_remote=10.8.0.6|route_vpn_gateway=10.8.0.6",
			"replace\n    + 10.8.0.6/32 gateways [] REFUSED\n    ! gateway \"10.8.0.6\": the host's own address\n    ! gateway \"10.8.0.6\": the host's own address"},
		{"pushed routes are no option 121", tunnel + "route_network_1=10.77.1.2|route_netmask_1=255.255.0.0|route_gateway_1=10.8.0.1|route_ipv6_network_1=2001:db8:77::/48|route_ipv6_gateway_1=fd00:8::1",
			"replace\n    + 10.8.0.2/24 routers [10.8.0.1] routes (10.77.0.0/16 via 10.8.0.1) gateways [10.8.0.1]" +
				"\n    + fd00:8::1000/64 routers [fd00:8::1] routes (2001:db8:77::/48 via fd00:8::1) gateways [fd00:8::1]"},
		{"a host route by the gateway", net30 + "route_network_1=10.77.1.2", "replace\n    + 10.8.0.6/32 peer 10.8.0.5 routers [10.8.0.5] routes (10.77.1.2/32 via 10.8.0.5) gateways [10.8.0.5]"},
		{"a route by the other end", net30 + "route_vpn_gateway=|route_network_1=10.77.1.2|route_gateway_1=10.8.0.5",
			"replace\n    + 10.8.0.6/32 peer 10.8.0.5 routes (10.77.1.2/32 via 10.8.0.5) gateways []"},
		{"a route without any gateway is on-link", "ifconfig_local=10.8.0.2|ifconfig_netmask=255.255.255.0|route_network_1=10.77.1.2",
			"replace\n    + 10.8.0.2/24 routes (10.77.1.2/32 via 0.0.0.0) gateways []"},
		{"net_gateway is not this link's", tunnel + "route_network_1=10.77.1.2|route_gateway_1=192.0.2.1", good},
		{"default routes are the gateway's business", tunnel + "route_network_1=0.0.0.0|route_netmask_1=0.0.0.0|route_ipv6_network_1=::/0", good},
		{"halves are told, and allowed by nobody", tunnel + "route_network_1=0.0.0.0|route_netmask_1=128.0.0.0",
			"replace\n    + 10.8.0.2/24 routers [10.8.0.1] routes (0.0.0.0/1 via 10.8.0.1) gateways [10.8.0.1]" + good6},
		{"bad routes", tunnel + "route_network_1=127.0.0.1|route_network_2=x|route_network_3=10.0.0.1|route_netmask_3=255.0.255.0|route_network_4=10.0.0.1|route_gateway_4=y|" +
			"route_network_5=224.0.0.0|route_netmask_5=240.0.0.0|route_ipv6_network_6=fe80::/64|" +
			"route_ipv6_network_1=ff02::/16|route_ipv6_network_2=2001:db8::/129|route_ipv6_network_3=10.0.0.0/8|route_ipv6_network_4=::1/128|route_ipv6_network_5=2001:db8::/32|route_ipv6_gateway_5=fd00:8::1000",
			good + "\n    ! route 127.0.0.1/32 via \"10.8.0.1\": destination in 127.0.0.0/8\n    ! route \"x\": not a network of the family" +
				"\n    ! subnet mask \"255.0.255.0\": not contiguous\n    ! route 10.0.0.1/32 via \"y\": not an address" +
				"\n    ! route 224.0.0.0/4 via \"10.8.0.1\": destination in 224.0.0.0/3" +
				"\n    ! route ff02::/16 via \"fd00:8::1\": destination is local to the link or the host\n    ! prefix length \"129\": not from 1 to 128" +
				"\n    ! route \"10.0.0.0\": not a network of the family\n    ! route ::1/128 via \"fd00:8::1\": destination is local to the link or the host" +
				"\n    ! route 2001:db8::/32 via \"fd00:8::1000\": the host's own address" +
				"\n    ! route fe80::/64 via \"fd00:8::1\": destination is local to the link or the host"},
		{"name servers of both families", tunnel + "foreign_option_1=dhcp-option DNS 10.8.0.53|foreign_option_2=dhcp-option DNS6 fd00:8::53|foreign_option_3=dhcp-option DNS fd00:8::54",
			"replace" + good4 + " dns [10.8.0.53]" + good6 + " dns [fd00:8::53 fd00:8::54]"},
		{"other options, and bad ones", tunnel + "foreign_option_1=dhcp-option DOMAIN $(id)|foreign_option_2=dhcp-option DNS|foreign_option_3=DNS 10.8.0.53|" +
			"foreign_option_4=dhcp-option DNS 10.8.0.53 10.8.0.54|foreign_option_5=dhcp-option DNS 127.0.0.1", good + "\n    ! name server \"127.0.0.1\": loopback"},
		{"bad gateways", tunnel + "route_vpn_gateway=10.8.0.255|ifconfig_ipv6_remote=ff02::1",
			"replace\n    + 10.8.0.2/24 gateways [] REFUSED\n    + fd00:8::1000/64 gateways [] REFUSED" +
				"\n    ! gateway \"10.8.0.255\": the subnet's broadcast address\n    ! gateway \"ff02::1\": multicast"},
		{"bad IPv4, good IPv6", tunnel + "ifconfig_local=0.0.0.0", "replace" + good6 + "\n    ! local address \"0.0.0.0\": unspecified"},
		{"MTU", tunnel + "tun_mtu=1500", "replace" + good4 + " mtu 1500" + good6 + " mtu 1500"},
		{"a tunnel's MTU may be anything", tunnel + "tun_mtu=65000", good},
		{"no address at all, as a bridge", "dev=wan0|route_vpn_gateway=10.8.0.1", "resync"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := text(parse(t, call("openvpn", c.env+"|script_type=route-up|script_context=init")))
			if d := cmp.Diff("openvpn route-up: "+c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOpenVPNScripts(t *testing.T) {
	for _, c := range []struct{ kind, context, want string }{
		{"route-pre-down", "init", "route-pre-down: remove all"},
		{"down", "init", "down: remove all"},
		{"down", "restart", "down: resync"},
		{"up", "init", "up: ignore (the server's options are not final yet)"},
		{"up", "restart", "up: ignore (the server's options are not final yet)"},
		{"ipchange", "", "ipchange: ignore (the server's options are not final yet)"},
		{"", "", ": ignore (no script_type named)"},
		{"tls-verify", "", "tls-verify: ignore (unknown script_type)"},
	} {
		got := text(parse(t, call("openvpn", tunnel+"script_type="+c.kind+"|script_context="+c.context)))
		if d := cmp.Diff("openvpn "+c.want, got); d != "" {
			t.Error(d)
		}
	}
}

// TestOpenVPNLimits: a list over its limit is not an empty one.
func TestOpenVPNLimits(t *testing.T) {
	var many strings.Builder
	for i := range lease.MaxRoutes + 1 {
		fmt.Fprintf(&many, "route_network_%d=10.77.0.%d|", i+1, i+1)
	}
	whole, _, _ := strings.Cut(many.String(), fmt.Sprintf("route_network_%d=", lease.MaxRoutes+1))
	if ev := parse(t, call("openvpn", tunnel+whole+"script_type=route-up")); ev.Keep != 0 || len(ev.Leases[0].Classless) != lease.MaxRoutes {
		t.Errorf("128 routes: %s", text(ev))
	}
	ev := parse(t, call("openvpn", tunnel+many.String()+"script_type=route-up"))
	if ev.Keep != lease.KeepGateways || len(ev.Leases) != 2 || len(ev.Leases[0].Classless) > 0 || len(ev.Problems) != 1 {
		t.Errorf("129 routes: %s", text(ev))
	}
	for refused, want := range map[string]lease.Keep{
		"route_netmask_1": lease.KeepGateways, "route_ipv6_gateway_9": lease.KeepGateways, "foreign_option_2": lease.KeepDNS,
	} {
		in := call("openvpn", tunnel+"route_network_1=10.77.0.0|foreign_option_1=dhcp-option DNS 10.8.0.53|script_type=route-up")
		in.Refused = []string{refused}
		if ev := parse(t, in); ev.Keep != want || len(ev.Problems) == 0 || (want == lease.KeepDNS) != (len(ev.Leases[0].DNS) == 0) {
			t.Errorf("%s over its limit: %s", refused, text(ev))
		}
	}
}
