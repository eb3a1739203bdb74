package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// The addresses of the PPPoE link: the server's, and the host's in its first and in its second session.
const (
	pppServer = "10.64.0.1"
	pppFirst  = "10.64.0.100"
	pppSecond = "10.64.0.150"
)

// pppPatience is how long the test waits for a state that has to come. pppd takes seconds to find out that its peer is gone.
const pppPatience = 20 * time.Second

// dsl is the host, the provider behind its PPPoE link, and another uplink that has the default route.
type dsl struct {
	host, isp, other *testnet.NS
	server           string // pppoe-server's pid file
	places           int    // sessions that the server has room for at the same time; 0: one
	serves, asks     string // more options for the server's pppd and for the host's, separated by spaces
	client           *exec.Cmd
	log              bytes.Buffer
}

// guestPPPoE is TestPPPoE in the guest, as root of a machine of its own.
//
//	          +-- eth1  another provider, default route in main
//	host -----+
//	          +-- dsl0  PPPoE to isp: ppp0
func guestPPPoE(t *testing.T) {
	d := newDSL(t)
	installHooks(t)
	log := startDaemon(t)

	t.Log("connect")
	d.startServer(t, pppFirst)
	d.startClient(t)
	d.awaitUplink(t, pppFirst)
	awaitHook(t, log, "ip-up", 1)

	t.Log("the server dies: the link goes, and all that uplinkd had for it")
	d.stopServer(t)
	d.awaitNothing(t)
	awaitHook(t, log, "ip-down", 1)

	t.Log("the next session has another address")
	d.startServer(t, pppSecond)
	d.awaitUplink(t, pppSecond)
	awaitHook(t, log, "ip-up", 2)

	t.Log("pppd is stopped")
	testnet.Must(t, d.client.Process.Signal(syscall.SIGTERM))
	d.awaitNothing(t)
	awaitHook(t, log, "ip-down", 2)
}

func newDSL(t *testing.T) *dsl {
	d := &dsl{isp: testnet.New(t), other: testnet.New(t), server: filepath.Join(t.TempDir(), "pppoe-server.pid")}
	var err error
	d.host, err = testnet.Current("host")
	testnet.Must(t, err)
	t.Cleanup(d.host.Close)
	far := rpdb.HostPrefix(lab.InetAddr(rpdb.IPv4)).String()
	testnet.Must(t,
		testnet.Veth(d.host, "dsl0", d.isp, "dsl0"), testnet.Veth(d.host, "eth1", d.other, "eth1"),
		d.isp.Addr("lo", far), d.other.Addr("lo", far), d.isp.Sysctl("net/ipv4/ip_forward", "1"),
		d.host.Addr("eth1", "192.0.2.10/24"), d.other.Addr("eth1", "192.0.2.1/24"),
		d.host.Route("default via 192.0.2.1 dev eth1 proto static"))
	stop, err := lab.Echo(d.isp)
	testnet.Must(t, err)
	t.Cleanup(stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("pppd said:\n%s", d.log.String())
		}
	})
	return d
}

// withoutHooks runs a program that does not see the snippets in /etc/ppp: Command gives it mounts of its own. The
// server's pppd would call them for its own end of the session as well.
const withoutHooks = `for d in /etc/ppp/*.d; do mount -t tmpfs none "$d" || exit; done; exec "$@"`

// startServer hands out one address, and those after it where there is room for more sessions than one. The server goes into the background and forgets who started it.
func (d *dsl) startServer(t *testing.T, address string) {
	t.Helper()
	options := filepath.Join(t.TempDir(), "options")
	write(t, options, "noauth\nnodefaultroute\nlcp-echo-interval 1\nlcp-echo-failure 3\nlogfile "+options+".log\n"+d.serves+"\n")
	t.Cleanup(func() {
		if said, err := os.ReadFile(options + ".log"); t.Failed() && err == nil {
			t.Logf("the server's pppd said:\n%s", said)
		}
	})
	out, err := d.isp.Command("/bin/sh", "-c", withoutHooks, "sh", testnet.Need(t, "pppoe-server"), "-I", "dsl0",
		"-L", pppServer, "-R", address, "-N", strconv.Itoa(max(d.places, 1)), "-O", options, "-X", d.server).CombinedOutput()
	if err != nil {
		t.Fatalf("pppoe-server: %v: %s", err, out)
	}
}

// stopServer kills the server and its sessions, as a power cut does: without a word to the client.
func (d *dsl) stopServer(t *testing.T) {
	t.Helper()
	pids, err := os.ReadFile(d.server)
	testnet.Must(t, err)
	server := strings.TrimSpace(string(pids))
	for _, pid := range append(children(t, server), server) {
		var n int
		if _, err := fmt.Sscan(pid, &n); err != nil {
			t.Fatalf("process id %q: %v", pid, err)
		}
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	testnet.Must(t, os.Remove(d.server))
}

// children lists the descendants of a process, those that are farthest down first.
func children(t *testing.T, pid string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	testnet.Must(t, err)
	var all []string
	for child := range strings.FieldsSeq(string(text)) {
		all = append(append(all, children(t, child)...), child)
	}
	return all
}

func (d *dsl) startClient(t *testing.T) {
	t.Helper()
	args := []string{"plugin", "rp-pppoe.so", "nic-dsl0", "nodetach", "noauth", "persist",
		"maxfail", "0", "holdoff", "1", "lcp-echo-interval", "1", "lcp-echo-failure", "2", "nodefaultroute", "ipparam", "dsl",
		// Without these it asks a peer that is gone for six seconds whether it may end the session.
		"lcp-restart", "1", "lcp-max-terminate", "1"}
	d.client = exec.Command(testnet.Need(t, "pppd"), append(args, strings.Fields(d.asks)...)...)
	d.client.Stdout, d.client.Stderr = &d.log, &d.log
	testnet.Must(t, d.client.Start())
	t.Cleanup(func() {
		_ = d.client.Process.Kill()
		_ = d.client.Wait()
	})
}

// awaitUplink waits for the session, then for the rules, and tries the way.
func (d *dsl) awaitUplink(t *testing.T, address string) {
	t.Helper()
	addr := netip.MustParseAddr(address)
	testnet.Eventually(t, pppPatience, func() error {
		r, err := d.host.RouteGet(testnet.Lookup{Dst: addr})
		if err == nil && r.Type != syscall.RTN_LOCAL {
			err = fmt.Errorf("%v is not an address of the host", addr)
		}
		return err
	})
	want := expected(address)
	testnet.Eventually(t, pppPatience, func() error {
		if diff := cmp.Diff(want, d.session(t)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	ppp, err := d.host.Index("ppp0")
	testnet.Must(t, err)
	route, err := d.host.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.IPv4), Src: addr})
	if err != nil || route.OIF != ppp {
		t.Errorf("the kernel sends packets of %v by link %d, not by ppp0 (%d): %v", addr, route.OIF, ppp, err)
	}
	for name, p := range map[string]lab.Probe{"address": {Src: addr}, "device": {Device: "ppp0"}} {
		p.Timeout = pppPatience
		if err := lab.Reach(d.host, lab.InetAddr(rpdb.IPv4), p); err != nil {
			t.Errorf("bound to the %s: %v", name, err)
		}
	}
}

// awaitNothing waits until neither the session nor anything of it is there.
func (d *dsl) awaitNothing(t *testing.T) {
	t.Helper()
	testnet.Eventually(t, pppPatience, func() error {
		routes, err := d.host.State(nil)
		if err == nil && strings.Contains(routes, pppServer+" dev ppp0 table main") {
			err = errors.New("ppp0 has its address still")
		}
		return err
	})
	testnet.Eventually(t, pppPatience, func() error {
		if left := d.session(t); len(left) > 0 {
			return fmt.Errorf("left behind: %q", left)
		}
		return nil
	})
}

// expected is what uplinkd has to have made of a session, with T for the number of the table.
func expected(address string) []string {
	return strings.Split(strings.ReplaceAll(`inet rule 4200: from ADDRESS lookup T suppress_prefixlength 0
inet rule 4300: from ADDRESS lookup main suppress_prefixlength 1
inet rule 4400: from ADDRESS lookup T
inet rule 4500: from ADDRESS unreachable
inet rule 4600: from all oif ppp0 lookup main suppress_prefixlength 1
inet rule 4610: from all oif ppp0 lookup T
inet route default dev ppp0 table T scope link src ADDRESS
inet route 10.64.0.1 dev ppp0 table T scope link src ADDRESS`, "ADDRESS", address), "\n")
}

// session is what uplinkd has made of ppp0, with T for the number of the table, which has to be one of its range.
func (d *dsl) session(t *testing.T) []string {
	state := ofPPP(testnet.StateOf(t, d.host, config.DefaultProtocol))
	if m := regexp.MustCompile(` lookup (7\d\d\d)\b`).FindStringSubmatch(state); m != nil {
		state = strings.ReplaceAll(state, " "+m[1], " T")
	}
	return strings.FieldsFunc(state, func(r rune) bool { return r == '\n' })
}

// ofPPP leaves out what the other uplink has.
func ofPPP(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		if !strings.Contains(line, "eth1") && !strings.Contains(line, "192.0.2.") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// installHooks does what the package does: the snippets go to Debian's directories, with the path of uplink-hook.
func installHooks(t *testing.T) {
	t.Helper()
	program := regexp.MustCompile(`/[-/a-z]*/uplink-hook`)
	installed := 0
	testnet.Must(t, filepath.WalkDir(os.Getenv(envHooks), func(path string, d fs.DirEntry, err error) error {
		when := filepath.Base(filepath.Dir(path))
		if err != nil || d.IsDir() || !strings.HasPrefix(when, "ip") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		installed++
		write(t, filepath.Join("/etc/ppp", when, d.Name()),
			program.ReplaceAllString(string(text), filepath.Join(os.Getenv(envBin), "uplink-hook")))
		return nil
	}))
	// ip-pre-up.d, ip-up.d, ip-down.d, ipv6-up.d, ipv6-down.d
	if installed != 5 {
		t.Fatalf("installed %d snippets for pppd, want 5", installed)
	}
}

// startDaemon starts uplinkd with its own default directories, for the guest is its own, and returns the path of its log.
func startDaemon(t *testing.T) string {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "uplinkd.log"))
	testnet.Must(t, err)
	defer log.Close()
	cmd := exec.Command(filepath.Join(os.Getenv(envBin), "uplinkd"), "--log-format", "console", "--log-level", "debug")
	cmd.Stdout, cmd.Stderr = log, log
	testnet.Must(t, cmd.Start())
	t.Cleanup(func() {
		testnet.Must(t, cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil {
			t.Errorf("uplinkd: %v", err)
		}
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("uplinkd said:\n%s", said)
		}
	})
	return log.Name()
}

// awaitHook waits until uplinkd has told in its log of a hook call: what the kernel shows of a point-to-point link is
// enough for the rules, so they do not prove that the snippets work.
func awaitHook(t *testing.T, log, script string, count int) {
	t.Helper()
	line := "client's word source=ppp reason=" + script + " interface=ppp0 "
	testnet.Eventually(t, pppPatience, func() error {
		text, err := os.ReadFile(log)
		if n := strings.Count(string(text), line); err == nil && n < count {
			err = fmt.Errorf("%d hook calls by %s, want %d", n, script, count)
		}
		return err
	})
}
