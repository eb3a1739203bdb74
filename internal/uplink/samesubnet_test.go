package uplink_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// cards is a host with uplinks of these addresses, eth0 and so on, each with the gateway of its subnet's first address by lease.
func cards(cidrs ...string) *host {
	h := newHost()
	for i, cidr := range cidrs {
		name := "eth" + string(rune('0'+i))
		h.eth(name)
		p := prefix(cidr)
		h.snap.Addresses = append(h.snap.Addresses, rpdb.Address{Link: h.index(name), Prefix: p})
		h.Leases = append(h.Leases, uplink.Lease{Link: h.index(name), Seq: 1, Lease: lease.Lease{
			Source: "dhclient", Address: p.Addr(), Routers: []netip.Addr{p.Masked().Addr().Next()},
		}})
	}
	for _, l := range append([]rpdb.Link{{}}, h.snap.Links...) {
		for _, n := range []rpdb.SettingName{rpdb.ARPIgnore, rpdb.ARPAnnounce, rpdb.RPFilter, rpdb.SrcValidMark} {
			h.set(l.Index, n, 0)
		}
	}
	return h
}

// set is a setting of a link, or with 0 of all.
func (h *host) set(link int, name rpdb.SettingName, value int) *host {
	k := rpdb.SettingKey{Link: link, Name: name}
	for i := range h.snap.Settings {
		if h.snap.Settings[i].SettingKey == k {
			h.snap.Settings[i].Value = value
			return h
		}
	}
	h.snap.Settings = append(h.snap.Settings, rpdb.Setting{SettingKey: k, Value: value})
	return h
}

func (h *host) section(name string, s config.Settings) *host {
	s.Configured, s.Fence = true, s.Fence || s.Mask == 0
	h.Config.Uplinks = append(h.Config.Uplinks, config.Uplink{Interface: name, Settings: s})
	return h
}

func (h *host) neighbor(name, ip, mac string) *host {
	h.snap.Neighbors = append(h.snap.Neighbors, rpdb.Neighbor{Link: h.index(name), Addr: addr(ip), MAC: mac})
	return h
}

const (
	together = "eth0 and eth1 are in one subnet, 192.0.2.0/24: unless these are two networks, each answers ARP for the other's address, and what then comes in " +
		"by the wrong one is lost where rp_filter is 1; the mend: "
	both  = together + `arp = "strict" in the [[uplink]] section of eth0 and that of eth1`
	only0 = together + `arp = "strict" in the [[uplink]] section of eth0`
	only1 = together + `arp = "strict" in the [[uplink]] section of eth1`
)

// TestSameSubnet: who is told of two links in one subnet. The notes are those of eth0; eth1 has the same.
func TestSameSubnet(t *testing.T) {
	two := func() *host { return cards("192.0.2.10/24", "192.0.2.11/24") }
	for name, c := range map[string]struct {
		h     *host
		notes []string
	}{
		"by default":              {two(), []string{both}},
		"one wider":               {cards("192.0.2.10/24", "192.0.2.201/25"), []string{both}},
		"different subnets":       {cards("192.0.2.10/25", "192.0.2.201/25"), nil},
		"settings unknown":        {func() *host { h := two(); h.snap.Settings = nil; return h }(), []string{both}},
		"strict by configuration": {two().section("eth*", config.Settings{ARPStrict: true}), nil},
		"one by configuration":    {two().section("eth0", config.Settings{ARPStrict: true}), []string{only1}},
		"by sysctl":               {two().set(2, rpdb.ARPIgnore, 1).set(3, rpdb.ARPIgnore, 2), nil},
		"one by sysctl":           {two().set(3, rpdb.ARPIgnore, 8), []string{only0}},
		"3 is not strict":         {two().set(2, rpdb.ARPIgnore, 3).set(3, rpdb.ARPIgnore, 1), []string{only0}},
		"by all":                  {two().set(rpdb.AllLinks, rpdb.ARPIgnore, 1), nil},
		"all overrules":           {two().set(rpdb.AllLinks, rpdb.ARPIgnore, 3).set(2, rpdb.ARPIgnore, 1), []string{both}},
		"all overrules the key": {two().set(rpdb.AllLinks, rpdb.ARPIgnore, 3).section("eth*", config.Settings{ARPStrict: true}), []string{
			`net.ipv4.conf.all.arp_ignore = 3 overrules arp = "strict", for the greater of two values counts: sysctl -w net.ipv4.conf.all.arp_ignore=0`,
			together + "sysctl -w net.ipv4.conf.eth0.arp_ignore=1 and sysctl -w net.ipv4.conf.eth1.arp_ignore=1"}},
		"one gateway":           {two().neighbor("eth0", "192.0.2.1", "m").neighbor("eth1", "192.0.2.1", "m"), []string{both}},
		"two gateways":          {two().neighbor("eth0", "192.0.2.1", "m").neighbor("eth1", "192.0.2.1", "n"), nil},
		"one of them not known": {two().neighbor("eth0", "192.0.2.1", "m"), []string{both}},
		"not the gateway":       {two().neighbor("eth0", "192.0.2.7", "m").neighbor("eth1", "192.0.2.7", "n"), []string{both}},
	} {
		v := uplink.Derive(c.h.Input)
		if len(v.Uplinks) != 2 {
			t.Fatalf("%s: %d uplinks", name, len(v.Uplinks))
		}
		for i, u := range v.Uplinks {
			if diff := cmp.Diff(c.notes, u.Notes); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, u.Name, diff)
			}
			if c.h.snap.Settings != nil && (u.State != uplink.Up || len(u.Problems) > 0) {
				t.Errorf("%s: %s is %s: %q", name, v.Uplinks[i].Name, u.State, u.Problems)
			}
		}
	}
}

// TestSameSubnetWithOthers: the other link need be no uplink; one that has no ARP, or is a port, does not count.
func TestSameSubnetWithOthers(t *testing.T) {
	for name, c := range map[string]struct {
		l    rpdb.Link
		note string
	}{
		"a LAN":               {rpdb.Link{Name: "lan0"}, `and sysctl -w net.ipv4.conf.lan0.arp_ignore=1`},
		"a tunnel":            {rpdb.Link{Name: "lan0", PointToPoint: true}, ""},
		"a port of a bridge":  {rpdb.Link{Name: "lan0", Master: 9}, ""},
		"loopback's own name": {rpdb.Link{Name: "lan0", Loopback: true}, ""},
	} {
		h := cards("192.0.2.10/24").link(c.l)
		h.snap.Addresses = append(h.snap.Addresses, rpdb.Address{Link: h.index("lan0"), Prefix: prefix("192.0.2.99/24")})
		us := uplink.Derive(h.Input).Uplinks
		if got := strings.Join(us[0].Notes, "\n"); (got == "") != (c.note == "") || !strings.HasSuffix(got, c.note) {
			t.Errorf("%s: %q, want %q", name, got, c.note)
		}
	}
}

// TestSilent: why an address whose link is down does not answer by the other one.
func TestSilent(t *testing.T) {
	h := cards("192.0.2.10/24", "192.0.2.11/24").section("eth*", config.Settings{ARPStrict: true})
	h.Held = uplink.Derive(h.Input).Held
	h.snap.Links[0].Up = false
	const want = `192.0.2.10 is silent while eth0 is down, though eth1 is in its subnet and could answer for it: fence = false lets it, where arp is not "strict"`
	us := uplink.Derive(h.Input).Uplinks
	if us[0].State != uplink.Down || !cmp.Equal(us[0].Notes, []string{want}) || us[1].Notes != nil {
		t.Errorf("%s: %q; %s: %q", us[0].State, us[0].Notes, us[1].State, us[1].Notes)
	}
	if len(us[0].Sysctls) != 3 {
		t.Errorf("the link that is down has settings %v", us[0].Sysctls)
	}
	h.Config.Uplinks[0].Fence = false
	if us = uplink.Derive(h.Input).Uplinks; us[0].Notes != nil {
		t.Errorf("without a fence: %q", us[0].Notes)
	}
}

// TestStrictARP: what the key plans for which link.
func TestStrictARP(t *testing.T) {
	h := cards("192.0.2.10/24")
	h.Config.ARPStrict = true
	want := []rpdb.Setting{
		{SettingKey: rpdb.SettingKey{Link: 2, Name: rpdb.ARPIgnore}, Value: 1},
		{SettingKey: rpdb.SettingKey{Link: 2, Name: rpdb.ARPAnnounce}, Value: 2},
		{SettingKey: rpdb.SettingKey{Link: 2, Name: rpdb.RPFilter}, Value: 2},
	}
	if diff := cmp.Diff(want, uplink.Derive(h.Input).Uplinks[0].Sysctls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.snap.Settings = nil
	u := uplink.Derive(h.Input).Uplinks[0]
	if want := `arp = "strict" does nothing yet, for net.ipv4.conf.eth0.arp_ignore could not be read: is /proc mounted?`; u.State != uplink.Degraded ||
		!cmp.Equal(u.Problems, []string{want}) {
		t.Errorf("settings that cannot be read: %s, %q", u.State, u.Problems)
	}
	for name, change := range map[string]func(h *host){
		"off":            func(h *host) { h.Config.ARPStrict = false },
		"point-to-point": func(h *host) { h.snap.Links[0].PointToPoint = true },
	} {
		h := cards("192.0.2.10/24")
		h.Config.ARPStrict = true
		change(h)
		if u := uplink.Derive(h.Input).Uplinks[0]; u.Sysctls != nil || u.Notes != nil || u.Problems != nil {
			t.Errorf("%s: %v, %q, %q", name, u.Sysctls, u.Notes, u.Problems)
		}
	}
}

// TestReversePath: when a strict filter is worth a word.
func TestReversePath(t *testing.T) {
	marked := func() *host {
		return cards("192.0.2.10/24").section("eth0", config.Settings{Mark: 5, Mask: 0xff, Fence: true})
	}
	const text = "the reverse path filter of eth0 is strict (rp_filter 1)%s and drops the answers to packets with the mark and another link's address, as masqueraded " +
		"ones are before they leave: sysctl -w net.ipv4.conf.eth0.rp_filter=2, or arp = \"strict\" in its [[uplink]] section, or src_valid_mark = 1 and a " +
		"connmark that is restored in prerouting"
	note := strings.Replace(text, "%s", "", 1)
	for name, c := range map[string]struct {
		h    *host
		want []string
	}{
		"off":                       {marked(), nil},
		"strict":                    {marked().set(2, rpdb.RPFilter, 1), []string{note}},
		"strict by all":             {marked().set(rpdb.AllLinks, rpdb.RPFilter, 1), []string{note}},
		"loose":                     {marked().set(rpdb.AllLinks, rpdb.RPFilter, 1).set(2, rpdb.RPFilter, 2), nil},
		"with the mark":             {marked().set(2, rpdb.RPFilter, 1).set(2, rpdb.SrcValidMark, 1), nil},
		"with the mark, by all":     {marked().set(2, rpdb.RPFilter, 1).set(rpdb.AllLinks, rpdb.SrcValidMark, 1), nil},
		"without a mark":            {cards("192.0.2.10/24").set(2, rpdb.RPFilter, 1), nil},
		"made loose by the key":     {func() *host { h := marked().set(2, rpdb.RPFilter, 1); h.Config.Uplinks[0].ARPStrict = true; return h }(), nil},
		"and packets were dropped":  {func() *host { h := marked().set(2, rpdb.RPFilter, 1); h.Filtered = true; return h }(), []string{strings.Replace(text, "%s", ", and packets have been dropped since uplinkd started,", 1)}},
		"dropped, but by no matter": {func() *host { h := cards("192.0.2.10/24"); h.Filtered = true; return h }(), nil},
	} {
		u := uplink.Derive(c.h.Input).Uplinks[0]
		if diff := cmp.Diff(c.want, u.Notes); diff != "" || u.State != uplink.Up {
			t.Errorf("%s: %s (-want +got):\n%s", name, u.State, diff)
		}
	}
}

// TestReversePathOfASharedAddress: the one that does not have the rules says what a strict filter takes from it as well.
func TestReversePathOfASharedAddress(t *testing.T) {
	h := cards("192.168.1.10/24", "192.168.1.10/24").set(3, rpdb.RPFilter, 1)
	us := uplink.Derive(h.Input).Uplinks
	problems := []string{
		"address 192.168.1.10 is on eth0 too, which keeps its rules; this uplink is reached by oif and fwmark only",
		"the reverse path filter of eth1 is strict (rp_filter 1) and drops the answers to what is sent bound to the device or marked: " +
			"sysctl -w net.ipv4.conf.eth1.rp_filter=2, or arp = \"strict\" in its [[uplink]] section",
	}
	notes := []string{"connections to 192.168.1.10 that come in by eth1 are answered by the link that keeps the rules: only a mark (connmark, " +
		"net.ipv4.tcp_fwmark_accept) or SO_BINDTODEVICE brings the answer back"}
	if diff := cmp.Diff([][]string{problems, notes, nil, nil}, [][]string{us[1].Problems, us[1].Notes, us[0].Problems, us[0].Notes}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
