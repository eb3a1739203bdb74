// Package resume tells when the machine has slept or its clock was set: no netlink event does.
package resume

import (
	"context"
	"os"
	"time"

	"go.uber.org/zap"
)

// The pace. A jump is told at once, and the next at the earliest this much later: whoever sets the clock all the time, as some do
// who are not synchronised yet, must not have the kernel read all the time.
const (
	apart = 250 * time.Millisecond
	check = time.Minute // how often the clocks are compared where the timer cannot be had, or did not tell
)

// Config is what a Watcher needs.
type Config struct {
	// Wake is told that the machine slept for so long; 0: the clock was set. One call at a time; the context ends with the
	// daemon.
	Wake func(ctx context.Context, slept time.Duration)
	Log  *zap.Logger // nil: silent
}

// Watcher follows the clocks; it has the shape of a task.
type Watcher struct {
	cfg   Config
	ready chan struct{}
	slept func() (span, error)
	open  func() (*os.File, error) // the timer; an error: there is none
	last  span                     // belongs to the goroutine of Run
}

// New makes a watcher. It does nothing until Run.
func New(cfg Config) *Watcher {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Watcher{cfg: cfg, ready: make(chan struct{}), slept: slept, open: openTimer}
}

// String names the task.
func (w *Watcher) String() string { return "resume" }

// Ready is closed when no jump goes unnoticed any more.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Run watches until the context ends; that is no error, and neither is that the kernel gives no timer: then the clocks are
// compared once a minute, and that the clock was set is not noticed, after which nothing has to be done.
func (w *Watcher) Run(ctx context.Context) error {
	w.last, _ = w.slept() // an error comes up again at the next look
	jumped := make(chan struct{}, 1)
	timer, err := w.open()
	if err != nil {
		w.blind(err)
	} else {
		defer timer.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := watchTimer(timer, jumped); ctx.Err() == nil {
				w.blind(err)
			}
		}()
		defer func() {
			_ = timer.SetReadDeadline(gone()) // fails where the read has ended
			<-ended
		}()
	}
	close(w.ready)
	w.follow(ctx, jumped)
	return nil
}

// blind says that resuming is noticed late. Nothing is wrong with the kernel's state because of it.
func (w *Watcher) blind(err error) {
	w.cfg.Log.Info("a resume from suspend is noticed within a minute, not at once", zap.Error(err))
}

// follow passes on jumps until the context ends.
func (w *Watcher) follow(ctx context.Context, jumped <-chan struct{}) {
	tick := time.NewTicker(check)
	defer tick.Stop()
	for {
		told := false
		select {
		case <-ctx.Done():
			return
		case <-jumped:
			told = true
		case <-tick.C:
		}
		slept := w.look()
		if !told && slept == 0 {
			continue
		}
		w.cfg.Wake(ctx, slept)
		select {
		case <-ctx.Done():
			return
		case <-time.After(apart):
		}
	}
}

// look compares the clocks: how long the machine slept since the last look.
func (w *Watcher) look() time.Duration {
	now, err := w.slept()
	if err != nil {
		w.cfg.Log.Debug("cannot compare the clocks", zap.Error(err))
		return 0
	}
	slept := now.since(w.last)
	if slept == 0 && now.low <= w.last.high && w.last.low <= now.high {
		now = now.narrow(w.last)
	}
	w.last = now
	return slept
}
