package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/hookserver"
	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestMain makes the test binary the program itself where it is started under that name. The tests run in namespaces of
// their own, so that one of them can start a hook in another network namespace.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "uplink-hook" {
		main()
	}
	testnet.Main(m)
}

const patience = 10 * time.Second

// program is a link to the test binary under the program's name.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shortDir(t), "uplink-hook")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// shortDir is a temporary directory whose name leaves room for a socket's (108 bytes, unix(7)).
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hook")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// bound is the environment of a call.
func bound(address string) []string {
	return []string{"reason=BOUND6", "interface=lo", "new_ip6_address=" + address, "old_ip6_address=$(id)", "new_host_name=`id`"}
}

// call runs the program, which must exit 0 within its second and print nothing.
func call(t *testing.T, path string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(slices.Clone(env), "GORACE=atexit_sleep_ms=0") // a test binary with -race sleeps a second otherwise
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil || out.Len() > 0 || time.Since(start) > 3*limit {
		t.Errorf("%q: %v after %s, printed %q", args, err, time.Since(start), out.String())
	}
}

// daemon is a hook server in this process.
type daemon struct {
	mu     sync.Mutex
	events map[string]int
}

// start runs a server until stop.
func (d *daemon) start(t *testing.T, dir string) (stop func()) {
	t.Helper()
	s, err := hookserver.New(hookserver.Config{RuntimeDir: dir, Intake: intake.New(d.handle, zap.NewNop())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	<-s.Ready()
	return stop
}

func (d *daemon) handle(_ context.Context, ev lease.Event) <-chan error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.events == nil {
		d.events = map[string]int{}
	}
	d.events[fmt.Sprintf("%s %d %s %s", ev.Source, ev.Index, ev.Verb, ev.Lease.Address)]++
	done := make(chan error)
	close(done)
	return done
}

func (d *daemon) got() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l []string
	for e := range d.events {
		l = append(l, e)
	}
	return l
}

func spoolFiles(t testing.TB, runtimeDir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(runtimeDir, hookwire.SpoolName, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMessageReachesTheDaemon(t *testing.T) {
	dir, d := shortDir(t), &daemon{}
	d.start(t, dir)
	call(t, program(t), bound("2001:db8::1"), "--runtime-dir", dir, "dhclient")
	call(t, program(t), []string{"DNS1=192.0.2.53"}, "--runtime-dir="+dir, "ppp", "ipv6-up", "lo", "tty", "0", "fe80::1", "fe80::2")
	if got := d.got(); len(got) != 2 || len(spoolFiles(t, dir)) > 0 {
		t.Errorf("events %q, spool %q", got, spoolFiles(t, dir))
	}
	if d.events["dhclient6 1 bind 2001:db8::1"] != 1 || d.events["ppp 1 resync invalid IP"] != 1 {
		t.Errorf("events %v", d.events)
	}
}

// TestNoDaemon: the message waits for the next one, in directories that nobody else can touch.
func TestNoDaemon(t *testing.T) {
	dir, d := filepath.Join(shortDir(t), "run"), &daemon{}
	call(t, program(t), bound("2001:db8::1"), "--runtime-dir", dir, "dhclient")
	files := spoolFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("spool: %q", files)
	}
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o755, filepath.Dir(files[0]): os.ModeDir | 0o700, files[0]: 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %s, %v, want %s", path, info.Mode(), err, want)
		}
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	m, err := hookwire.Read(bytes.NewReader(b))
	if err != nil || strings.Contains(string(b), "`id`") || m.Stamp.Boot <= 0 || m.Stamp.BootID == [16]byte{} || m.Stamp.Wall == 0 {
		t.Errorf("%+v, %v", m, err)
	}
	d.start(t, dir)
	if d.events["dhclient6 1 bind 2001:db8::1"] != 1 || len(spoolFiles(t, dir)) > 0 {
		t.Errorf("events %v, spool %q", d.events, spoolFiles(t, dir))
	}
}

// listen is a socket of a daemon that does with each connection what f does.
func listen(t testing.TB, dir string, f func(net.Conn)) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(dir, hookwire.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f(c)
		}
	}()
}

// TestBadDaemons: what comes of a daemon that does not do its part, and when the message is kept.
func TestBadDaemons(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		kept  bool
	}{
		{"silent", func(c net.Conn) { _, _ = hookwire.Read(c) }, true}, // it has the message, but may be stopped before it uses it
		{"dies over it", func(c net.Conn) { _, _ = hookwire.Read(c); c.Close() }, true},
		{"closes at once", func(c net.Conn) { c.Close() }, true},
		{"talks nonsense", func(c net.Conn) {
			_, _ = hookwire.Read(c)
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
			c.Close()
		}, true},
		{"refuses", func(c net.Conn) { _, _ = c.Write(hookwire.Reply{Text: "no"}.Encode()); c.Close() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			listen(t, dir, c.serve)
			call(t, program(t), bound("2001:db8::1"), "--runtime-dir", dir, "dhclient")
			if kept := len(spoolFiles(t, dir)) == 1; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// TestFullBacklog: a daemon that accepts nothing any more makes connect(2) itself block.
func TestFullBacklog(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, hookwire.SocketName)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call(t, program(t), bound("2001:db8::1"), "--runtime-dir", dir, "dhclient")
	if len(spoolFiles(t, dir)) != 1 {
		t.Errorf("spool: %q", spoolFiles(t, dir))
	}
}

// TestNothingMakesItFail: exit status 0 and not a word, whatever is wrong.
func TestNothingMakesItFail(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	open := filepath.Join(dir, "open")
	link := filepath.Join(dir, "link")
	for _, err := range []error{os.WriteFile(file, nil, 0o600), os.MkdirAll(filepath.Join(open, "spool"), 0o755),
		os.Mkdir(link, 0o755), os.Symlink("/", filepath.Join(link, "spool"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	run := program(t)
	for _, c := range [][]string{
		{}, {"--nonsense"}, {"--runtime-dir"}, {"--runtime-dir="}, {"--runtime-dir", dir}, {"nobody"}, {""}, {"--runtime-dir", dir, "--", "dhclient"},
		{"--runtime-dir", "/proc/nothing/here", "dhclient"}, {"--runtime-dir", file, "dhclient"}, {"--runtime-dir", open, "dhclient"},
		{"--runtime-dir", link, "dhclient"}, {"--runtime-dir", filepath.Join(dir, strings.Repeat("x", 200)), "dhclient"},
		{"--runtime-dir", "/dev/null", "ppp", "ip-up", strings.Repeat("y", 100000)},
	} {
		call(t, run, bound("2001:db8::1"), c...)
	}
	if files, err := filepath.Glob("/0*.*.*"); err != nil || len(files) > 0 || len(spoolFiles(t, open)) > 0 {
		t.Errorf("written where it must not: %q, %q", files, spoolFiles(t, open))
	}
	for _, env := range [][]string{nil, {"interface=" + strings.Repeat("x", 100000)}, {"=", "=x", "reason"}, {"GODEBUG=nonsense=1", "GOGC=x", "GOTRACEBACK=crash", "GOMAXPROCS=-1"}} {
		call(t, run, env, "--runtime-dir", dir, "dhclient")
	}
}

// TestBrokenDescriptors: a client may start its hook with anything at 0, 1 and 2.
func TestBrokenDescriptors(t *testing.T) {
	dir := shortDir(t)
	for _, redirect := range []string{"<&- >&- 2>&-", "</dev/full >/dev/full 2>/dev/full", "| true"} {
		call(t, "/bin/sh", bound("2001:db8::1"), "-c", program(t)+" --runtime-dir "+dir+" dhclient "+redirect)
	}
	if n := len(spoolFiles(t, dir)); n != 3 {
		t.Errorf("%d messages kept, want 3", n)
	}
}

// TestDaemonComesAndGoes: of hundreds of hooks around a daemon's starts and stops, none is lost.
func TestDaemonComesAndGoes(t *testing.T) {
	dir, d, run := shortDir(t), &daemon{}, program(t)
	const workers, calls = 8, 30
	var wg sync.WaitGroup
	var want []string
	for w := range workers {
		for i := range calls {
			want = append(want, fmt.Sprintf("dhclient6 1 bind 2001:db8::%x:%x", w+1, i+1))
		}
		wg.Go(func() {
			for i := range calls {
				call(t, run, bound(fmt.Sprintf("2001:db8::%x:%x", w+1, i+1)), "--runtime-dir", dir, "dhclient")
			}
		})
	}
	defer wg.Wait()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		stop := d.start(t, dir)
		before := len(d.got())
		for end := time.Now().Add(patience); len(d.got()) < before+15 && running && time.Now().Before(end); {
			select {
			case <-done:
				running = false
			case <-time.After(time.Millisecond):
			}
		}
		stop()
	}
	d.start(t, dir)() // what is left in the spool
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(want, d.got(), sortStrings(less)); diff != "" {
		t.Error(diff)
	}
	if l := spoolFiles(t, dir); len(l) > 0 {
		t.Errorf("spool: %q", l)
	}
}
