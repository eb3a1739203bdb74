package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestDhclient runs the built programs with ISC dhclient against dnsmasq. What counts is what the kernel says and what
// arrives, not what the daemon believes.
func TestDhclient(t *testing.T) {
	for _, program := range []string{"go", "dhclient", "dnsmasq", "ip", "unshare", "mount"} {
		testnet.Need(t, program)
	}
	script, err := os.ReadFile("/sbin/dhclient-script")
	if err != nil || !strings.Contains(string(script), "/etc/dhcp/dhclient-exit-hooks.d") {
		testnet.Skip(t, "this dhclient-script does not source /etc/dhcp/dhclient-exit-hooks.d")
	}
	testClient(t, buildPrograms(t), "", dhclient{}, dhclientScenarios(), brokenScenarios())
}

// dhclientScenarios is what may happen to leases, links and the daemon.
func dhclientScenarios() map[string]func(*dhcpHost) {
	return map[string]func(*dhcpHost){
		"bind":      scenarioBind,
		"together":  scenarioTogether,
		"router":    scenarioOtherRouter,
		"renumber":  scenarioRenumber,
		"classless": scenarioClassless,
		"slash32":   scenarioSlash32,
		"dhcpv6":    scenarioIPv6,

		"release":            scenarioRelease,
		"expire":             scenarioExpire,
		"kill":               scenarioKill,
		"reboot":             scenarioReboot,
		"link-down":          scenarioLinkDown,
		"release-while-down": scenarioReleaseWhileDown,
		"carrier":            scenarioCarrier,
		"unplugged":          scenarioUnplugged,

		"crash":           scenarioCrash,
		"change-unseen":   scenarioChangeUnseen,
		"drift":           scenarioDrift,
		"hostile":         scenarioHostile,
		"hostile-renewal": scenarioHostileRenewal,
	}
}

// buildPrograms builds the programs under test as the Makefile does, without cgo.
func buildPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(testnet.Need(t, "go"), "build", "-buildvcs=false", "-o", dir+"/", "../../cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}
