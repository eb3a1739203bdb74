package lease_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// dhcpcdBase is a good IPv4 lease of dhcpcd; what follows it in a test counts.
const dhcpcdBase = "reason=RENEW|new_ip_address=192.0.2.9|new_subnet_cidr=24|new_subnet_mask=255.255.255.0|new_routers=192.0.2.1|"

// TestDhcpcdValues goes through what no recorded call shows.
func TestDhcpcdValues(t *testing.T) {
	const good = "dhcpcd RENEW: bind sole 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]"
	for _, c := range []struct{ name, env, want string }{
		{"no mask", dhcpcdBase + "new_subnet_mask=", good},
		{"no mask, prefix length of text", dhcpcdBase + "new_subnet_mask=|new_subnet_cidr=x",
			"dhcpcd RENEW: bind sole 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1]\n    ! prefix length \"x\": not from 1 to 32"},
		{"no mask, prefix length 33", dhcpcdBase + "new_subnet_mask=|new_subnet_cidr=33",
			"dhcpcd RENEW: bind sole 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1]\n    ! prefix length \"33\": not from 1 to 32"},
		{"the mask before the prefix length", dhcpcdBase + "new_subnet_cidr=8", good},
		{"option 121 that dhcpcd could not read", dhcpcdBase + "new_classless_static_routes=",
			"dhcpcd RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED\n    ! option 121 \"\": no route in it: refused, no default"},
		{"option 121 in Fedora's form", dhcpcdBase + "new_classless_static_routes=0 192.0.2.7",
			"dhcpcd RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED\n    ! option 121 \"0 192.0.2.7\": not in its form: refused, no default"},
		{"option 121 that dhcpcd could not read, and the next variable", dhcpcdBase + "new_classless_static_routes=new_routers=192.0.2.1",
			"dhcpcd RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED\n    ! option 121 \"new_routers=192.0.2.1\": cut short: refused, no default"},
		{"option 121 that dhcpcd could read in part, and the next variable", dhcpcdBase + "new_classless_static_routes=0.0.0.0/0 192.0.2.7 new_routers=192.0.2.1 192.0.2.2",
			"dhcpcd RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED\n    ! option 121 \"0.0.0.0/0 192.0.2.7 new_routers=192.0.2.1 192.0.\"...: not in its form: refused, no default"},
		{"IPv6 router", dhcpcdBase + "new_routers=fe80::1",
			"dhcpcd RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED\n    ! router \"fe80::1\": not an address of the family"},
		{"IPV4LL", "reason=IPV4LL|new_ip_address=169.254.7.7", "dhcpcd IPV4LL: resync"},
		{"end without address", "reason=STOP", "dhcpcd STOP: remove all"},
		{"link is gone", "reason=DEPARTED", "dhcpcd DEPARTED: remove all\n    dhcpcd6 DEPARTED: remove all\n    dhcpcd-ra DEPARTED: remove all"},
		{"downstream", "reason=DELEGATED6|new_delegated_dhcp6_prefix=2001:db8::/64",
			"dhcpcd6 DELEGATED6: ignore (a delegated prefix: the link is a LAN of this host)"},
		{"no reason", "", "dhcpcd : ignore (no reason named)"},
		{"unknown reason", "reason=BOUND\n", "dhcpcd \"BOUND\\n\": ignore (unknown reason)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, texts(parseAll(t, call("dhcpcd", c.env)))); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDhcpcd6 goes through leases of several addresses.
func TestDhcpcd6(t *testing.T) {
	const na = "new_dhcp6_ia_na"
	for _, c := range []struct{ name, env, want string }{
		{"several of each", "reason=BOUND6|" + na + "2_ia_addr1=2001:db8::21|" + na + "1_ia_addr10=2001:db8::110|" + na + "1_ia_addr2=2001:db8::12|new_dhcp6_ia_ta1_ia_addr1=2001:db8::9",
			"dhcpcd6 BOUND6: replace\n    + 2001:db8::12/128 gateways []\n    + 2001:db8::110/128 gateways []\n    + 2001:db8::21/128 gateways []\n    + 2001:db8::9/128 gateways []"},
		{"one is taken back", "reason=RENEW6|" + na + "1_ia_addr1=2001:db8::1|" + na + "1_ia_addr1_vltime=0|" + na + "1_ia_addr2=2001:db8::2|" + na + "1_ia_addr2_vltime=4294967295",
			"dhcpcd6 RENEW6: replace\n    + 2001:db8::2/128 gateways [] for ever"},
		{"an association without addresses goes before", "reason=REBIND6|" + na + "1_iaid=1|" + na + "2_ia_addr1=2001:db8::2", "dhcpcd6 REBIND6: replace\n    + 2001:db8::2/128 gateways []"},
		{"prefixes only", "reason=BOUND6|" + pd("new", "1", "2001:db8:f::", "56") + "|" + pd("new", "2", "2001:db8:f:10::1", "60") + "|new_dhcp6_ia_pd1_prefix2_vltime=80",
			"dhcpcd6 BOUND6: replace\n    + delegated 2001:db8:f::/56 gateways []\n    + delegated 2001:db8:f:10::/60 gateways [] for 1m20s"},
		{"a prefix is taken back", "reason=RENEW6|" + pd("new", "1", "2001:db8:f::", "56") + "|new_dhcp6_ia_pd1_prefix1_vltime=0", "dhcpcd6 RENEW6: replace"},
		{"bad prefixes", "reason=BOUND6|new_dhcp6_ia_pd1_prefix1=2001:db8:f::|" + pd("new", "2", "fe80::", "64") + "|" + pd("new", "3", "2001:db8::", "129") + "|" +
			pd("new", "4", "192.0.2.0", "24") + "|" + pd("new", "5", "2001:db8::", "0") + "|" + pd("new", "6", "2001:db8::%wan0", "56"),
			"dhcpcd6 BOUND6: replace\n    ! delegated prefix \"2001:db8:f::/\": not a prefix\n    ! delegated prefix \"fe80::/64\": link-local" +
				"\n    ! delegated prefix \"2001:db8::/129\": not a prefix\n    ! delegated prefix \"192.0.2.0/24\": not a prefix of the family" +
				"\n    ! delegated prefix \"2001:db8::/0\": unspecified\n    ! delegated prefix \"2001:db8::%wan0/56\": not a prefix"},
		{"16 addresses and a prefix", "reason=BOUND6|" + many(16, na+"1_ia_addr%[1]d=2001:db8::%[1]d|") + pd("new", "1", "2001:db8:f::", "56"),
			"dhcpcd6 BOUND6: ignore (over a limit: what was known stays)\n    ! addresses: 17 of them, at most 16 are taken: all refused"},
		{"twice the same", "reason=REBOOT6|" + na + "1_ia_addr1=2001:db8::1|" + na + "1_ia_addr2=2001:db8:0::1", "dhcpcd6 REBOOT6: replace\n    + 2001:db8::1/128 gateways []"},
		{"bad ones", "reason=TIMEOUT6|" + na + "1_ia_addr1=fe80::1|" + na + "1_ia_addr2=192.0.2.1|" + na + "1_ia_addr3=2001:db8::1%wan0|" + na + "1_ia_addr4=2001:db8::4|" + na + "1_ia_addr4_vltime=x",
			"dhcpcd6 TIMEOUT6: replace\n    + 2001:db8::4/128 gateways []\n    ! leased address \"fe80::1\": link-local\n    ! leased address \"192.0.2.1\": not an address of the family" +
				"\n    ! leased address \"2001:db8::1%wan0\": not an address of the family\n    ! valid lifetime \"x\": not a number of seconds"},
		{"17 addresses", "reason=BOUND6|" + many(17, na+"1_ia_addr%[1]d=2001:db8::%[1]d|"),
			"dhcpcd6 BOUND6: ignore (over a limit: what was known stays)\n    ! addresses: 17 of them, at most 16 are taken: all refused"},
		{"16 addresses, 8 name servers", "reason=BOUND6|" + many(16, na+"1_ia_addr%[1]d=2001:db8::%[1]d|") + "new_dhcp6_name_servers=" + many(8, "2001:db8::5%d "),
			"dhcpcd6 BOUND6: replace" + many(16, "\n    + 2001:db8::%d/128 gateways [] dns ["+strings.TrimSpace(many(8, "2001:db8::5%d "))+"]")},
		{"9 name servers", "reason=INFORM6|" + na + "1_ia_addr1=2001:db8::1|new_dhcp6_name_servers=" + strings.Repeat("2001:db8::53 ", 9),
			"dhcpcd6 INFORM6: replace\n    + 2001:db8::1/128 gateways [] keep-dns\n    ! name server: 9 of them, at most 8 are taken: all refused"},
		{"end of several", "reason=EXPIRE6|old_dhcp6_ia_na1_ia_addr1=2001:db8::1|old_dhcp6_ia_na1_ia_addr2=x|old_dhcp6_ia_na2_ia_addr1=2001:db8::2|old_dhcp6_ia_ta1_ia_addr1=2001:db8::2",
			"dhcpcd6 EXPIRE6: remove 2001:db8::1\n    ! old address \"x\": not an address\n    dhcpcd6 EXPIRE6: remove 2001:db8::2"},
		{"end of a temporary one", "reason=RELEASE6|old_dhcp6_ia_na1_ia_addr1=2001:db8::1|old_dhcp6_ia_ta1_ia_addr1=2001:db8::9",
			"dhcpcd6 RELEASE6: remove 2001:db8::1\n    dhcpcd6 RELEASE6: remove 2001:db8::9"},
		{"end of prefixes", "reason=STOP6|" + pd("old", "1", "2001:db8:f:1::", "56") + "|" + pd("old", "2", "2001:db8:e::", "56"),
			"dhcpcd6 STOP6: remove 2001:db8:f::\n    dhcpcd6 STOP6: remove 2001:db8:e::"},
		{"end of an address and a prefix", "reason=EXPIRE6|old_dhcp6_ia_na1_ia_addr1=2001:db8::1|" + pd("old", "1", "2001:db8:f::", "56"),
			"dhcpcd6 EXPIRE6: remove 2001:db8::1\n    dhcpcd6 EXPIRE6: remove 2001:db8:f::"},
		{"end of 16", "reason=RELEASE6|" + many(16, "old_dhcp6_ia_na1_ia_addr%[1]d=2001:db8::%[1]d|"),
			strings.TrimSuffix(many(16, "dhcpcd6 RELEASE6: remove 2001:db8::%d\n    "), "\n    ")},
		{"end of 17", "reason=RELEASE6|" + many(17, "old_dhcp6_ia_na1_ia_addr%[1]d=2001:db8::%[1]d|"), "dhcpcd6 RELEASE6: remove all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, texts(parseAll(t, call("dhcpcd", c.env)))); d != "" {
				t.Error(d)
			}
		})
	}
}

// pd is a delegated prefix as dhcpcd has it.
func pd(when, n, prefix, length string) string {
	return fmt.Sprintf("%[1]s_dhcp6_ia_pd1_prefix%[2]s=%[3]s|%[1]s_dhcp6_ia_pd1_prefix%[2]s_length=%[4]s", when, n, prefix, length)
}

// many repeats a format with the numbers from 1 to n.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i+1)
	}
	return b.String()
}

// nd is a router's advertisement with a prefix and one address.
func nd(n int, from, lifetime, addr string) string {
	return fmt.Sprintf("|nd%[1]d_from=%[2]s|nd%[1]d_lifetime=%[3]s|nd%[1]d_addr1=%[4]s|nd%[1]d_prefix_information1_prefix=2001:db8:a::"+
		"|nd%[1]d_prefix_information1_length=64|nd%[1]d_prefix_information1_vltime=600", n, from, lifetime, addr)
}

// TestDhcpcdRA goes through advertisements of several routers, and bad ones.
func TestDhcpcdRA(t *testing.T) {
	const ra, one, two = "reason=ROUTERADVERT", "2001:db8:a::1/64", "2001:db8:a::2/64"
	for _, c := range []struct{ name, env, want string }{
		{"two routers, an address each", ra + nd(2, "fe80::2", "9", two) + nd(1, "fe80::1", "9", one),
			"replace\n    + 2001:db8:a::1/64 routers [fe80::1] gateways [fe80::1] for 10m0s\n    + 2001:db8:a::2/64 routers [fe80::2] gateways [fe80::2] for 10m0s"},
		{"two routers, one prefix: the same address", ra + nd(10, "fe80::10", "9", one) + nd(2, "fe80::2", "9", one),
			"replace\n    + 2001:db8:a::1/64 routers [fe80::2 fe80::10] gateways [fe80::2 fe80::10] for 10m0s"},
		{"the same router twice", ra + nd(1, "fe80::1", "9", one) + nd(2, "fe80::1", "9", one), "replace\n    + 2001:db8:a::1/64 routers [fe80::1] gateways [fe80::1] for 10m0s"},
		{"one of the routers is none any more", ra + nd(1, "fe80::1", "0", one) + nd(2, "fe80::2", "1", one), "replace\n    + 2001:db8:a::1/64 routers [fe80::2] gateways [fe80::2] for 10m0s"},
		{"none is", ra + nd(1, "fe80::1", "0", one) + nd(2, "fe80::2", "00", two), "replace"},
		{"lifetime of text, over 16 bits, missing", ra + nd(1, "fe80::1", "x", one) + nd(2, "fe80::2", "65536", one) + "|nd3_from=fe80::3",
			"replace\n    ! router lifetime \"x\": not a number of seconds\n    ! router lifetime \"65536\": not a number of seconds\n    ! router lifetime \"\": not a number of seconds"},
		{"no prefix length with the address", ra + nd(1, "fe80::1", "9", "2001:db8:a::1"), "replace\n    + 2001:db8:a::1/64 routers [fe80::1] gateways [fe80::1] for 10m0s"},
		{"nor a prefix", ra + nd(1, "fe80::1", "9", "2001:db8:b::1"), "replace\n    + 2001:db8:b::1/-1 routers [fe80::1] gateways [fe80::1]"},
		{"bad prefix length", ra + nd(1, "fe80::1", "9", "2001:db8:a::1/0"), "replace\n    + 2001:db8:a::1/-1 routers [fe80::1] gateways [fe80::1] for 10m0s\n    ! prefix length \"0\": not from 1 to 128"},
		{"a prefix of length 0", ra + nd(1, "fe80::1", "9", "2001:db8:a::1") + "|nd1_prefix_information1_length=0", "replace\n    + 2001:db8:a::1/1 routers [fe80::1] gateways [fe80::1] for 10m0s"},
		{"bad addresses", ra + nd(1, "fe80::1", "9", "fe80::9/64") + nd(2, "fe80::2", "9", "$(id)"),
			"replace\n    ! address \"fe80::9/64\": link-local\n    ! address \"$(id)\": not an address"},
		{"bad routers", ra + nd(1, "ff02::1", "9", one) + nd(2, "::1", "9", one) + nd(3, "fe80::1%wan0", "9", two) + nd(4, "192.0.2.1", "9", two),
			"replace\n    + 2001:db8:a::1/64 gateways [] REFUSED for 10m0s\n    + 2001:db8:a::2/64 gateways [] REFUSED for 10m0s\n    ! router \"ff02::1\": multicast\n    ! router \"::1\": loopback" +
				"\n    ! router \"fe80::1%wan0\": not an address of the family\n    ! router \"192.0.2.1\": not an address of the family"},
		{"a bad router and a good one", ra + nd(1, "::", "9", one) + nd(2, "fe80::2", "9", one),
			"replace\n    + 2001:db8:a::1/64 routers [fe80::2] gateways [fe80::2] for 10m0s\n    ! router \"::\": unspecified"},
		{"own address as router", ra + nd(1, "2001:db8:a::1", "9", one), "replace\n    + 2001:db8:a::1/64 gateways [] REFUSED for 10m0s\n    ! router \"2001:db8:a::1\": the host's own address"},
		{"name servers of both, less those taken back", ra + nd(1, "fe80::1", "9", one) + nd(2, "fe80::2", "9", one) +
			"|nd1_rdnss1_servers=2001:db8::53 ::1|nd1_rdnss2_servers=2001:db8::54|nd1_rdnss2_lifetime=0|nd2_rdnss1_servers=2001:db8::55 2001:db8::53|nd2_rdnss1_lifetime=60",
			"replace\n    + 2001:db8:a::1/64 routers [fe80::1 fe80::2] gateways [fe80::1 fe80::2] dns [2001:db8::53 2001:db8::55] for 10m0s\n    ! name server \"::1\": loopback"},
		{"the lists of two addresses are two lists", ra + nd(1, "fe80::1", "9", one) + "|nd1_addr2=" + two + nd(2, "fe80::2", "9", one) + nd(3, "fe80::3", "9", two) +
			"|nd1_rdnss1_servers=2001:db8::1 2001:db8::2 2001:db8::3|nd2_rdnss1_servers=2001:db8::4|nd3_rdnss1_servers=2001:db8::5",
			"replace\n    + 2001:db8:a::1/64 routers [fe80::1 fe80::2] gateways [fe80::1 fe80::2] dns [2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4] for 10m0s" +
				"\n    + 2001:db8:a::2/64 routers [fe80::1 fe80::3] gateways [fe80::1 fe80::3] dns [2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::5] for 10m0s"},
		{"16 name servers in two lists", ra + nd(1, "fe80::1", "9", one) + "|nd1_rdnss1_servers=" + many(8, "2001:db8::5%d ") + "|nd1_rdnss2_servers=" + many(8, "2001:db8::6%d "),
			"replace\n    + 2001:db8:a::1/64 routers [fe80::1] gateways [fe80::1] for 10m0s keep-dns\n    ! name server: 16 of them, at most 8 are taken: all refused"},
		{"8 routers", ra + strings.Join(routers(8), ""),
			"replace\n    + 2001:db8:a::1/64 routers [fe80::1 fe80::2 fe80::3 fe80::4 fe80::5 fe80::6 fe80::7 fe80::8] " +
				"gateways [fe80::1 fe80::2 fe80::3 fe80::4 fe80::5 fe80::6 fe80::7 fe80::8] for 10m0s"},
		{"9 routers", ra + strings.Join(routers(9), ""),
			"replace\n    + 2001:db8:a::1/64 gateways [] REFUSED for 10m0s keep-gateways\n    ! router: 9 of them, at most 8 are taken: all refused"},
		{"17 addresses", ra + "|nd1_from=fe80::1|nd1_lifetime=9|" + many(17, "nd1_addr%[1]d=2001:db8::%[1]d/64|"),
			"ignore (over a limit: what was known stays)\n    ! addresses: 17 of them, at most 16 are taken: all refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff("dhcpcd-ra ROUTERADVERT: "+c.want, texts(parseAll(t, call("dhcpcd", c.env)))); d != "" {
				t.Error(d)
			}
		})
	}
}

func routers(n int) []string {
	var rs []string
	for i := range n {
		rs = append(rs, nd(i+1, fmt.Sprintf("fe80::%d", i+1), "9", "2001:db8:a::1/64"))
	}
	return rs
}

// TestDhcpcdOverLimitIsNotAbsent: a call whose hook left out a part of a list does not replace what was known by the rest.
func TestDhcpcdOverLimitIsNotAbsent(t *testing.T) {
	for _, c := range []struct{ env, refused, want string }{
		{"reason=ROUTERADVERT" + nd(1, "fe80::1", "9", "2001:db8:a::1/64"), "nd2_from", "ignore"},
		{"reason=ROUTERADVERT" + nd(1, "fe80::1", "9", "2001:db8:a::1/64"), "nd1_rdnss1_servers", "ignore"},
		{"reason=ROUTERADVERT" + nd(1, "fe80::1", "9", "2001:db8:a::1/64"), "*", "ignore"},
		{"reason=ROUTERADVERT" + nd(1, "fe80::1", "9", "2001:db8:a::1/64"), "new_routers", "replace"},
		{"reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1", "new_dhcp6_ia_na12_ia_addr3", "ignore"},
		{"reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1", "new_dhcp6_ia_ta1_ia_addr1_vltime", "ignore"},
		{"reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1", "*", "ignore"},
		{"reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1", "new_dhcp6_ia_pd1_prefix2", "ignore"},
		{"reason=BOUND6|" + pd("new", "1", "2001:db8:f::", "56"), "new_dhcp6_ia_pd1_prefix1_vltime", "ignore"},
		{"reason=EXPIRE6|" + pd("old", "1", "2001:db8:f::", "56"), "old_dhcp6_ia_pd1_prefix2", "remove all"},
		{"reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1", "nd1_from", "replace"},
		{"reason=EXPIRE6|old_dhcp6_ia_na1_ia_addr1=2001:db8::1", "old_dhcp6_ia_na1_ia_addr2", "remove all"},
		{"reason=EXPIRE6|old_dhcp6_ia_na1_ia_addr1=2001:db8::1", "old_dhcp6_ia_na1_ia_addr", "remove"},
	} {
		in := call("dhcpcd", c.env)
		in.Refused = []string{c.refused}
		if ev := parse(t, in); ev.Verb.String() != c.want || (c.want == "ignore" || c.want == "remove all") == (len(ev.Problems) == 0) {
			t.Errorf("%s, over a limit %s: %s, want %s", c.env, c.refused, text(ev), c.want)
		}
	}
	// Name servers over a limit leave the rest.
	in := call("dhcpcd", "reason=BOUND6|new_dhcp6_ia_na1_ia_addr1=2001:db8::1")
	in.Refused = []string{"new_dhcp6_name_servers"}
	if ev := parse(t, in); ev.Verb != lease.Replace || ev.Keep != lease.KeepDNS || len(ev.Leases) != 1 {
		t.Error(text(ev))
	}
}
