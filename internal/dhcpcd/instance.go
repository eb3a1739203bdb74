package dhcpcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/intake"
)

// The pace. A dhcpcd that does not answer is asked again soon a few times, and then less and less often.
const (
	talkWithin  = 300 * time.Millisecond // for a connection, a command and the whole answer to it
	quickTries  = 3                      // of the dump: all three within readyWithin
	retryMin    = 100 * time.Millisecond
	retryMax    = time.Minute
	dumpAgain   = 10 * time.Second // after the quick tries, doubling to retryMax
	readAtOnce  = 16 << 10
	listenWords = "--listen\x00"
)

// dumpCommands are the words that make dhcpcd say what it has, each as an argument that ends in NUL (control.c): first those
// of its own library, then those of "dhcpcd -U", which it notes in its log. Both change nothing.
func dumpCommands() []string { return []string{"--getinterfaces\x00", "dhcpcd\x00-U\x00"} }

// instance is one dhcpcd that is listened to.
type instance struct {
	w     *Watcher
	name  string
	heard chan struct{} // closed when it has said what it has, or does not
	once  sync.Once
	again chan struct{} // a value when there is a reason to try again at once
	pace  *rate.Limiter // of what it says; a new connection does not begin anew
}

func newInstance(w *Watcher, name string) *instance {
	return &instance{
		w: w, name: name, heard: make(chan struct{}), again: make(chan struct{}, 1), pace: rate.NewLimiter(w.pace, messagesAtOnce),
	}
}

func (i *instance) wake() {
	select {
	case i.again <- struct{}{}:
	default:
	}
}

func (i *instance) markHeard() { i.once.Do(func() { close(i.heard) }) }

// run listens until the socket is gone. The end of a connection is the end of a dhcpcd, or a restart: it takes back nothing,
// for dhcpcd says before it ends what it takes away, and a killed one takes away nothing.
func (i *instance) run(ctx context.Context) {
	defer i.markHeard()
	for wait := i.w.retry; ctx.Err() == nil; wait = min(2*wait, retryMax) {
		start := time.Now()
		err := i.session(ctx)
		i.markHeard()
		if i.w.leave(i) {
			return
		}
		i.w.cfg.Log.Debug("not listening to dhcpcd", zap.String("instance", i.name), zap.Error(err))
		if time.Since(start) > retryMax {
			wait = i.w.retry
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-i.again:
			wait = i.w.retry / 2
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// session is one connection. The listening begins before the dump, and what is heard is read before it or after it, not
// meanwhile: so nothing that happens in between is lost, and the last word is the newest.
func (i *instance) session(ctx context.Context) error {
	c, err := i.w.dial(ctx, i.name, listenWords)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	d := dumper{instance: i, due: i.w.settled(i.name)}
	if d.due.After(time.Now()) {
		i.markHeard() // it has just begun
	}
	var stream decoder
	heard := batch{w: i.w, instance: i.name, link: i.w.cfg.Link, pace: i.pace}
	buf := make([]byte, readAtOnce)
	for {
		d.try(ctx)
		if err := c.SetReadDeadline(d.due); err != nil {
			return fmt.Errorf("set a deadline: %w", err)
		}
		n, ended := c.Read(buf)
		heard.at = intake.Now()
		stream.feed(buf[:n])
		if _, err := heard.drain(ctx, &stream, math.MaxInt); err != nil {
			return fmt.Errorf("listen to %s: %w", c.RemoteAddr(), err)
		}
		if ended != nil && !errors.Is(ended, os.ErrDeadlineExceeded) {
			return fmt.Errorf("listen to %s: %w", c.RemoteAddr(), ended)
		}
	}
}

// dumper asks one dhcpcd for its leases until it has said them. 9.4.1 does not answer while it answers somebody else ("cannot
// handle another client" in its log).
type dumper struct {
	*instance
	due   time.Time // of the next try; zero: none is needed any more
	tries int
}

func (d *dumper) try(ctx context.Context) {
	for !d.due.IsZero() && !time.Now().Before(d.due) && ctx.Err() == nil {
		commands := dumpCommands()
		err := d.w.dump(ctx, d.name, commands[d.tries%len(commands)])
		d.tries++
		switch {
		case err == nil:
			d.due = time.Time{}
		case d.tries < quickTries:
			continue
		default:
			late := min(dumpAgain<<min(d.tries-quickTries, 3), retryMax)
			d.due = time.Now().Add(late)
			if errors.Is(err, fs.ErrNotExist) {
				break // it ends just now
			}
			d.w.cfg.Intake.Warn("dhcpcd does not say what leases it has: asking again later",
				zap.String("instance", d.name), zap.Error(err))
		}
		d.markHeard()
	}
}
