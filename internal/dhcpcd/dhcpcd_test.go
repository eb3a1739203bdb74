package dhcpcd

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

const (
	first  = "7 dhcpcd: bind 192.0.2.101 via [192.0.2.1]"
	second = "8 dhcpcd: bind 198.51.100.7 via [198.51.100.1]"
)

// TestListens: what dhcpcd has at the start is told before Ready, then what it says.
func TestListens(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock", carrier, bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.run()
	if d := cmp.Diff([]string{first}, b.got()); d != "" {
		t.Errorf("when ready: %s", d)
	}
	b.expect(first)
	f.say(message(bound("wan0", "192.0.2.101", "192.0.2.254")))
	b.expect("7 dhcpcd: bind 192.0.2.101 via [192.0.2.254]")
	f.say(message("reason=EXPIRE interface=wan0 old_ip_address=192.0.2.101"))
	b.expect("7 dhcpcd: remove")
	f.say(message("reason=ROUTERADVERT interface=wan0 nd1_from=fe80::1 nd1_lifetime=90 nd1_addr1=2001:db8::9/64"))
	b.expect("7 dhcpcd-ra: replace 2001:db8::9 via [fe80::1]")
	f.say(message("reason=STOPPED interface=wan0"))
	b.expect("7 dhcpcd: remove all", "7 dhcpcd6: remove all", "7 dhcpcd-ra: remove all")
}

// TestMasterAndSeveral: one socket for all links, and one for a link, side by side.
func TestMasterAndSeveral(t *testing.T) {
	b := newBench(t)
	b.start("unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.start("sock") // its other socket: not listened to
	b.start("wan1.sock", bound("wan1", "198.51.100.7", "198.51.100.1"))
	b.run()
	got := b.got()
	slices.Sort(got)
	if d := cmp.Diff([]string{first, second}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"", "wan1"}, b.listened()); d != "" {
		t.Error(d)
	}
}

// TestOneFamily: a dhcpcd for one family speaks of no other's leases.
func TestOneFamily(t *testing.T) {
	for _, c := range []struct {
		instance, link string
		source         lease.Source
		want           bool
	}{
		{"wan0-4", "wan0", lease.SourceDhcpcd, true},
		{"wan0-4", "wan0", lease.SourceDhcpcd6, false},
		{"wan0-4", "wan0", lease.SourceDhcpcdRA, false},
		{"wan0-6", "wan0", lease.SourceDhcpcd, false},
		{"wan0-6", "wan0", lease.SourceDhcpcd6, true},
		{"wan0-6", "wan0", lease.SourceDhcpcdRA, true},
		{"wan0-6", "wan0-6", lease.SourceDhcpcd, true}, // a link of that name, both families
		{"", "wan0", lease.SourceDhcpcd, true},
		{"wan0", "wan0", lease.SourceDhcpcd6, true},
	} {
		if got := speaksFor(c.instance, c.link, c.source); got != c.want {
			t.Errorf("%s of %s on %s: %v", c.instance, c.source, c.link, got)
		}
	}
	b := newBench(t)
	f := b.start("wan0-4.unpriv.sock")
	b.run()
	f.say(message("reason=STOPPED interface=wan0"))
	b.expect("7 dhcpcd: remove all")
}

// TestComesLater: the directory and the socket appear while the watcher runs, go, and come again. The end of a dhcpcd is
// no word about its leases.
func TestComesLater(t *testing.T) {
	b := newBench(t)
	if took := b.run(); took > readyWithin/2 {
		t.Errorf("ready after %s, with nothing there", took)
	}
	f := b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.expect(first)
	f.stop()
	b.eventually("nobody is listened to", func() bool { return len(b.listened()) == 0 })
	b.expect()
	f = b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.expect(first)
	f.stop()
	must(t, os.RemoveAll(b.dir))
	b.start("wan1.unpriv.sock", bound("wan1", "198.51.100.7", "198.51.100.1"))
	b.expect(second)
}

// TestConnectionEnds: a new one is made, and all is asked again.
func TestConnectionEnds(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.run()
	b.expect(first)
	for range 2 {
		b.eventually("a listener", func() bool { return f.count() > 0 })
		f.hangUp()
		b.expect(first)
	}
}

// TestLeftOver: the socket of a dhcpcd that was killed delays nothing, and the next one is heard at once.
func TestLeftOver(t *testing.T) {
	b := newBench(t)
	b.w.retry = retryMax // it is the new socket that counts, not the time
	f := b.start("wan0.unpriv.sock")
	f.ln.SetUnlinkOnClose(false)
	f.stop()
	if took := b.run(); took > readyWithin/2 {
		t.Errorf("ready after %s", took)
	}
	// Moved into place it accepts connections from the first moment on.
	b.start("new", bound("wan0", "192.0.2.101", "192.0.2.1"))
	must(t, os.Rename(filepath.Join(b.dir, "new"), filepath.Join(b.dir, "wan0.unpriv.sock")))
	b.expect(first)
}

// TestSilentDump: 9.4.1 leaves a question unanswered while it answers somebody else's. That holds up neither the daemon
// nor the listening, and is asked again in other words.
func TestSilentDump(t *testing.T) {
	b := newBench(t)
	b.w.talk = talkWithin
	f := b.start("wan0.unpriv.sock")
	f.answer = func(command string, c net.Conn) {
		if command == dumpCommands()[1] {
			c.Write(records(bound("wan0", "192.0.2.101", "192.0.2.1")))
		}
	}
	b.run()
	b.expect(first)
	asked := f.commands()
	slices.Sort(asked) // two connections
	if d := cmp.Diff([]string{"--getinterfaces\x00", "--listen\x00", "dhcpcd\x00-U\x00"}, asked); d != "" {
		t.Error(d)
	}
}

func TestNeverAnswers(t *testing.T) {
	b := newBench(t)
	b.w.talk = talkWithin
	f := b.start("wan0.unpriv.sock")
	f.answer = nil
	if took := b.run(); took > readyWithin+patience/4 {
		t.Errorf("ready after %s", took)
	}
	f.say(message(bound("wan0", "192.0.2.101", "192.0.2.1")))
	b.expect(first)
	b.eventually("a line in the log", func() bool { return b.warned("does not say what leases it has") })
}

// TestDumpIsTriedLessAndLess: the pace of the tries, and that an answer ends them.
func TestDumpIsTriedLessAndLess(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock")
	f.answer = func(_ string, c net.Conn) { c.Close() }
	d := dumper{instance: newInstance(b.w, "wan0"), due: time.Now()}
	for n, want := range []time.Duration{dumpAgain, 2 * dumpAgain, 4 * dumpAgain, retryMax, retryMax} {
		before := time.Now()
		d.due = before
		d.try(t.Context())
		if late := d.due.Sub(before); late < want || late > want+patience {
			t.Errorf("try %d: again after %s, want %s", n, late, want)
		}
		d.try(t.Context()) // not due
		if d.tries != quickTries+n {
			t.Errorf("%d tries, want %d", d.tries, quickTries+n)
		}
	}
	f.mu.Lock()
	f.answer = func(_ string, c net.Conn) { c.Write(records()) }
	f.mu.Unlock()
	d.due = time.Now()
	if d.try(t.Context()); !d.due.IsZero() {
		t.Error("asked again after an answer")
	}
}

// TestLastWordIsTheNewest: what is heard while the dump comes in counts after it.
func TestLastWordIsTheNewest(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock")
	f.answer = func(_ string, c net.Conn) {
		f.say(message(bound("wan0", "192.0.2.101", "192.0.2.254"))) // the connection that listens is there already
		c.Write(records(bound("wan0", "192.0.2.101", "192.0.2.1")))
	}
	b.run()
	b.expect(first, "7 dhcpcd: bind 192.0.2.101 via [192.0.2.254]")
}

// TestYoung: one that has just made its socket is listened to, and asked for nothing.
func TestYoung(t *testing.T) {
	b := newBench(t)
	b.w.settle = settle
	f := b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.66", "192.0.2.66"))
	if took := b.run(); took > readyWithin/2 {
		t.Errorf("ready after %s", took)
	}
	f.say(message(bound("wan0", "192.0.2.101", "192.0.2.1")))
	b.expect(first)
	b.w.Look(t.Context())
	if d := cmp.Diff([]string{"--listen\x00"}, f.commands()); d != "" {
		t.Error(d)
	}
}

// TestComesOfAge: one that is listened to while it is young is asked as soon as it is old enough.
func TestComesOfAge(t *testing.T) {
	b := newBench(t)
	b.w.settle = 200 * time.Millisecond
	begin := time.Now()
	b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.run()
	b.expect(first)
	if took := time.Since(begin); took < b.w.settle {
		t.Errorf("asked after %s", took)
	}
}

// TestSettled: the age is that of the socket, and a clock that was set does not prolong the wait.
func TestSettled(t *testing.T) {
	b := newBench(t)
	b.w.settle = settle
	b.start("wan0.unpriv.sock")
	for age, want := range map[time.Duration]time.Duration{
		-time.Hour: settle, 0: settle, settle / 4: settle * 3 / 4, settle: 0, time.Hour: 0,
	} {
		must(t, os.Chtimes(filepath.Join(b.dir, "wan0.unpriv.sock"), time.Time{}, time.Now().Add(-age)))
		if wait := time.Until(b.w.settled("wan0")); wait > want || wait < want-settle/8 {
			t.Errorf("%s old: in %s, want %s", age, wait, want)
		}
	}
	if w := New(Config{}); w.settle != settle || w.retry != retryMin || w.talk != talkWithin || w.cfg.Dir != DefaultDir {
		t.Errorf("by default %s in %s", w.settle, w.cfg.Dir)
	}
	if wait := time.Until(b.w.settled("none")); wait < settle/2 {
		t.Errorf("without a socket: in %s", wait)
	}
}

// TestOnce: a single question, for a run without a loop.
func TestOnce(t *testing.T) {
	b := newBench(t)
	b.w.Look(t.Context()) // no directory: nothing to say
	if len(b.logs.All()) > 0 {
		t.Error(b.logs.All())
	}
	b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	silent := b.start("wan1.unpriv.sock")
	silent.answer = nil
	b.w.Look(t.Context())
	b.expect(first)
	if !b.warned("does not say what leases it has") {
		t.Error("nothing in the log of the silent one")
	}
}

func TestInstanceOf(t *testing.T) {
	for file, want := range map[string]string{
		"unpriv.sock": "", "sock": "", "wan0.unpriv.sock": "wan0", "wan0.sock": "wan0", "wan0-4.unpriv.sock": "wan0-4", "a.b-6.sock": "a.b-6",
	} {
		if got, ok := instanceOf(file); !ok || got != want {
			t.Errorf("%s: %q, %v", file, got, ok)
		}
	}
	for _, file := range []string{"wan0.pid", "hook-state", "xsock", "wan0.sock.old"} {
		if got, ok := instanceOf(file); ok {
			t.Errorf("%s: %q", file, got)
		}
	}
}

// TestNetNS: this process's own namespace is the socket's, and a process that is not there is in an unknown one.
func TestNetNS(t *testing.T) {
	b := newBench(t)
	b.start("wan0.unpriv.sock")
	c, err := b.w.dial(t.Context(), "wan0", "x")
	must(t, err)
	defer c.Close()
	if peer, own := peerNetNS(c), netNS("self"); peer != own || peer.String() == "unknown" {
		t.Errorf("the socket is of %s, we are in %s", peer, own)
	}
	if ns := netNS("0"); ns.Other(netNS("self")) {
		t.Error("no process is in another namespace")
	}
}

// TestSocketOf: files of the right names that are no sockets.
func TestSocketOf(t *testing.T) {
	b := newBench(t)
	b.start("wan0.sock")
	must(t, os.WriteFile(filepath.Join(b.dir, "wan0.unpriv.sock"), nil, 0o666))
	must(t, os.WriteFile(filepath.Join(b.dir, "wan1.unpriv.sock"), nil, 0o666))
	must(t, unix.Mkfifo(filepath.Join(b.dir, "unpriv.sock"), 0o666))
	must(t, os.Symlink("wan0.sock", filepath.Join(b.dir, "wan2.unpriv.sock")))
	names, err := list(b.dir)
	must(t, err)
	if d := cmp.Diff([]string{"wan0"}, names); d != "" {
		t.Error(d)
	}
	path, err := socketOf(b.dir, "wan0")
	if err != nil || filepath.Base(path) != "wan0.sock" {
		t.Errorf("%s, %v", path, err)
	}
}

// TestTooLongIsNotAbsent: a value over its limit is told as one, so that it does not stand for an empty list.
func TestTooLongIsNotAbsent(t *testing.T) {
	b := newBench(t)
	f := b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.101", "192.0.2.1"))
	b.run()
	b.expect(first)
	long := "2001:db8::" + strings.Repeat("1", hookwire.MaxValue)
	f.say(message("reason=BOUND6 interface=wan0 new_dhcp6_ia_na1_ia_addr1=" + long))
	b.expect("7 dhcpcd6: ignore")
	if ev := b.events[1]; len(ev.Problems) != 1 || !strings.Contains(ev.Problems[0], "too long") {
		t.Errorf("%+v", ev)
	}
}
