package uplink_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// announce adds what routers announced of a prefix of a link.
func (h *host) announce(link, announced string, routers ...string) *host {
	p := netip.MustParsePrefix(announced)
	l := uplink.Lease{Link: h.index(link), Lease: lease.Lease{Source: lease.SourceRA, Address: p.Addr(), Prefix: p}}
	for _, r := range routers {
		l.Routers = append(l.Routers, addr(r))
	}
	h.Leases = append(h.Leases, l)
	return h
}

// two is a host with an address in each of two prefixes and a default route by each of two routers, the second better. As on any
// real link there is a link-local address.
func two() *host {
	return newHost().eth("eth0").addr("eth0", "fe80::10/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).
		addr("eth0", "2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64").
		gateway("eth0", "fe80::1", rpdb.ProtoRA, metric(1034)).gateway("eth0", "fe80::2", rpdb.ProtoRA, metric(1024))
}

func TestAnnounced(t *testing.T) {
	const a, b = "2001:db8:a::/64", "2001:db8:b::/64"
	for name, c := range map[string]struct {
		host *host
		want string // each address with its gateway, an uplink a line
	}{
		"nobody announced anything": {two(), "eth0: a b > fe80::2"},
		"each its own":              {two().announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::2"), "eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"one of them only":          {two().announce("eth0", a, "fe80::1"), "eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"both announce both": {two().announce("eth0", a, "fe80::1", "fe80::2").announce("eth0", b, "fe80::1", "fe80::2"),
			"eth0: a b > fe80::2"},
		"all by the one that the kernel likes less": {two().announce("eth0", "2001:db8::/32", "fe80::1"), "eth0: a b > fe80::1"},
		"the longer prefix counts": {two().announce("eth0", "2001:db8::/32", "fe80::1").announce("eth0", b, "fe80::2"),
			"eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"two words about one prefix":        {two().announce("eth0", a, "fe80::9").announce("eth0", a, "fe80::1"), "eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"a router that is none":             {two().announce("eth0", a, "fe80::66"), "eth0: a b > fe80::2"},
		"on another link":                   {two().eth("lan0").announce("lan0", a, "fe80::1"), "eth0: a b > fe80::2"},
		"an administrator's by one of them": {two().gateway("eth0", "fe80::2", rpdb.ProtoStatic, metric(50)).announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::2"), "eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"an administrator's by another":     {two().gateway("eth0", "fe80::9", rpdb.ProtoStatic, metric(50)).announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::2"), "eth0: a b > fe80::9"},
		"an administrator's that is worse":  {two().gateway("eth0", "fe80::9", rpdb.ProtoStatic, metric(5000)).announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::2"), "eth0: b > fe80::2\neth0-fe80::1: a > fe80::1"},
		"an address that is not announced":  {two().addr("eth0", "2001:db8:c::10/128").announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::1"), "eth0: c > fe80::2\neth0-fe80::1: a b > fe80::1"},
		"without any default route":         {newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").announce("eth0", a, "fe80::1"), ""},
	} {
		v := uplink.Derive(c.host.Input)
		var lines []string
		for _, u := range v.Uplinks {
			line := u.Name + ":"
			for _, x := range u.Addresses {
				line += " " + strings.Split(x.Addr.String(), ":")[2]
			}
			for _, g := range u.Gateways {
				line += " > " + g.Via.String()
			}
			lines = append(lines, line)
			if u.State != uplink.Up || len(u.Problems) > 0 {
				t.Errorf("%s: %s is %s: %q", name, u.Name, u.State, u.Problems)
			}
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, c.want)
		}
		if several := len(v.Uplinks) > 1; several != (len(v.Uplinks) > 0 && strings.Contains(strings.Join(v.Uplinks[0].Notes, " "), "RFC 6724")) || len(v.Problems) > 0 {
			t.Errorf("%s: problems %q, notes %q", name, v.Problems, v.Uplinks[0].Notes)
		}
	}
}

// TestAnnouncedSource: a socket that is bound to the link gets an address that its router lets through, and none that is of no use.
func TestAnnouncedSource(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8:c::10/64").addr("eth0", "fd00:a::10/64").addr("eth0", "2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64").
		gateway("eth0", "fe80::1", rpdb.ProtoRA, metric(1024)).gateway("eth0", "fe80::2", rpdb.ProtoRA, metric(1034)).
		announce("eth0", "fd00:a::/64", "fe80::1").announce("eth0", "2001:db8:a::/64", "fe80::1").announce("eth0", "2001:db8:b::/64", "fe80::2")
	v := uplink.Derive(h.Input)
	if len(v.Uplinks) != 2 {
		t.Fatal(outline(v))
	}
	for i, want := range []string{"2001:db8:a::10", "2001:db8:b::10"} {
		if g, _ := v.Uplinks[i].Gateway(rpdb.IPv6); g.Src != addr(want) {
			t.Errorf("%s has source %v, want %s", v.Uplinks[i].Name, g.Src, want)
		}
	}
}

// TestNobodySaysWhoAnnounced: the note stands where the key that it names would change something, and nowhere else.
func TestNobodySaysWhoAnnounced(t *testing.T) {
	const a, b = "2001:db8:a::/64", "2001:db8:b::/64"
	one := func(addresses ...string) *host {
		h := newHost().eth("eth0").gateway("eth0", "fe80::1", rpdb.ProtoRA, metric(1024)).gateway("eth0", "fe80::2", rpdb.ProtoStatic, metric(1034))
		for _, x := range addresses {
			h.addr("eth0", x)
		}
		return h
	}
	section := func(h *host, s config.Settings) *host {
		s.Configured, s.Fence = true, true
		h.Config.Uplinks = []config.Uplink{{Interface: "eth0", Settings: s}}
		return h
	}
	for name, c := range map[string]struct {
		host *host
		want string
	}{
		"two and two":               {two(), "eth0 has 2 IPv6 routers and 2 prefixes, and nobody says which router announced which: set observe_ra = true in its [[uplink]]"},
		"another section":           {section(two(), config.Settings{}), "eth0 has 2 IPv6 routers and 2 prefixes, "},
		"three prefixes":            {two().addr("eth0", "2001:db8:c::10/128").addr("eth0", "2001:db8:c::11/128"), "eth0 has 2 IPv6 routers and 3 prefixes, "},
		"observed":                  {section(two(), config.Settings{ObserveRA: true}), ""},
		"the gateway is configured": {section(two(), config.Settings{Gateways: []netip.Addr{addr("fe80::2")}}), ""},
		"IPv4's is":                 {section(two(), config.Settings{Gateways: []netip.Addr{addr("192.0.2.1")}}), "eth0 has 2 IPv6 routers and 2 prefixes, "},
		"both known":                {two().announce("eth0", a, "fe80::1").announce("eth0", b, "fe80::2"), ""},
		"one known":                 {two().announce("eth0", b, "fe80::2"), ""},
		"known of another link":     {two().eth("lan0").announce("lan0", a, "fe80::1"), "eth0 has 2 IPv6 routers and 2 prefixes, "},
		"known of no address":       {two().announce("eth0", "2001:db8:d::/64", "fe80::1"), "eth0 has 2 IPv6 routers and 2 prefixes, "},
		"a pair with one prefix":    {one("2001:db8:a::10/64", "2001:db8:a::11/64", "2001:db8:a::12/128"), ""},
		"a pair with a ULA beside":  {one("2001:db8:a::10/64", "fd00:a::10/64"), ""},
		"deprecated beside":         {one("2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64", func(a *rpdb.Address) { a.Deprecated = true }), "eth0 has 2 IPv6 routers and 2 prefixes, "},
		"one router":                {newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64").gateway("eth0", "fe80::1", rpdb.ProtoRA, metric(1024)), ""},
		"a router known twice":      {newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64").gateway("eth0", "fe80::1", rpdb.ProtoRA, metric(1024)).gateway("eth0", "fe80::1", rpdb.ProtoStatic, metric(50)), ""},
	} {
		v := uplink.Derive(c.host.Input)
		var got []string
		for _, u := range v.Uplinks {
			for _, n := range u.Notes {
				if strings.Contains(n, "observe_ra") {
					got = append(got, n)
				}
			}
			if u.State != uplink.Up {
				t.Errorf("%s: the uplink is %s: %q", name, u.State, u.Problems)
			}
		}
		if text := strings.Join(got, "; "); len(got) > 1 || (text == "") != (c.want == "") || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}
