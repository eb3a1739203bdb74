package hookserver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

func spoolDir(b *bench) string { return filepath.Join(b.dir, hookwire.SpoolName) }

// put leaves a message in the spool as a hook does.
func (b *bench) put(m hookwire.Message) {
	b.t.Helper()
	b.putFile(hookwire.SpoolFile(m), encode(b.t, m))
}

func (b *bench) putFile(name string, content []byte) {
	b.t.Helper()
	if err := os.MkdirAll(spoolDir(b), 0o700); err != nil {
		b.t.Fatal(err)
	}
	temp := filepath.Join(spoolDir(b), hookwire.TempPrefix+"put")
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(spoolDir(b), name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) left() []string {
	b.t.Helper()
	entries, err := os.ReadDir(spoolDir(b))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestSpoolComesFirst: the spool is taken in the order of its hooks, and before a connection that waits in the backlog.
func TestSpoolComesFirst(t *testing.T) {
	b := newBench(t, nil)
	b.put(message(7, 200, "BOUND", "192.0.2.2"))
	b.put(message(8, 300, "FAIL", ""))
	b.put(message(7, 100, "BOUND", "192.0.2.1"))
	c := b.dial()
	if _, err := c.Write(encode(t, message(7, 400, "BOUND", "192.0.2.4"))); err != nil {
		t.Fatal(err)
	}
	b.run()
	if r, err := hookwire.ReadReply(c); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	want := []string{"7 bind 192.0.2.1", "7 bind 192.0.2.2", "8 remove all invalid IP", "7 bind 192.0.2.4"}
	if d := cmp.Diff(want, b.got()); d != "" {
		t.Error(d)
	}
	if l := b.left(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

// TestSpoolRubbish: what is no message goes, with a line in the log, and the good ones count.
func TestSpoolRubbish(t *testing.T) {
	b := newBench(t, nil)
	other := message(7, 5, "BOUND", "192.0.2.9")
	other.Stamp.BootID = [16]byte{1}
	b.put(other)
	b.put(message(7, 6, "BOUND", "192.0.2.6"))
	name := func(n int64) string { return hookwire.SpoolFile(hookwire.Message{Stamp: hookwire.Stamp{Boot: n}}) }
	b.putFile("$(id)\n", nil)
	b.putFile(name(1), []byte("rubbish"))
	b.putFile(name(2), append(encode(t, message(7, 2, "BOUND", "192.0.2.2")), 'x'))
	b.putFile(name(3), make([]byte, hookwire.MaxMessage+1))
	b.putFile(name(4), nil)
	in := func(n int64) string { return filepath.Join(spoolDir(b), name(n)) }
	for _, err := range []error{
		os.Symlink(filepath.Join(spoolDir(b), hookwire.SpoolFile(message(7, 6, "", ""))), in(7)),
		os.Mkdir(in(8), 0o700),
		unix.Mkfifo(in(9), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.run()
	if d := cmp.Diff([]string{"7 bind 192.0.2.6"}, b.got()); d != "" {
		t.Error(d)
	}
	if l := b.left(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	if n := b.log.FilterMessage("dropped a file of the spool").Len(); n != 9 {
		t.Errorf("%d lines in the log, want 9: %v", n, b.log.All())
	}
}

// TestSpoolOfOthers: files and directories that somebody else owns are not read.
func TestSpoolOfOthers(t *testing.T) {
	needOtherUser(t)
	b := newBench(t, nil)
	m := message(7, 1, "BOUND", "192.0.2.1")
	b.put(m)
	if err := os.Chown(filepath.Join(spoolDir(b), hookwire.SpoolFile(m)), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := b.Drain(t.Context()); err != nil || len(b.got()) > 0 || len(b.left()) > 0 {
		t.Errorf("%v, events %q, left %q", err, b.got(), b.left())
	}
	b.put(m)
	if err := os.Chown(spoolDir(b), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := b.Drain(t.Context()); err == nil || len(b.got()) > 0 {
		t.Errorf("somebody else's directory: %v, events %q", err, b.got())
	}
}

func TestSpoolThatOthersMayWriteTo(t *testing.T) {
	b := newBench(t, nil)
	b.put(message(7, 1, "BOUND", "192.0.2.1"))
	if err := os.Chmod(spoolDir(b), 0o777); err != nil {
		t.Fatal(err)
	}
	b.run() // says so, and serves all the same
	if b.log.FilterMessage("cannot read the spool of hook messages").Len() != 1 || len(b.got()) > 0 {
		t.Errorf("events %q, log %v", b.got(), b.log.All())
	}
}

// TestLateSpool: a hook that found no daemon writes its message after the first look; one may even remove the directory.
func TestLateSpool(t *testing.T) {
	b := newBench(t, nil).run()
	b.put(message(7, 1, "BOUND", "192.0.2.1"))
	eventually(t, "the late message", func() bool { return len(b.got()) == 1 && len(b.left()) == 0 })
	if err := os.Remove(spoolDir(b)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new directory", func() bool { _, err := os.Stat(spoolDir(b)); return err == nil })
	b.put(message(7, 2, "BOUND", "192.0.2.2"))
	eventually(t, "the message after that", func() bool { return len(b.got()) == 2 && len(b.left()) == 0 })
}

// TestSpoolIsKeptOverAStop: a message that has no outcome when the daemon stops is there for the next one.
func TestSpoolIsKeptOverAStop(t *testing.T) {
	b := newBench(t, nil).run()
	b.mu.Lock()
	b.answer = func(lease.Event) <-chan error { return make(chan error, 1) }
	b.mu.Unlock()
	b.put(message(7, 1, "BOUND", "192.0.2.1"))
	eventually(t, "the event", func() bool { return len(b.got()) == 1 })
	b.stop()
	if len(b.left()) != 1 {
		t.Fatalf("left: %q", b.left())
	}
	next := newBenchIn(t, b.dir, nil).run()
	if d := cmp.Diff([]string{"7 bind 192.0.2.1"}, next.got()); d != "" || len(next.left()) > 0 {
		t.Errorf("left %q\n%s", next.left(), d)
	}
}

// TestFailedMessageIsNotTriedForEver: an outcome is an outcome.
func TestFailedMessageIsNotTriedForEver(t *testing.T) {
	b := newBench(t, nil)
	b.answer = func(lease.Event) <-chan error {
		c := make(chan error, 1)
		c <- errors.New("no such link")
		return c
	}
	b.put(message(7, 1, "BOUND", "192.0.2.1"))
	b.run()
	if len(b.left()) != 0 || b.log.FilterLevelExact(zap.WarnLevel).Len() != 1 {
		t.Errorf("left %q, log %v", b.left(), b.log.All())
	}
}

// TestHalfWrittenFiles: those of living hooks stay, those of dead ones go.
func TestHalfWrittenFiles(t *testing.T) {
	b := newBench(t, nil)
	if err := os.MkdirAll(spoolDir(b), 0o700); err != nil {
		t.Fatal(err)
	}
	started := func(ago time.Duration) string {
		m := message(7, 0, "BOUND", "192.0.2.2")
		m.Stamp.Boot = intake.Now().Boot - int64(ago)
		return hookwire.TempPrefix + hookwire.SpoolFile(m)
	}
	young := started(0) // and then the clock was set
	for name, age := range map[string]time.Duration{".young": 0, ".old": 2 * staleTemp, young: 365 * 24 * time.Hour, started(2 * staleTemp): 0} {
		path := filepath.Join(spoolDir(b), name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{young, ".young"}, b.left()); d != "" || len(b.got()) > 0 {
		t.Error(d, b.got())
	}
}

// TestOldMessageDoesNotUndoANewerOne: a bind that went by way of the spool, after the release that did not.
func TestOldMessageDoesNotUndoANewerOne(t *testing.T) {
	b := newBench(t, nil).run()
	for _, m := range []hookwire.Message{
		message(7, 200, "RELEASE6", "2001:db8::1"), message(7, 100, "BOUND6", "2001:db8::1"), message(8, 100, "BOUND6", "2001:db8::1"),
	} {
		if r, err := b.send(encode(t, m)); err != nil || !r.OK {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if d := cmp.Diff([]string{"7 remove 2001:db8::1", "8 bind 2001:db8::1"}, b.got()); d != "" {
		t.Error(d)
	}
}

// TestStampOfTheFuture: it does not lock out those of the present.
func TestStampOfTheFuture(t *testing.T) {
	b := newBench(t, nil).run()
	if _, err := b.send(encode(t, message(7, 1<<62, "BOUND", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	if _, err := b.send(encode(t, message(7, now.Nano(), "RELEASE", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"7 bind 192.0.2.1", "7 remove 192.0.2.1"}, b.got()); d != "" {
		t.Error(d)
	}
}
