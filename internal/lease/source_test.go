package lease_test

import (
	"testing"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// TestSourceOfUser: what an ordinary user says is never taken for root's word, nor for another user's, and counts for
// tunnels only.
func TestSourceOfUser(t *testing.T) {
	for _, c := range []struct {
		source, user lease.Source
		tunnelOnly   bool // what root says
	}{
		{"generic", "generic@65534", false},
		{"dhclient", "dhclient@65534", false},
		{"openvpn", "openvpn", true},
	} {
		if got := c.source.OfUser(65534); got != c.user || !got.TunnelOnly() {
			t.Errorf("%s of a user: %s, for tunnels only: %v, want %s", c.source, got, got.TunnelOnly(), c.user)
		}
		if c.source.TunnelOnly() != c.tunnelOnly {
			t.Errorf("%s counts for tunnels only: %v", c.source, c.source.TunnelOnly())
		}
	}
	if a, b := lease.Source("generic").OfUser(1), lease.Source("generic").OfUser(11); a == b {
		t.Errorf("two users are both %s", a)
	}
}
