package lease_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// udhcpcBase is a good lease of udhcpc; what follows it in a test counts.
const udhcpcBase = "ip=192.0.2.9|subnet=255.255.255.0|mask=24|router=192.0.2.1|"

// TestUdhcpcValues goes through what no recorded call shows.
func TestUdhcpcValues(t *testing.T) {
	const good = "udhcpc bound: bind sole 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]"
	for _, c := range []struct{ name, action, env, want string }{
		{"a good one", "bound", udhcpcBase, good},
		{"no mask, but its bits", "bound", udhcpcBase + "subnet=", good},
		{"udhcpc counts the bits of what is no mask", "bound", udhcpcBase + "subnet=255.0.255.0|mask=16",
			"udhcpc bound: bind sole 192.0.2.9/-1 routers [192.0.2.1] gateways [192.0.2.1]\n    ! subnet mask \"255.0.255.0\": not contiguous"},
		{"host bits in option 121", "bound", udhcpcBase + "staticroutes=10.1.3.7/23 192.0.2.66 0.0.0.0/0 192.0.2.7",
			"udhcpc bound: bind sole 192.0.2.9/24 classless (10.1.2.0/23 via 192.0.2.66, 0.0.0.0/0 via 192.0.2.7) gateways [192.0.2.7]"},
		{"the default of option 121 is bad", "bound", udhcpcBase + "staticroutes=0.0.0.0/0 127.0.0.1",
			"udhcpc bound: bind sole 192.0.2.9/24 classless () gateways [] REFUSED\n    ! classless route 0.0.0.0/0 via 127.0.0.1: loopback"},
		{"129 routes", "bound", udhcpcBase + "staticroutes=" + strings.Repeat("10.0.0.0/8 192.0.2.66 ", 129),
			"udhcpc bound: bind sole 192.0.2.9/24 gateways [] REFUSED keep-gateways\n    ! option 121: 129 routes, at most 128 are taken: all refused"},
		{"deconfig has no data", "deconfig", udhcpcBase, "udhcpc deconfig: remove all"},
		{"a server's text", "nak", "ip=0.0.0.0|message=go away", "udhcpc nak: ignore (deconfig follows where there was a lease)"},
		{"no address", "renew", "router=192.0.2.1", "udhcpc renew: ignore (no usable address)\n    ! leased address \"\": not an address"},
		{"no action", "", udhcpcBase, "udhcpc : ignore (no action named)"},
		{"unknown action", "bound ", udhcpcBase, "udhcpc \"bound \": ignore (unknown action)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, text(parse(t, call("udhcpc", c.env, c.action)))); d != "" {
				t.Error(d)
			}
		})
	}
	if d := cmp.Diff("udhcpc : ignore (no action named)", text(parse(t, call("udhcpc", udhcpcBase)))); d != "" {
		t.Errorf("without arguments: %s", d)
	}
}

// TestOption121AsPrefixes: one bad word refuses all of it, and the routers are not taken instead.
func TestOption121AsPrefixes(t *testing.T) {
	const good = "0.0.0.0/0 192.0.2.7 "
	for _, bad := range []string{
		"10.0.0.0/8", "10.0.0.0/33 192.0.2.7", "10.0.0.0/-1 192.0.2.7", "10.0.0.0/08 192.0.2.7", "10.0.0.0 192.0.2.7", "10.0.0/8 192.0.2.7",
		"10.0.0.0/8 192.0.2.7/24", "10.0.0.0/8 ::1", "::/0 ::1", "::ffff:10.0.0.0/104 192.0.2.7", "10.0.0.0/8 192.0.2.07", "10.0.0.0/8,192.0.2.7", "x y",
	} {
		for _, text121 := range []string{good + bad, bad + " " + good} {
			ev := parse(t, call("udhcpc", udhcpcBase+"staticroutes="+text121, "bound"))
			if ev.Lease.HasClassless || len(ev.Lease.Gateways()) > 0 || !ev.Lease.Refused || ev.Keep != 0 || len(ev.Problems) != 1 {
				t.Errorf("%s: %s", text121, text(ev))
			}
		}
	}
	for _, blank := range []string{"", " ", "\n"} {
		if ev := parse(t, call("udhcpc", udhcpcBase+"staticroutes="+blank, "bound")); !ev.Lease.Refused || len(ev.Problems) != 1 {
			t.Errorf("%q: %s", blank, text(ev))
		}
	}
}

// TestUdhcpcAllowsNoMoreThanItNeeds: its variables have no prefix, so these very keys are let through and no others.
func TestUdhcpcAllowsNoMoreThanItNeeds(t *testing.T) {
	for key, want := range map[string]bool{
		"interface": true, "ip": true, "subnet": true, "mask": true, "router": true, "dns": true, "mtu": true, "lease": true, "staticroutes": true,
		"hostname": false, "domain": false, "message": false, "bootfile": false, "wpad": false, "PATH": false, "IP": false, "ip6": false, "routers": false,
		"msstaticroutes": false, "routes": false, "opt53": false, "ipttl": false, "router1": false,
	} {
		if got := hookwire.Allowed("udhcpc", key); got != want {
			t.Errorf("Allowed(udhcpc, %s) = %v", key, got)
		}
	}
}
