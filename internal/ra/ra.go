// Package ra hears which router announced which prefix, of the kernel where that takes router advertisements and off the wire where
// the configuration wants it, and hands it on as leases about prefixes: so that what comes from an address can go to a router that
// announced its prefix (RFC 8028).
package ra

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The pace at which messages are read. What a flood brings beyond that, the kernel drops at the socket.
const (
	messagesPerSecond = 200
	messagesAtOnce    = 50
)

// Known is what a former run was told: the kernel does not tell again what routers announced.
type Known struct {
	Link  int         // ifindex
	Lease lease.Lease // of SourceRA
}

// Config is what a Listener needs.
type Config struct {
	Intake *intake.Intake // takes what routers announce
	// Complain is told what cannot be done, a line for each link by its ifindex, in place of what it was told before.
	Complain func(ctx context.Context, problems map[int]string)
	Log      *zap.Logger
	Known    []Known
	Retry    time.Duration // until a socket that could not be opened is tried again, if nothing changes before; 0: DefaultRetry
}

// DefaultRetry is the default of Config.Retry.
const DefaultRetry = time.Minute

// Listener hears routers; it has the shape of a task.
type Listener struct {
	cfg   Config
	ready chan struct{}

	wake chan struct{} // there is something new in the mailbox

	mu    sync.Mutex
	table *table
	// The mailbox of watch.
	want  []uplink.Observed // nil: as before
	ended bool              // the raw socket's reader has ended by itself
	// heard are the links that are wanted, and whether a router has said anything there.
	heard map[int]bool
}

// New makes a listener. It does nothing before Run.
func New(cfg Config) *Listener {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Complain == nil {
		cfg.Complain = func(context.Context, map[int]string) {}
	}
	if cfg.Retry <= 0 {
		cfg.Retry = DefaultRetry
	}
	l := &Listener{cfg: cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1), table: newTable()}
	for _, k := range cfg.Known {
		l.table.known(k.Link, k.Lease, time.Now())
	}
	return l
}

// String names the task.
func (l *Listener) String() string { return "router advertisements" }

// Ready is closed when it listens, or when that is not possible.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Run listens until the context ends; that is no error. Where it cannot listen it says so: uplinks are made without it. Its
// sockets are in the network namespace of the thread that it runs on.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	s, err := openOptions()
	close(l.ready)
	if err == nil {
		readers.Go(func() { l.lost(ctx, l.read(ctx, s, s.options)) })
	} else {
		l.lost(ctx, err)
	}
	l.watch(ctx, &readers)
	return nil
}

// lost says what it means that the kernel's messages are not heard any more.
func (l *Listener) lost(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		l.cfg.Log.Warn("which router announced which prefix is not known: a link with several routers has one gateway for all, but with observe_ra",
			zap.Error(err))
	}
}

// read takes what comes until the socket, which it closes, or the context ends.
func (l *Listener) read(ctx context.Context, s *socket, next func(buf []byte) ([]announcement, error)) error {
	defer s.close()
	defer s.closeWith(ctx)()
	pace := rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	buf := make([]byte, largest)
	for {
		as, err := next(buf)
		for _, a := range as {
			l.hear(ctx, s, a)
		}
		if bad := (*malformed)(nil); errors.As(err, &bad) {
			// The line is always the same: strangers write what is in it, and theirs must not use up the pace of others'.
			l.cfg.Intake.Warn("some announcements of routers are not used: they are malformed, or of no prefix that a host can have")
			l.cfg.Log.Debug("a router's announcement is not used", zap.Error(err))
		} else if err != nil {
			return err
		}
		if err := pace.Wait(ctx); err != nil {
			return fmt.Errorf("wait for more announcements: %w", err)
		}
	}
}

// hear takes an announcement and hands on what is new in it. What comes of it is in the agent's own log and status.
func (l *Listener) hear(ctx context.Context, s *socket, a announcement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	words := l.table.hear(a, time.Now())
	if len(words) == 0 {
		return
	}
	name := s.linkName(a.link)
	evs := make([]lease.Event, len(words))
	for i, w := range words {
		evs[i] = lease.Event{
			Verb: lease.Bind, Source: lease.SourceRA, Interface: name, Index: a.link, Reason: "router advertisement", Lease: w,
		}
	}
	_ = l.cfg.Intake.Take(ctx, evs, intake.Now())
}
