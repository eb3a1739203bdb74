package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
)

func stored(source lease.Source, address string, seq uint64, seen bool) state.StoredLease {
	return state.StoredLease{
		Index: 2, Interface: "eth0", Seq: seq, Seen: seen, Received: time.Unix(0, 0),
		Lease: lease.Lease{Source: source, Address: netip.MustParseAddr(address), Lifetime: lease.Infinite},
	}
}

func addressesOf(ls []state.StoredLease) (all []string) {
	for _, l := range ls {
		all = append(all, l.Lease.Address.String())
	}
	return all
}

// TestEvict: who goes where there are too many: first what an ordinary user said, then what never was on the link, then the
// oldest; and never the newest, but for a user's among root's.
func TestEvict(t *testing.T) {
	const user = lease.Source("generic@65534")
	for name, c := range map[string]struct {
		leases []state.StoredLease
		gone   string
	}{
		"as many as may be":           {[]state.StoredLease{stored("a", "192.0.2.1", 1, false), stored("a", "192.0.2.2", 2, false)}, ""},
		"an unseen one of a user":     {[]state.StoredLease{stored("a", "192.0.2.1", 1, false), stored(user, "192.0.2.2", 2, false), stored("a", "192.0.2.3", 3, false)}, "192.0.2.2"},
		"a seen one of a user too":    {[]state.StoredLease{stored("a", "192.0.2.1", 1, false), stored(user, "192.0.2.2", 2, true), stored("a", "192.0.2.3", 3, false)}, "192.0.2.2"},
		"an unseen one":               {[]state.StoredLease{stored("a", "192.0.2.1", 1, true), stored("a", "192.0.2.2", 2, false), stored("a", "192.0.2.3", 3, true)}, "192.0.2.2"},
		"the newest is unseen":        {[]state.StoredLease{stored("a", "192.0.2.1", 1, true), stored("a", "192.0.2.2", 2, true), stored("a", "192.0.2.3", 3, false)}, "192.0.2.1"},
		"a user's among root's":       {[]state.StoredLease{stored("a", "192.0.2.1", 1, false), stored("a", "192.0.2.2", 2, true), stored(user, "192.0.2.3", 3, false)}, "192.0.2.3"},
		"all have been on their link": {[]state.StoredLease{stored("a", "192.0.2.1", 1, true), stored("a", "192.0.2.2", 2, true), stored("a", "192.0.2.3", 3, true)}, "192.0.2.1"},
	} {
		b := book{leases: slices.Clone(c.leases)}
		b.evict(2, func(state.StoredLease) bool { return true })
		want := slices.DeleteFunc(addressesOf(c.leases), func(a string) bool { return a == c.gone })
		if got := addressesOf(b.leases); !slices.Equal(got, want) {
			t.Errorf("%s: left %q, want %q", name, got, want)
		}
	}
}

// TestBindRemembers: that an address was on the link is not forgotten with the next word about it; a word that there is no
// gateway is news where the last was that the gateway was refused; and what was known before this run keeps its age.
func TestBindRemembers(t *testing.T) {
	var b book
	b.load([]state.StoredLease{stored("a", "192.0.2.1", 7, true)})
	if l := b.leases[0]; l.Seq != 7 || !l.Seen {
		t.Errorf("loaded: %+v", l)
	}
	b.bind(stored("a", "192.0.2.1", 1, false))
	if l := b.leases[0]; len(b.leases) != 1 || l.Seq != 7 || !l.Seen {
		t.Errorf("said again: %+v", b.leases)
	}
	refused := stored("a", "192.0.2.1", 2, false)
	refused.Lease.Refused = true
	b.bind(refused)
	if l := b.leases[0]; l.Seq != 2 {
		t.Errorf("refused: %+v", l)
	}
}

// TestSuperseded: a sole lease takes the place of one whose address is gone, when its own has come.
func TestSuperseded(t *testing.T) {
	first, second := stored("a", "192.0.2.1", 1, true), stored("a", "192.0.2.2", 2, true)
	for name, c := range map[string]struct {
		sole  bool
		there []string
		want  int
	}{
		"it came and the old one went":     {true, []string{"192.0.2.2/24"}, 1},
		"both are there":                   {true, []string{"192.0.2.1/24", "192.0.2.2/24"}, 0},
		"neither is":                       {true, nil, 0},
		"it has not come":                  {true, []string{"192.0.2.1/24"}, 0},
		"it is one of several of a client": {false, []string{"192.0.2.2/24"}, 0},
	} {
		var s rpdb.Snapshot
		for _, a := range c.there {
			s.Addresses = append(s.Addresses, rpdb.Address{Link: 2, Prefix: netip.MustParsePrefix(a)})
		}
		later := second
		later.Sole = c.sole
		b := book{leases: []state.StoredLease{first, later}}
		if gone := b.superseded(&s); len(gone) != c.want || len(b.leases) != 2-c.want {
			t.Errorf("%s: gone %q, left %q", name, addressesOf(gone), addressesOf(b.leases))
		}
	}
}

// TestSupersededByItsOwnClient: another client's lease, one of another family and one on another link take nobody's place.
func TestSupersededByItsOwnClient(t *testing.T) {
	there := rpdb.Snapshot{Addresses: []rpdb.Address{
		{Link: 2, Prefix: netip.MustParsePrefix("192.0.2.2/24")}, {Link: 2, Prefix: netip.MustParsePrefix("2001:db8::2/64")},
		{Link: 3, Prefix: netip.MustParsePrefix("192.0.2.2/24")},
	}}
	elsewhere := stored("a", "192.0.2.2", 2, true)
	elsewhere.Index = 3
	for name, later := range map[string]state.StoredLease{
		"another client": stored("b", "192.0.2.2", 2, true), "another family": stored("a", "2001:db8::2", 2, true), "another link": elsewhere,
	} {
		later.Sole = true
		b := book{leases: []state.StoredLease{stored("a", "192.0.2.1", 1, true), later}}
		if gone := b.superseded(&there); len(gone) != 0 {
			t.Errorf("%s: gone %q", name, addressesOf(gone))
		}
	}
}
