// Package hookserver takes the messages of uplink-hook off its socket and out of its spool, and hands them on as lease
// events, in the order in which the hooks ran.
package hookserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
)

// The defaults of Config.
const (
	DefaultMaxConns     = 64
	DefaultReadTimeout  = time.Second     // a hook that has not sent all by then is gone
	DefaultReplyTimeout = 2 * time.Second // nor does any hook wait so long for its answer
)

// Config is what a Server needs.
type Config struct {
	RuntimeDir string
	Intake     *intake.Intake // takes what the messages say
	Log        *zap.Logger

	Listener     net.Listener  // a listening Unix stream socket; nil: make RuntimeDir/hook.sock
	Access       Access        // who else may send messages: see SetAccess
	MaxConns     int           // at once, a quarter of them by ordinary users; further ones wait in the socket's backlog
	ReadTimeout  time.Duration // for the whole message
	ReplyTimeout time.Duration // how long an outcome is waited for on behalf of a hook
}

// Server is a running or ready hook server; it has the shape of a task.
type Server struct {
	cfg    Config
	lock   *os.File
	ln     net.Listener
	bootID [16]byte
	netns  hookwire.NetNS // where our ifindexes are from; unknown: every hook's are taken for the same
	ready  chan struct{}
	slots  chan struct{}
	guests chan struct{} // connections of ordinary users
	pace   *paces
	conns  sync.WaitGroup

	spool  sync.Mutex // held while the spool is taken in
	mu     sync.Mutex // of what SetAccess changes
	access Access
	path   string // of the socket that we made; empty: none
}

// New makes the runtime directory, its lock and the socket, so that hooks can already queue up in its backlog; nothing is
// read before Run. ErrRunning means that another daemon lives in that directory. A Server that is not run wants Close.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if cfg.Intake == nil {
		return nil, errors.New("hook server without an intake")
	}
	s := &Server{
		cfg: cfg, ready: make(chan struct{}), slots: make(chan struct{}, cfg.MaxConns),
		guests: make(chan struct{}, max(cfg.MaxConns/4, 1)), pace: newPaces(),
		bootID: readBootID(), netns: readNetNS(),
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (c *Config) setDefaults() {
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.ReadTimeout <= 0 {
		c.ReadTimeout = DefaultReadTimeout
	}
	if c.ReplyTimeout <= 0 {
		c.ReplyTimeout = DefaultReplyTimeout
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// readBootID is the id of this boot; zero where it cannot be read.
func readBootID() [16]byte {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [16]byte{}
	}
	return hookwire.ParseBootID(string(text))
}

// readNetNS is the namespace of the calling thread: the one in which it opens its netlink sockets. It is unknown where it
// cannot be read.
func readNetNS() hookwire.NetNS {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return hookwire.NetNS{}
	}
	return hookwire.NetNS{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // uint32 on MIPS
}

// String names the task.
func (s *Server) String() string { return "hook server" }

// Ready is closed when the spool has been taken in and connections are accepted.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run takes in the spool, then serves until ctx is done; that is no error. Hooks whose messages it has by then but has not
// answered find their connection closed, and put them into the spool.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.conns.Wait()
		s.Close()
	}()
	// The watch comes before the first look: what a hook leaves in between is then seen twice, not never.
	again := s.watchSpool(ctx)
	if err := s.Drain(ctx); err != nil {
		s.cfg.Log.Error("cannot read the spool of hook messages", zap.Error(err))
	}
	s.conns.Go(func() { s.drainAgain(ctx, again) })
	defer context.AfterFunc(ctx, func() { s.ln.Close() })()
	close(s.ready)
	return s.accept(ctx)
}

// accept serves connections until the listener is closed.
func (s *Server) accept(ctx context.Context) error {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := s.ln.Accept()
		if err == nil {
			s.conns.Go(func() { s.serve(ctx, c); <-s.slots })
			continue
		}
		<-s.slots
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", s.ln.Addr(), err)
		}
		s.warn("cannot accept a hook's connection", zap.Error(err)) // out of file descriptors: that passes
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
