package hookserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

func TestMessageIsHandledThenAnswered(t *testing.T) {
	b := newBench(t, nil)
	done := make(chan error)
	b.answer = func(lease.Event) <-chan error { return done }
	b.run()
	c := b.dial()
	if _, err := c.Write(encode(t, message(7, 1, "BOUND", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event", func() bool { return len(b.got()) == 1 })
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an answer before the work was done: %d, %v", n, err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	close(done)
	if r, err := hookwire.ReadReply(c); err != nil || !r.OK {
		t.Errorf("answer %+v, %v", r, err)
	}
	if d := cmp.Diff([]string{"7 bind 192.0.2.1"}, b.got()); d != "" {
		t.Error(d)
	}
}

func TestOutcomes(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ReplyTimeout = 20 * time.Millisecond })
	b.answer = func(ev lease.Event) <-chan error {
		c := make(chan error, 1)
		if ev.Verb == lease.Bind {
			c <- errors.New("no such link")
		}
		return c
	}
	b.run()
	for reason, want := range map[string]hookwire.Reply{
		"BOUND": {Text: "no such link"}, "FAIL": {Text: "not done yet"}, "PREINIT": {OK: true},
	} {
		if r, err := b.send(encode(t, message(7, 1, reason, "192.0.2.1"))); err != nil || r != want {
			t.Errorf("%s: %+v, %v, want %+v", reason, r, err, want)
		}
	}
}

// TestBadInput: what is no message is answered with a reason, said once in the log, and harms nobody.
func TestBadInput(t *testing.T) {
	b := newBench(t, func(c *Config) { c.ReadTimeout = 50 * time.Millisecond }).run()
	good := encode(t, message(7, 1, "BOUND", "192.0.2.1"))
	unknown := message(7, 1, "BOUND", "192.0.2.1")
	unknown.Client = "nobody"
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), "malformed"},
		{"other version", bytes.Replace(good, []byte("uplk\x01"), []byte("uplk\x09"), 1), "version 9"},
		{"4 GiB", []byte("uplk\x01M\xff\xff\xff\xff"), "over a limit"},
		{"half of it, then silence", good[:len(good)/2], "timeout"},
		{"unknown client", encode(t, unknown), "unknown client"},
	} {
		for range 2 {
			r, err := b.send(c.in)
			if err != nil || r.OK || !strings.Contains(r.Text, c.want) {
				t.Errorf("%s: %+v, %v, want a text with %q", c.name, r, err, c.want)
			}
		}
	}
	if n := b.log.FilterLevelExact(zap.WarnLevel).Len(); n != 5 {
		t.Errorf("%d lines in the log, want one for each of 5", n)
	}
	b.dial().Close() // nothing at all is no fault
	if r, err := b.send(good); err != nil || !r.OK {
		t.Errorf("a good message after that: %+v, %v", r, err)
	}
	if len(b.got()) != 1 {
		t.Errorf("events: %q", b.got())
	}
}

func TestSlowClientsDoNotHoldOthersUp(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxConns = 3 }).run()
	var slow []net.Conn
	for range 2 {
		c := b.dial()
		slow = append(slow, c)
		if _, err := c.Write([]byte("upl")); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if r, err := b.send(encode(t, message(7, 1, "BOUND", "192.0.2.1"))); err != nil || !r.OK || time.Since(start) > DefaultReadTimeout/2 {
		t.Errorf("%+v, %v after %s", r, err, time.Since(start))
	}
	for _, c := range slow { // and they themselves are told off
		if r, err := hookwire.ReadReply(c); err != nil || r.OK {
			t.Errorf("slow client: %+v, %v", r, err)
		}
	}
}

// TestManyAtOnce: more hooks at one time than there are places, on several links; each event arrives once.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxConns = 8; c.ReadTimeout = patience }).run()
	const n = 400
	var wg sync.WaitGroup
	for i := range n {
		msg := encode(t, message(1+i%10, int64(i), "BOUND6", fmt.Sprintf("2001:db8::%x", i+1)))
		wg.Go(func() {
			c, err := net.Dial("unix", filepath.Join(b.dir, hookwire.SocketName))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			if _, err = c.Write(msg); err != nil {
				t.Error(err)
			}
			if r, err := hookwire.ReadReply(c); err != nil || !r.OK {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, e := range b.got() {
		seen[e] = true
	}
	if len(b.got()) != n || len(seen) != n {
		t.Errorf("%d events, %d different, want %d", len(b.got()), len(seen), n)
	}
}

// TestOtherUser: the kernel's word counts, not the socket's mode.
func TestOtherUser(t *testing.T) {
	needOtherUser(t)
	b := newBench(t, nil).run()
	path := filepath.Join(b.dir, hookwire.SocketName)
	for _, p := range []string{b.dir, path} {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	type result struct {
		r   hookwire.Reply
		err error
	}
	done := make(chan result, 1)
	msg := encode(t, message(7, 1, "BOUND", "192.0.2.1"))
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is another user's now, ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- result{err: errno}
			return
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.Close()
		_, _ = c.Write(msg)
		r, err := hookwire.ReadReply(c)
		done <- result{r, err}
	}()
	res := wait(t, done)
	if res.err != nil || res.r.OK || !strings.Contains(res.r.Text, "65534") || len(b.got()) != 0 {
		t.Errorf("%+v, events %q", res, b.got())
	}
}

// needOtherUser skips where the test cannot be, or give a file to, another user: without root, or as the root of a user
// namespace that has no other user.
func needOtherUser(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		skip(t, "needs root and another user: "+err.Error())
	}
}

// skip skips, unless the environment says that a skip is a failure.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("UPLINKD_TEST_NO_SKIP") != "" {
		t.Fatalf("would be skipped: %s", why)
	}
	t.Skip(why)
}

// TestStopLeavesTheMessageToTheHook: a message without an outcome is not answered.
func TestStopLeavesTheMessageToTheHook(t *testing.T) {
	b := newBench(t, nil)
	b.answer = func(lease.Event) <-chan error { return make(chan error, 1) }
	b.run()
	waiting, half := b.dial(), b.dial()
	msg := encode(t, message(7, 1, "BOUND", "192.0.2.1"))
	for c, part := range map[net.Conn][]byte{waiting: msg, half: msg[:9]} {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the event", func() bool { return len(b.got()) == 1 })
	b.stop()
	for _, c := range []net.Conn{waiting, half} {
		if r, err := hookwire.ReadReply(c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("answer %+v, %v, want none", r, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(b.dir, hookwire.SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestFailureByStoppingIsNone: an agent that gives an event up because it stops has not dealt with it.
func TestFailureByStoppingIsNone(t *testing.T) {
	events := make(chan lease.Event, 2)
	b := newBench(t, func(c *Config) {
		c.Intake = intake.New(func(ctx context.Context, ev lease.Event) <-chan error {
			done := make(chan error, 1)
			context.AfterFunc(ctx, func() { done <- ctx.Err() })
			events <- ev
			return done
		}, c.Log)
	}).run()
	c := b.dial()
	if _, err := c.Write(encode(t, message(7, 1, "BOUND", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	wait(t, events)
	b.put(message(7, 2, "BOUND", "192.0.2.2"))
	wait(t, events)
	later := b.dial() // which has to wait for the spool's
	if _, err := later.Write(encode(t, message(7, 3, "BOUND", "192.0.2.3"))); err != nil {
		t.Fatal(err)
	}
	b.stop()
	for _, c := range []net.Conn{c, later} {
		if r, err := hookwire.ReadReply(c); err == nil {
			t.Errorf("answer %+v, want none", r)
		}
	}
	if len(b.left()) != 1 {
		t.Errorf("left in the spool: %q", b.left())
	}
}

// TestAnswerToAHookOfAStoppingServer: the outcome and the end of the context may come in either order.
func TestAnswerToAHookOfAStoppingServer(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // select picks at random
		done := make(chan error, 1)
		done <- ctx.Err()
		if r, ok := b.outcome(ctx, done); ok {
			t.Fatalf("answer %+v, want none", r)
		}
	}
}

func TestGivenListener(t *testing.T) {
	dir := shortDir(t)
	ln, err := net.Listen("unix", filepath.Join(dir, "other.sock"))
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchIn(t, dir, func(c *Config) { c.Listener = ln }).run()
	c, err := net.Dial("unix", filepath.Join(dir, "other.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, bytes.NewReader(encode(t, message(7, 1, "FAIL", "")))); err != nil {
		t.Fatal(err)
	}
	if r, err := hookwire.ReadReply(c); err != nil || !r.OK || len(b.got()) != 1 {
		t.Errorf("%+v, %v, %q", r, err, b.got())
	}
}

func TestProblemsAreLogged(t *testing.T) {
	b := newBench(t, nil).run()
	m := message(7, 1, "BOUND", "192.0.2.1")
	m.Env["new_routers"] = "127.0.0.1"
	m.Interface = "a\x1bb"
	for range 3 {
		if _, err := b.send(encode(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	lines := b.log.FilterMessage("refused a value of a lease").All()
	if len(lines) != 1 || lines[0].ContextMap()["problem"] != `router "127.0.0.1": loopback` || lines[0].ContextMap()["interface"] != `a\x1bb` {
		t.Errorf("%+v", lines)
	}
}
