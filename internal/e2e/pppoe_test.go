package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// The environment of the guest's part of a test.
const (
	envGuest = "UPLINKD_E2E_GUEST" // set: this process runs in a guest
	envBin   = "UPLINKD_E2E_BIN"   // directory of the programs under test
	envHooks = "UPLINKD_E2E_HOOKS" // the repository's hooks directory
)

// TestPPPoE boots a guest and runs itself there, with a real pppd and a real PPPoE server.
func TestPPPoE(t *testing.T) {
	if os.Getenv(envGuest) != "" {
		guestPPPoE(t)
		return
	}
	NeedGuest(t)
	for _, program := range []string{"pppd", "pppoe", "pppoe-server"} {
		testnet.Need(t, program)
	}
	dir := build(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := Guest{
		Modules: []string{"ipv6", "ppp_async", "pppoe", "veth"},
		Env: []string{testnet.EnvInside + "=1", envGuest + "=1",
			envBin + "=" + dir, envHooks + "=" + filepath.Join(root, "hooks")},
		Deadline: time.Minute,
	}.Run(t, filepath.Join(dir, "e2e.test"), "-test.run=^TestPPPoE$", "-test.v", "-test.timeout=50s")
	if r.Status != 0 {
		t.Errorf("in the guest, exit status %d:\n%s", r.Status, r.Output)
	}
}

// build makes the programs and this test for the guest, without cgo, into a directory that the guest sees.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"build", "-o", dir + "/", "../../cmd/..."},
		{"test", "-c", "-o", filepath.Join(dir, "e2e.test"), "."},
	} {
		cmd := exec.Command(testnet.Need(t, "go"), args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return dir
}
