package dhcpcd

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// TestDumpIsAsOldAsItsQuestion: what a hook says while the answer is under way is newer than the answer.
func TestDumpIsAsOldAsItsQuestion(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock")
	f.answer = func(_ string, c net.Conn) {
		stopped := lease.Event{Verb: lease.RemoveAll, Source: lease.SourceDhcpcd, Interface: "wan0", Index: 7}
		<-b.w.cfg.Intake.Take(t.Context(), []lease.Event{stopped}, intake.Now())
		c.Write(records(bound("wan0", "192.0.2.101", "192.0.2.1")))
	}
	b.run()
	f.say(message("reason=ROUTERADVERT interface=wan0 nd1_from=fe80::1 nd1_lifetime=90 nd1_addr1=2001:db8::9/64"))
	b.expect("7 dhcpcd: remove all", "7 dhcpcd-ra: replace 2001:db8::9 via [fe80::1]")
}

// TestOwnLinkOnly: an instance that was started for a link speaks of no other, and the one for all links of all.
func TestOwnLinkOnly(t *testing.T) {
	for _, c := range []struct {
		instance, link string
		want           bool
	}{
		{"", "wan0", true}, {"wan0", "wan0", true}, {"wan0-4", "wan0", true}, {"wan0-6", "wan0", true}, {"wan0-4", "wan0-4", true},
		{"wan1", "wan0", false}, {"wan1-4", "wan0", false}, {"wan1-6", "wan0", false}, {"wan0-5", "wan0", false}, {"wan0", "wan0-4", false},
		{"wan0", "", false},
	} {
		if got := speaksOf(c.instance, c.link); got != c.want {
			t.Errorf("%q of %q: %v", c.instance, c.link, got)
		}
		if !c.want && speaksFor(c.instance, c.link, lease.SourceDhcpcd) {
			t.Errorf("%q may speak for dhcpcd on %q", c.instance, c.link)
		}
	}
	for _, socket := range []string{"wan1-4.sock", "wan1.unpriv.sock"} {
		b := newBench(t) // of two instances that say the same, the one that was asked first may come last, and counts no more
		b.start(socket, bound("wan0", "192.0.2.66", "192.0.2.66"), bound("wan1", "198.51.100.7", "198.51.100.1"))
		b.run()
		b.expect(second)
	}
}

// TestPace: a dhcpcd that never stops talking is read no faster than the pace, and nothing of it is lost; nor does a new
// connection begin anew.
func TestPace(t *testing.T) {
	b := newBench(t)
	b.w.pace, b.w.retry = 500, time.Millisecond
	asked := atomic.Int32{}
	b.w.cfg.Link = func(string) int { asked.Add(1); return 7 }
	f := b.start("wan0.unpriv.sock")
	b.run()
	const more = 100
	begin := time.Now()
	f.say(bytes.Repeat(message(bound("wan0", "192.0.2.101", "192.0.2.1")), messagesAtOnce))
	b.expect(slices.Repeat([]string{first}, messagesAtOnce)...)
	f.hangUp()
	b.eventually("a new connection", func() bool { return f.count() > 0 })
	f.say(bytes.Repeat(message(bound("wan0", "192.0.2.101", "192.0.2.1")), more))
	b.expect(slices.Repeat([]string{first}, more)...)
	if took, least := time.Since(begin), more*time.Second/500; took < least*9/10 {
		t.Errorf("taken in %s, want %s at least", took, least)
	}
	if n := asked.Load(); n != messagesAtOnce+more {
		t.Errorf("%d looks at the link", n)
	}
	if w := New(Config{}); w.pace != rate.Limit(messagesPerSecond) {
		t.Errorf("by default %v a second", w.pace)
	}
}

// TestDumpLooksOnce at each link.
func TestDumpLooksOnce(t *testing.T) {
	b := newBench(t)
	asked := 0
	b.w.cfg.Link = func(name string) int { asked++; return map[string]int{"wan0": 7, "wan1": 8}[name] }
	both := []string{bound("wan0", "192.0.2.101", "192.0.2.1"), bound("wan1", "198.51.100.7", "198.51.100.1")}
	b.start("unpriv.sock", slices.Repeat(both, 300)...)
	must(t, b.w.dump(t.Context(), "", dumpCommands()[0]))
	b.expect(slices.Repeat([]string{first, second}, 300)...)
	if asked != 2 {
		t.Errorf("%d looks at 2 links", asked)
	}
}

// TestDirectoryChangesHands: a socket in a directory that others can write to by now is not connected to again.
func TestDirectoryChangesHands(t *testing.T) {
	b := newBench(t)
	b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.66", "192.0.2.66"))
	for _, mode := range []os.FileMode{0o777, 0o775, 0o757} {
		must(t, os.Chmod(b.dir, mode))
		if c, err := b.w.dial(t.Context(), "wan0", listenWords); err == nil || !strings.Contains(err.Error(), "must be a directory of root's") {
			t.Errorf("mode %o: %v, %v", mode, c, err)
		}
	}
	must(t, os.Chmod(b.dir, 0o755))
	c, err := b.w.dial(t.Context(), "wan0", listenWords)
	must(t, err)
	c.Close()
	must(t, os.Rename(b.dir, b.dir+".old"))
	must(t, os.WriteFile(b.dir, nil, 0o600))
	if _, err := safeSocket(b.dir, "wan0"); err == nil {
		t.Error("a file is a directory")
	}
	if _, err := safeSocket(filepath.Join(b.dir, "none"), "wan0"); err == nil {
		t.Error("nothing is a directory")
	}
}
