package e2e

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// brokenScenarios is what may be wrong with uplinkd without harm to a lease.
func brokenScenarios() map[string]func(*dhcpHost) {
	return map[string]func(*dhcpHost){
		"broken/no-daemon": func(h *dhcpHost) {
			h.bindsAnyway()
			if len(h.spooled()) == 0 {
				h.t.Error("no message in the spool")
			}
		},
		"broken/no-program":  func(h *dhcpHost) { h.hookFile(""); h.bindsAnyway() },
		"broken/exit-status": func(h *dhcpHost) { h.hookFile("exit 1"); h.bindsAnyway() },
		"broken/signal":      func(h *dhcpHost) { h.hookFile("kill -KILL $$"); h.bindsAnyway() },
		"broken/talks": func(h *dhcpHost) {
			// More than a pipe holds, on both: a client that waits for its hook to end reads none of it.
			h.hookFile("head -c 100000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero | tr '\\0' y >&2")
			h.bindsAnyway()
		},
		"broken/no-format": func(h *dhcpHost) {
			h.hookFile("")
			write(h.t, h.path("libexec/uplink-hook"), "\x00\x01 no program")
			h.bindsAnyway()
		},
		"broken/no-directory": func(h *dhcpHost) {
			testnet.Must(h.t, os.WriteFile(h.path("run/uplinkd/spool"), nil, 0o600)) // a file where the spool has to be
			h.bindsAnyway()
		},
		"broken/stopped-daemon": stoppedDaemon,
		"broken/hangs":          hangingHook,
	}
}

// bindsAnyway binds an uplink and checks that the lease is kept and renewed.
func (h *dhcpHost) bindsAnyway() {
	h.t.Helper()
	h.b.renewOften()
	h.b.serve()
	start := time.Now()
	h.b.bind()
	h.t.Logf("bound after %v", time.Since(start))
	h.keepsLease()
	h.b.renewed()
	h.keepsLease()
}

// keepsLease checks that the address is there, that the client has its lease on disk, and that the server has not got it
// back.
func (h *dhcpHost) keepsLease() {
	h.t.Helper()
	if err := h.client.holds(h.b); err != nil || !h.has(h.b.addr()) || h.b.process.ended() {
		h.t.Errorf("has %v: %v, client ended: %v, its lease: %v", h.b.addr(), h.has(h.b.addr()), h.b.process.ended(), err)
	}
	if err := h.b.declined(); err != nil {
		h.t.Errorf("%v; the server says:\n%s", err, h.b.server.text())
	}
}

// stoppedDaemon: the daemon takes the hook's connection, or the kernel does in its stead, and never answers. When it goes
// on, it does what it was told.
func stoppedDaemon(h *dhcpHost) {
	h.startUplinkd()
	testnet.Must(h.t, h.uplinkd.cmd.Process.Signal(syscall.SIGSTOP))
	h.bindsAnyway()
	if got := h.b.state(); got != "" {
		h.t.Errorf("a daemon that is stopped has made:\n%s", got)
	}
	testnet.Must(h.t, h.uplinkd.cmd.Process.Signal(syscall.SIGCONT))
	h.eventuallyIs("eth2", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
}

// hangingHook: uplink-hook itself never hangs; if another program has its name and does, the client waits, as it does for
// every hook, and the address works. When the program ends, all is as usual.
func hangingHook(h *dhcpHost) {
	// Only the hook of the lease hangs: every client calls its hooks before that, to say that it begins.
	h.hookFile(`case "$reason $*" in *BOUND*|*bound) ;; *) exit ;; esac; echo $$ >/run/uplinkd/pid; exec sleep 1000`)
	h.b.serve()
	h.b.start()
	var pid int
	h.eventually("the hook runs", func() error {
		text, err := os.ReadFile(h.path("run/uplinkd/pid"))
		if err != nil {
			return err
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err
	})
	h.eventually("the address is there", func() error {
		if !h.has(h.b.addr()) {
			return errors.New("no")
		}
		return h.b.declined()
	})
	if h.client.leased(h.b, netip.Addr{}) > 0 {
		h.t.Error("the client did not wait for its hook")
	}
	testnet.Must(h.t, syscall.Kill(pid, syscall.SIGKILL))
	h.b.awaitLease()
	h.keepsLease()
}

// TestRuleText reads a message as the kernel sends it (recorded: ip rule add from 192.0.2.10 lookup 7000 pref 4200).
func TestRuleText(t *testing.T) {
	m := []byte{2, 0, 32, 0, 0, 0, 0, 1, 0, 0, 0, 0,
		8, 0, 2, 0, 192, 0, 2, 10, // FRA_SRC
		8, 0, 6, 0, 0x68, 0x10, 0, 0, // FRA_PRIORITY
		8, 0, 15, 0, 0x58, 0x1b, 0, 0} // FRA_TABLE
	if got := ruleText(m); got != "4200 192.0.2.10" {
		t.Errorf("got %q", got)
	}
}
