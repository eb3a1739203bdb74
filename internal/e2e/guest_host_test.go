package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// guestHost is the guest itself as the host under test, with the daemon in its default directories.
type guestHost struct {
	*testnet.NS
	t      *testing.T
	dir    string
	daemon *program
	starts int
}

func newGuestHost(t *testing.T) *guestHost {
	t.Helper()
	ns, err := testnet.Current("host")
	testnet.Must(t, err)
	t.Cleanup(ns.Close)
	// Go's net package finds out once in a process what the host can do, and without ::1 it finds that there is no IPv6.
	testnet.Must(t, ns.Up("lo"))
	return &guestHost{NS: ns, t: t, dir: t.TempDir()}
}

// startDaemon starts uplinkd and waits until it is ready; the test's end ends it, and takes all that it made out of the kernel.
func (h *guestHost) startDaemon() {
	h.t.Helper()
	h.starts++
	if h.starts == 1 {
		h.t.Cleanup(h.flush)
	}
	h.daemon = run(h.t, filepath.Join(h.dir, fmt.Sprintf("uplinkd-%d.log", h.starts)),
		exec.Command(filepath.Join(os.Getenv(envBin), "uplinkd"), "--log-format", "console", "--log-level", "debug"))
	h.daemon.await("ready")
}

func (h *guestHost) killDaemon() {
	h.t.Helper()
	h.daemon.kill()
}

// flush leaves the next part a kernel without anything of ours.
func (h *guestHost) flush() {
	h.daemon.kill()
	if out, err := exec.Command(filepath.Join(os.Getenv(envBin), "uplinkd"), "--flush").CombinedOutput(); err != nil {
		h.t.Errorf("uplinkd --flush: %v\n%s", err, out)
	}
	if left := testnet.StateOf(h.t, h.NS, config.DefaultProtocol); left != "" {
		h.t.Errorf("a flush left:\n%s", left)
	}
}

// ours is what uplinkd has put into the kernel, as text.
func (h *guestHost) ours() string {
	h.t.Helper()
	return testnet.StateOf(h.t, h.NS, config.DefaultProtocol)
}

// oursWith is its lines with one of some words, each as a whole word.
func (h *guestHost) oursWith(words ...string) string {
	h.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(h.ours()) {
		for _, w := range words {
			if strings.Contains(" "+strings.TrimSpace(line)+" ", " "+w+" ") {
				b.WriteString(line)
				break
			}
		}
	}
	return b.String()
}

// say puts a state into the test's output: what there was before and after is to be read there.
func (h *guestHost) say(when string) {
	h.t.Helper()
	h.t.Logf("%s:\n%s", when, h.ours())
}

// same waits until what uplinkd has in the kernel is what it was.
func (h *guestHost) same(when, want string) {
	h.t.Helper()
	h.eventually(when, func() error {
		if got := h.ours(); got != want {
			return fmt.Errorf("it was:\n%sand is:\n%s", want, got)
		}
		return nil
	})
}

func (h *guestHost) eventually(what string, cond func() error) {
	h.t.Helper()
	if err := testnet.Wait(pppPatience, cond); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// status is what uplinkctl shows.
func (h *guestHost) status() control.Status {
	h.t.Helper()
	c, err := control.Dial(hookwire.DefaultRuntimeDir)
	testnet.Must(h.t, err)
	defer c.Close()
	s, err := c.Status(context.Background())
	testnet.Must(h.t, err)
	return s
}

// uplink is the uplink of a device, if that is one.
func (h *guestHost) uplink(dev string) (control.Uplink, bool) {
	h.t.Helper()
	for _, u := range h.status().Uplinks {
		if u.Interface == dev {
			return u, true
		}
	}
	return control.Uplink{}, false
}

// leaves waits until the kernel sends packets from an address by a device, with "" until it sends them nowhere.
func (h *guestHost) leaves(from netip.Addr, dev string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("packets of %v leave by %q", from, dev), func() error {
		r, err := h.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.FamilyOf(from)), Src: from})
		if dev == "" {
			// EINVAL: there is no such address. The others are those of a fence.
			if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
				return nil
			}
			return errors.Join(fmt.Errorf("by link %d", r.OIF), err)
		}
		index, missing := h.Index(dev)
		if err != nil || missing != nil || r.OIF != index {
			return fmt.Errorf("by link %d: %w", r.OIF, errors.Join(err, missing))
		}
		return nil
	})
}

// ip runs ip(8) for each line.
func (h *guestHost) ip(lines ...string) {
	h.t.Helper()
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			h.t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
}

// hook calls uplink-hook as a client does. It waits until the kernel has been changed.
func (h *guestHost) hook(client string, env ...string) {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(os.Getenv(envBin), "uplink-hook"), client)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		h.t.Fatalf("uplink-hook %s: %v\n%s", client, err, out)
	}
}

// stopped runs a function while the daemon does not run, which is as if all of it happened at once.
func (h *guestHost) stopped(f func()) {
	h.t.Helper()
	h.daemon.signal(syscall.SIGSTOP)
	defer h.daemon.signal(syscall.SIGCONT)
	f()
}

// jumps is how often this daemon has said that the clock jumped. A guest that sleeps is woken so fast that the kernel may take
// the time for none at all: then what happened is, as far as a process can tell, that the clock was set.
func (h *guestHost) jumps() int {
	h.t.Helper()
	return strings.Count(h.daemon.text(), " the clock was set\n") + strings.Count(h.daemon.text(), " resumed after ")
}

// jumped waits until the daemon has said so once more than n times, and says how long that took.
func (h *guestHost) jumped(n int) time.Duration {
	h.t.Helper()
	begin := time.Now()
	h.eventually("the daemon says that the clock jumped", func() error {
		if got := h.jumps(); got <= n {
			return fmt.Errorf("%d times, and so it had before", got)
		}
		return nil
	})
	return time.Since(begin)
}
