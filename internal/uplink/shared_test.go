package uplink_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// look derives once more with what was remembered of the last time.
func (h *host) look() uplink.View {
	v := uplink.Derive(h.Input)
	h.Held = v.Held
	return v
}

// up and lose change one thing.
func (h *host) up(name string) *host {
	for i := range h.snap.Links {
		h.snap.Links[i].Up = h.snap.Links[i].Up || h.snap.Links[i].Name == name
	}
	return h
}

func (h *host) lose(link string) *host {
	i := h.index(link)
	h.snap.Routes = slices.DeleteFunc(h.snap.Routes, func(r rpdb.Route) bool { return r.OIF == i && r.IsDefault() && r.Protocol != 117 })
	return h
}

// ours is the default route of ours by which a link is known not to have been flushed.
func (h *host) ours(link, via string) *host {
	return h.gateway(link, via, h.Config.Protocol, func(r *rpdb.Route) { r.Table = h.Config.FirstTable })
}

// keeper is the link that has the rules of the shared address, and "fenced" where it has no way out.
func keeper(v uplink.View) string {
	var all []string
	for _, u := range v.Uplinks {
		for _, a := range u.Addresses {
			if a.Left {
				continue
			}
			text := u.Link.Name
			if _, routed := u.Gateway(rpdb.FamilyOf(a.Addr)); !routed {
				text += " fenced"
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

// TestSharedAddressStays: whoever answers DHCP on one link can have the address of another one put there. The one that had it
// first keeps its rules for as long as its link is up, whatever happens to its gateway, and gets them back when it is up again.
func TestSharedAddressStays(t *testing.T) {
	for _, protocol := range []uint8{rpdb.ProtoDHCP, rpdb.ProtoStatic} {
		t.Run(fmt.Sprint("protocol ", protocol), func(t *testing.T) {
			h := newHost().eth("rogue", "wan0").addr("wan0", "192.0.2.9/24").gateway("wan0", "192.0.2.1", protocol).ours("wan0", "192.0.2.1")
			step := func(what, want string) {
				t.Helper()
				for range 2 { // and it stays so
					if got := keeper(h.look()); got != want {
						t.Fatalf("%s: %q, want %q", what, got, want)
					}
				}
			}
			step("alone", "wan0")
			h.addr("rogue", "192.0.2.9/24").lease("rogue", "192.0.2.9", 1, "192.0.2.66").ours("rogue", "192.0.2.66")
			step("another has it too", "wan0")
			h.lose("wan0")
			step("without a gateway", "wan0 fenced")
			h.gateway("wan0", "192.0.2.1", protocol)
			step("with one again", "wan0")
			h.down("wan0")
			step("down", "rogue")
			h.lose("wan0").up("wan0")
			step("up, and no gateway yet", "wan0 fenced")
			h.gateway("wan0", "192.0.2.1", protocol)
			step("all is well again", "wan0")
			h.down("wan0")
			step("down again", "rogue")
			h.snap.Addresses = slices.DeleteFunc(h.snap.Addresses, func(a rpdb.Address) bool { return a.Link == h.index("wan0") })
			step("the address is gone", "rogue")
			h.up("wan0").addr("wan0", "192.0.2.9/24").gateway("wan0", "192.0.2.1", protocol)
			step("it comes later", "rogue")
		})
	}
}

// TestSharedAddressIsLentOnlyToAWayOut: where no link with the address has a way out, the first one's fence stands.
func TestSharedAddressIsLentOnlyToAWayOut(t *testing.T) {
	h := newHost().eth("other", "wan0").addr("wan0", "192.0.2.9/24").addr("other", "192.0.2.9/24").down("wan0")
	h.Held = []uplink.Held{
		{Link: h.index("other"), Addr: addr("192.0.2.9"), Class: uplink.ClassLease, Gateway: addr("192.0.2.66"), Lent: true},
		{Link: h.index("wan0"), Addr: addr("192.0.2.9"), Class: uplink.ClassLease, Gateway: addr("192.0.2.1")},
	}
	v := h.look()
	if got := keeper(v); got != "wan0 fenced" || len(v.Held) != 1 || v.Held[0].Link != h.index("wan0") {
		t.Errorf("%q, held %+v", got, v.Held)
	}
}

// TestStaticRouteGoesWithoutARival: the address of a service on lo is nobody's claim: who deletes the static route of a link
// means it.
func TestStaticRouteGoesWithoutARival(t *testing.T) {
	h := newHost().eth("wan0").link(rpdb.Link{Name: "lo", Loopback: true}).addr("wan0", "192.0.2.9/24").addr("lo", "192.0.2.9/32")
	h.gateway("wan0", "192.0.2.1", rpdb.ProtoStatic).ours("wan0", "192.0.2.1")
	if got := keeper(h.look()); got != "wan0" {
		t.Fatalf("with its route: %q", got)
	}
	if got := keeper(h.lose("wan0").look()); got != "" {
		t.Errorf("without: %q", got)
	}
}

// tunnel is a host with a tunnel that the configuration makes an uplink.
func tunnel(t *testing.T) *host {
	h := newHost().link(rpdb.Link{Name: "tun0", Kind: "tun"}).addr("tun0", "10.8.0.2/24").ours("tun0", "10.8.0.1")
	cfg, err := config.Parse("test", []byte("[[uplink]]\nkind = \"tun\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	h.Config = cfg
	return h
}

// says adds a lease of the tunnel's address, in place of the same source's former one.
func (h *host) says(by lease.Source, seq uint64, routers ...string) *host {
	h.Leases = slices.DeleteFunc(slices.Clone(h.Leases), func(l uplink.Lease) bool { return l.Source == by })
	h.lease("tun0", "10.8.0.2", seq, routers...)
	h.Leases[len(h.Leases)-1].Source = by
	return h
}

// TestUsersWordEndsItsOwn: that there is no gateway takes down the fence of the one who said so. An ordinary user's fence is what
// that user made; root's is not, also where the user named a gateway in between.
func TestUsersWordEndsItsOwn(t *testing.T) {
	const user, other = lease.Source("generic@1000"), lease.Source("generic@1001")
	for name, c := range map[string]struct {
		first  func(h *host)
		by     lease.Source
		detour bool
		want   string
	}{
		"a client's route, a user":           {func(h *host) { h.gateway("tun0", "10.8.0.1", rpdb.ProtoDHCP) }, user, false, "tun0 fenced"},
		"a client's route, a user's detour":  {func(h *host) { h.gateway("tun0", "10.8.0.1", rpdb.ProtoDHCP) }, user, true, "tun0 fenced"},
		"a client's route, root":             {func(h *host) { h.gateway("tun0", "10.8.0.1", rpdb.ProtoDHCP) }, "generic", false, ""},
		"root's lease, a user":               {func(h *host) { h.says("generic", 1, "10.8.0.1") }, user, false, "tun0 fenced"},
		"root's lease, a user's detour":      {func(h *host) { h.says("generic", 1, "10.8.0.1") }, user, true, "tun0 fenced"},
		"a user's lease, the same user":      {func(h *host) { h.says(user, 1, "10.8.0.1") }, user, false, ""},
		"a user's lease, the same with more": {func(h *host) { h.says(user, 1, "10.8.0.1") }, user, true, ""},
		"a user's lease, another":            {func(h *host) { h.says(user, 1, "10.8.0.1") }, other, false, "tun0 fenced"},
		"a user's lease, another's detour":   {func(h *host) { h.says(user, 1, "10.8.0.1") }, other, true, ""},
		"a user's lease, root":               {func(h *host) { h.says(user, 1, "10.8.0.1") }, "generic", false, ""},
		"OpenVPN":                            {func(h *host) { h.says("openvpn", 1, "10.8.0.1") }, "openvpn", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := tunnel(t)
			c.first(h)
			if got := keeper(h.look()); got != "tun0" {
				t.Fatalf("at first: %q", got)
			}
			h.lose("tun0").Leases = nil
			if got := keeper(h.look()); got != "tun0 fenced" {
				t.Fatalf("without a word: %q", got)
			}
			if c.detour {
				if got := keeper(h.says(c.by, 2, "10.8.0.66").look()); got != "tun0" {
					t.Fatalf("with a gateway of %s: %q", c.by, got)
				}
			}
			if got := keeper(h.says(c.by, 3).look()); got != c.want {
				t.Errorf("after the word of %s: %q, want %q", c.by, got, c.want)
			}
		})
	}
}

// TestUsersWordIsLast: what an ordinary user says of a tunnel, however new, counts only where nobody else says anything.
func TestUsersWordIsLast(t *testing.T) {
	const user = lease.Source("generic@1000")
	via := func(h *host) string {
		u := h.look().Uplinks[0]
		g, _ := u.Gateway(rpdb.IPv4)
		return g.Via.String() + " by " + g.Source
	}
	h := tunnel(t).says("generic", 1, "10.8.0.1").says(user, 9, "10.8.0.66")
	if got := via(h); got != "10.8.0.1 by generic" {
		t.Errorf("beside root's lease: %s", got)
	}
	h = tunnel(t).gateway("tun0", "10.8.0.1", rpdb.ProtoDHCP).says(user, 9, "10.8.0.66")
	if got := via(h); got != "10.8.0.1 by route proto dhcp" {
		t.Errorf("beside a client's route: %s", got)
	}
	if got := via(h.lose("tun0")); got != "10.8.0.66 by "+string(user) {
		t.Errorf("alone: %s", got)
	}
}

// TestUsersRefusedWord: a gateway that could not be one leaves the one from before to its own source, and brings back no other's.
func TestUsersRefusedWord(t *testing.T) {
	for by, want := range map[lease.Source]string{"generic": "tun0", "generic@1000": "tun0 fenced"} {
		h := tunnel(t).says("generic", 1, "10.8.0.1")
		h.look()
		h.Leases = nil
		h.look()
		if got := keeper(h.says(by, 2, "127.0.0.1").look()); got != want {
			t.Errorf("after the word of %s: %q, want %q", by, got, want)
		}
	}
}

// TestUsersWordAboutAnotherLink: one that came before its link was known does not count when that turns out to be no tunnel.
func TestUsersWordAboutAnotherLink(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.9/24").lease("eth0", "192.0.2.9", 1, "192.0.2.66")
	h.Leases[0].Source = "openvpn"
	v := h.look()
	want := []string{"lease of 192.0.2.9 by openvpn on eth0 does not count: that is no tunnel"}
	if len(v.Uplinks) != 0 || !slices.Equal(v.Problems, want) {
		t.Errorf("%d uplinks, problems %q, want %q", len(v.Uplinks), v.Problems, want)
	}
}
