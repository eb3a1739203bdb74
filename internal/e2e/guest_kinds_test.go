package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// kind is a kind of device, or a role that a device has. It gets the address 10.N.0.2/24 and a default route by 10.N.0.1 in main.
type kind struct {
	name   string
	dev    string
	make   []string // ip(8), on the host; w0, w1 and w2 are veths that lead to the provider
	far    []string // ip(8), at the provider, whose ends have the same names; GW is the gateway's address
	silent bool     // nobody answers on it
	uplink bool     // what the issue says of it
	lines  []string // ip(8), on the host: what takes the rest away after it
}

// kinds is the table: with an address and a default route, is that an uplink?
func kinds() []kind {
	bond := []string{"link add bo0 type bond mode active-backup miimon 50", "link set w1 down", "link set w2 down",
		"link set w1 master bo0", "link set w2 master bo0", "link set w1 up", "link set w2 up"}
	unbond := []string{"link del bo0", "link set w1 up", "link set w2 up"}
	return []kind{
		{name: "dummy", dev: "d0", make: []string{"link add d0 type dummy"}, silent: true, uplink: true},
		{name: "veth", dev: "v0", make: []string{"link add v0 type veth peer name v1", "link set v1 up"}, silent: true, uplink: true},
		{name: "VLAN", dev: "w0.5", make: []string{"link add link w0 name w0.5 type vlan id 5"},
			far: []string{"link add link w0 name w0.5 type vlan id 5", "link set w0.5 up", "addr add GW dev w0.5"}, uplink: true},
		{name: "macvlan", dev: "mv0", make: []string{"link add link w0 name mv0 type macvlan mode bridge"},
			far: []string{"addr add GW dev w0"}, uplink: true},
		{name: "ipvlan", dev: "iv0", make: []string{"link add link w0 name iv0 type ipvlan mode l2"},
			far: []string{"addr add GW dev w0"}, uplink: true},
		{name: "bridge with a port", dev: "br0", make: []string{"link add br0 type bridge", "link set w1 master br0"},
			far: []string{"addr add GW dev w1"}, uplink: true},
		{name: "port of a bridge", dev: "w1", make: []string{"link add br0 type bridge", "link set br0 up", "link set w1 master br0"},
			lines: []string{"link del br0"}},
		{name: "bond, active-backup", dev: "bo0", make: bond,
			far:    []string{"link add fb0 type bridge", "link set fb0 up", "link set w1 master fb0", "link set w2 master fb0", "addr add GW dev fb0"},
			uplink: true, lines: []string{"link set w1 up", "link set w2 up"}},
		{name: "port of a bond", dev: "w1", make: append(bond, "link set bo0 up"), lines: unbond},
		{name: "VRF master", dev: "vr0", make: []string{"link add vr0 type vrf table 500"}},
		{name: "port of a VRF", dev: "d1", make: []string{"link add vr0 type vrf table 500", "link set vr0 up", "link add d1 type dummy",
			"link set d1 master vr0"}, lines: []string{"link del d1", "link del vr0"}},
	}
}

// kindLab is the host, which has another uplink, so that a packet that goes the wrong way goes somewhere.
type kindLab struct {
	*guestHost
	far *testnet.NS
}

// guestKinds: each kind of device alone beside another uplink: it comes, is down, has another name, goes.
//
//	host -----+-- wan0        the other uplink, default route in main
//	          +-- w0, w1, w2  without addresses: what is made upon them has one
func guestKinds(t *testing.T) {
	h := kindLab{newGuestHost(t), testnet.New(t)}
	testnet.Must(t, h.far.Addr("lo", rpdb.HostPrefix(lab.InetAddr(rpdb.IPv4)).String()), testnet.Veth(h.NS, "wan0", h.far, "wan0"),
		h.Addr("wan0", "192.0.2.10/24"), h.far.Addr("wan0", "192.0.2.1/24"), h.Route("default via 192.0.2.1 dev wan0 proto static"))
	for _, w := range []string{"w0", "w1", "w2"} {
		testnet.Must(t, testnet.Veth(h.NS, w, h.far, w))
	}
	stop, err := lab.Echo(h.far)
	testnet.Must(t, err)
	t.Cleanup(stop)
	h.startDaemon()
	h.leaves(netip.MustParseAddr("192.0.2.10"), "wan0")
	h.look()
	for i, k := range kinds() {
		t.Run(k.name, func(t *testing.T) { h.in(t).play(i+1, k) })
	}
	t.Run("failover of a bond", func(t *testing.T) { h.in(t).failover() })
	t.Run("into a VRF and out again", func(t *testing.T) { h.in(t).moves() })
}

// in is the lab for a subtest.
func (h kindLab) in(t *testing.T) kindLab {
	host := *h.guestHost
	host.t = t
	return kindLab{&host, h.far}
}

// look waits until the daemon has looked at all that happened before: a hook waits for that.
func (h kindLab) look() {
	h.t.Helper()
	h.hook("dhclient", "reason=RENEW", "interface=wan0", "new_ip_address=192.0.2.10", "new_subnet_mask=255.255.255.0",
		"new_routers=192.0.2.1", "new_dhcp_lease_time=600")
}

// atFar runs ip(8) at the provider.
func (h kindLab) atFar(lines ...string) {
	h.t.Helper()
	for _, line := range lines {
		if out, err := h.far.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			h.t.Fatalf("ip %s, at the provider: %v\n%s", line, err, out)
		}
	}
}

// site is the addresses of the n-th device.
type site struct {
	host    netip.Addr
	subnet  string
	gateway string
}

func siteOf(n int) site {
	return site{netip.AddrFrom4([4]byte{10, byte(n), 0, 2}), fmt.Sprintf("10.%d.0.0/24", n), fmt.Sprintf("10.%d.0.1", n)}
}

// dress gives a device its address and its default route, as an administrator does.
func (h kindLab) dress(dev string, s site) {
	h.t.Helper()
	h.ip("link set "+dev+" up", fmt.Sprintf("addr add %v/24 dev %s", s.host, dev))
	h.route(dev, s)
}

// route puts the default route into main: the kernel takes it away whenever the device is down.
func (h kindLab) route(dev string, s site) {
	h.t.Helper()
	h.ip(fmt.Sprintf("route replace default via %s dev %s metric 1000", s.gateway, dev))
}

// play makes the device, looks at it, and takes it away again; nothing is left then.
func (h kindLab) play(n int, k kind) {
	before, s := h.ours(), siteOf(n)
	h.ip(k.make...)
	for _, line := range k.far {
		h.atFar(strings.ReplaceAll(line, "GW", s.gateway+"/24"))
	}
	h.dress(k.dev, s)
	h.look()
	if k.uplink {
		h.isUplink(k.dev, s, k.silent)
		h.goesDown(k.dev, s)
		h.isRenamed(k.dev, "other0", s)
		if k.name == "bond, active-backup" {
			h.ip("link set w1 nomaster", "link set w2 nomaster")
		}
		h.ip("link del other0")
	} else {
		if u, ok := h.uplink(k.dev); ok {
			h.t.Errorf("that is an uplink: %+v", u)
		}
		if now := h.ours(); now != before {
			h.t.Errorf("rules and routes (-before +now):\n%s", cmp.Diff(before, now))
		}
		h.ip(k.undress(s)...)
	}
	h.ip(k.lines...)
	h.tidy(k)
	h.same("after it", before)
}

// undress is what takes a device that was no uplink away, or only its address, where it is there before and after.
func (k kind) undress(s site) []string {
	switch {
	case strings.HasPrefix(k.dev, "w"):
		return []string{fmt.Sprintf("addr del %v/24 dev %s", s.host, k.dev)}
	case len(k.lines) > 0:
		return nil
	}
	return []string{"link del " + k.dev}
}

// tidy makes the provider's side as it was.
func (h kindLab) tidy(k kind) {
	h.t.Helper()
	for _, line := range k.far {
		if f := strings.Fields(line); f[1] == "add" && f[0] == "link" {
			name := f[2]
			if name == "link" {
				name = f[5]
			}
			h.atFar("link del " + name)
		} else if f[0] == "addr" && strings.HasPrefix(f[4], "w") && !strings.Contains(f[4], ".") {
			h.atFar("addr flush dev " + f[4])
		}
	}
}

// isUplink: the device's packets leave by it, and are answered where somebody is there; its table is as it has to be.
func (h kindLab) isUplink(dev string, s site, silent bool) {
	h.t.Helper()
	h.leaves(s.host, dev)
	want := fmt.Sprintf("inet route default via %s dev %s table T src %v\ninet route %s dev %s table T scope link src %v\n",
		s.gateway, dev, s.host, s.subnet, dev, s.host)
	h.eventually("the table of "+dev, func() error {
		if diff := cmp.Diff(want, h.tableOf(dev)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	if _, ok := h.uplink(dev); !ok {
		h.t.Errorf("%s is no uplink in the status: %+v", dev, h.status().Uplinks)
	}
	if !silent {
		h.answered(dev, s)
	}
	h.t.Logf("%s:\n%s", dev, h.oursWith(s.host.String(), s.subnet, dev))
}

// answered: the Internet answers a socket with the address, and one that is bound to the device.
func (h kindLab) answered(dev string, s site) {
	h.t.Helper()
	for name, p := range map[string]lab.Probe{"address": {Src: s.host}, "device": {Device: dev}} {
		h.eventually("an answer on "+dev+", bound to its "+name, func() error {
			return lab.Reach(h.NS, lab.InetAddr(rpdb.IPv4), p)
		})
	}
}

// tableOf is the routes of a device's table, with T for its number.
func (h kindLab) tableOf(dev string) string {
	h.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(h.ours()) {
		if strings.HasPrefix(line, "inet route ") && strings.Contains(line, " dev "+dev+" ") {
			b.WriteString(regexp.MustCompile(` table \d+ `).ReplaceAllString(line, " table T "))
		}
	}
	return b.String()
}

// goesDown: while the device is down its packets go nowhere, least of all by the other uplink, and when it is up they leave by it.
func (h kindLab) goesDown(dev string, s site) {
	h.t.Helper()
	h.ip("link set " + dev + " down")
	h.leaves(s.host, "")
	h.look()
	if got := h.tableOf(dev); got != "" {
		h.t.Errorf("%s is down and has routes:\n%s", dev, got)
	}
	h.ip("link set " + dev + " up")
	h.route(dev, s)
	h.leaves(s.host, dev)
}

// isRenamed: this kernel renames only what is down.
func (h kindLab) isRenamed(dev, name string, s site) {
	h.t.Helper()
	h.ip("link set "+dev+" down", "link set "+dev+" name "+name, "link set "+name+" up")
	h.route(name, s)
	h.leaves(s.host, name)
	h.look()
	if left := h.oursWith(dev); left != "" {
		h.t.Errorf("what is called %s now was %s, of which there is left:\n%s", name, dev, left)
	}
	h.isUplink(name, s, true)
}

// failover: the active port of a bond loses its carrier, and the other one takes over. The address is on the bond: nothing is to
// be changed, and nothing is.
func (h kindLab) failover() {
	s := siteOf(40)
	before := h.ours()
	h.ip("link add bo0 type bond mode active-backup miimon 50", "link set w1 down", "link set w2 down",
		"link set w1 master bo0", "link set w2 master bo0", "link set w1 up", "link set w2 up")
	h.atFar("link add fb0 type bridge", "link set fb0 up", "link set w1 master fb0", "link set w2 master fb0", "addr add "+s.gateway+"/24 dev fb0")
	h.dress("bo0", s)
	h.look()
	h.isUplink("bo0", s, false)
	up, events := h.ours(), watchRules(h.t, h.NS)
	for _, cut := range []string{"w1", "w2"} {
		h.atFar("link set " + cut + " down")
		h.answered("bo0", s)
		h.look()
		h.atFar("link set " + cut + " up")
		h.answered("bo0", s)
	}
	h.same("after the ports failed one after the other", up)
	if events.count() > 0 {
		h.t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
	h.ip("link del bo0", "link set w1 up", "link set w2 up")
	h.atFar("link del fb0")
	h.same("after it", before)
}

// moves: an uplink that is put into a VRF is none any more, and is one again when it is out and has its default route.
func (h kindLab) moves() {
	s := siteOf(41)
	before := h.ours()
	h.ip("link add vr0 type vrf table 500", "link set vr0 up", "link add d1 type dummy")
	h.dress("d1", s)
	h.look()
	h.isUplink("d1", s, true)
	up := h.ours()
	h.ip("link set d1 master vr0")
	h.same("in the VRF", before)
	h.ip("link set d1 nomaster")
	h.route("d1", s)
	h.same("out of the VRF", up)
	h.leaves(s.host, "d1")
	h.ip("link del d1", "link del vr0")
	h.same("after it", before)
}
