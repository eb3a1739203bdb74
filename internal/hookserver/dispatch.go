package hookserver

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// dispatch turns a message into an event and hands it on in its turn. The channel gives the outcome.
//
// A hook of another network namespace (ip netns exec, a container that shares /run) is refused: its ifindex is one of our
// links by chance only, and its lease or release would be taken for that link's.
func (s *Server) dispatch(ctx context.Context, m hookwire.Message) (<-chan error, error) {
	if m.NetNS.Other(s.netns) {
		return nil, fmt.Errorf("the hook ran in network namespace %s, uplinkd runs in %s", m.NetNS, s.netns)
	}
	ev, err := lease.Parse(lease.Input{
		Client: m.Client, Args: m.Args, Env: m.Env, Refused: m.Refused, Interface: m.Interface, Index: m.Index,
	})
	if err != nil {
		return nil, fmt.Errorf("message of a hook: %w", err)
	}
	about := []zap.Field{zap.String("source", string(ev.Source)), zap.String("reason", ev.Reason), zap.String("interface", rpdb.Printable(ev.Interface))}
	for _, p := range ev.Problems {
		s.warn("refused a value of a lease", append(about, zap.String("problem", p))...)
	}
	if ev.Verb == lease.Ignore && len(ev.Problems) == 0 {
		s.cfg.Log.Debug("nothing to learn from a hook", append(about, zap.String("why", ev.Why))...)
		return settled(), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ev, ok := s.order.admit(ev, notAfterNow(m.Stamp))
	if !ok {
		s.cfg.Log.Info("a hook's message came after a newer one: not used", append(about, zap.Stringer("verb", ev.Verb))...)
		return settled(), nil
	}
	s.cfg.Log.Debug("a hook's message", append(about, zap.Stringer("verb", ev.Verb), zap.Int("ifindex", ev.Index))...)
	return s.cfg.Handle(ctx, ev), nil
}

// settled is the outcome of an event that needs nothing.
func settled() <-chan error {
	done := make(chan error)
	close(done)
	return done
}

// notAfterNow brings a stamp from the future down to now: it must not make all that follows look old.
func notAfterNow(s hookwire.Stamp) hookwire.Stamp {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err == nil {
		s.Boot = min(s.Boot, ts.Nano())
	}
	return s
}
