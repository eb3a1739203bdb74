package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
)

// storedPrefix is a lease of a delegated prefix on link 2.
func storedPrefix(prefix string, seq uint64) state.StoredLease {
	p := netip.MustParsePrefix(prefix)
	l := stored(lease.SourceDhclient6, p.Addr().String(), seq, false)
	l.Lease.Prefix, l.Lease.Delegated = p, true
	return l
}

func hostWith(addresses map[string]int) *rpdb.Snapshot {
	s := &rpdb.Snapshot{Links: []rpdb.Link{{Index: 2, Name: "eth0"}, {Index: 3, Name: "lan0"}}}
	for a, link := range addresses {
		s.Addresses = append(s.Addresses, rpdb.Address{Link: link, Prefix: netip.MustParsePrefix(a)})
	}
	return s
}

// TestDelegatedLeaseInUse: a prefix counts as seen, and so is not the first to go where there are too many leases, when another link
// has an address in it.
func TestDelegatedLeaseInUse(t *testing.T) {
	for name, c := range map[string]struct {
		addresses map[string]int
		seen      bool
	}{
		"the LAN has an address in it":   {map[string]int{"2001:db8:1:1::1/64": 3}, true},
		"nobody has":                     {map[string]int{"2001:db8:2:1::1/64": 3}, false},
		"its own link has (RFC 6603)":    {map[string]int{"2001:db8:1:1::1/64": 2}, false},
		"its own link has the first one": {map[string]int{"2001:db8:1::/64": 2}, false},
	} {
		b := book{leases: []state.StoredLease{storedPrefix("2001:db8:1::/56", 1)}}
		b.follow(hostWith(c.addresses), moment{wall: time.Unix(1, 0)})
		if len(b.leases) != 1 || b.leases[0].Seen != c.seen {
			t.Errorf("%s: %+v", name, b.leases)
		}
	}
}

// TestDelegatedLeaseEnds with its lifetime, whatever addresses are left in it; an address's lease does not, while that is there. And
// it is an end that nobody has to ask for: the provider has stopped routing the prefix.
func TestDelegatedLeaseEnds(t *testing.T) {
	at := time.Unix(1000, 0)
	l := storedPrefix("2001:db8:1::/56", 1)
	l.Received, l.Lease.Lifetime = at, time.Minute
	endless := storedPrefix("2001:db8:2::/56", 2)
	s := hostWith(map[string]int{"2001:db8:1:1::1/64": 3, "2001:db8:2:1::1/64": 3})
	b := book{leases: []state.StoredLease{l, endless}}
	b.follow(s, moment{wall: at.Add(59 * time.Second)})
	if len(b.leases) != 2 {
		t.Errorf("before its end: left %q", addressesOf(b.leases))
	}
	b.follow(s, moment{wall: at.Add(61 * time.Second)})
	if got := addressesOf(b.leases); len(got) != 1 || got[0] != "2001:db8:2::" {
		t.Errorf("after its end: left %q", got)
	}
	s.Links = s.Links[1:]
	if b.follow(s, moment{wall: at.Add(61 * time.Second)}); len(b.leases) != 0 {
		t.Errorf("without its link: left %q", addressesOf(b.leases))
	}
}

// TestPrefixIsNotSuperseded: a client that has one address on a link may well have been delegated prefixes, too.
func TestPrefixIsNotSuperseded(t *testing.T) {
	later := stored(lease.SourceDhclient6, "2001:db8:a::10", 2, true)
	later.Sole = true
	b := book{leases: []state.StoredLease{storedPrefix("2001:db8:1::/56", 1), later}}
	if gone := b.superseded(hostWith(map[string]int{"2001:db8:a::10/64": 2})); len(gone) != 0 {
		t.Errorf("gone: %q", addressesOf(gone))
	}
}

// TestPrefixRebound: another length of the same prefix is its newest word, and no second lease; a renewal keeps its age.
func TestPrefixRebound(t *testing.T) {
	var b book
	b.bind(storedPrefix("2001:db8:1::/56", 1))
	b.bind(storedPrefix("2001:db8:1::/60", 2))
	if len(b.leases) != 1 || b.leases[0].Lease.Prefix.Bits() != 60 || b.leases[0].Seq != 1 {
		t.Errorf("%+v", b.leases)
	}
}
