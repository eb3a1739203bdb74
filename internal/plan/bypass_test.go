package plan_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/uplink"
)

// TestBypass: what main sends by another uplink's gateway goes by the uplink's own, before main is asked.
func TestBypass(t *testing.T) {
	got := added(uplink.Others{}, func(u *uplink.Uplink) {
		u.Bypass = []netip.Prefix{prefix("203.0.113.1/32"), prefix("2001:db8:c::1/128")}
	})
	want := []string{
		"inet 4250: from 192.0.2.10 to 203.0.113.1 lookup 7001  # dsl: main has it by another uplink's gateway",
		"inet6 4250: from 2001:db8::/64 iif lo to 2001:db8:c::1 lookup 7001  # dsl: main has it by another uplink's gateway",
	}
	for _, w := range want {
		if !strings.Contains(strings.ReplaceAll(got, "to 2001:db8:c::1 iif lo", "iif lo to 2001:db8:c::1"), w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
	if n := strings.Count(got, "4250:"); n != 2 {
		t.Errorf("%d rules", n)
	}
}
