package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// onlyAddress is a script for udhcpc that sets the address and nothing else: there is no hook, and no route to learn from.
const onlyAddress = `#!/bin/sh
case $1 in bound | renew) ip addr replace "$ip/$mask" dev "$interface" ;; esac
`

// wireHost is a host whose first uplink is static, and whose second one uplinkd observes.
type wireHost struct {
	t      *testing.T
	lab    *lab.Lab
	server *lab.Server
	bin    string
	dir    string
}

func newWireHost(t *testing.T, bin string) *wireHost {
	t.Helper()
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	h := &wireHost{t: t, lab: l, bin: bin, dir: t.TempDir()}
	for _, ns := range []*testnet.NS{l.Inet, l.Host} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	testnet.Must(t, l.Host.Addr(l.A.Dev, l.A.Host4.String()), l.Host.Route(fmt.Sprintf("default via %s dev %s", l.A.GW4, l.A.Dev)))
	h.server, err = l.B.DHCP()
	testnet.Must(t, err)
	t.Cleanup(h.server.Close)
	return h
}

// start starts uplinkd, by way of another program where one is named.
func (h *wireHost) start(observe bool, by ...string) *program {
	h.t.Helper()
	conf := filepath.Join(h.dir, "uplinkd.toml")
	h.configure(observe)
	args := append(by, filepath.Join(h.bin, "uplinkd"), "--config", conf, "--runtime-dir", filepath.Join(h.dir, "run"),
		"--state-dir", filepath.Join(h.dir, "state"), "--log-format", "json")
	p := run(h.t, filepath.Join(h.dir, "uplinkd.log"), h.lab.Host.Command(args[0], args[1:]...))
	p.await(`"message":"ready"`)
	return p
}

func (h *wireHost) configure(observe bool) {
	h.t.Helper()
	write(h.t, filepath.Join(h.dir, "uplinkd.toml"), fmt.Sprintf("rt_tables_dir = %q\n[[uplink]]\ninterface = %q\nobserve_dhcp = %v\n",
		filepath.Join(h.dir, "rt_tables.d"), h.lab.B.Dev, observe))
}

// udhcpc starts a client without any hook on the observed uplink.
func (h *wireHost) udhcpc() *program {
	h.t.Helper()
	script := filepath.Join(h.dir, "script")
	testnet.Must(h.t, os.WriteFile(script, []byte(onlyAddress), 0o755))
	return run(h.t, filepath.Join(h.dir, "udhcpc.log"), h.lab.Host.Command(testnet.Need(h.t, "udhcpc"), "-f", "-i", h.lab.B.Dev, "-s", script))
}

// works is nil when the observed uplink does: by the kernel's rules, and by a packet and its answer.
func (h *wireHost) works() error {
	b := h.lab.B
	if rules := testnet.StateOf(h.t, h.lab.Host, config.DefaultProtocol); !strings.Contains(rules, "from "+b.Host4.Addr().String()+" unreachable") {
		return fmt.Errorf("no rules of the observed uplink in\n%s", rules)
	}
	return errors.Join(
		lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Src: b.Host4.Addr()}),
		lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Device: b.Dev}),
		lab.Reach(h.lab.Inet, b.Host4.Addr(), lab.Probe{}),
	)
}

func (h *wireHost) noRules() error {
	if rules := testnet.StateOf(h.t, h.lab.Host, config.DefaultProtocol); strings.Contains(rules, h.lab.B.Host4.Addr().String()) {
		return fmt.Errorf("rules of the observed uplink in\n%s", rules)
	}
	return nil
}

func (h *wireHost) status() string {
	out, err := exec.Command(filepath.Join(h.bin, "uplinkctl"), "--runtime-dir", filepath.Join(h.dir, "run"), "status").CombinedOutput()
	return fmt.Sprintf("%s%v", out, err)
}

// packetSockets is how many there are of uplinkd's: nothing else on the host has one when it is asked.
func (h *wireHost) packetSockets() int {
	var text []byte
	testnet.Must(h.t, h.lab.Host.Run(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/packet")
		return err
	}))
	return strings.Count(string(text), "\n") - 1
}

// TestWire: uplinkd with observe_dhcp and a client that has no hook.
func TestWire(t *testing.T) {
	for _, program := range []string{"go", "udhcpc", "ip", "setpriv"} {
		testnet.Need(t, program)
	}
	bin := buildPrograms(t)
	for name, scenario := range map[string]func(*wireHost){
		"lease": wireLease, "address by hand": wireByHand, "off": wireOff, "no capability": wireNoCapability,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(newWireHost(t, bin))
		})
	}
}

// wireLease: the lease makes the uplink work for as long as its address is there. The client leaves that where it is when it
// gives the lease back, and a RELEASE on the wire may be anybody's: the uplink stays until the address goes.
func wireLease(h *wireHost) {
	h.start(true)
	client := h.udhcpc()
	testnet.Eventually(h.t, patience, h.works)
	if s := h.status(); !strings.Contains(s, "wire") {
		h.t.Errorf("the status says nothing of the wire:\n%s", s)
	}
	testnet.Must(h.t, client.cmd.Process.Signal(syscall.SIGUSR2)) // give the lease back
	testnet.Eventually(h.t, patience, func() error {
		if h.server.Seen(dhcpv4.MessageTypeRelease) == 0 {
			return errors.New("the server saw no DHCPRELEASE")
		}
		return nil
	})
	testnet.Must(h.t, h.works())
	testnet.Must(h.t, h.lab.Host.DelAddr(h.lab.B.Dev, h.lab.B.Host4.String()))
	testnet.Eventually(h.t, patience, h.noRules)
}

// wireByHand: for an address that somebody has set the server is asked.
func wireByHand(h *wireHost) {
	h.start(true)
	testnet.Must(h.t, h.lab.Host.Addr(h.lab.B.Dev, h.lab.B.Host4.String()))
	testnet.Eventually(h.t, patience, h.works)
}

// wireOff: without the key there is no socket, and no uplink; a reload is enough to have both, and to be rid of the one.
func wireOff(h *wireHost) {
	p := h.start(false)
	if n := h.packetSockets(); n != 0 {
		h.t.Errorf("%d packet sockets", n)
	}
	testnet.Must(h.t, h.lab.Host.Addr(h.lab.B.Dev, h.lab.B.Host4.String()))
	testnet.Must(h.t, h.noRules())
	sockets := func(want int) func() error {
		return func() error {
			if n := h.packetSockets(); n != want {
				return fmt.Errorf("%d packet sockets, want %d", n, want)
			}
			return nil
		}
	}
	h.configure(true)
	testnet.Must(h.t, p.cmd.Process.Signal(syscall.SIGHUP))
	testnet.Eventually(h.t, patience, sockets(1))
	testnet.Eventually(h.t, patience, h.works)
	h.configure(false)
	testnet.Must(h.t, p.cmd.Process.Signal(syscall.SIGHUP))
	testnet.Eventually(h.t, patience, sockets(0))
}

// wireNoCapability: everything but the observation works, and the status says what it needs.
func wireNoCapability(h *wireHost) {
	p := h.start(true, testnet.Need(h.t, "setpriv"), "--bounding-set=-net_raw", "--inh-caps=-net_raw")
	want := "observe_dhcp of " + h.lab.B.Dev + " needs CAP_NET_RAW"
	testnet.Eventually(h.t, patience, func() error {
		if s := h.status(); !strings.Contains(s, want) {
			return fmt.Errorf("status without %q:\n%s", want, s)
		}
		return nil
	})
	testnet.Must(h.t, lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Src: h.lab.A.Host4.Addr()}))
	if n := strings.Count(p.text(), want); n != 1 {
		h.t.Errorf("logged %d times:\n%s", n, p.text())
	}
}
