package intake

import (
	"fmt"
	"slices"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// TestLateRemoveAll: it ends what was bound before it, by the addresses, and not what was bound after it, or has ended since.
func TestLateRemoveAll(t *testing.T) {
	all := lease.Event{Verb: lease.RemoveAll, Source: "s", Index: 7, Interface: "a", Reason: "--remove"}
	q := newSequence()
	for i, ev := range []lease.Event{
		bind("192.0.2.9", false), all, // is over already
		bind("192.0.2.2", false), bind("192.0.2.1", false), bind("192.0.2.3", false), remove("192.0.2.3"),
	} {
		q.admit(ev, hookwire.Stamp{Boot: int64(i)})
	}
	q.admit(bind("192.0.2.4", false), hookwire.Stamp{Boot: 20})
	for _, late := range []lease.Event{gone(all), all} { // the second has nothing left to end
		var got []string
		for _, ev := range q.admit(late, hookwire.Stamp{Boot: 10}) {
			got = append(got, fmt.Sprintf("%s %s of %s on %d %s for %s", ev.Verb, ev.Address, ev.Source, ev.Index, ev.Interface, ev.Reason))
		}
		want := []string{"remove 192.0.2.1 of s on 0 a for --remove", "remove 192.0.2.2 of s on 0 a for --remove"}
		if late.Index != 0 {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("on %d: %q, want %q", late.Index, got, want)
		}
	}
}

// TestLateSoleBind: it does not replace what was bound later.
func TestLateSoleBind(t *testing.T) {
	q := newSequence()
	q.admit(bind("192.0.2.2", false), hookwire.Stamp{Boot: 2})
	if left := q.admit(bind("192.0.2.1", true), hookwire.Stamp{Boot: 1}); len(left) != 1 || left[0].Sole {
		t.Errorf("left: %+v", left)
	}
}

// TestOldestIsForgotten: a flood of subjects pushes out what is older than itself by half, and not what is new.
func TestOldestIsForgotten(t *testing.T) {
	q := newSequence()
	flood := func(from int) {
		for i := range maxSubjects {
			q.admit(bind(fmt.Sprintf("2001:db8::%x", from+i), false), hookwire.Stamp{Boot: int64(from + i)})
		}
	}
	flood(1)
	q.admit(remove("192.0.2.1"), hookwire.Stamp{Boot: 10 * maxSubjects})
	flood(maxSubjects)
	if left := q.admit(bind("192.0.2.1", false), hookwire.Stamp{}); len(left) > 0 {
		t.Error("the newest is forgotten")
	}
	if len(q.newest) > maxSubjects {
		t.Errorf("%d subjects", len(q.newest))
	}
}

// TestOrdinaryUsersPushNothingOut: however much they say, what is remembered of root's words stays.
func TestOrdinaryUsersPushNothingOut(t *testing.T) {
	s := newSequences()
	s.admit(remove("192.0.2.1"), hookwire.Stamp{Boot: 1})
	for i := range 3 * maxSubjects {
		ev := bind(fmt.Sprintf("2001:db8::%x", i), false)
		ev.Source = ev.Source.OfUser(64999)
		s.admit(ev, hookwire.Stamp{Boot: int64(i) + 2})
	}
	if left := s.admit(bind("192.0.2.1", false), hookwire.Stamp{}); len(left) > 0 {
		t.Error("an old word of root's counts once more")
	}
}

// TestStaleWordsAreLoggedOnce, and they use up nothing of the warnings' pace.
func TestStaleWordsAreLoggedOnce(t *testing.T) {
	h, in, logs := newTaker()
	<-in.Take(t.Context(), []lease.Event{remove("192.0.2.1")}, Now())
	for i := range 1000 {
		ev := bind("192.0.2.1", false)
		ev.Reason = fmt.Sprint(i % 200)
		if err := <-in.Take(t.Context(), []lease.Event{ev}, hookwire.Stamp{}); err != nil {
			t.Error(err)
		}
	}
	in.Warn("a warning")
	stale := logs.FilterMessage("a client's word came after a newer one: not used").Len()
	if len(h.events) != 1 || stale == 0 || stale > linesAtOnce+5*linesPerSecond || logs.FilterMessage("a warning").Len() != 1 {
		t.Errorf("handed on %q, %d lines of %d", h.events, stale, logs.Len())
	}
}

// TestRemovalsOfOneCall: each of the removals that a late one becomes is handed on, and counts for the outcome.
func TestRemovalsOfOneCall(t *testing.T) {
	h, in, _ := newTaker()
	old, all := Now(), lease.Event{Verb: lease.RemoveAll, Source: "s", Index: 7}
	for i, ev := range []lease.Event{bind("192.0.2.1", false), bind("192.0.2.2", false), bind("192.0.2.3", false), all} {
		at := old
		at.Boot += []int64{0, 0, 2, 1}[i]
		<-in.Take(t.Context(), []lease.Event{ev}, at)
	}
	if want := []string{"bind", "bind", "bind", "remove", "remove"}; !slices.Equal(h.events, want) {
		t.Errorf("handed on %q, want %q", h.events, want)
	}
}
