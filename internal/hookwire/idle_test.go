package hookwire_test

import (
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// TestIdle: calls that say nothing are known by the client's own word alone.
func TestIdle(t *testing.T) {
	for _, tc := range []struct {
		client, env string
		want        bool
	}{
		{"dhclient", "reason=PREINIT", true},
		{"dhclient", "reason=PREINIT6", true},
		{"dhclient", "reason=BOUND", false},
		{"dhclient", "reason=", false},
		{"ppp", "reason=PREINIT", false},
	} {
		m, err := hookwire.Collect(tc.client, nil, []string{tc.env})
		if err != nil || m.Idle() != tc.want {
			t.Errorf("%s %s: idle %v, want %v; %v", tc.client, tc.env, m.Idle(), tc.want, err)
		}
	}
}
