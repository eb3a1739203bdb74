package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Handler is the daemon as the control socket sees it. Its methods are called by several goroutines; they end when the
// context does.
type Handler interface {
	// Status gives what the daemon knows now.
	Status(ctx context.Context) (Status, error)
	// Flush removes all that is ours from the kernel, and keeps it so until a reload or restart.
	Flush(ctx context.Context) error
}

// limits bound what those who connect can take from the daemon.
type limits struct {
	connections int           // at one time
	idle        time.Duration // until the next request has come in whole
	handle      time.Duration // until the daemon has done it
	write       time.Duration // until the answer is taken
}

func defaultLimits() limits {
	return limits{connections: 32, idle: 10 * time.Second, handle: 10 * time.Second, write: 5 * time.Second}
}

// Server is the task that answers on the control socket.
type Server struct {
	dir     string
	handler Handler
	log     *zap.Logger
	limits  limits
	peer    func(*net.UnixConn) (uid uint32, pid int32, err error)
	ready   chan struct{}
}

// NewServer makes the task for the socket in runtimeDir. One daemon only may run it in a directory: the caller sees to it.
func NewServer(runtimeDir string, h Handler, log *zap.Logger) *Server {
	return &Server{dir: runtimeDir, handler: h, log: log, limits: defaultLimits(), peer: peer, ready: make(chan struct{})}
}

// String names the task.
func (s *Server) String() string { return "control socket" }

// Ready is closed when the socket can be connected to.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until the context ends, and then returns nil; the error says that the socket could not be made.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(s.dir)
	if err != nil {
		return err
	}
	close(s.ready)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer os.Remove(socketPath(s.dir))
	defer l.Close()
	s.accept(ctx, l)
	return nil
}

// accept takes connections until the listener is closed, and returns when the last of them is over.
func (s *Server) accept(ctx context.Context, l *net.UnixListener) {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, s.limits.connections)
	for {
		conn, err := l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of files or memory: it may pass
			s.log.Warn("accept on the control socket", zap.Error(err))
			pause(ctx, 100*time.Millisecond)
			continue
		}
		select {
		case slots <- struct{}{}:
			running.Go(func() {
				defer func() { <-slots }()
				s.serve(ctx, conn)
			})
		default:
			s.write(conn, refusal("too many connections: %d are open", s.limits.connections))
			_ = conn.Close()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// serve answers the requests of one connection, one after the other.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r := bufio.NewReaderSize(conn, maxRequest)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(s.limits.idle)); err != nil {
			return
		}
		line, err := readLine(r)
		if err != nil {
			if errors.Is(err, errTooLong) {
				s.write(conn, refusal("the request is longer than %d bytes", maxRequest))
			}
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				s.log.Debug("read from the control socket", zap.Error(err))
			}
			return
		}
		if !s.write(conn, s.answer(ctx, conn, line)) {
			return
		}
	}
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn, line []byte) answer {
	req, err := parseRequest(line)
	if err != nil {
		return refusal("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.handle)
	defer cancel()
	if req.Cmd == "flush" {
		return s.flush(ctx, conn)
	}
	st, err := s.handler.Status(ctx)
	if err != nil {
		return refusal("status: %v", err)
	}
	result, err := json.Marshal(st.normalize())
	if err != nil {
		return refusal("encode status: %v", err)
	}
	return answer{V: protocolVersion, OK: true, Result: result}
}

func (s *Server) flush(ctx context.Context, conn *net.UnixConn) answer {
	uid, pid, err := s.peer(conn)
	if err != nil {
		return refusal("who asks cannot be told: %v", err)
	}
	if !mayWrite(uid) {
		s.log.Warn("flush was refused", zap.Uint32("uid", uid), zap.Int32("pid", pid))
		return refusal("flush takes root, and this is uid %d: run it with sudo", uid)
	}
	s.log.Info("flush was ordered", zap.Uint32("uid", uid), zap.Int32("pid", pid))
	if err := s.handler.Flush(ctx); err != nil {
		return refusal("flush: %v", err)
	}
	return answer{V: protocolVersion, OK: true}
}

// write says whether the answer was taken in time.
func (s *Server) write(conn *net.UnixConn, a answer) bool {
	data, err := json.Marshal(a)
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(s.limits.write))
	}
	if err == nil {
		_, err = conn.Write(append(data, '\n'))
	}
	if err != nil {
		s.log.Debug("write to the control socket", zap.Error(fmt.Errorf("answer of %d bytes: %w", len(data), err)))
	}
	return err == nil
}
