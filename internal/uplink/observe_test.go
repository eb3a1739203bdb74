package uplink_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// observed is what Observe makes of a host on which wan* are observed.
func (h *host) observed(exclude ...string) []uplink.Observed {
	h.Config.Exclude = exclude
	h.Config.Uplinks = []config.Uplink{{Interface: "wan*", Settings: config.Settings{Configured: true, ObserveDHCP: true}}}
	return uplink.Observe(h.Snapshot, h.Config, uplink.Derive(h.Input))
}

func TestObserve(t *testing.T) {
	as := func(list ...string) (as []netip.Addr) {
		for _, s := range list {
			as = append(as, addr(s))
		}
		return as
	}
	const index = 2
	for name, c := range map[string]struct {
		host *host
		want []uplink.Observed
	}{
		"nothing known": {newHost().link(rpdb.Link{Name: "wan0", MAC: "02:00:00:00:00:01"}).addr("wan0", "192.0.2.10/24").addr("wan0", "2001:db8::1/64").addr("wan0", "169.254.1.1/16"),
			[]uplink.Observed{{Index: index, Name: "wan0", MAC: "02:00:00:00:00:01", DHCP: true, Addresses: as("192.0.2.10"), Unrouted: as("192.0.2.10")}}},
		"no address": {newHost().eth("wan0"), []uplink.Observed{{Index: index, Name: "wan0", DHCP: true}}},
		"a gateway": {newHost().eth("wan0").addr("wan0", "192.0.2.10/24").gateway("wan0", "192.0.2.1", rpdb.ProtoDHCP),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10")}}},
		"a gateway of IPv6 only": {newHost().eth("wan0").addr("wan0", "192.0.2.10/24").addr("wan0", "2001:db8::1/64").gateway("wan0", "fe80::1", rpdb.ProtoRA),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10"), Unrouted: as("192.0.2.10")}}},
		"a private address behind a public gateway": {newHost().eth("wan0").addr("wan0", "10.1.1.1/24").addr("wan0", "192.0.2.10/24").gateway("wan0", "192.0.2.1", rpdb.ProtoDHCP),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("10.1.1.1", "192.0.2.10"), Unrouted: as("10.1.1.1")}}},
		"down":       {newHost().eth("wan0").addr("wan0", "192.0.2.10/24").down("wan0"), []uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10")}}},
		"no carrier": {newHost().eth("wan0").addr("wan0", "192.0.2.10/24").noCarrier("wan0"), []uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10")}}},
		"an address with a peer": {newHost().eth("wan0").addr("wan0", "192.0.2.10/32", func(a *rpdb.Address) { a.Peer = prefix("192.0.2.1/32") }),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10")}}},
		"the same address on a link that has a gateway": {newHost().eth("wan0", "wan1").addr("wan0", "192.0.2.10/24").addr("wan1", "192.0.2.10/24").gateway("wan1", "192.0.2.1", rpdb.ProtoDHCP),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10"), Unrouted: as("192.0.2.10")}, {Index: index + 1, Name: "wan1", DHCP: true, Addresses: as("192.0.2.10")}}},
		"point to point": {newHost().link(rpdb.Link{Name: "wan0", PointToPoint: true}).addr("wan0", "192.0.2.10/32"),
			[]uplink.Observed{{Index: index, Name: "wan0", DHCP: true, Addresses: as("192.0.2.10")}}},
		"a port of a bridge": {newHost().link(rpdb.Link{Name: "wan0", Master: 9}), nil},
		"another link":       {newHost().eth("eth0").addr("eth0", "192.0.2.10/24"), nil},
		"excluded":           {newHost().eth("wan9"), nil},
	} {
		got := c.host.observed("wan9")
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	h := newHost().eth("wan0").addr("wan0", "192.0.2.10/24")
	if got := uplink.Observe(h.Snapshot, h.Config, uplink.Derive(h.Input)); got != nil {
		t.Errorf("observed without a word in the configuration: %+v", got)
	}
}

// TestObserveRA: routers can be asked where there is a link-local address to ask from; nothing else matters.
func TestObserveRA(t *testing.T) {
	local := func(change func(*rpdb.Address)) *host {
		return newHost().eth("wan0").addr("wan0", "192.0.2.10/24").addr("wan0", "fe80::10/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }, change)
	}
	plain := func(*rpdb.Address) {}
	for name, c := range map[string]struct {
		host *host
		want bool
	}{
		"an address":            {local(plain), true},
		"tentative":             {local(func(a *rpdb.Address) { a.Tentative = true }), false},
		"somebody else has it":  {local(func(a *rpdb.Address) { a.DADFailed = true }), false},
		"down":                  {local(plain).down("wan0"), false},
		"no carrier":            {local(plain).noCarrier("wan0"), false},
		"a global address only": {newHost().eth("wan0").addr("wan0", "2001:db8::1/64"), false},
		"an IPv4 one":           {newHost().eth("wan0").addr("wan0", "169.254.1.1/16"), false},
	} {
		h := c.host.eth("eth0")
		h.Config.Uplinks = []config.Uplink{{Interface: "wan*", Settings: config.Settings{Configured: true, ObserveRA: true}}}
		want := []uplink.Observed{{Index: 2, Name: "wan0", RA: true, Solicit: c.want}}
		got := uplink.Observe(h.Snapshot, h.Config, uplink.Derive(h.Input))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestObservedEqual(t *testing.T) {
	a := uplink.Observed{Index: 2, Name: "a", MAC: "m", Addresses: []netip.Addr{addr("192.0.2.1")}, Unrouted: []netip.Addr{addr("192.0.2.1")}}
	if !a.Equal(a) {
		t.Error("not equal to itself")
	}
	for i, change := range []func(o *uplink.Observed){
		func(o *uplink.Observed) { o.Index++ }, func(o *uplink.Observed) { o.Name += "b" }, func(o *uplink.Observed) { o.MAC = "" },
		func(o *uplink.Observed) { o.DHCP = true }, func(o *uplink.Observed) { o.RA = true }, func(o *uplink.Observed) { o.Solicit = true },
		func(o *uplink.Observed) { o.Addresses = nil }, func(o *uplink.Observed) { o.Unrouted = nil },
	} {
		b := a
		change(&b)
		if a.Equal(b) {
			t.Errorf("change %d is none", i)
		}
	}
}

func (h *host) noCarrier(name string) *host {
	for i := range h.snap.Links {
		if h.snap.Links[i].Name == name {
			h.snap.Links[i].Carrier = false
		}
	}
	return h
}
