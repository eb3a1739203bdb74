package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// patience is how long a test waits for a state that has to come: far longer than anything takes on a loaded machine.
const patience = 20 * time.Second

// dhcpHost is a host with two uplinks whose addresses a real client brings, from real servers.
type dhcpHost struct {
	t      *testing.T
	lab    *lab.Lab
	client dhcpClient
	bin    string   // directory of the programs under test
	dir    string   // all files of the test
	binds  []string // what every program sees elsewhere, in pairs, see bind
	apart  []string // and uplinkd alone
	a, b   *dhcpLink
	// uplinkd is the running daemon; nil: none.
	uplinkd *program
	starts  int
}

// newDHCPHost builds the lab and installs the client; nothing runs yet but the echo servers. The hook is the repository's
// own file, and the program that it calls is the one under test.
func newDHCPHost(t *testing.T, bin string, client dhcpClient) *dhcpHost {
	t.Helper()
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	h := &dhcpHost{t: t, lab: l, client: client, bin: bin, dir: t.TempDir()}
	for _, ns := range []*testnet.NS{l.Inet, l.Host} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	h.a, h.b = newDHCPLink(h, l.A), newDHCPLink(h, l.B)
	h.bind("run", "/run")
	for _, d := range []string{"libexec", "run/uplinkd", "state"} {
		testnet.Must(t, os.MkdirAll(h.path(d), 0o755))
	}
	h.installHook()
	client.install(h)
	return h
}

func (h *dhcpHost) path(name string) string { return filepath.Join(h.dir, name) }

// file writes a file of the test's and makes the directories that it lies in.
func (h *dhcpHost) file(name, text string, mode os.FileMode) {
	h.t.Helper()
	testnet.Must(h.t, os.MkdirAll(filepath.Dir(h.path(name)), 0o755), os.WriteFile(h.path(name), []byte(text), mode))
}

// repository is the text of a file of the repository's.
func (h *dhcpHost) repository(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	testnet.Must(h.t, err)
	return string(text)
}

// bind has every program of the host see a directory (or file) of the test's in the place of one that there is.
func (h *dhcpHost) bind(name, target string) { h.binds = append(h.binds, h.path(name), target) }

// hostView gives a program the file system as this host has it, and starts it; nothing of it is seen outside of the mount
// namespace that it runs in. /etc is read-only, /run is the host's own, and /usr/libexec/uplinkd has the programs under
// test. Arguments: what is to be /usr/libexec/uplinkd, pairs of what is to be bound and where, "--", then the command.
const hostView = `set -e
mount --rbind /etc /etc
mount -o remount,bind,ro /etc
mount --bind /usr/libexec /mnt
mount -t tmpfs none /usr/libexec
ln -s /mnt/* /usr/libexec
mkdir -p /usr/libexec/uplinkd
mount --bind "$1" /usr/libexec/uplinkd
shift
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"`

// command is a program on the host, in its network namespace and with its view of the file system. It keeps its process id.
func (h *dhcpHost) command(name string, args ...string) *exec.Cmd {
	h.t.Helper()
	return h.view(h.binds, name, args...)
}

// view is command with a view of its own.
func (h *dhcpHost) view(binds []string, name string, args ...string) *exec.Cmd {
	h.t.Helper()
	view := []string{"--mount", "--uts", "--propagation", "private", "sh", "-c", hostView, "sh", h.path("libexec")}
	view = append(append(view, binds...), "--", testnet.Need(h.t, name))
	return h.lab.Host.Command(testnet.Need(h.t, "unshare"), append(view, args...)...)
}

// installHook puts uplink-hook where the snippet looks for it.
func (h *dhcpHost) installHook() {
	h.t.Helper()
	testnet.Must(h.t, os.Link(filepath.Join(h.bin, "uplink-hook"), h.path("libexec/uplink-hook")))
}

// withDaemon starts uplinkd and binds both uplinks, A first: the default route in main is A's.
func (h *dhcpHost) withDaemon() *dhcpHost {
	h.t.Helper()
	h.startUplinkd()
	h.bindBoth()
	h.eventuallyFull(h.a, h.b)
	return h
}

func (h *dhcpHost) bindBoth() {
	h.t.Helper()
	h.a.serve()
	h.b.serve()
	h.a.bind()
	h.b.bind()
}

// startUplinkd starts the daemon and waits until it is ready.
func (h *dhcpHost) startUplinkd() {
	h.t.Helper()
	conf := h.path("uplinkd.toml")
	write(h.t, conf, fmt.Sprintf("rt_tables_dir = %q\n", h.path("rt_tables.d")))
	h.starts++
	cmd := h.view(slices.Concat(h.binds, h.apart), filepath.Join(h.bin, "uplinkd"),
		"--config", conf, "--state-dir", h.path("state"), "--log-format", "json")
	h.uplinkd = run(h.t, h.path(fmt.Sprintf("uplinkd-%d.log", h.starts)), cmd)
	h.uplinkd.await(`"message":"ready"`)
}

// killUplinkd ends the daemon as a crash does.
func (h *dhcpHost) killUplinkd() {
	h.t.Helper()
	h.uplinkd.kill()
	h.uplinkd = nil
}

// ours is the rules and routes of uplinkd's, the tables by the name of the device whose oif rule names them.
func (h *dhcpHost) ours() string {
	h.t.Helper()
	text := testnet.StateOf(h.t, h.lab.Host, config.DefaultProtocol)
	for _, m := range regexp.MustCompile(`from all oif (\S+) lookup ([0-9]+)`).FindAllStringSubmatch(text, -1) {
		text = regexp.MustCompile(`(lookup|table) `+m[2]+`\b`).ReplaceAllString(text, "$1 "+m[1])
	}
	return text
}

// of is the lines of ours of a family that have one of the words.
func (h *dhcpHost) of(f rpdb.Family, words ...string) string {
	h.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(h.ours()) {
		for _, w := range words {
			if strings.HasPrefix(line, f.String()+" ") && regexp.MustCompile(`\b`+regexp.QuoteMeta(w)+`\b`).MatchString(line) {
				b.WriteString(line)
				break
			}
		}
	}
	return b.String()
}

// inMain is the IPv4 default routes in main, as the clients left them.
func (h *dhcpHost) inMain() string {
	h.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(testnet.State(h.t, h.lab.Host)) {
		if strings.HasPrefix(line, "inet route default") && strings.Contains(line, "table main") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// spooled is the messages that wait for a daemon.
func (h *dhcpHost) spooled() []string {
	h.t.Helper()
	files, err := filepath.Glob(h.path("run/uplinkd/spool/[0-9]*"))
	testnet.Must(h.t, err)
	return files
}

// has says whether the host has an address, by the kernel's word.
func (h *dhcpHost) has(a netip.Addr) bool {
	r, err := h.lab.Host.RouteGet(testnet.Lookup{Dst: a})
	return err == nil && r.Type == syscall.RTN_LOCAL
}

// eventually polls with the tests' patience.
func (h *dhcpHost) eventually(what string, cond func() error) {
	h.t.Helper()
	testnet.Eventually(h.t, patience, func() error {
		if err := cond(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// eventuallyIs polls until the text is as wanted.
func (h *dhcpHost) eventuallyIs(what, want string, get func() string) {
	h.t.Helper()
	h.eventually(what, func() error {
		if got := get(); got != want {
			return fmt.Errorf("want:\n%sgot:\n%s", want, got)
		}
		return nil
	})
}
