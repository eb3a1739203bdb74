package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	allowedName  = "; allowed: 1 to 15 of A-Z a-z 0-9 _ . @ -, the first a letter, a digit or _, and neither a number nor one of main, default, local, unspec, all"
	allowedGW    = `; allowed: a unicast address, or a list with at most one of each family, as ["192.0.2.1", "fe80::1"]`
	allowedMark  = `; allowed: "MARK" or "MARK/MASK", numbers of 32 bits, as "0x100/0xff00"`
	allowedTable = "; allowed: a number from 1 to 2147483647 other than 253, 254, 255"
	allowedRange = "; allowed: [FIRST, LAST], from 256 to 2147483647, at least 16 numbers"
	allowedProto = "; allowed: a number from 5 to 255 that is nobody else's: not 8 to 18, 42 or 186 to 192"
	allowedTop   = "; allowed: include, exclude, fence, to_rules, dns_rules, arp, classless_routes, hook_users, hook_groups, priority_base, table_range, protocol, rt_tables_dir, uplink"
	allowedMAC   = `; allowed: a hardware address, as "02:00:5e:10:00:01"`
	allowedDst   = `; allowed: a list of prefixes without host bits, as ["10.0.0.0/8", "2001:db8::/32"]`
	allowedUsers = `; allowed: a list of users by name or number, as ["nobody", 65534]`
	removed      = ": its rules and routes would be taken for ours and removed"
)

func TestParseProblems(t *testing.T) {
	tests := map[string]struct{ toml, want string }{
		"no TOML":           {"protocol = 99\nfence = yes\n", "f:2:9: unexpected character U+0079 'y' at start of value; allowed: TOML 1.0 (https://toml.io)"},
		"an open string":    {"include = [\"wan0]\n", "f:1:18: basic strings cannot have new lines; allowed: TOML 1.0 (https://toml.io)"},
		"a key twice":       {"protocol = 99\nprotocol = 98\n", "f:2:1: protocol: key protocol is already defined; allowed: TOML 1.0 (https://toml.io)"},
		"an unknown key":    {"fense = true", "f:1:1: fense: unknown key" + allowedTop},
		"an unknown table":  {"\n[log]\nlevel = 'debug'", "f:2:2: log: unknown key" + allowedTop},
		"a dotted key":      {"a.b = 1", "f:1:1: a: unknown key" + allowedTop},
		"a hostile key":     {"\"a\\n\\u001b[2J\" = 1", `f:1:1: a\n\x1b[2J: unknown key` + allowedTop},
		"a wrong type":      {"fence = 'yes'", "f:1:9: fence: is a string; allowed: true or false"},
		"a wrong list":      {"exclude = 'wan0'", `f:1:11: exclude: is a string; allowed: a list of globs of interface names, as ["wan*", "eth[0-3]"]`},
		"a bad glob":        {"exclude = ['a', '[b']", `f:1:17: exclude: "[b" is not a well-formed glob; allowed: a list of globs of interface names, as ["wan*", "eth[0-3]"]`},
		"an element":        {"include = [\n 'a',\n 7,\n '']", "f:3:2: include: is a number; allowed: a list of globs of interface names, as [\"wan*\", \"eth[0-3]\"]\nf:4:2: include: is empty; allowed: a list of globs of interface names, as [\"wan*\", \"eth[0-3]\"]"},
		"protocol 0":        {"protocol = 0", "f:1:12: protocol: 0 is too low" + allowedProto},
		"protocol 256":      {"protocol = 256", "f:1:12: protocol: 256 is too high" + allowedProto},
		"protocol kernel":   {"protocol = 2", "f:1:12: protocol: 2 is the kernel's own" + removed + allowedProto},
		"protocol static":   {"protocol = 4", "f:1:12: protocol: 4 is what administrators and managers of static routes use" + removed + allowedProto},
		"protocol ra":       {"protocol = 9", "f:1:12: protocol: 9 is for router advertisements" + removed + allowedProto},
		"protocol dhcp":     {"protocol = 16", "f:1:12: protocol: 16 is for the routes of DHCP clients" + removed + allowedProto},
		"protocol bgp":      {"protocol = 186", "f:1:12: protocol: 186 is a routing daemon's (see iproute2's rt_protos)" + removed + allowedProto},
		"priority too high": {"priority_base = 31001", "f:1:17: priority_base: 31001 is too high; allowed: a number from 1 to 31000: the first of 1000 priorities"},
		"range too short":   {"table_range = [7000, 7014]", "f:1:15: table_range: has room for only 15 tables" + allowedRange},
		"range backwards":   {"table_range = [7000, 6000]", "f:1:15: table_range: ends at 6000 before it begins at 7000" + allowedRange},
		"range of three":    {"table_range = [7000, 7100, 7200]", "f:1:15: table_range: has 3 elements" + allowedRange},
		"range over main":   {"table_range = [200, 7000]", "f:1:16: table_range: 200 is too low" + allowedRange},
		"range overflow":    {"table_range = [7000, 2147483648]", "f:1:22: table_range: 2147483648 is too high" + allowedRange},
		"relative path":     {"rt_tables_dir = 'etc'", `f:1:17: rt_tables_dir: "etc" is a relative path; allowed: an absolute path, or "" for no names`},
		"prefixes": {"classless_routes = ['10.0.0.0/8', '10.0.0.1/8', '10.0.0.0', '127.0.0.0/8', '::ffff:10.0.0.0/104', 'fe80::%a/64', '', 8]",
			`f:1:35: classless_routes: "10.0.0.1/8" has host bits: write 10.0.0.0/8` + allowedDst + "\n" +
				`f:1:49: classless_routes: "10.0.0.0" is no prefix` + allowedDst + "\n" +
				`f:1:61: classless_routes: "127.0.0.0/8" is in 127.0.0.0/8, where no gateway leads` + allowedDst + "\n" +
				`f:1:76: classless_routes: "::ffff:10.0.0.0/104" is an IPv4 prefix in an IPv6 one: write the IPv4 prefix` + allowedDst + "\n" +
				`f:1:99: classless_routes: "fe80::%a/64" is no prefix` + allowedDst + "\n" +
				`f:1:114: classless_routes: is empty` + allowedDst + "\n" +
				`f:1:118: classless_routes: is a number` + allowedDst},
		"a prefix alone": {"classless_routes = '10.0.0.0/8'", "f:1:20: classless_routes: is a string" + allowedDst},
		"accounts": {"hook_users = ['a:b', '', -1, 4294967295, '65534', true, 'a b']", `f:1:15: hook_users: "a:b" can be no name: it has a colon, white space or a control byte in it` + allowedUsers + "\n" +
			"f:1:22: hook_users: is empty" + allowedUsers + "\n" + "f:1:26: hook_users: -1 is too low" + allowedUsers + "\n" +
			"f:1:30: hook_users: 4294967295 is too high" + allowedUsers + "\n" + `f:1:42: hook_users: "65534" is a number in quotes` + allowedUsers + "\n" +
			"f:1:51: hook_users: is a boolean" + allowedUsers + "\n" + `f:1:57: hook_users: "a b" can be no name: it has a colon, white space or a control byte in it` + allowedUsers},
		"one group":         {"hook_groups = 'vpn'", `f:1:15: hook_groups: is a string; allowed: a list of groups by name or number, as ["openvpn", 65534]`},
		"uplink as a table": {"[uplink]\ninterface = 'a'", "f:1:2: uplink: is a table; allowed: sections that begin with [[uplink]]"},
		"uplink as numbers": {"uplink = [1]", "f:1:11: uplink: is a number; allowed: sections that begin with [[uplink]]"},
		"a date":            {"fence = 2026-01-01", "f:1:9: fence: is a date or time; allowed: true or false"},
		"matches nothing":   {"[[uplink]]\nname = 'dsl'", "f:1:3: uplink: the section says for no link; allowed: a section with at least one of interface, mac, kind"},
		"two that are taken": {
			"[[uplink]]\ninterface='a'\nname='x'\ntable=300\nfwmark='1'\n[[uplink]]\ninterface='b'\nname='x'\ntable=300\nfwmark='0x1/0xffffffff'",
			"f:8:6: uplink.name: \"x\" is taken by line 3; allowed: one that no other section has\n" +
				"f:9:7: uplink.table: 300 is taken by line 4; allowed: one that no other section has\n" +
				"f:10:8: uplink.fwmark: \"0x1/0xffffffff\" is taken by line 5; allowed: one that no other section has",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantProblems(t, tt.toml, tt.want) })
	}
}

func TestParseSectionProblems(t *testing.T) {
	tests := map[string]struct{ key, want string }{
		"interface empty":     {"interface = ''", "interface: is empty; allowed: a glob of interface names, as \"wan*\""},
		"interface slash":     {"interface = 'a/b'", `interface: "a/b" can match no interface: a name has no slash, colon or white space; allowed: a glob of interface names, as "wan*"`},
		"mac":                 {"mac = '02:00'", `mac: "02:00" is no hardware address` + allowedMAC},
		"kind":                {"kind = 'a b'", `kind: "a b" is no kind of link; allowed: a kind of link as "ip -d link" prints it, as "ppp", "vlan", "wireguard"`},
		"name main":           {"name = 'main'", `name: "main" is a name of the kernel's own` + allowedName},
		"name number":         {"name = '0x10'", `name: "0x10" is a number` + allowedName},
		"name octal-looking":  {"name = '089'", `name: "089" is a number` + allowedName},
		"name too long":       {"name = 'abcdefghijklmnop'", `name: "abcdefghijklmnop" cannot name a routing table` + allowedName},
		"name like a flag":    {"name = '--help'", `name: "--help" cannot name a routing table` + allowedName},
		"name with a newline": {`name = "a\nb"`, `name: "a\nb" cannot name a routing table` + allowedName},
		"table main":          {"table = 254", "table: 254 is a table of the kernel's own" + allowedTable},
		"table default":       {"table = 253", "table: 253 is a table of the kernel's own" + allowedTable},
		"table local":         {"table = 255", "table: 255 is a table of the kernel's own" + allowedTable},
		"table zero":          {"table = 0", "table: 0 is too low" + allowedTable},
		"table string":        {"table = 'dsl'", "table: is a string" + allowedTable},
		"gateway text":        {"gateway = 'router'", `gateway: "router" is no address` + allowedGW},
		"gateway unspecified": {"gateway = '0.0.0.0'", `gateway: "0.0.0.0" is the unspecified address` + allowedGW},
		"gateway loopback":    {"gateway = '::1'", `gateway: "::1" is a loopback address` + allowedGW},
		"gateway multicast":   {"gateway = 'ff02::2'", `gateway: "ff02::2" is a multicast address` + allowedGW},
		"gateway broadcast":   {"gateway = '255.255.255.255'", `gateway: "255.255.255.255" is no unicast address` + allowedGW},
		"gateway this-net":    {"gateway = '0.1.2.3'", `gateway: "0.1.2.3" is no unicast address` + allowedGW},
		"gateway zone":        {"gateway = 'fe80::1%wan0'", `gateway: "fe80::1%wan0" has a zone: the link is the one that the section matches` + allowedGW},
		"gateway mapped":      {"gateway = '::ffff:192.0.2.1'", `gateway: "::ffff:192.0.2.1" is an IPv4 address in an IPv6 one: write the IPv4 address` + allowedGW},
		"gateway number":      {"gateway = 1", "gateway: is a number" + allowedGW},
		"mark zero":           {"fwmark = '0/0xff'", `fwmark: "0/0xff" is the mark of every packet that nobody marked` + allowedMark},
		"mark outside":        {"fwmark = '0x100/0xff'", `fwmark: "0x100/0xff" can match no packet: the mark has bits outside its mask` + allowedMark},
		"mark text":           {"fwmark = 'x'", `fwmark: "x" is no mark of 32 bits` + allowedMark},
		"mark wide":           {"fwmark = '0x100000000'", `fwmark: "0x100000000" is no mark of 32 bits` + allowedMark},
		"mask text":           {"fwmark = '1/'", `fwmark: "1/" has no mask of 32 bits` + allowedMark},
		"exclude":             {"exclude = []", "exclude: is a list; allowed: true or false"},
		"arp":                 {"arp = 'loose'", `arp: "loose" is neither; allowed: "strict" or "off"`},
		"arp as a boolean":    {"arp = true", `arp: is a boolean; allowed: "strict" or "off"`},
		"fence":               {"fence = 1.5", "fence: is a floating point number; allowed: true or false"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, _, _ := strings.Cut(tt.key, "=")
			column := len(key) + len("= ") + 1
			match := "kind = 'ppp'\n"
			if strings.HasPrefix(tt.key, "kind") {
				match = ""
			}
			_, err := Parse("f", []byte("[[uplink]]\n"+tt.key+"\n"+match))
			want := &Error{File: "f", Problems: []Problem{{Line: 2, Column: column, Key: "uplink." + strings.TrimSpace(key)}}}
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			_, want.Problems[0].Text, _ = strings.Cut(tt.want, ": ")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSectionListProblems(t *testing.T) {
	const allowedIIF = `; allowed: a list of interface names, as ["lan0"]`
	const allowedLAN = `; allowed: a list of prefixes without host bits, as ["2001:db8:100::/56", "203.0.113.8/29"]`
	wantProblems(t, "[[uplink]]\nkind='ppp'\ndelegated = ['2001:db8:100::1/56', '::/0', '10.0.0.0/7', '2001:db8:100::/56', 'fe80::/64', '2000::/11', 'x']\n",
		`f:3:14: uplink.delegated: "2001:db8:100::1/56" has host bits: write 2001:db8:100::/56`+allowedLAN+"\n"+
			`f:3:36: uplink.delegated: "::/0" is shorter than /12`+allowedLAN+"\n"+
			`f:3:44: uplink.delegated: "10.0.0.0/7" is shorter than /8`+allowedLAN+"\n"+
			`f:3:79: uplink.delegated: "fe80::/64" is in fe80::/10, where no gateway leads`+allowedLAN+"\n"+
			`f:3:92: uplink.delegated: "2000::/11" is shorter than /12`+allowedLAN+"\n"+
			`f:3:105: uplink.delegated: "x" is no prefix`+allowedLAN)
	wantProblems(t, "[[uplink]]\nkind='ppp'\ngateway = ['192.0.2.1', '198.51.100.1', 'fe80::1']\n"+
		"iif = ['a b', '..', 'abcdefghijklmnop', 'ok', 'r\u00e9', '\u00e0']\nlog = 1\n",
		`f:3:25: uplink.gateway: "198.51.100.1" is the second one of its family`+allowedGW+"\n"+
			`f:4:8: uplink.iif: "a b" has a slash, colon or white space in it`+allowedIIF+"\n"+
			`f:4:15: uplink.iif: ".." is no interface name`+allowedIIF+"\n"+
			`f:4:21: uplink.iif: "abcdefghijklmnop" is longer than 15 bytes`+allowedIIF+"\n"+
			`f:4:54: uplink.iif: "\u00e0" has a slash, colon or white space in it`+allowedIIF+"\n"+
			"f:5:1: uplink.log: unknown key; allowed: interface, mac, kind, exclude, name, table, gateway, fwmark, iif, delegated, fence, to_rules, dns_rules, arp, classless_routes, observe_dhcp, observe_ra")
}

// Everything at once, in the order of the file: an operator mends a file once, not once a mistake.
func TestParseReportsAll(t *testing.T) {
	wantProblems(t, `priority_base = "high"
colour = "red"
protocol = 2
table_range = [1, "x"]

[[uplink]]
table = 255
gateway = ["127.0.0.1", 4]

[[uplink]]
interface = "wan0"
fence = "no"
`, `f:1:17: priority_base: is a string; allowed: a number from 1 to 31000: the first of 1000 priorities
f:2:1: colour: unknown key`+allowedTop+`
f:3:12: protocol: 2 is the kernel's own`+removed+allowedProto+`
f:4:16: table_range: 1 is too low`+allowedRange+`
f:4:19: table_range: is a string`+allowedRange+`
f:6:3: uplink: the section says for no link; allowed: a section with at least one of interface, mac, kind
f:7:9: uplink.table: 255 is a table of the kernel's own`+allowedTable+`
f:8:12: uplink.gateway: "127.0.0.1" is a loopback address`+allowedGW+`
f:8:25: uplink.gateway: is a number`+allowedGW+`
f:12:9: uplink.fence: is a string; allowed: true or false`)
}

func wantProblems(t *testing.T, toml, want string) {
	t.Helper()
	c, err := Parse("f", []byte(toml))
	if err == nil {
		t.Fatalf("no error, but %+v", c)
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("%T is no *Error", err)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
