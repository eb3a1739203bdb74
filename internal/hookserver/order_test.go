package hookserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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
