package hookwire_test

import (
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// TestIdle: calls that say nothing are known by the client's own word alone.
func TestIdle(t *testing.T) {
	for _, tc := range []struct {
		client, args, env string
		want              bool
	}{
		{"dhclient", "", "reason=PREINIT", true},
		{"dhclient", "", "reason=PREINIT6", true},
		{"dhclient", "", "reason=BOUND", false},
		{"dhclient", "", "reason=", false},
		{"dhclient", "PREINIT", "reason=BOUND", false},
		{"dhcpcd", "", "reason=CARRIER", true},
		{"dhcpcd", "", "reason=DELEGATED6", true},
		{"dhcpcd", "", "reason=NOCARRIER", false},
		{"dhcpcd", "", "reason=ROUTERADVERT", false},
		{"udhcpc", "leasefail", "", true},
		{"udhcpc", "nak", "", true},
		{"udhcpc", "deconfig", "", false},
		{"udhcpc", "bound nak", "", false},
		{"udhcpc", "", "reason=nak", false},
		{"ppp", "", "reason=PREINIT", false},
	} {
		m, err := hookwire.Collect(tc.client, strings.Fields(tc.args), []string{tc.env})
		if err != nil || m.Idle() != tc.want {
			t.Errorf("%s %s %s: idle %v, want %v; %v", tc.client, tc.args, tc.env, m.Idle(), tc.want, err)
		}
	}
	if (hookwire.Message{Client: "nobody", Args: []string{"nak"}}).Idle() {
		t.Error("an unknown client's call is idle")
	}
}
