// Package ra hears which router announced which prefix, of the kernel where that takes router advertisements, and hands it on as
// leases about prefixes: so that what comes from an address can go to a router that announced its prefix (RFC 8028).
package ra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
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
	Log    *zap.Logger
	Known  []Known
}

// Listener hears routers; it has the shape of a task.
type Listener struct {
	cfg   Config
	ready chan struct{}

	mu    sync.Mutex
	table *table
}

// New makes a listener. It does nothing before Run.
func New(cfg Config) *Listener {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	l := &Listener{cfg: cfg, ready: make(chan struct{}), table: newTable()}
	for _, k := range cfg.Known {
		l.table.known(k.Link, k.Lease, time.Now())
	}
	return l
}

// String names the task.
func (l *Listener) String() string { return "router advertisements" }

// Ready is closed when it listens, or when that is not possible.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Run listens until the context ends; that is no error. Where it cannot listen it says so and waits: uplinks are made without it.
func (l *Listener) Run(ctx context.Context) error {
	s, err := openOptions()
	close(l.ready)
	if err == nil {
		defer s.close()
		defer s.closeWith(ctx)()
		err = l.read(ctx, s)
	}
	if err != nil && ctx.Err() == nil {
		l.cfg.Log.Warn("which router announced which prefix is not known: a link with several routers has one gateway for all", zap.Error(err))
		<-ctx.Done()
	}
	return nil
}

// read takes what comes until the socket or the context ends.
func (l *Listener) read(ctx context.Context, s *socket) error {
	pace := rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	buf := make([]byte, largest)
	for {
		as, err := s.options(buf)
		for _, a := range as {
			l.hear(ctx, a)
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
func (l *Listener) hear(ctx context.Context, a announcement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	words := l.table.hear(a, time.Now())
	if len(words) == 0 {
		return
	}
	evs := make([]lease.Event, len(words))
	for i, w := range words {
		evs[i] = lease.Event{
			Verb: lease.Bind, Source: lease.SourceRA, Interface: linkName(a.link), Index: a.link, Reason: "router advertisement", Lease: w,
		}
	}
	_ = l.cfg.Intake.Take(ctx, evs, intake.Now())
}

// linkName is for people.
func linkName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return rpdb.Printable(i.Name)
	}
	return fmt.Sprint(index)
}
