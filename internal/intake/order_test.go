package intake

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

func bind(address string, sole bool) lease.Event {
	return lease.Event{Verb: lease.Bind, Source: "s", Index: 7, Interface: "a", Sole: sole, Lease: lease.Lease{Source: "s", Address: netip.MustParseAddr(address)}}
}

func replace(addresses ...string) lease.Event {
	ev := lease.Event{Verb: lease.Replace, Source: "s", Index: 7, Interface: "a"}
	for _, a := range addresses {
		ev.Leases = append(ev.Leases, lease.Lease{Source: "s", Address: netip.MustParseAddr(a)})
	}
	return ev
}

func remove(address string) lease.Event {
	return lease.Event{Verb: lease.Remove, Source: "s", Index: 7, Interface: "a", Address: netip.MustParseAddr(address)}
}

// gone is an event of a hook that ran when its link was gone.
func gone(ev lease.Event) lease.Event {
	ev.Index = 0
	return ev
}

func TestSequence(t *testing.T) {
	all := lease.Event{Verb: lease.RemoveAll, Source: "s", Index: 7, Interface: "a"}
	other := func(ev lease.Event, change func(*lease.Event)) lease.Event { change(&ev); return ev }
	for _, c := range []struct {
		name         string
		newer, older lease.Event
		left         string // of the older one, when it comes later
	}{
		{"removed, then its bind", remove("2001:db8::1"), bind("2001:db8::1", false), ""},
		{"removed, then its bind, which had replaced others", remove("192.0.2.1"), bind("192.0.2.1", true), "remove all"},
		{"bound, then its removal", bind("192.0.2.1", false), remove("192.0.2.1"), ""},
		{"another address", bind("2001:db8::1", false), bind("2001:db8::2", false), "bind"},
		{"another address of a sole lease", bind("192.0.2.1", true), bind("192.0.2.2", true), ""},
		{"all removed", all, bind("192.0.2.1", true), ""},
		{"bound, then all removed", bind("192.0.2.1", true), all, ""},
		{"another link", all, other(bind("192.0.2.1", true), func(e *lease.Event) { e.Index = 8 }), "bind"},
		{"another source", all, other(bind("192.0.2.1", true), func(e *lease.Event) { e.Source = "t" }), "bind"},
		{"links without an index", other(all, func(e *lease.Event) { e.Index, e.Interface = 0, "a" }),
			other(bind("192.0.2.1", true), func(e *lease.Event) { e.Index, e.Interface = 0, "b" }), "bind"},
		{"replaced, then a bind", replace("192.0.2.1"), bind("192.0.2.2", false), ""},
		{"replaced, then a removal", replace("192.0.2.1"), remove("192.0.2.1"), ""},
		{"replaced, then all removed", replace("192.0.2.1"), all, ""},
		{"bound, then a replacement", bind("192.0.2.1", false), replace("192.0.2.1"), ""},
		{"all removed, then a replacement", all, replace("192.0.2.1"), ""},
		{"another removed, then a replacement", remove("192.0.2.2"), replace("192.0.2.1"), "replace 192.0.2.1"},
		{"removed, then a replacement with it", remove("192.0.2.2"), replace("192.0.2.1", "192.0.2.2"), "replace 192.0.2.1"},
		{"its link gone, then its bind", gone(remove("192.0.2.1")), bind("192.0.2.1", true), "remove all"},
		{"its link gone, then its whole bind", gone(all), bind("192.0.2.1", false), ""},
		{"bound, then its removal without the link", bind("192.0.2.1", false), gone(remove("192.0.2.1")), ""},
		{"bound, then all removed without the link", bind("192.0.2.1", true), gone(all), ""},
		{"another name bound, then its removal without the link", other(bind("192.0.2.1", false), func(e *lease.Event) { e.Interface = "b" }), gone(remove("192.0.2.1")), "remove"},
		{"all removed of another link of the name", other(all, func(e *lease.Event) { e.Index = 8 }), bind("192.0.2.1", true), "bind"},
		{"look again", all, lease.Event{Verb: lease.Resync, Source: "s", Index: 7}, "resync"},
	} {
		q := newSequence()
		if len(q.admit(c.newer, hookwire.Stamp{Boot: 2})) == 0 {
			t.Errorf("%s: the first does not count", c.name)
		}
		left := ""
		for _, ev := range q.admit(c.older, hookwire.Stamp{Boot: 1}) {
			left += ev.Verb.String()
			for _, l := range ev.Leases {
				left += " " + l.Address.String()
			}
		}
		if left != c.left {
			t.Errorf("%s: of the older one is left %q, want %q", c.name, left, c.left)
		}
		if len(q.admit(c.newer, hookwire.Stamp{Boot: 2})) == 0 {
			t.Errorf("%s: the same once more does not count", c.name)
		}
	}
}

// TestAnyOrderGivesTheSameEnd: whatever way the messages of one client take, what is bound at the end is what would be in
// the order of the hooks; also where the link was gone when some of them ran.
func TestAnyOrderGivesTheSameEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sole := rapid.Bool().Draw(t, "sole")
		whole := !sole && rapid.Bool().Draw(t, "whole") // the source names all its leases each time
		var events []stamped
		for i := range rapid.IntRange(1, 8).Draw(t, "n") {
			ev := someEvent(t, sole, whole)
			if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
				ev = gone(ev)
			}
			events = append(events, stamped{ev, hookwire.Stamp{Boot: int64(i)}})
		}
		want := bound(events)
		for _, e := range [][]stamped{events, rapid.Permutation(events).Draw(t, "order")} {
			if got := end(e); !slices.Equal(got, want) {
				t.Fatalf("%v bound at the end of %v, want %v", got, e, want)
			}
		}
	})
}

func someEvent(t *rapid.T, sole, whole bool) lease.Event {
	address := fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(t, "address"))
	switch k := rapid.IntRange(0, 4).Draw(t, "kind"); {
	case k == 0:
		return remove(address)
	case k == 1:
		return lease.Event{Verb: lease.RemoveAll, Source: "s", Index: 7, Interface: "a"}
	case whole:
		return replace(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}), 0, 3, rapid.ID).Draw(t, "all")...)
	}
	return bind(address, sole)
}

type stamped struct {
	ev lease.Event
	at hookwire.Stamp
}

// end is what is bound after the events that count.
func end(events []stamped) []string {
	q := newSequence()
	var counted []stamped
	for _, e := range events {
		for _, ev := range q.admit(e.ev, e.at) {
			counted = append(counted, stamped{ev, e.at})
		}
	}
	return bound(counted)
}

// bound is what is bound after all events in their order.
func bound(events []stamped) []string {
	bound := map[string]bool{}
	for _, e := range events {
		ev := e.ev
		if ev.Verb == lease.RemoveAll || ev.Verb == lease.Replace || ev.Sole {
			clear(bound)
		}
		switch ev.Verb {
		case lease.Replace:
			for _, l := range ev.Leases {
				bound[l.Address.String()] = true
			}
		case lease.Remove:
			delete(bound, ev.Address.String())
		case lease.Bind:
			bound[ev.Lease.Address.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(bound))
}

func TestSequenceIsBounded(t *testing.T) {
	q := newSequence()
	for i := range 3 * maxSubjects {
		q.admit(bind(fmt.Sprintf("2001:db8::%x", i), false), hookwire.Stamp{Boot: int64(i)})
	}
	if len(q.newest) > maxSubjects {
		t.Errorf("%d subjects", len(q.newest))
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Minute)
		a := []zap.Field{zap.String("x", "a")}
		if ok, _ := l.allow("m", a); !ok {
			t.Error("the first line does not pass")
		}
		for range 3 {
			if ok, _ := l.allow("m", a); ok {
				t.Error("the same line passes again")
			}
		}
		if ok, _ := l.allow("m", []zap.Field{zap.String("x", "b")}); !ok {
			t.Error("another line does not pass")
		}
		<-time.After(time.Minute) // of the bubble's clock
		if ok, more := l.allow("m", a); !ok || more != 3 {
			t.Errorf("after a minute: %v, %d suppressed, want 3", ok, more)
		}
		passed := 0
		for i := range 1000 {
			if ok, _ := l.allow("m", []zap.Field{zap.Int("n", i)}); ok {
				passed++
			}
		}
		if passed > linesAtOnce || len(l.said) > maxSaid {
			t.Errorf("of 1000 different lines %d pass, %d remembered", passed, len(l.said))
		}
	})
}
