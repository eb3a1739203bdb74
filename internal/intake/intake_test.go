package intake

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// taker is a handler that writes down what it gets.
type taker struct {
	events []string
	answer func(ev lease.Event) error
}

func (h *taker) take(_ context.Context, ev lease.Event) <-chan error {
	h.events = append(h.events, ev.Verb.String())
	done := make(chan error, 1)
	if h.answer != nil {
		done <- h.answer(ev)
	}
	close(done)
	return done
}

func newTaker() (*taker, *Intake, *observer.ObservedLogs) {
	h := &taker{}
	core, logs := observer.New(zapcore.InfoLevel)
	return h, New(h.take, zap.New(core)), logs
}

// TestStampsFromTheFuture: a stamp that lies ahead must not make what follows look old; one of the past stays what it is.
func TestStampsFromTheFuture(t *testing.T) {
	h, in, _ := newTaker()
	all := lease.Event{Verb: lease.RemoveAll, Source: "s", Index: 7}
	for _, c := range []struct {
		ev    lease.Event
		ahead time.Duration
	}{{bind("192.0.2.1", true), time.Hour}, {all, 0}, {bind("192.0.2.1", true), -time.Second}, {bind("192.0.2.1", true), 0}} {
		at := Now()
		at.Boot += int64(c.ahead)
		if err := <-in.Take(t.Context(), []lease.Event{c.ev}, at); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"bind", "remove all", "bind"}; !slices.Equal(h.events, want) {
		t.Errorf("handed on %q, want %q: the third is older than the second", h.events, want)
	}
}

// TestWhatTellsNothing: a call from which there is nothing to learn is done at once; one with refused values is told of.
func TestWhatTellsNothing(t *testing.T) {
	h, in, logs := newTaker()
	if err := <-in.Take(t.Context(), []lease.Event{{Verb: lease.Ignore, Source: "s", Why: "idle"}}, Now()); err != nil || len(h.events) > 0 {
		t.Errorf("%v, handed on %q", err, h.events)
	}
	bad := lease.Event{Verb: lease.Ignore, Source: "s", Why: "no usable address", Problems: []string{"one", "two"}}
	if err := <-in.Take(t.Context(), []lease.Event{bad}, Now()); err != nil || !slices.Equal(h.events, []string{"ignore"}) {
		t.Errorf("%v, handed on %q", err, h.events)
	}
	if n := logs.FilterMessage("refused a value of a lease").Len(); n != 2 {
		t.Errorf("%d lines of two refused values", n)
	}
}

// TestOutcomeOfSeveral: all events of a call are handed on, and the outcome has the errors of each.
func TestOutcomeOfSeveral(t *testing.T) {
	h, in, _ := newTaker()
	first, last := errors.New("first"), errors.New("last")
	h.answer = func(ev lease.Event) error { return map[lease.Source]error{"a": first, "c": last}[ev.Source] }
	var evs []lease.Event
	for _, s := range []lease.Source{"a", "b", "c"} {
		evs = append(evs, lease.Event{Verb: lease.RemoveAll, Source: s, Index: 7})
	}
	err := <-in.Take(t.Context(), evs, Now())
	if !errors.Is(err, first) || !errors.Is(err, last) || len(h.events) != 3 {
		t.Errorf("outcome %v of %q", err, h.events)
	}
	if err := <-in.Take(t.Context(), evs[1:2], Now()); err != nil {
		t.Error(err)
	}
}

// TestOneAtATime: whoever brings them, the handler gets one event after the other.
func TestOneAtATime(t *testing.T) {
	var inside, most atomic.Int32
	in := New(func(context.Context, lease.Event) <-chan error {
		most.Store(max(most.Load(), inside.Add(1)))
		for range 100 {
			runtime.Gosched()
		}
		inside.Add(-1)
		done := make(chan error)
		close(done)
		return done
	}, zap.NewNop())
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() { <-in.Take(t.Context(), []lease.Event{{Verb: lease.Resync, Source: "s", Index: i + 1}}, Now()) })
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
}

// TestLimiterForgets: what it remembers of a stranger's texts is bounded also where they come slowly, and what was suppressed is
// told once.
func TestLimiterForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Minute)
		for range 2 {
			l.allow("m", nil)
		}
		for _, want := range []int{1, 0} {
			<-time.After(time.Minute)
			if ok, more := l.allow("m", nil); !ok || more != want {
				t.Errorf("passes %v, %d suppressed, want %d", ok, more, want)
			}
		}
		for i := range 3 * maxSaid {
			<-time.After(time.Second)
			if ok, _ := l.allow("m", []zap.Field{zap.Int("n", i)}); !ok {
				t.Fatalf("line %d does not pass", i)
			}
			if len(l.said) > maxSaid {
				t.Fatalf("%d texts are remembered", len(l.said))
			}
		}
	})
}

// TestSoleAmongOthers: an old sole lease whose end has been told takes nothing away from a newer one that is not sole, as the
// answer to a DHCPINFORM is among the leases on the wire.
func TestSoleAmongOthers(t *testing.T) {
	q := newSequence()
	for i, ev := range []lease.Event{remove("192.0.2.1"), bind("192.0.2.2", false)} {
		if len(q.admit(ev, hookwire.Stamp{Boot: int64(i) + 2})) == 0 {
			t.Fatalf("%s does not count", ev.Verb)
		}
	}
	if left := q.admit(bind("192.0.2.1", true), hookwire.Stamp{Boot: 1}); len(left) > 0 {
		t.Errorf("the oldest counts as %s", left[0].Verb)
	}
}

// TestReplaceIsNotChanged: the caller's list stays as it is where a part of it is too old.
func TestReplaceIsNotChanged(t *testing.T) {
	q := newSequence()
	q.admit(remove("192.0.2.1"), hookwire.Stamp{Boot: 2})
	ev := replace("192.0.2.1", "192.0.2.2")
	if left := q.admit(ev, hookwire.Stamp{Boot: 1}); len(left) != 1 || len(left[0].Leases) != 1 {
		t.Errorf("left: %+v", left)
	}
	if ev.Leases[0].Address.String() != "192.0.2.1" || ev.Leases[1].Address.String() != "192.0.2.2" {
		t.Errorf("the caller's list is %+v", ev.Leases)
	}
}
