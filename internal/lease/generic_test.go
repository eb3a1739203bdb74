package lease_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// genericAll is a call with every option but --remove, its arguments separated by '|'.
const genericAll = "--interface|wan0|--gateway=192.0.2.1|--address|192.0.2.9/24|--dns=192.0.2.53|--mtu=1492|--lifetime=60|--route=10.1.2.3/16,192.0.2.8|--source=lte-0"

func TestGenericValues(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{genericAll, "generic-lte-0 add: bind 192.0.2.9/24 routers [192.0.2.1] routes (10.1.0.0/16 via 192.0.2.8) gateways [192.0.2.1] dns [192.0.2.53] mtu 1492 for 1m0s"},
		{"--interface=wan0|--address=192.0.2.9", "generic add: bind 192.0.2.9/-1 gateways []"},
		{"--interface=wan0|--address=192.0.2.9|--gateway=192.0.2.1|--gateway|192.0.2.2", "generic add: bind 192.0.2.9/-1 routers [192.0.2.1 192.0.2.2] gateways [192.0.2.1 192.0.2.2]"},
		{"--interface=wan0|--address=2001:db8::9/64|--gateway=fe80::1|--dns=192.0.2.53|--lifetime=4294967295", "generic add: bind 2001:db8::9/64 routers [fe80::1] gateways [fe80::1] dns [192.0.2.53] for ever"},
		{"--interface=wan0|--address=2001:db8::9/64|--route=2001:db8:7::/48,2001:db8::1", "generic add: bind 2001:db8::9/64 routes (2001:db8:7::/48 via 2001:db8::1) gateways []"},
		{"--interface=wan0|--address=192.0.2.9/32|--gateway=198.51.100.1", "generic add: bind 192.0.2.9/32 routers [198.51.100.1] gateways [198.51.100.1]"},
		{"--interface=wan0|--address=2001:db8::9/128|--source=fifteen-letters", "generic-fifteen-letters add: bind 2001:db8::9/128 gateways []"},
		{"--interface=wan0|--lifetime=60|--delegated=2001:db8:100::7/56|--source=pd", "generic-pd add: bind delegated 2001:db8:100::/56 gateways [] for 1m0s"},
		{"--interface=wan0|--remove|--delegated|2001:db8:100::/56", "generic remove: remove 2001:db8:100::"},
		{"--interface=wan0|--remove", "generic remove: remove all"},
		{"--remove|--interface|wan0|--source|lte-0", "generic-lte-0 remove: remove all"},
		{"--interface=wan0|--remove|--address=192.0.2.9/24", "generic remove: remove 192.0.2.9"},
		{"--interface=wan0|--remove|--address|192.0.2.9|--source=a", "generic-a remove: remove 192.0.2.9"},
	} {
		if d := cmp.Diff(c.want, text(parse(t, call("generic", "", strings.Split(c.args, "|")...)))); d != "" {
			t.Errorf("%s: %s", c.args, d)
		}
	}
}

// TestGenericIsTakenWholeOrNotAtAll: each mistake is named, in the reason and as a problem, which the log shows.
func TestGenericIsTakenWholeOrNotAtAll(t *testing.T) {
	const some = "--interface=wan0|--address=192.0.2.9/24|"
	for args, want := range map[string]string{
		"":                            "\"\": not an option",
		"wan0":                        "\"wan0\": not an option",
		"--address=192.0.2.9":         "--interface: missing",
		"--remove":                    "--interface: missing",
		"--interface=wan0":            "--address: missing",
		"--interface=wan0|--address":  "\"--address\": no value",
		some + "--addr=1":             "\"--addr\": unknown option",
		some + "--\x1b=1":             "\"--\\x1b\": unknown option",
		some + "--interface=eth0":     "\"--interface\": more than once",
		some + "--address=192.0.2.10": "\"--address\": more than once",
		some + "--mtu=1500|--mtu=1":   "\"--mtu\": more than once",
		some + "--gateway=127.0.0.1":  "--gateway \"127.0.0.1\": loopback",
		some + "--gateway=192.0.2.9":  "--gateway \"192.0.2.9\": the host's own address",
		some + "--gateway=fe80::1":    "--gateway \"fe80::1\": not an address of the family",
		some + "--gateway=":           "--gateway \"\": not an address",
		some + "--gateway=192.0.2.1|--gateway=$(id)":                             "--gateway \"$(id)\": not an address",
		some + strings.Repeat("--gateway=192.0.2.1|", 8) + "--gateway=192.0.2.1": "--gateway \"192.0.2.1\": more than 8",
		some + strings.Repeat("--dns=192.0.2.1|", 8) + "--dns=192.0.2.1":         "--dns \"192.0.2.1\": more than 8",
		some + "--dns=0.0.0.0":                                                 "--dns \"0.0.0.0\": unspecified",
		some + "--dns=fe80::1%wan0":                                            "--dns \"fe80::1%wan0\": not an address",
		some + "--mtu=68":                                                      "--mtu \"68\": not from 576 to 9216",
		some + "--lifetime=0":                                                  "--lifetime \"0\": not from 1 to 4294967295",
		some + "--lifetime=1h":                                                 "--lifetime \"1h\": not from 1 to 4294967295",
		some + "--lifetime=4294967296":                                         "--lifetime \"4294967296\": not from 1 to 4294967295",
		some + "--route=10.0.0.0/8":                                            "--route \"10.0.0.0/8\": not in the form PREFIX,GATEWAY",
		some + "--route=10.0.0.0,192.0.2.1":                                    "--route \"10.0.0.0,192.0.2.1\": not in the form PREFIX,GATEWAY",
		some + "--route=10.0.0.0/8,x":                                          "--route \"10.0.0.0/8,x\": not an address",
		some + "--route=0.0.0.0/0,192.0.2.1":                                   "--route \"0.0.0.0/0,192.0.2.1\": a default route: say --gateway",
		some + "--route=127.0.0.0/8,192.0.2.1":                                 "--route \"127.0.0.0/8,192.0.2.1\": destination in 127.0.0.0/8",
		some + "--route=2001:db8::/32,192.0.2.1":                               "--route \"2001:db8::/32,192.0.2.1\": not a network of the address's family",
		some + "--source=":                                                     "--source \"\": not 1 to 15 of a-z, 0-9 and -",
		some + "--source=Dhclient":                                             "--source \"Dhclient\": not 1 to 15 of a-z, 0-9 and -",
		some + "--source=sixteen-letters-":                                     "--source \"sixteen-letters-\": not 1 to 15 of a-z, 0-9 and -",
		some + "--remove=yes":                                                  "--remove takes no value",
		some + "--remove|--gateway=192.0.2.1":                                  "--gateway: not together with --remove",
		some + "--remove|--mtu=1500|--dns=1.1.1.1":                             "--dns: not together with --remove",
		some + "--delegated=2001:db8:100::/56":                                 "--delegated: not together with --address",
		"--interface=wan0|--delegated=2001:db8::/56|--gateway=fe80::1":         "--gateway: not together with --delegated",
		"--interface=wan0|--delegated=2001:db8::/56|--dns=192.0.2.1":           "--dns: not together with --delegated",
		"--interface=wan0|--delegated=2001:db8::":                              "--delegated \"2001:db8::\": not a prefix",
		"--interface=wan0|--delegated=192.0.2.0/24":                            "--delegated \"192.0.2.0/24\": not a prefix of the family",
		"--interface=wan0|--delegated=ff00::/8":                                "--delegated \"ff00::/8\": multicast",
		"--interface=wan0|--delegated=2001:db8::/56|--delegated=2001:db8::/56": "\"--delegated\": more than once",
		some + "--remove|--lifetime=60":                                        "--lifetime: not together with --remove",
		some + "--remove|--route=10.0.0.0/8,192.0.2.1":                         "--route: not together with --remove",
		some + strings.Repeat("--route=10.0.0.0/8,192.0.2.1|", 128) + "--route=10.0.0.0/8,192.0.2.2": "--route \"10.0.0.0/8,192.0.2.2\": more than 128",
		"--interface=wan0|--address=127.0.0.1":                                                       "--address \"127.0.0.1\": loopback",
		"--interface=wan0|--address=fe80::1":                                                         "--address \"fe80::1\": link-local",
		"--interface=wan0|--address=192.0.2.9/0":                                                     "--address \"192.0.2.9/0\": the prefix length is not from 1 to 32",
		"--interface=wan0|--address=192.0.2.9/33":                                                    "--address \"192.0.2.9/33\": the prefix length is not from 1 to 32",
		"--interface=wan0|--address=::ffff:1.2.3.4":                                                  "--address \"::ffff:1.2.3.4\": not an address",
	} {
		ev := parse(t, call("generic", "", strings.Split(args, "|")...))
		if ev.Verb != lease.Ignore || ev.Why != want || !slices.Equal(ev.Problems, []string{want}) {
			t.Errorf("%s: %s, want %q", args, text(ev), want)
		}
	}
	in := call("generic", "", strings.Split(genericAll, "|")...)
	in.Refused = []string{"$9"}
	if ev := parse(t, in); ev.Verb != lease.Ignore || ev.Why != "an argument is too long" {
		t.Error(text(ev))
	}
}

// TestGenericSpeaksForItselfOnly: no name of a source makes it another client's.
func TestGenericSpeaksForItselfOnly(t *testing.T) {
	sources := []string{"dhclient", "dhclient6", "ppp", "networkmanager"}
	for _, name := range append(sources, lease.Clients()...) {
		ev := parse(t, call("generic", "", "--interface=wan0", "--remove", "--source="+name))
		if ev.Verb == lease.Ignore {
			continue // too long a name
		}
		if slices.Contains(append(sources, lease.Clients()...), string(ev.Source)) || !strings.HasPrefix(string(ev.Source), "generic-") {
			t.Errorf("--source=%s is %s", name, ev.Source)
		}
	}
}

// TestGenericFormsAgree: what the program that sends the call lets pass, the parser understands, and both find the same link.
func TestGenericFormsAgree(t *testing.T) {
	for _, args := range []string{genericAll, "--source|--interface|--interface=wan0|--remove", "--remove|--interface|wan0", "--interface|--remove|--address=192.0.2.9"} {
		words := strings.Split(args, "|")
		m, err := hookwire.Collect("generic", words, nil)
		if err != nil || hookwire.CheckGeneric(words, nil) != nil {
			t.Fatalf("%s: %v, %v", args, err, hookwire.CheckGeneric(words, nil))
		}
		want := "wan0"
		if strings.Contains(args, "--interface|--remove") {
			want = "--remove" // a link may be named so
		}
		ev := parse(t, lease.Input{Client: "generic", Args: m.Args, Interface: m.Interface})
		if m.Interface != want || strings.Contains(ev.Why, "option") || strings.Contains(ev.Why, "--interface") {
			t.Errorf("%s: link %q, %s", args, m.Interface, text(ev))
		}
	}
	for _, o := range hookwire.GenericOptions() {
		ev := parse(t, call("generic", "", o))
		if strings.Contains(ev.Why, "unknown") {
			t.Errorf("%s: %s", o, text(ev))
		}
	}
}
