// Package intake is where lease events come in, whoever brings them: hooks, files, sockets or the wire. It says what was
// refused of them, brings them into the order in which they happened, and hands them on one at a time.
package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Handler takes an event into its queue and returns at once; the channel gives the outcome, once, when the kernel has
// been changed. It must have room for that one value, or be closed: nobody may be there any more. It is called by one
// goroutine at a time, in the order of the events. Events without anything to do or to tell are left out.
type Handler func(ctx context.Context, ev lease.Event) (done <-chan error)

// Intake takes events from any goroutine.
type Intake struct {
	handle Handler
	log    *zap.Logger
	said   *limiter // warnings
	told   *limiter // what is no fault, so that it does not use up the warnings' pace

	mu    sync.Mutex // held while an event is put in order and handed on
	order sequences
}

// New makes an intake.
func New(handle Handler, log *zap.Logger) *Intake {
	return &Intake{handle: handle, log: log, said: newLimiter(time.Minute), told: newLimiter(time.Minute), order: newSequences()}
}

// Take takes the events of one call of a hook, or of something like it, that happened at the stamp. The channel gives
// the outcome of all of them, once; it has room for that value, or is closed.
func (in *Intake) Take(ctx context.Context, evs []lease.Event, at hookwire.Stamp) (done <-chan error) {
	at = notAfterNow(at)
	var all []<-chan error
	for _, ev := range evs {
		all = append(all, in.one(ctx, ev, at)...)
	}
	return join(all)
}

// one takes one event; nil: it needs nothing.
func (in *Intake) one(ctx context.Context, ev lease.Event, at hookwire.Stamp) (all []<-chan error) {
	about := []zap.Field{zap.String("source", string(ev.Source)), zap.String("reason", ev.Reason), zap.String("interface", rpdb.Printable(ev.Interface))}
	for _, p := range ev.Problems {
		in.Warn("refused a value of a lease", append(about, zap.String("problem", p))...)
	}
	if ev.Verb == lease.Ignore && len(ev.Problems) == 0 {
		in.log.Debug("nothing to learn from a client", append(about, zap.String("why", ev.Why))...)
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	left := in.order.admit(ev, at)
	if len(left) == 0 {
		in.info("a client's word came after a newer one: not used", append(about, zap.Stringer("verb", ev.Verb))...)
	}
	for _, ev := range left {
		in.log.Debug("a client's word", append(about, zap.Stringer("verb", ev.Verb), zap.Int("ifindex", ev.Index))...)
		all = append(all, in.handle(ctx, ev))
	}
	return all
}

// join is the outcome of several.
func join(all []<-chan error) <-chan error {
	done := make(chan error, 1)
	switch len(all) {
	case 0:
		close(done)
	case 1:
		return all[0]
	default:
		go func() {
			var errs []error
			for _, c := range all {
				errs = append(errs, <-c)
			}
			done <- errors.Join(errs...)
		}()
	}
	return done
}

// Now is the stamp of what happens now.
func Now() hookwire.Stamp { return hookwire.Stamp{Wall: time.Now().UnixNano(), Boot: boottime()} }

// notAfterNow brings a stamp from the future down to now: it must not make all that follows look old.
func notAfterNow(s hookwire.Stamp) hookwire.Stamp {
	if now := boottime(); now > 0 {
		s.Boot = min(s.Boot, now)
	}
	return s
}

// boottime is CLOCK_BOOTTIME in nanoseconds; 0 where it cannot be read.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// Warn logs a line, the same at most once a minute.
func (in *Intake) Warn(msg string, fields ...zap.Field) { say(in.said, in.log.Warn, msg, fields) }

func (in *Intake) info(msg string, fields ...zap.Field) { say(in.told, in.log.Info, msg, fields) }

func say(l *limiter, log func(string, ...zap.Field), msg string, fields []zap.Field) {
	ok, more := l.allow(msg, fields)
	if !ok {
		return
	}
	if more > 0 {
		fields = append(fields, zap.Int("suppressed", more))
	}
	log(msg, fields...)
}
