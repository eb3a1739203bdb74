package uplink_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// routed is a host with one link that has an address and a default route in main.
func routed(l rpdb.Link) *host {
	return newHost().link(l).addr(l.Name, "192.0.2.10/24").
		route(l.Name, "0.0.0.0/0", func(r *rpdb.Route) { r.Via = addr("192.0.2.1") })
}

func names(v uplink.View) string {
	var ns []string
	for _, u := range v.Uplinks {
		ns = append(ns, u.Name)
	}
	return strings.Join(ns, " ")
}

// TestManagedNames: what leads to containers and virtual machines by its name is no uplink, and status says so; what is called
// nearly so is one, and so is hardware.
func TestManagedNames(t *testing.T) {
	for kind, all := range map[string]map[string]bool{
		"bridge": {
			"docker0": false, "docker_gwbridge": false, "br-0123456789ab": false, "virbr0": false, "virbr1": false, "lxcbr0": false, "lxdbr0": false,
			"incusbr0": false, "cni0": false, "cni-podman0": false, "podman0": false, "podman12": false, "fwbr100i0": false, "kube-bridge": false,
			"vz-zone": false, "mpbr0": false, "nerdctl0": false, "weave": false, "cbr0": false,
			"br0": true, "br-lan": true, "br-wan": true, "vmbr0": true, "xenbr0": true, "bridge0": true, "br-0123456789a": true, "br-0123456789abc": true,
			"br-0123456789AB": true, "docker": true, "podman": true, "cni": true, "wan": true,
		},
		"veth":  {"veth0": false, "vethab12cd3": false, "veth100i0": false, "cali0123456789a": false, "ve-guest": false, "lxc0a1b": false, "eth0": true, "host0": true, "ens3": true},
		"dummy": {"kube-ipvs0": false, "nodelocaldns": false, "dummy0": true},
		"":      {"docker0": true, "virbr0": true, "veth0": true, "eth0": true, "enp3s0": true, "wlan0": true},
		"vlan":  {"eth0.7": true, "virbr0.7": false},
	} {
		for name, want := range all {
			v := uplink.Derive(routed(rpdb.Link{Name: name, Kind: kind}).Input)
			if got := names(v) == name; got != want {
				t.Errorf("%s of kind %q: uplink %v, want %v", name, kind, got, want)
			}
			if said := len(v.Problems) == 1 && strings.Contains(v.Problems[0], `interface = "`+name+`"`); said == want {
				t.Errorf("%s of kind %q: problems %q", name, kind, v.Problems)
			}
		}
	}
}

// TestManagedIsSilent: docker's bridge as it always is, without a way out, is not worth a word; nor is a lease that nobody has.
func TestManagedIsSilent(t *testing.T) {
	h := newHost().link(rpdb.Link{Name: "docker0", Kind: "bridge"}).addr("docker0", "172.17.0.1/16")
	if v := uplink.Derive(h.Input); len(v.Problems) > 0 || len(v.Uplinks) > 0 {
		t.Errorf("%+v", v)
	}
}

// TestManagedButMeant: the configuration names such a link, or only its kind.
func TestManagedButMeant(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         "",
		"[[uplink]]\nkind = 'bridge'":              "",
		"[[uplink]]\ninterface = 'docker*'":        "docker0",
		"[[uplink]]\nmac = '02:42:00:00:00:01'":    "docker0",
		"include = ['docker0']":                    "docker0",
		"include = ['eth0']":                       "",
		"exclude = ['docker0']\ninclude = ['*']":   "",
		"[[uplink]]\ninterface='*'\nexclude=true":  "",
		"include=['*']\n[[uplink]]\nkind='bridge'": "docker0",
		"[[uplink]]\nkind='bridge'\n[[uplink]]\ninterface='docker0'": "", // the first that matches counts
	} {
		h := routed(rpdb.Link{Name: "docker0", Kind: "bridge", MAC: "02:42:00:00:00:01"})
		cfg, err := config.Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h.Config = cfg
		if got := names(uplink.Derive(h.Input)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestKinds goes through the kinds of "ip link help" and of the drivers beside it: which are uplinks by themselves, which where
// a section says so, and for which an ordinary user may speak.
func TestKinds(t *testing.T) {
	tunnels := "amt bareudp erspan geneve gre gretap gtp ip6erspan ip6gre ip6gretap ip6tnl ipip ovpn ovpn-dco pfcp sit tun vti vti6 vxlan wireguard xfrm"
	none := "can ifb ipvtap macvtap nlmon vcan vrf vsockmon vxcan"
	uplinks := "batadv bond bridge dsa dummy hsr ipoib ipvlan lowpan macsec macvlan netdevsim netkit openvswitch ppp rmnet team veth virt_wifi vlan wwan"
	check := func(kind string, itself, speaks bool) {
		t.Helper()
		l := rpdb.Link{Name: "x0", Kind: kind}
		h := routed(l)
		if got := names(uplink.Derive(h.Input)) != ""; got != itself {
			t.Errorf("%q by itself: %v", kind, got)
		}
		h.Config.Uplinks = []config.Uplink{{Kind: kind, Settings: config.Settings{Configured: true}}}
		if names(uplink.Derive(h.Input)) == "" {
			t.Errorf("%q with a section is no uplink", kind)
		}
		if got := uplink.MaySpeak("openvpn", l); got != speaks {
			t.Errorf("an ordinary user speaks for %q: %v", kind, got)
		}
	}
	for kind := range strings.FieldsSeq(uplinks) {
		check(kind, true, false)
	}
	for kind := range strings.FieldsSeq(tunnels) {
		check(kind, false, true)
	}
	for kind := range strings.FieldsSeq(none) {
		check(kind, false, false)
	}
}

// TestVRF: a member is no uplink. The kernel takes its default route away, going in and coming out: then the fence stands, until
// there is a default route again. A lease's word is as good as before.
func TestVRF(t *testing.T) {
	h := routed(rpdb.Link{Name: "eth0"}).link(rpdb.Link{Name: "red", Kind: "vrf"})
	look := func() uplink.View {
		v := uplink.Derive(h.Input)
		h.Held = v.Held
		return v
	}
	state := func(v uplink.View) string {
		if len(v.Uplinks) == 0 {
			return "none"
		}
		return string(v.Uplinks[0].State)
	}
	want := func(what, want string) {
		t.Helper()
		if got := state(look()); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	way := h.snap.Routes
	want("before", "up")
	h.snap.Links[0].Master, h.snap.Routes = h.index("red"), nil
	want("in the VRF", "none")
	want("in the VRF for long", "none")
	h.snap.Links[0].Master = 0
	v := look()
	if state(v) != "degraded" || !slices.ContainsFunc(v.Uplinks[0].Problems, func(p string) bool { return strings.Contains(p, "no gateway for 192.0.2.10 any more") }) {
		t.Errorf("out again: %+v", v.Uplinks)
	}
	h.snap.Routes = way
	want("with its route", "up")
	h.snap.Links[0].Master, h.snap.Routes = h.index("red"), nil
	look()
	h.snap.Links[0].Master = 0
	h.Leases = []uplink.Lease{{Link: h.index("eth0"), Seen: true, Lease: lease.Lease{
		Source: lease.SourceDhclient, Address: addr("192.0.2.10"), Bits: 24, Routers: []netip.Addr{addr("192.0.2.1")},
	}}}
	want("with its lease", "up")
	h.Leases = nil
	h.snap.Links[0].Master = h.index("red")
	look()
	h.snap.Addresses = nil
	look()
	h.addr("eth0", "192.0.2.10/24").snap.Links[0].Master = 0
	want("with an address of its own", "none")
}
