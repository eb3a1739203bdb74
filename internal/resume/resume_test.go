package resume

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// bench is a watcher in a bubble of testing/synctest, whose clocks the test sets.
type bench struct {
	t      *testing.T
	w      *Watcher
	jumped chan struct{}
	begin  time.Time
	mu     sync.Mutex
	asleep time.Duration // since the boot
	fail   error         // what reading the clocks ends with
	woken  []string      // when, and how long it had slept
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, jumped: make(chan struct{}, 1), begin: time.Now(), asleep: time.Hour}
	b.w = New(Config{Wake: func(_ context.Context, slept time.Duration) {
		b.woken = append(b.woken, time.Since(b.begin).String()+" "+slept.String())
	}})
	b.w.slept = func() (span, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return span{b.asleep - time.Microsecond, b.asleep + time.Microsecond}, b.fail
	}
	return b
}

// sleep is what the machine does, as far as the process can tell.
func (b *bench) sleep(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep += d
}

// breaks has the clocks fail, or with nil work again.
func (b *bench) breaks(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// follow runs the watcher after its start, and play beside it.
func (b *bench) follow(play func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.w.last, _ = b.w.slept()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.w.follow(ctx, b.jumped)
	}()
	play()
	synctest.Wait()
	cancel()
	<-done
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.woken, "; "); got != strings.Join(want, "; ") {
		b.t.Errorf("woken at %s, want %s", got, strings.Join(want, "; "))
	}
}

// TestTold: a jump is passed on at once, with the time that the machine slept, or without.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.follow(func() {
			<-time.After(10 * time.Second)
			b.sleep(2 * time.Hour)
			b.jumped <- struct{}{}
			<-time.After(10 * time.Second)
			b.jumped <- struct{}{}
		})
		b.expect("10s 1h59m59.999998s", "20s 0s")
	})
}

// TestUntold: without a timer a sleep comes out at the next look, once, and where nothing happened nobody is woken.
func TestUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.follow(func() {
			<-time.After(90 * time.Second)
			b.sleep(time.Second)
			<-time.After(10 * time.Minute)
		})
		b.expect("2m0s 999.998ms")
	})
}

// TestClockSetAllTheTime: who sets the clock in a loop has the kernel read four times a second, and the last time counts, too.
func TestClockSetAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.follow(func() {
			for range 120 {
				select {
				case b.jumped <- struct{}{}:
				default:
				}
				<-time.After(10 * time.Millisecond)
			}
			<-time.After(time.Second)
		})
		b.expect("0s 0s", "250ms 0s", "500ms 0s", "750ms 0s", "1s 0s", "1.25s 0s")
	})
}

// TestClocksThatCannotBeRead: that is no sleep, and one meanwhile comes out when they can.
func TestClocksThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.follow(func() {
			b.breaks(errors.New("no clock"))
			b.sleep(time.Second)
			<-time.After(3*time.Minute + time.Second)
			b.breaks(nil)
			<-time.After(3 * time.Minute)
		})
		b.expect("4m0s 999.998ms")
	})
}

// TestRun: the timer of this kernel can be had, nothing is told while nothing happens, and the end of the context ends it.
func TestRun(t *testing.T) {
	run(t, openTimer, "")
}

// TestRunWithoutTimer: an old kernel, or a system call filter.
func TestRunWithoutTimer(t *testing.T) {
	run(t, func() (*os.File, error) { return nil, errors.New("no timer here") }, "no timer here")
}

// TestRunWithATimerThatEnds: what can be read of it is no cancellation.
func TestRunWithATimerThatEnds(t *testing.T) {
	run(t, func() (*os.File, error) {
		r, w, err := os.Pipe()
		if err == nil {
			err = w.Close()
		}
		return r, err
	}, "wait for the clock to be set")
}

func run(t *testing.T, open func() (*os.File, error), said string) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	told := make(chan struct{}, 1)
	w := New(Config{Log: zap.New(core), Wake: func(context.Context, time.Duration) { told <- struct{}{} }})
	w.open = open
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-w.Ready()
	for deadline := time.Now().Add(5 * time.Second); said != "" && logs.Len() == 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(told) > 0 {
		t.Error("it told of a jump that was none")
	}
	lines := logs.All()
	switch {
	case said == "" && len(lines) > 0, said != "" && len(lines) != 1:
		t.Errorf("it said %v", lines)
	case said != "" && !strings.Contains(lines[0].ContextMap()["error"].(string), said):
		t.Errorf("it said %v, want %q in it", lines[0].ContextMap(), said)
	}
}

// TestTimerIsArmed: it is cancelled by a jump of the time of day only, and does not expire by itself.
func TestTimerIsArmed(t *testing.T) {
	f, err := openTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 { // and it can be armed again
		if err := f.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := awaitJump(f); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the timer says: %v", err)
		}
		if err := rearm(f); err != nil {
			t.Error(err)
		}
	}
	f.Close()
	if err := rearm(f); err == nil {
		t.Error("a closed timer was armed")
	}
}

// TestNames: what the daemon's log calls the task.
func TestNames(t *testing.T) {
	if got := New(Config{}).String(); got != "resume" {
		t.Error(got)
	}
}
