package lease_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// Calls of ifupdown's scripts; what follows them in a test counts.
const (
	static4 = "ADDRFAM=inet|METHOD=static|PHASE=post-up|IF_ADDRESS=192.0.2.9|IF_NETMASK=255.255.255.0|IF_GATEWAY=192.0.2.1|"
	static6 = "ADDRFAM=inet6|METHOD=static|PHASE=post-up|IF_ADDRESS=2001:db8::9/64|IF_GATEWAY=fe80::1|"
)

func TestIfupdownValues(t *testing.T) {
	const good4 = "ifupdown post-up: bind 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]"
	const good6 = "ifupdown6 post-up: bind 2001:db8::9/64 routers [fe80::1] gateways [fe80::1]"
	for _, c := range []struct{ name, env, want string }{
		{"a mask", static4, good4},
		{"a number", static4 + "IF_NETMASK=24", good4},
		{"the length behind the address goes first", static4 + "IF_ADDRESS=192.0.2.9/24|IF_NETMASK=255.0.0.0", good4},
		{"no mask", static4 + "IF_NETMASK=", "ifupdown post-up: bind 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1]"},
		{"IPv6 by a link-local router", static6, good6},
		{"IPv6 with a number", static6 + "IF_ADDRESS=2001:db8::9|IF_NETMASK=64", good6},
		{"IPv6 with a mask", static6 + "IF_ADDRESS=2001:db8::9|IF_NETMASK=ffff::",
			"ifupdown6 post-up: bind 2001:db8::9/-1 routers [fe80::1] gateways [fe80::1]\n    ! prefix length \"ffff::\": not from 1 to 128"},
		{"no gateway: the administrator's word that there is none", static4 + "IF_GATEWAY=", "ifupdown post-up: bind 192.0.2.9/24 gateways []"},
		{"white space around the gateway", static4 + "IF_GATEWAY= 192.0.2.1\t", good4},
		{"two gateways", static4 + "IF_GATEWAY=192.0.2.1 192.0.2.2",
			"ifupdown post-up: bind 192.0.2.9/24 gateways [] REFUSED\n    ! gateway \"192.0.2.1 192.0.2.2\": not an address"},
		{"link-local gateway in IPv4", static4 + "IF_GATEWAY=169.254.0.1", "ifupdown post-up: bind 192.0.2.9/24 gateways [] REFUSED\n    ! gateway \"169.254.0.1\": link-local"},
		{"name servers of both families", static4 + "IF_DNS_NAMESERVERS=192.0.2.53 2001:db8::53\t192.0.2.54 $(id)|IF_MTU=1492",
			good4 + " dns [192.0.2.53 192.0.2.54] mtu 1492\n    ! name server \"$(id)\": not an address"},
		{"MTU", static4 + "IF_MTU=68", good4 + "\n    ! MTU \"68\": not from 576 to 9216"},
		{"bad address", static4 + "IF_ADDRESS=127.0.0.1/8", "ifupdown post-up: ignore (no usable address)\n    ! address \"127.0.0.1\": loopback"},
		{"no address named, as ifupdown2", static4 + "IF_ADDRESS=", "ifupdown post-up: resync"},
		{"pre-down", static4 + "PHASE=pre-down", "ifupdown pre-down: remove 192.0.2.9"},
		{"pre-down, IPv6", static6 + "PHASE=pre-down", "ifupdown6 pre-down: remove 2001:db8::9"},
		{"pre-down with a bad address removes nothing", static4 + "PHASE=pre-down|IF_ADDRESS=2001:db8::9",
			"ifupdown pre-down: ignore (no usable address)\n    ! address \"2001:db8::9\": not an address of the family"},
		{"post-down", static4 + "PHASE=post-down", "ifupdown post-down: resync"},
		{"odd phase", static4 + "PHASE=\n", "ifupdown \"\\n\": resync"},
		{"dhcp", "METHOD=dhcp|PHASE=post-up", "ifupdown post-up: resync"},
		{"auto", "METHOD=auto|ADDRFAM=inet6|PHASE=pre-down", "ifupdown6 pre-down: resync"},
		{"no method named", "PHASE=post-up", "ifupdown post-up: resync"},
		{"NetworkManager's 01-ifupdown", static4 + "METHOD=NetworkManager", "ifupdown post-up: ignore (method \"NetworkManager\" gives no address)"},
		{"ppp", "METHOD=ppp|PHASE=post-up", "ifupdown post-up: ignore (method ppp gives no address)"},
		{"odd method", "METHOD=\x1b|PHASE=post-up", "ifupdown post-up: ignore (method \"\\x1b\" gives no address)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, text(parse(t, call("ifupdown", c.env)))); d != "" {
				t.Error(d)
			}
		})
	}
	for key, want := range map[string]lease.Keep{"IF_GATEWAY": lease.KeepGateways, "IF_DNS_NAMESERVERS": lease.KeepDNS} {
		in := call("ifupdown", static4)
		delete(in.Env, key)
		in.Refused = []string{key}
		if ev := parse(t, in); ev.Keep != want || ev.Lease.Refused != (want == lease.KeepGateways) || len(ev.Problems) != 1 {
			t.Errorf("%s over its limit: %s", key, text(ev))
		}
	}
}

func TestIfupdownIsNotAboutAll(t *testing.T) {
	for _, name := range []string{"--all", "lo"} {
		in := call("ifupdown", static4)
		in.Interface = name
		if ev := parse(t, in); ev.Verb != lease.Ignore {
			t.Errorf("%s: %s", name, text(ev))
		}
	}
}
