package hookserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

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
	if err := s.checkPeer(c); err != nil {
		s.warn("refused a hook's connection", zap.Error(err))
		return hookwire.Reply{Text: err.Error()}, true
	}
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
	done, err := s.dispatch(ctx, m)
	if err != nil {
		s.warn("refused a hook's message", zap.Error(err))
		return hookwire.Reply{Text: err.Error()}, true
	}
	return s.outcome(ctx, done)
}

// outcome waits for what became of an event.
func (s *Server) outcome(ctx context.Context, done <-chan error) (reply hookwire.Reply, ok bool) {
	timer := time.NewTimer(s.cfg.ReplyTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil && ctx.Err() != nil {
			return reply, false // it failed because the daemon stops
		}
		if err != nil {
			return hookwire.Reply{Text: err.Error()}, true
		}
		return hookwire.Reply{OK: true}, true
	case <-timer.C:
		return hookwire.Reply{Text: "not done yet"}, true
	case <-ctx.Done():
		return reply, false
	}
}

// checkPeer asks the kernel who connected (SO_PEERCRED, unix(7)).
func (s *Server) checkPeer(c net.Conn) error {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	if !s.cfg.Allow(cred.Uid, cred.Gid) {
		return fmt.Errorf("user %d may not send hook messages", cred.Uid)
	}
	return nil
}
