package hookserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// serve takes one message off a connection and answers it. Without an answer the hook puts its message into the spool.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	reply, ok := s.answer(ctx, c)
	if !ok {
		return
	}
	// The hook may be gone by now, which is no news.
	_ = c.SetWriteDeadline(time.Now().Add(s.cfg.ReadTimeout))
	_, _ = c.Write(reply.Encode())
}

// answer handles a connection's message. It says no where the message has not been dealt with.
func (s *Server) answer(ctx context.Context, c net.Conn) (reply hookwire.Reply, ok bool) {
	p, leave, err := s.admit(c)
	if errors.Is(err, errHurried) {
		s.pace.told.Do(func() { s.warn("closing connections of an ordinary user", zap.Uint32("uid", p.uid), zap.Error(err)) })
		return reply, false
	}
	if err != nil {
		s.warn("refused a hook's connection", zap.Error(err))
		return hookwire.Reply{Text: err.Error()}, true
	}
	defer leave()
	if err := c.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout)); err != nil {
		return reply, false
	}
	m, err := hookwire.Read(c)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return reply, false // we stop, or nothing came at all
		}
		s.warn("refused a hook's message", zap.Error(err))
		return hookwire.Reply{Text: err.Error()}, true
	}
	s.drainFirst(ctx)
	if ctx.Err() != nil {
		return reply, false // what is left in the spool is older: the hook's message waits behind it
	}
	done, err := s.dispatch(ctx, p, m)
	if err != nil {
		s.warn("refused a hook's message", zap.Error(err))
		return hookwire.Reply{Text: err.Error()}, true
	}
	return s.outcome(ctx, done)
}

// admit says who connected, and whether that one may speak: an ordinary user that is on the list, not too often, and not too
// many of them at once, so that they cannot keep root's hooks waiting. leave has to be called at the end.
func (s *Server) admit(c net.Conn) (p peer, leave func(), err error) {
	p, err = peerOf(c)
	switch {
	case err != nil:
		return p, nil, err
	case p.trusted():
		return p, func() {}, nil
	case !s.pace.allow(p.uid):
		return p, nil, errHurried
	case !s.allows(p):
		return p, nil, fmt.Errorf("user %d may not send hook messages: see hook_users and hook_groups", p.uid)
	}
	select {
	case s.guests <- struct{}{}:
		return p, func() { <-s.guests }, nil
	default:
		return p, nil, fmt.Errorf("user %d: too many hooks of ordinary users at once", p.uid)
	}
}

// outcome waits for what became of an event.
func (s *Server) outcome(ctx context.Context, done <-chan error) (reply hookwire.Reply, ok bool) {
	patience, cancel := context.WithTimeout(ctx, s.cfg.ReplyTimeout)
	defer cancel()
	dealt, err := outcomeOf(patience, done)
	switch {
	case ctx.Err() != nil && (!dealt || err != nil):
		return reply, false // not at all, or it failed because the daemon stops
	case !dealt:
		return hookwire.Reply{Text: "not done yet"}, true
	case err != nil:
		return hookwire.Reply{Text: err.Error()}, true
	}
	return hookwire.Reply{OK: true}, true
}
