package dhcpcd

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// patience is how long a test waits for what has to come: far longer than anything takes on a loaded machine.
const patience = 20 * time.Second

// bench is a directory of sockets, and a watcher whose events are kept.
type bench struct {
	t    *testing.T
	dir  string
	w    *Watcher
	logs *observer.ObservedLogs
	want []string // all that was expected so far

	mu     sync.Mutex
	events []lease.Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	top, err := os.MkdirTemp("", "dhcpcd") // short: a socket's path has 107 bytes at most
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(top) })
	b := &bench{t: t, dir: filepath.Join(top, "run")}
	core, logs := observer.New(zap.WarnLevel)
	b.logs = logs
	links := map[string]int{"wan0": 7, "wan1": 8}
	b.w = New(Config{
		Dir: b.dir, Log: zap.New(core), Intake: intake.New(b.take, zap.New(core)),
		Link: func(name string) int { return links[name] },
	})
	b.w.settle = 0      // the fake ones can be asked at once
	b.w.talk = patience // and answer, on a loaded machine too
	return b
}

func (b *bench) take(_ context.Context, ev lease.Event) <-chan error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev)
	done := make(chan error)
	close(done)
	return done
}

// got is what was told so far, a line an event.
func (b *bench) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, ev := range b.events {
		line := fmt.Sprintf("%d %s: %s", ev.Index, ev.Source, ev.Verb)
		for _, l := range append(ev.Leases, ev.Lease) {
			if l.Address.IsValid() {
				line += fmt.Sprintf(" %s via %s", l.Address, l.Gateways())
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// expect waits for further events, and that they are these.
func (b *bench) expect(more ...string) {
	b.t.Helper()
	b.want = append(b.want, more...)
	b.eventually(fmt.Sprintf("event %q", more), func() bool { return len(b.got()) >= len(b.want) })
	if d := cmp.Diff(b.want, b.got()); d != "" {
		b.t.Fatal(d)
	}
}

func (b *bench) eventually(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("in vain: %s; got %q, in the log %v", what, b.got(), b.logs.All())
		}
	}
}

// listened is the names of the instances that are listened to.
func (b *bench) listened() []string {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	names := []string{}
	for n := range b.w.running {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (b *bench) warned(text string) bool {
	return slices.ContainsFunc(b.logs.All(), func(e observer.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), text)
	})
}

// run starts the watcher and waits until it is ready; it says how long that took.
func (b *bench) run() time.Duration {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- b.w.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				b.t.Error(err)
			}
		case <-time.After(patience):
			b.t.Error("Run does not end")
		}
	})
	select {
	case <-b.w.Ready():
	case <-time.After(patience):
		b.t.Fatal("not ready")
	}
	return time.Since(begin)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fake is a dhcpcd as far as its socket goes.
type fake struct {
	b      *bench
	ln     *net.UnixListener
	answer func(command string, c net.Conn) // to all but --listen

	mu        sync.Mutex
	listeners []net.Conn
	asked     []string
}

// start makes a dhcpcd with a socket of this name, whose dump has these records.
func (b *bench) start(socket string, dump ...string) *fake {
	b.t.Helper()
	must(b.t, os.MkdirAll(b.dir, 0o755))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(b.dir, socket), Net: "unix"})
	must(b.t, err)
	f := &fake{b: b, ln: ln}
	f.answer = func(_ string, c net.Conn) { c.Write(records(dump...)) }
	go f.accept()
	b.t.Cleanup(f.stop)
	return f
}

func (f *fake) accept() {
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		go f.serve(c)
	}
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		command := string(buf[:n])
		f.mu.Lock()
		f.asked = append(f.asked, command)
		answer := f.answer
		if command == "--listen\x00" {
			f.listeners = append(f.listeners, c)
			answer = nil
		}
		f.mu.Unlock()
		if answer != nil {
			answer(command, c)
		}
	}
}

// say sends bytes to all listeners, once there is one.
func (f *fake) say(b []byte) {
	f.b.t.Helper()
	f.b.eventually("a listener", func() bool { return f.count() > 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.listeners {
		c.Write(b)
	}
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.listeners)
}

func (f *fake) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// hangUp closes all connections, and leaves the socket.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.listeners {
		c.Close()
	}
	f.listeners = nil
}

// stop ends the dhcpcd, with its socket.
func (f *fake) stop() {
	f.ln.Close()
	f.hangUp()
}

func word(n int) []byte {
	if wordSize == 4 {
		return binary.NativeEndian.AppendUint32(nil, uint32(n))
	}
	return binary.NativeEndian.AppendUint64(nil, uint64(n))
}

// message is a message of words that are separated by blanks.
func message(words string) []byte {
	body := strings.ReplaceAll(words, " ", "\x00") + "\x00"
	return append(word(len(body)), body...)
}

// records is the answer to a question for the leases.
func records(all ...string) []byte {
	b := word(len(all))
	for _, r := range all {
		b = append(b, message(r)...)
	}
	return b
}

// bound is dhcpcd's word of an IPv4 lease.
func bound(link, address, router string) string {
	return "PATH=/bin pid=25 reason=BOUND interface=" + link + " protocol=dhcp ifcarrier=up new_ip_address=" + address +
		" new_subnet_cidr=24 new_subnet_mask=255.255.255.0 new_routers=" + router + " new_dhcp_lease_time=120"
}

const carrier = "reason=CARRIER interface=wan0 protocol=link if_configured=true"
