package systemd

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Watchdog is the task that feeds the service manager's watchdog, but only while the program's heart beats.
type Watchdog struct {
	notifier *Notifier
	beat     func(context.Context) error
	log      *zap.Logger
	ready    chan struct{}
}

// NewWatchdog makes the task. beat asks the one goroutine that must never hang for an answer, and returns nil when it got
// one; its context ends when the answer is too late to count.
func NewWatchdog(n *Notifier, beat func(context.Context) error, log *zap.Logger) *Watchdog {
	w := &Watchdog{notifier: n, beat: beat, log: log, ready: make(chan struct{})}
	close(w.ready) // nothing has to wait for it
	return w
}

// String names the task.
func (w *Watchdog) String() string { return "watchdog" }

// Ready is closed from the start.
func (w *Watchdog) Ready() <-chan struct{} { return w.ready }

// Run feeds the watchdog until the context ends; it returns nil then.
func (w *Watchdog) Run(ctx context.Context) error {
	interval := w.notifier.WatchdogInterval()
	if interval <= 0 {
		<-ctx.Done()
		return nil
	}
	// Two thirds of the interval stay for a late tick and a slow answer together.
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		w.feed(ctx, interval/3)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watchdog) feed(ctx context.Context, limit time.Duration) {
	answer, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := w.beat(answer); err != nil {
		if ctx.Err() == nil {
			w.log.Error("the watchdog is not fed: no sign of life", zap.Error(err))
		}
		return
	}
	if err := w.notifier.Alive(); err != nil {
		w.log.Warn("feed the watchdog", zap.Error(err))
	}
}
