package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// envRun has the test binary be uplinkd.
const envRun = "UPLINKD_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(envRun) != "" && os.Getenv("UPLINKD_TESTNET_ENTER") == "" {
		main()
	}
	testnet.Main(m)
}

// place is a host to run uplinkd on: a namespace with eth0, and directories.
type place struct {
	t    *testing.T
	host *testnet.NS
	dir  string
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, host: testnet.New(t), dir: t.TempDir()}
	testnet.Must(t, testnet.Veth(p.host, "eth0", testnet.New(t), "far0"))
	p.write("uplinkd.toml", `rt_tables_dir = "`+filepath.Join(p.dir, "rt_tables.d")+`"`+"\n")
	return p
}

func (p *place) write(name, text string) string {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	testnet.Must(p.t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// command is uplinkd with this place's directories; what args say comes last and counts.
func (p *place) command(args ...string) *exec.Cmd {
	all := append([]string{
		"--config", filepath.Join(p.dir, "uplinkd.toml"), "--runtime-dir", filepath.Join(p.dir, "run"),
		"--state-dir", filepath.Join(p.dir, "state"), "--log-format", "console",
	}, args...)
	cmd := p.host.Command(os.Args[0], all...)
	cmd.Env = append(cmd.Env, envRun+"=1")
	return cmd
}

// running is a daemon that has said that it is ready.
type running struct {
	*exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (p *place) start(args ...string) *running {
	p.t.Helper()
	r := &running{Cmd: p.command(args...)}
	pipe, err := r.StderrPipe()
	testnet.Must(p.t, err, r.Start())
	p.t.Cleanup(func() { _ = r.Process.Kill(); _ = r.Wait() })
	go r.read(pipe)
	testnet.Eventually(p.t, 10*time.Second, func() error {
		if !strings.Contains(r.text(), "ready") {
			return fmt.Errorf("not ready:\n%s", r.text())
		}
		return nil
	})
	return r
}

func (r *running) read(pipe io.Reader) {
	for s := bufio.NewScanner(pipe); s.Scan(); {
		r.mu.Lock()
		fmt.Fprintln(&r.log, s.Text())
		r.mu.Unlock()
	}
}

// uplink gives the host an uplink by a default route.
func (p *place) uplink() {
	testnet.Must(p.t, p.host.Addr("eth0", "192.0.2.10/24"), p.host.Route("default via 192.0.2.1 dev eth0"))
}

func (p *place) state() string { return testnet.StateOf(p.t, p.host, config.DefaultProtocol) }

func (p *place) wantState(t *testing.T, parts ...string) {
	t.Helper()
	testnet.Eventually(t, 5*time.Second, func() error {
		got := p.state()
		if len(parts) == 0 && got != "" {
			return fmt.Errorf("left behind:\n%s", got)
		}
		for _, part := range parts {
			if !strings.Contains(got, part) {
				return fmt.Errorf("no %q in:\n%s", part, got)
			}
		}
		return nil
	})
}

// TestOneLine: whatever is wrong is said in one line with its mend, and the exit status tells a wrong call from a failure.
func TestOneLine(t *testing.T) {
	p := newPlace(t)
	p.start()
	other := newPlace(t)
	bad := p.write("bad.toml", "fence = 3\nunknown = true\n")
	plain := p.write("plain", "")
	for _, tc := range []struct {
		name   string
		cmd    *exec.Cmd
		status int
		lines  int
		want   []string
	}{
		{"no such flag", p.command("--nonsense"), 2, 0, []string{"flag provided but not defined: -nonsense"}},
		{"an argument", p.command("go"), 2, 0, []string{`unexpected argument "go"`}},
		{"log level", p.command("--log-level", "loud"), 2, 1, []string{"loud", "debug"}},
		{"log format", p.command("--log-format", "xml"), 2, 1, []string{"xml", "console"}},
		{"bad configuration", p.command("--config", bad), 1, 2, []string{bad + ":1:", "fence", bad + ":2:", "unknown"}},
		{"bad configuration, checked", p.command("--check", "--config", bad), 1, 2, []string{bad + ":1:", bad + ":2:"}},
		{"unreadable configuration", p.command("--config", p.dir), 1, 1, []string{p.dir}},
		{"state directory", p.command("--state-dir", filepath.Join(plain, "x")), 1, 1, []string{plain, "run uplinkd as root, or name another with --state-dir"}},
		{"runtime directory", other.command("--runtime-dir", filepath.Join(plain, "x")), 1, 1, []string{plain, "--runtime-dir"}},
		{"second instance", p.command(), 1, 1, []string{"already running", "stop it first"}},
		{"second instance, other state", p.command("--state-dir", filepath.Join(p.dir, "state2")), 1, 1, []string{"another uplinkd is running", "stop it first"}},
		{"no privilege", unprivileged(other.dir), 1, 1, []string{"run it as root or with CAP_NET_ADMIN"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stderr bytes.Buffer
			tc.cmd.Stderr = &stderr
			err := tc.cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != tc.status {
				t.Errorf("ended with %v, want status %d; it said:\n%s", err, tc.status, stderr.String())
			}
			if n := strings.Count(stderr.String(), "\n"); tc.lines > 0 && n != tc.lines {
				t.Errorf("%d lines, want %d", n, tc.lines)
			}
			for _, w := range tc.want {
				if !strings.Contains(stderr.String(), w) {
					t.Errorf("no %q in %q", w, stderr.String())
				}
			}
		})
	}
}

// unprivileged is uplinkd as root of a user namespace of its own, in a network namespace that belongs to another: no
// capability counts there.
func unprivileged(dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "--state-dir", filepath.Join(dir, "state"), "--runtime-dir", filepath.Join(dir, "run"))
	cmd.Env = append(os.Environ(), envRun+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	return cmd
}

func TestCheckAndVersion(t *testing.T) {
	p := newPlace(t)
	for want, cmd := range map[string]*exec.Cmd{
		"the configuration is good": p.command("--check"),
		"uplinkd devel":             p.command("--version"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := p.command("--check", "--config", filepath.Join(p.dir, "missing.toml")).CombinedOutput(); err != nil {
		t.Errorf("a missing configuration is a good one: %v: %s", err, out)
	}
}

// TestOnce: a single look puts the kernel right and ends; another one removes what is ours.
func TestOnce(t *testing.T) {
	p := newPlace(t)
	p.uplink()
	if out, err := p.command("--once").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.wantState(t, "from 192.0.2.10 unreachable", "default via 192.0.2.1 dev eth0")
	if names, err := os.ReadFile(filepath.Join(p.dir, "rt_tables.d", "uplinkd.conf")); err != nil || !strings.Contains(string(names), "\teth0\n") {
		t.Errorf("%v: %s", err, names)
	}
	if out, err := p.command("--flush").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.wantState(t)
	if _, err := os.Stat(filepath.Join(p.dir, "rt_tables.d", "uplinkd.conf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("table names stay: %v", err)
	}
}

// TestSignals: SIGHUP takes the configuration anew, or says why not; SIGTERM ends in order and leaves the kernel alone.
func TestSignals(t *testing.T) {
	p := newPlace(t)
	p.uplink()
	d := p.start()
	p.wantState(t, "4500: from 192.0.2.10 unreachable")
	p.write("uplinkd.toml", "fence = maybe\n")
	testnet.Must(t, d.Process.Signal(unix.SIGHUP))
	testnet.Eventually(t, 5*time.Second, func() error { return contains(d.text(), "the configuration stays as it was") })
	p.wantState(t, "4500: from 192.0.2.10 unreachable")
	p.write("uplinkd.toml", "priority_base = 5000\nrt_tables_dir = \"\"\n")
	testnet.Must(t, d.Process.Signal(unix.SIGHUP))
	p.wantState(t, "5500: from 192.0.2.10 unreachable")
	if got := p.state(); strings.Contains(got, " 4500:") {
		t.Errorf("the old rules stay:\n%s", got)
	}
	before := p.state()
	testnet.Must(t, d.Process.Signal(unix.SIGTERM))
	if err := d.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, d.text())
	}
	if after := p.state(); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("no %q in:\n%s", part, text)
	}
	return nil
}

// TestCrash: killed and started again it removes and adds nothing; what changed while it was dead is put right.
func TestCrash(t *testing.T) {
	p := newPlace(t)
	p.uplink()
	d := p.start()
	p.wantState(t, "from 192.0.2.10 unreachable")
	watch := p.watchRules()
	d.kill(t)
	d = p.start()
	if n := watch.count(t); n != 0 {
		t.Errorf("a crash and a restart made %d rule events", n)
	}
	d.kill(t)
	testnet.Must(t, p.host.DelAddr("eth0", "192.0.2.10/24"))
	p.wantState(t, "from 192.0.2.10 unreachable") // the kernel never removes a rule
	p.start()
	p.wantState(t)
}

func (r *running) kill(t *testing.T) {
	t.Helper()
	testnet.Must(t, r.Process.Kill())
	_ = r.Wait() // it was killed, and says so
}

// ruleWatch is a socket that hears of every change of a rule.
type ruleWatch struct{ s *nl.NetlinkSocket }

func (p *place) watchRules() ruleWatch {
	var s *nl.NetlinkSocket
	p.host.Do(p.t, func() {
		var err error
		s, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
		testnet.Must(p.t, err)
	})
	p.t.Cleanup(s.Close)
	return ruleWatch{s}
}

// count is how many events have come.
func (w ruleWatch) count(t *testing.T) (n int) {
	t.Helper()
	for buf := make([]byte, 1<<16); ; n++ {
		_, _, err := unix.Recvfrom(w.s.GetFd(), buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		testnet.Must(t, err)
	}
}

// TestNotify: the service manager hears READY when everything works, and STOPPING.
func TestNotify(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "notify")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	testnet.Must(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	testnet.Must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	cmd := p.command()
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
	testnet.Must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	heard := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	heard("STATUS=0 uplinks")
	heard("READY=1")
	p.uplink()
	heard("STATUS=1 uplink")
	testnet.Must(t, cmd.Process.Signal(unix.SIGHUP))
	heard("RELOADING=1")
	heard("READY=1")
	testnet.Must(t, cmd.Process.Signal(unix.SIGTERM))
	heard("STOPPING=1")
}
