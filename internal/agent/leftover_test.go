package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
)

// TestLeaseThatRanOutUnseen: a lease of dhclient's that ran out before this run says nothing of an address without a lifetime,
// which somebody else has put there since. One that runs out in this run was seen to stay.
func TestLeaseThatRanOutUnseen(t *testing.T) {
	for _, c := range []struct {
		name      string
		source    lease.Source
		permanent bool
		looks     int
		left      int
	}{
		{"somebody else's address", lease.SourceDhclient, true, 1, 0},
		{"dhclient's own", lease.SourceDhclient, false, 1, 1},
		{"a client that gives no lifetimes", "udhcpc", true, 1, 1},
		{"in this run", lease.SourceDhclient, true, 2, 1},
	} {
		now := time.Unix(1000, 0)
		l := stored(c.source, "192.0.2.1", 1, true)
		l.Received, l.Lease.Lifetime = now, time.Minute
		s := rpdb.Snapshot{
			Links:     []rpdb.Link{{Index: l.Index, Name: "eth0"}},
			Addresses: []rpdb.Address{{Link: l.Index, Prefix: netip.MustParsePrefix("192.0.2.1/24"), Permanent: c.permanent}},
		}
		var b book
		b.load([]state.StoredLease{l})
		if c.looks > 1 {
			b.follow(&s, moment{wall: now})
		}
		b.follow(&s, moment{wall: now.Add(time.Hour)})
		if len(b.leases) != c.left {
			t.Errorf("%s: %d leases left, want %d", c.name, len(b.leases), c.left)
		}
	}
}
