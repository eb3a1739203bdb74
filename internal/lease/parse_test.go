package lease_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// compare addresses and prefixes as what they are: comparable values.
var netips = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// call is one call of a client with an environment of "KEY=VALUE" words separated by '|'.
func call(client, env string, args ...string) lease.Input {
	in := lease.Input{Client: client, Args: args, Env: map[string]string{}, Interface: "wan0", Index: 7}
	for _, e := range strings.Split(env, "|") {
		if k, v, ok := strings.Cut(e, "="); ok {
			in.Env[k] = v
		}
	}
	return in
}

func parse(t *testing.T, in lease.Input) lease.Event {
	t.Helper()
	return only(t, parseAll(t, in))
}

func parseAll(t testing.TB, in lease.Input) []lease.Event {
	t.Helper()
	evs, err := lease.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	return evs
}

// only is the one event of a call that is about one source.
func only(t testing.TB, evs []lease.Event) lease.Event {
	t.Helper()
	if len(evs) != 1 {
		t.Fatalf("%d events, want one: %s", len(evs), texts(evs))
	}
	return evs[0]
}

// base is a good lease; what follows it in a test counts.
const base = "reason=RENEW|new_ip_address=192.0.2.9|new_subnet_mask=255.255.255.0|new_routers=192.0.2.1|new_dhcp_lease_time=60|"

// TestValues goes through what no recorded call shows. The wanted text is that of the golden files.
func TestValues(t *testing.T) {
	const good = "dhclient RENEW: bind sole 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]"
	for _, c := range []struct{ name, client, env, want string }{
		{"a good one", "dhclient", base, good + " for 1m0s"},
		{"mask not contiguous", "dhclient", base + "new_subnet_mask=255.0.255.0",
			"dhclient RENEW: bind sole 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1] for 1m0s\n    ! subnet mask \"255.0.255.0\": not contiguous"},
		{"mask of ones", "dhclient", base + "new_subnet_mask=255.255.255.255",
			"dhclient RENEW: bind sole 192.0.2.9/32 routers [192.0.2.1] gateways [192.0.2.1] for 1m0s"},
		{"mask of another family", "dhclient", base + "new_subnet_mask=ffff::",
			"dhclient RENEW: bind sole 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1] for 1m0s\n    ! subnet mask \"ffff::\": not one"},
		{"broadcast as router, doubles, another family, text", "dhclient", base + "new_routers=192.0.2.255 192.0.2.1 192.0.2.1 2001:db8::1 ::ffff:192.0.2.7 $(id) 192.0.2.1/24",
			good + " for 1m0s\n    ! router \"192.0.2.255\": the subnet's broadcast address\n    ! router \"2001:db8::1\": not an address of the family" +
				"\n    ! router \"::ffff:192.0.2.7\": not an address of the family\n    ! router \"$(id)\": not an address\n    ! router \"192.0.2.1/24\": not an address"},
		{"a /31 has no broadcast address", "dhclient", base + "new_subnet_mask=255.255.255.254|new_routers=192.0.2.8",
			"dhclient RENEW: bind sole 192.0.2.9/31 routers [192.0.2.8] gateways [192.0.2.8] for 1m0s"},
		{"8 routers", "dhclient", base + "new_routers=" + strings.Repeat("192.0.2.1 ", 8), good + " for 1m0s"},
		{"9 routers", "dhclient", base + "new_routers=" + strings.Repeat("192.0.2.1 ", 9),
			"dhclient RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! router: 9 of them, at most 8 are taken: all refused"},
		{"9 name servers", "dhclient", base + "new_domain_name_servers=" + strings.Repeat("192.0.2.1 ", 9),
			good + " for 1m0s keep-dns\n    ! name server: 9 of them, at most 8 are taken: all refused"},
		{"128 routes", "dhclient", base + "new_rfc3442_classless_static_routes=" + strings.Repeat("8 10 192 0 2 66 ", 128),
			"dhclient RENEW: bind sole 192.0.2.9/24 classless (128 routes, the last 10.0.0.0/8 via 192.0.2.66) gateways [] for 1m0s"},
		{"129 routes", "dhclient", base + "new_rfc3442_classless_static_routes=" + strings.Repeat("8 10 192 0 2 66 ", 129),
			"dhclient RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! option 121: 129 routes, at most 128 are taken: all refused"},
		{"lease time over 32 bits", "dhclient", base + "new_dhcp_lease_time=4294967296",
			good + "\n    ! lease time \"4294967296\": not a number of seconds"},
		{"lease time below 0", "dhclient", base + "new_dhcp_lease_time=-1", good + "\n    ! lease time \"-1\": not a number of seconds"},
		{"MTU of text", "dhclient", base + "new_interface_mtu=<error>", good + " for 1m0s\n    ! MTU \"<error>\": not from 576 to 9216"},
		{"link-local address", "dhclient", base + "new_ip_address=169.254.1.1",
			"dhclient RENEW: ignore (no usable address)\n    ! leased address \"169.254.1.1\": link-local"},
		{"reserved address", "dhclient", base + "new_ip_address=240.0.0.1",
			"dhclient RENEW: ignore (no usable address)\n    ! leased address \"240.0.0.1\": in 240.0.0.0/4"},
		{"address of this network", "dhclient", base + "new_ip_address=0.1.2.3",
			"dhclient RENEW: ignore (no usable address)\n    ! leased address \"0.1.2.3\": in 0.0.0.0/8"},
		{"long text", "dhclient", base + "new_routers=" + strings.Repeat("\n\xff", 40)[1:],
			"dhclient RENEW: bind sole 192.0.2.9/24 gateways [] REFUSED for 1m0s" + manyBadRouters()},
		{"unknown reason", "dhclient", "reason=\x1b[2J" + strings.Repeat("x", 60),
			"dhclient \"\\x1b[2J" + strings.Repeat("x", 44) + "\"...: ignore (unknown reason)"},
		{"end without address", "dhclient", "reason=EXPIRE", "dhclient EXPIRE: remove all"},
		{"end with a bad address", "dhclient", "reason=STOP|old_ip_address=x", "dhclient STOP: remove all\n    ! old address \"x\": not an address"},
		{"end of a lease that was refused", "dhclient", "reason=STOP|old_ip_address=127.0.0.1", "dhclient STOP: remove 127.0.0.1"},
		{"v6: IPv4 in IPv6", "dhclient", "reason=BOUND6|new_ip6_address=::ffff:192.0.2.1",
			"dhclient6 BOUND6: ignore (no usable address)\n    ! leased address \"::ffff:192.0.2.1\": not an address of the family"},
		{"v6: zone", "dhclient", "reason=BOUND6|new_ip6_address=2001:db8::1%eth0",
			"dhclient6 BOUND6: ignore (no usable address)\n    ! leased address \"2001:db8::1%eth0\": not an address of the family"},
		{"v6: link-local", "dhclient", "reason=REBIND6|new_ip6_address=fe80::1",
			"dhclient6 REBIND6: ignore (no usable address)\n    ! leased address \"fe80::1\": link-local"},
		{"v6: for ever, no prefix length", "dhclient", "reason=BOUND6|new_ip6_address=2001:db8::1|new_max_life=4294967295",
			"dhclient6 BOUND6: bind 2001:db8::1/-1 gateways [] for ever"},
		{"v6: lifetime of text is no end", "dhclient", "reason=BOUND6|new_ip6_address=2001:db8::1|new_ip6_prefixlen=129|new_max_life=x",
			"dhclient6 BOUND6: bind 2001:db8::1/-1 gateways []\n    ! prefix length \"129\": not from 1 to 128\n    ! valid lifetime \"x\": not a number of seconds"},
		{"v6: end with a bad address removes nothing", "dhclient", "reason=EXPIRE6|old_ip6_address=192.0.2.1",
			"dhclient6 EXPIRE6: ignore (no usable address)\n    ! old address \"192.0.2.1\": not an address of the family"},
		{"v6: delegated, with bits after its length", "dhclient", "reason=BOUND6|new_ip6_prefix=2001:db8:100::1/56|new_max_life=60|new_dhcp6_name_servers=2001:db8::53",
			"dhclient6 BOUND6: bind delegated 2001:db8:100::/56 gateways [] for 1m0s"},
		{"v6: delegated, taken back", "dhclient", "reason=RENEW6|new_ip6_prefix=2001:db8:100::/56|new_max_life=0", "dhclient6 RENEW6: remove 2001:db8:100::"},
		{"v6: delegated, no length", "dhclient", "reason=BOUND6|new_ip6_prefix=2001:db8:100::",
			"dhclient6 BOUND6: ignore (no usable prefix)\n    ! delegated prefix \"2001:db8:100::\": not a prefix"},
		{"v6: delegated, all there is", "dhclient", "reason=BOUND6|new_ip6_prefix=2001::/0",
			"dhclient6 BOUND6: ignore (no usable prefix)\n    ! delegated prefix \"2001::/0\": unspecified"},
		{"v6: delegated, IPv4", "dhclient", "reason=BOUND6|new_ip6_prefix=::ffff:10.0.0.0/104",
			"dhclient6 BOUND6: ignore (no usable prefix)\n    ! delegated prefix \"::ffff:10.0.0.0/104\": not a prefix of the family"},
		{"v6: end of a delegated prefix", "dhclient", "reason=EXPIRE6|old_ip6_prefix=2001:db8:100::/56", "dhclient6 EXPIRE6: remove 2001:db8:100::"},
		{"v6: lifetime 00", "dhclient", "reason=RENEW6|new_ip6_address=2001:db8::1|new_max_life=00", "dhclient6 RENEW6: remove 2001:db8::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, text(parse(t, call(c.client, c.env)))); d != "" {
				t.Error(d)
			}
		})
	}
}

// manyBadRouters: 39 newlines are white space, so the 40 bytes between them are 40 routers: one problem.
func manyBadRouters() string {
	return " keep-gateways\n    ! router: 40 of them, at most 8 are taken: all refused"
}

// TestOption121Spellings: the same routes in the three forms in which dhclient gives them.
func TestOption121Spellings(t *testing.T) {
	want := []lease.Route{
		{Dst: netip.MustParsePrefix("10.1.2.0/23"), Gateway: netip.MustParseAddr("192.0.2.66")},
		{Dst: netip.MustParsePrefix("169.254.169.254/32"), Gateway: netip.IPv4Unspecified()},
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.67")},
	}
	// 10.1.3/23: a bit under the mask is set, and RFC 3442 says that it must be cleared.
	for _, env := range []string{
		"new_rfc3442_classless_static_routes=23 10 1 3 192 0 2 66 32 169 254 169 254 0 0 0 0 0 192 0 2 67",
		"new_classless_static_routes=23.10.1.3 192.0.2.66 32.169.254.169.254 0.0.0.0 0 192.0.2.67",
		"new_unknown_121=17:a:1:3:c0:0:2:42:20:a9:fe:a9:fe:0:0:0:0:0:c0:0:2:43",
	} {
		ev := parse(t, call("dhclient", base+env))
		if d := cmp.Diff(want, ev.Lease.Classless, netips); d != "" || !ev.Lease.HasClassless || len(ev.Problems) > 0 {
			t.Errorf("%s: %q\n%s", env, ev.Problems, d)
		}
		if d := cmp.Diff([]netip.Addr{netip.MustParseAddr("192.0.2.67")}, ev.Lease.Gateways(), netips); d != "" {
			t.Error(d)
		}
	}
}

// TestOption121Malformed: one bad byte refuses all of it, and the routers are not taken instead.
func TestOption121Malformed(t *testing.T) {
	for _, env := range []string{
		"new_rfc3442_classless_static_routes=0 192 0 2 67 8", "new_rfc3442_classless_static_routes=0 192 0 2",
		"new_rfc3442_classless_static_routes=0 192 0 2 256", "new_rfc3442_classless_static_routes=0 192 0 2 x",
		"new_rfc3442_classless_static_routes=0 192 0 2 67 33 1 2 3 4 5 192 0 2 66", "new_rfc3442_classless_static_routes=-1",
		"new_classless_static_routes=0 192.0.2.67 8.10", "new_classless_static_routes=8 192.0.2.67",
		"new_classless_static_routes=8.10.0 192.0.2.67", "new_classless_static_routes=33.1.2.3.4.5 192.0.2.67",
		"new_classless_static_routes=0.1.2.3.4.0 192.0.2.67",
		"new_classless_static_routes=0 ::1", "new_classless_static_routes=. 192.0.2.1",
		"new_unknown_121=0:c0:0:2", "new_unknown_121=0:c0:0:2:100", "new_unknown_121=0:c0:0:2:", "new_unknown_121=g",
		"new_unknown_121=0 c0 0 2 1",
	} {
		ev := parse(t, call("dhclient", base+env))
		if ev.Verb != lease.Bind || ev.Lease.HasClassless || len(ev.Lease.Gateways()) > 0 || ev.Keep != 0 || len(ev.Problems) != 1 {
			t.Errorf("%s: %s", env, text(ev))
		}
	}
}

func TestOption121RoutesThatAreRefused(t *testing.T) {
	for dst, ok := range map[string]bool{
		"8 127": false, "16 127 1": false, "7 126": true, "8 0": false, "4 224": false, "3 224": false, "8 240": false,
		"1 0": true, "0": true, "1 128": true, "16 169 254": true, "32 10 0 0 1": true,
	} {
		ev := parse(t, call("dhclient", base+"new_rfc3442_classless_static_routes="+dst+" 192 0 2 66"))
		if got := len(ev.Lease.Classless) == 1; got != ok || len(ev.Problems) == 1 == ok || !ev.Lease.HasClassless {
			t.Errorf("%s: %s", dst, text(ev))
		}
	}
}

// TestOverLimitIsNotAbsent: a list that the hook refused leaves what was known.
func TestOverLimitIsNotAbsent(t *testing.T) {
	before := parse(t, call("dhclient", base+"new_domain_name_servers=192.0.2.53")).Lease
	for _, c := range []struct {
		name, env string
		refused   []string
		want      []string // gateways, then name servers
	}{
		{"routers", base, []string{"new_routers"}, []string{"192.0.2.1", ""}},
		{"option 121", base, []string{"new_rfc3442_classless_static_routes"}, []string{"192.0.2.1", ""}},
		{"routers, but option 121 is there", base + "new_unknown_121=0:c0:0:2:43", []string{"new_routers"}, []string{"192.0.2.67", ""}},
		{"name servers", base + "new_routers=192.0.2.2", []string{"new_domain_name_servers"}, []string{"192.0.2.2", "192.0.2.53"}},
		{"any", base, []string{"*"}, []string{"192.0.2.1", "192.0.2.53"}},
		{"another address", base + "new_ip_address=192.0.2.10", []string{"new_routers"}, []string{"", ""}},
	} {
		in := call("dhclient", c.env)
		for _, k := range c.refused {
			delete(in.Env, k)
		}
		in.Refused = c.refused
		ev := parse(t, in)
		after := ev.Over(before, ev.Lease)
		if d := cmp.Diff(c.want, []string{join(after.Gateways()), join(after.DNS)}); d != "" {
			t.Errorf("%s: %s\n%s", c.name, text(ev), d)
		}
	}
	in := call("dhclient", strings.Replace(base, "new_routers", "x", 1))
	in.Refused = []string{"new_routers"}
	if ev := parse(t, in); !slices.Equal(ev.Problems, []string{"new_routers: too long"}) {
		t.Errorf("nothing said: %s", text(ev))
	}
	for _, key := range []string{"DNS1", "DNS2"} {
		in = call("ppp", "IPLOCAL=192.0.2.9", "ip-up")
		in.Refused = []string{key}
		if ev := parse(t, in); ev.Keep != lease.KeepDNS || ev.Over(lease.Lease{}, ev.Lease).Address != ev.Lease.Address {
			t.Errorf("ppp, %s: %s", key, text(ev))
		}
	}
}

// TestOver: what was said of the gateway before stays whole, also that it was refused; another source's word is no such thing.
func TestOver(t *testing.T) {
	before := parse(t, call("dhclient", base+"new_routers=127.0.0.1")).Lease
	before.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	now := before
	now.Routers, now.Refused, now.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}, false, nil
	ev := lease.Event{Verb: lease.Bind, Keep: lease.KeepGateways | lease.KeepDNS}
	if got := ev.Over(before, now); !got.Refused || len(got.Routers) > 0 || join(got.DNS) != "192.0.2.53" {
		t.Errorf("over a refused one: %+v", got)
	}
	before.Source = lease.SourcePPP
	if got := ev.Over(before, now); got.Refused || join(got.Routers) != "192.0.2.1" || len(got.DNS) > 0 {
		t.Errorf("over another source's: %+v", got)
	}
}

func join(as []netip.Addr) string {
	var s []string
	for _, a := range as {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func TestPPP(t *testing.T) {
	const arg = "ppp0|ttyS0|0|10.64.0.100|10.64.0.1"
	for _, c := range []struct{ name, kind, args, env, want string }{
		{"no ipparam", "ip-up", arg, "", "ppp ip-up: bind sole 10.64.0.100/32 peer 10.64.0.1 gateways []"},
		{"variables only", "ip-up", "", "IPLOCAL=10.64.0.9|IPREMOTE=10.64.0.1|DNS1=10.64.0.53",
			"ppp ip-up: bind sole 10.64.0.9/32 peer 10.64.0.1 gateways [] dns [10.64.0.53]"},
		{"link-local peer", "ip-up", "ppp0||0|10.64.0.100|169.254.1.1", "", "ppp ip-up: bind sole 10.64.0.100/32 peer 169.254.1.1 gateways []"},
		{"own address as peer", "ip-up", "ppp0||0|10.64.0.100|10.64.0.100", "",
			"ppp ip-up: bind sole 10.64.0.100/32 gateways []\n    ! remote address \"10.64.0.100\": the host's own address"},
		{"loopback", "ip-up", "ppp0||0|127.0.0.1|10.64.0.100", "",
			"ppp ip-up: ignore (no usable address)\n    ! local address \"127.0.0.1\": loopback"},
		{"down", "ip-down", arg + "|x", "", "ppp ip-down: remove 10.64.0.100"},
		{"down without address", "ip-down", "ppp0", "", "ppp ip-down: remove all"},
		{"bad server", "ip-up", arg, "DNS1=10.64.0.53|DNS2=0.0.0.0",
			"ppp ip-up: bind sole 10.64.0.100/32 peer 10.64.0.1 gateways [] dns [10.64.0.53]\n    ! name server \"0.0.0.0\": unspecified"},
		{"auth-up", "auth-up", "ppp0", "", "ppp \"auth-up\": ignore (unknown script)"},
	} {
		in := call("ppp", c.env, append([]string{c.kind}, strings.Split(c.args, "|")...)...)
		if d := cmp.Diff(c.want, text(parse(t, in))); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	if ev := parse(t, call("ppp", "")); ev.Verb != lease.Ignore {
		t.Errorf("no arguments: %s", text(ev))
	}
}

func TestNoInterface(t *testing.T) {
	in := call("dhclient", base)
	in.Interface = ""
	ev := parse(t, in)
	if ev.Verb != lease.Ignore || ev.Why == "" || ev.Lease.Address.IsValid() || ev.Reason != "RENEW" {
		t.Error(text(ev))
	}
}

func TestUnknownClient(t *testing.T) {
	if _, err := lease.Parse(call("\x1bnobody", base)); !errors.Is(err, lease.ErrClient) || strings.Contains(err.Error(), "\x1b") {
		t.Error(err)
	}
}

// TestTablesAgree: a client needs a line in each of the two tables.
func TestTablesAgree(t *testing.T) {
	if !slices.Equal(lease.Clients(), hookwire.Clients()) {
		t.Errorf("lease knows %q, hookwire %q", lease.Clients(), hookwire.Clients())
	}
}

func TestProblemsAreBounded(t *testing.T) {
	ev := parse(t, call("dhclient", base+"new_rfc3442_classless_static_routes="+strings.Repeat("8 127 192 0 2 66 ", 100)))
	if len(ev.Problems) != 13 || ev.Problems[12] != "and 88 more" {
		t.Errorf("%d problems, the last %q", len(ev.Problems), ev.Problems[len(ev.Problems)-1])
	}
}
