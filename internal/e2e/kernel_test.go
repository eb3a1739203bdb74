package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestOwnKernel boots guests and runs itself there: what needs a kernel whose clock may be set and that may sleep, PPP, or kinds
// of devices that the machine's own kernel may lack. A boot serves as many parts as do not keep each other waiting; each part has
// a daemon of its own.
func TestOwnKernel(t *testing.T) {
	if os.Getenv(envGuest) != "" {
		t.Run("clock", guestClock)
		t.Run("two-uplinks", guestTwoUplinks)
		t.Run("kinds", guestKinds)
		return
	}
	NeedGuest(t)
	for _, program := range []string{"ip", "pppd", "pppoe", "pppoe-server", "dhclient", "dnsmasq", "radvd"} {
		testnet.Need(t, program)
	}
	dir := build(t)
	for name, boot := range map[string]struct {
		modules string
		parts   string
	}{
		"clock and two uplinks": {"ipv6 veth ppp_async pppoe", "clock|two-uplinks"},
		"kinds of devices":      {"ipv6 veth bridge dummy vrf 8021q macvlan ipvlan bonding", "kinds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bootParts(t, dir, strings.Fields(boot.modules), boot.parts)
		})
	}
}

// bootParts runs some parts of TestOwnKernel in a guest.
func bootParts(t *testing.T, dir string, modules []string, parts string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := Guest{
		Modules: modules,
		Env: []string{testnet.EnvInside + "=1", envGuest + "=1",
			envBin + "=" + dir, envHooks + "=" + filepath.Join(root, "hooks")},
		Deadline: 4 * time.Minute, // a quarter of it where nothing else runs
	}.Run(t, filepath.Join(dir, "e2e.test"), "-test.run=^TestOwnKernel$/^("+parts+")$", "-test.v", "-test.timeout=220s")
	if r.Status != 0 || !strings.Contains(r.Output, "--- PASS: TestOwnKernel/") {
		t.Errorf("in the guest, exit status %d:\n%s", r.Status, r.Output)
		return
	}
	t.Log(r.Output) // the states before and after, to read
}
