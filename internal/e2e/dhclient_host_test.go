package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// dhcpHost is a host with two uplinks whose addresses real dhclients bring, from real dnsmasqs.
type dhcpHost struct {
	t    *testing.T
	lab  *lab.Lab
	bin  string // directory of the programs under test
	dir  string // all files of the test
	a, b *dhcpLink
	// uplinkd is the running daemon; nil: none.
	uplinkd *program
	starts  int
}

// newDHCPHost builds the lab; nothing runs yet but the echo servers. The exit hook is the repository's own file, and the
// program that it calls is the one under test.
func newDHCPHost(t *testing.T, bin string) *dhcpHost {
	t.Helper()
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	h := &dhcpHost{t: t, lab: l, bin: bin, dir: t.TempDir()}
	for _, ns := range []*testnet.NS{l.Inet, l.Host} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	h.a, h.b = newDHCPLink(h, l.A), newDHCPLink(h, l.B)
	for _, d := range []string{"etc/dhclient-enter-hooks.d", "etc/dhclient-exit-hooks.d", "libexec", "run", "state"} {
		testnet.Must(t, os.MkdirAll(filepath.Join(h.dir, d), 0o755))
	}
	snippet, err := os.ReadFile("../../hooks/dhclient-exit-hooks.d/uplinkd")
	testnet.Must(t, err)
	write(t, h.path("etc/dhclient-exit-hooks.d/uplinkd"), string(snippet))
	// What resolvconf's enter hook does: this host's /etc/resolv.conf is not the client's business.
	write(t, h.path("etc/dhclient-enter-hooks.d/resolv"), "make_resolv_conf() { :; }\n")
	h.installHook()
	return h
}

func (h *dhcpHost) path(name string) string { return filepath.Join(h.dir, name) }

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
	h.eventuallyWorks(h.a, h.b)
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
	h.uplinkd = run(h.t, h.path(fmt.Sprintf("uplinkd-%d.log", h.starts)), h.lab.Host.Command(filepath.Join(h.bin, "uplinkd"),
		"--config", conf, "--runtime-dir", h.path("run"), "--state-dir", h.path("state"), "--log-format", "json"))
	h.uplinkd.await(`"message":"ready"`)
}

// killUplinkd ends the daemon as a crash does.
func (h *dhcpHost) killUplinkd() {
	h.t.Helper()
	testnet.Must(h.t, h.uplinkd.cmd.Process.Kill())
	h.uplinkd.wait()
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

// inMain is the IPv4 default routes in main, as dhclient-script left them.
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
	files, err := filepath.Glob(h.path("run/spool/[0-9]*"))
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

// program is a process that the test started, with its output in a file.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// run starts a program; the end of the test ends it, and shows what it wrote where the test has failed.
func run(t *testing.T, log string, cmd *exec.Cmd) *program {
	t.Helper()
	f, err := os.Create(log)
	testnet.Must(t, err)
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	testnet.Must(t, cmd.Start())
	p := &program{t: t, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a program ended that was killed says nothing
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended long ago
		<-p.done
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(log), p.text())
		}
	})
	return p
}

// wait waits for the end.
func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s: still running after %v", filepath.Base(p.log), patience)
	}
}

func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *program) text() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// await waits until the program has written something.
func (p *program) await(text string) {
	p.t.Helper()
	testnet.Eventually(p.t, patience, func() error {
		if strings.Contains(p.text(), text) {
			return nil
		}
		return fmt.Errorf("%s says nothing of %q", filepath.Base(p.log), text)
	})
}
