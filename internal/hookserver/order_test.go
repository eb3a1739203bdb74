package hookserver

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// TestSpoolBeforeSocket: a client's call that went by the spool counts before its next one that comes by the socket, whether or
// not anybody has told of the file; and the file is gone by then, so that the next daemon, which knows nothing of the later one,
// does not take it for news.
func TestSpoolBeforeSocket(t *testing.T) {
	b := newBench(t, nil).run()
	for i := range int64(50) {
		b.put(message(7, 2*i, "BOUND6", "2001:db8::1"))
		if r, err := b.send(encode(t, message(7, 2*i+1, "RELEASE6", "2001:db8::1"))); err != nil || !r.OK {
			t.Fatalf("%+v, %v", r, err)
		}
		if l := b.left(); len(l) > 0 {
			t.Fatalf("left in the spool: %q", l)
		}
	}
	var want []string
	for range 50 {
		want = append(want, "7 bind 2001:db8::1", "7 remove 2001:db8::1")
	}
	if d := cmp.Diff(want, b.got()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSpoolThatCannotBeRead: a message by the socket counts all the same.
func TestSpoolThatCannotBeRead(t *testing.T) {
	b := newBench(t, nil).run()
	if err := unix.Rename(b.dir+"/spool", b.dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Symlink("/", b.dir+"/spool"); err != nil {
		t.Fatal(err)
	}
	if r, err := b.send(encode(t, message(7, 1, "BOUND6", "2001:db8::1"))); err != nil || !r.OK || len(b.got()) != 1 {
		t.Errorf("%+v, %v, %q", r, err, b.got())
	}
	if n := b.log.FilterMessage("cannot read the spool of hook messages").Len(); n != 1 {
		t.Errorf("%d lines say so, want 1", n)
	}
}

// TestStopBeforeTheSpoolIsEmpty: a daemon that stops over an older message of the spool leaves its file to the next one, which
// knows of nothing newer. So a newer message by the socket must not count first, nor be answered: its hook keeps it, too.
func TestStopBeforeTheSpoolIsEmpty(t *testing.T) {
	b := newBench(t, nil)
	b.answer = func(ev lease.Event) <-chan error {
		if ev.Lease.Address == netip.MustParseAddr("192.0.2.1") {
			return make(chan error) // it takes longer than the daemon has
		}
		return closed()
	}
	b.run()
	b.put(message(7, 1, "BOUND", "192.0.2.1"))
	c := b.dial()
	if _, err := c.Write(encode(t, message(7, 2, "BOUND", "192.0.2.2"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message of the spool", func() bool { return len(b.got()) > 0 })
	b.stop()
	if r, err := hookwire.ReadReply(c); err == nil {
		t.Errorf("the newer message was answered: %+v", r)
	}
	if l := b.left(); len(l) != 1 {
		t.Errorf("left in the spool: %q, want the older message", l)
	}
	for _, ev := range b.got() {
		if ev != "7 bind 192.0.2.1" {
			t.Errorf("a newer message counted before the one that is left: %q", b.got())
		}
	}
}

// TestStopOverAnswers: a daemon that stops while the outcomes of the spool are there leaves none of those files: the next one,
// which knows of nothing newer, would hand on old words once more.
func TestStopOverAnswers(t *testing.T) {
	const messages = 16 // each is a chance for a stop to come first
	b := newBench(t, nil)
	for n := range messages {
		b.put(message(7, int64(n+1), "BOUND", fmt.Sprintf("192.0.2.%d", n+1)))
	}
	b.answer = func(ev lease.Event) <-chan error {
		if ev.Lease.Address == netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", messages)) {
			b.cancel()
		}
		return closed()
	}
	b.run()
	b.stop()
	if got := b.got(); len(got) != messages {
		t.Errorf("handed on: %q", got)
	}
	if l := b.left(); len(l) > 0 {
		t.Errorf("left in the spool: %q", l)
	}
}

// TestStopBetweenAnswers: what follows a message that has not been dealt with stays behind it, though its own outcome is there.
func TestStopBetweenAnswers(t *testing.T) {
	b := newBench(t, nil)
	for n := range 3 {
		b.put(message(7, int64(n+1), "BOUND", fmt.Sprintf("192.0.2.%d", n+1)))
	}
	b.answer = func(ev lease.Event) <-chan error {
		switch ev.Lease.Address.As4()[3] {
		case 2:
			return make(chan error) // it takes longer than the daemon has
		case 3:
			b.cancel()
		}
		return closed()
	}
	b.run()
	b.stop()
	if l := b.left(); len(l) != 2 {
		t.Errorf("left in the spool: %q, want the second message and the third", l)
	}
}
