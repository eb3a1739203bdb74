package hookserver

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// otherNetNS is a namespace that is not ours.
func otherNetNS(t *testing.T) hookwire.NetNS {
	t.Helper()
	own := readNetNS()
	if own == (hookwire.NetNS{}) {
		t.Fatal("our own network namespace is not known")
	}
	own.Ino++
	return own
}

// TestOtherNetNSOnTheSocket: neither a lease nor its end counts where the same ifindex is another link; one line says so.
func TestOtherNetNSOnTheSocket(t *testing.T) {
	b := newBench(t, nil).run()
	other := otherNetNS(t)
	for i, reason := range []string{"BOUND", "RELEASE", "FAIL", "UNHEARD-OF"} {
		m := message(7, int64(i), reason, "192.0.2.1")
		m.NetNS = other
		r, err := b.send(encode(t, m))
		if err != nil || r.OK || !strings.Contains(r.Text, other.String()) || !strings.Contains(r.Text, readNetNS().String()) {
			t.Errorf("%s: %+v, %v, want a text with both namespaces", reason, r, err)
		}
	}
	if got := b.got(); len(got) > 0 {
		t.Errorf("events %q, want none", got)
	}
	if n := b.log.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
		t.Errorf("%d lines in the log, want 1: %v", n, b.log.All())
	}
}

// TestOtherNetNSDoesNotAge: a refused message is not the newest word about a link.
func TestOtherNetNSDoesNotAge(t *testing.T) {
	b := newBench(t, nil).run()
	stranger := message(7, 200, "RELEASE", "192.0.2.1")
	stranger.NetNS = otherNetNS(t)
	for _, m := range []hookwire.Message{stranger, message(7, 100, "BOUND", "192.0.2.1")} {
		if _, err := b.send(encode(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"7 bind 192.0.2.1"}, b.got()); d != "" {
		t.Error(d)
	}
}

// TestOtherNetNSInTheSpool: such a message goes, with a line in the log, and those about it count.
func TestOtherNetNSInTheSpool(t *testing.T) {
	b := newBench(t, nil)
	first, stranger, last := message(7, 1, "BOUND", "192.0.2.1"), message(7, 2, "RELEASE", "192.0.2.1"), message(8, 3, "BOUND", "192.0.2.3")
	first.NetNS, stranger.NetNS = readNetNS(), otherNetNS(t)
	for _, m := range []hookwire.Message{first, stranger, last} {
		b.put(m)
	}
	b.run()
	if d := cmp.Diff([]string{"7 bind 192.0.2.1", "8 bind 192.0.2.3"}, b.got()); d != "" {
		t.Error(d)
	}
	if l := b.left(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	lines := b.log.FilterMessage("dropped a file of the spool").All()
	if len(lines) != 1 || !strings.Contains(lines[0].ContextMap()["error"].(string), stranger.NetNS.String()) {
		t.Errorf("lines in the log: %+v, want one with %s", lines, stranger.NetNS)
	}
}

// TestNetNSUnknown: where one side does not know its namespace, the message counts.
func TestNetNSUnknown(t *testing.T) {
	own, other := readNetNS(), otherNetNS(t)
	for _, c := range []struct {
		name         string
		daemon, hook hookwire.NetNS
		want         bool
	}{
		{"the same", own, own, true},
		{"hook unknown", own, hookwire.NetNS{}, true},
		{"daemon unknown", hookwire.NetNS{}, other, true},
		{"both unknown", hookwire.NetNS{}, hookwire.NetNS{}, true},
		{"another", own, other, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.netns = c.daemon
			spooled, sent := message(7, 1, "BOUND", "192.0.2.1"), message(8, 2, "BOUND", "192.0.2.2")
			spooled.NetNS, sent.NetNS = c.hook, c.hook
			b.put(spooled)
			b.run()
			r, err := b.send(encode(t, sent))
			var want []string
			if c.want {
				want = []string{"7 bind 192.0.2.1", "8 bind 192.0.2.2"}
			}
			if err != nil || r.OK != c.want || !slices.Equal(b.got(), want) {
				t.Errorf("%+v, %v, events %q, want %q", r, err, b.got(), want)
			}
		})
	}
}
