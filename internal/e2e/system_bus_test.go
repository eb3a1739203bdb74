package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// busConfig is a D-Bus on which everybody may do everything: what the policy files of a distribution allow is not what
// these tests are about.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow eavesdrop="true"/>
    <allow send_destination="*" eavesdrop="true"/>
  </policy>
</busconfig>
`

// startBus starts a system bus that this host's programs see, and nobody else: the socket lies in the host's own /run.
func (h *dhcpHost) startBus() *program {
	h.t.Helper()
	h.file("bus.conf", busConfig, 0o644)
	testnet.Must(h.t, os.MkdirAll(h.path("run/dbus"), 0o755))
	bus := run(h.t, h.path("bus.log"), h.command("dbus-daemon", "--config-file="+h.path("bus.conf"), "--nofork", "--nopidfile"))
	h.eventually("the system bus", func() error {
		_, err := os.Stat(h.path("run/dbus/system_bus_socket"))
		return err
	})
	return bus
}

// readOnlySys runs a command with a /sys that cannot be written. That is how systemd and NetworkManager know that there is no
// udev to wait for: systemd.io/CONTAINER_INTERFACE, and access(2) on /sys in NetworkManager's nm-linux-platform.c.
const readOnlySys = `mount -o remount,bind,ro /sys && exec "$@"`

// withoutUdev is command for a program that would wait for udev.
func (h *dhcpHost) withoutUdev(name string, args ...string) *exec.Cmd {
	h.t.Helper()
	return h.command("sh", append([]string{"-c", readOnlySys, "sh", testnet.Need(h.t, name)}, args...)...)
}

// needUserIDs skips the test where the user namespace has one user only: an ordinary user's.
func needUserIDs(t *testing.T, why string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/uid_map")
	testnet.Must(t, err)
	if f := strings.Fields(string(text)); len(f) == 3 && f[2] == "1" {
		testnet.Skip(t, why+", and a user namespace that is not root's has no other user: run the tests as root")
	}
}
