package hookserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// A hook that found no daemon may write its message after the daemon's first look at the spool, and one that could not get
// through in its second does so at any time. inotify(7) tells, without a timer that wakes an idle machine.

// lookAnyway is how often the spool is looked at where inotify is not to be had.
const lookAnyway = 10 * time.Second

// watchSpool gives a value when there may be something in the spool.
func (s *Server) watchSpool(ctx context.Context) <-chan struct{} {
	again := make(chan struct{}, 1)
	notify := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	f, err := openWatch(s.cfg.RuntimeDir)
	if err != nil {
		s.cfg.Log.Warn("cannot watch the spool of hook messages: looking every few seconds", zap.Error(err))
		s.conns.Go(func() { tick(ctx, notify) })
		return again
	}
	s.conns.Go(func() {
		defer context.AfterFunc(ctx, func() { f.Close() })()
		defer f.Close()
		s.readWatch(f, notify)
	})
	return again
}

func tick(ctx context.Context, notify func()) {
	t := time.NewTicker(lookAnyway)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			notify()
		case <-ctx.Done():
			return
		}
	}
}

func openWatch(runtimeDir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an inotify descriptor: %w", err)
	}
	if err := addWatch(fd, runtimeDir); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

func addWatch(fd int, runtimeDir string) error {
	root, err := hookwire.OpenSpool(runtimeDir)
	if err != nil {
		return err
	}
	defer root.Close()
	dir := filepath.Join(runtimeDir, hookwire.SpoolName)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

// readWatch reads events until the descriptor is closed. When somebody removes the directory, it makes a new one.
func (s *Server) readWatch(f *os.File, notify func()) {
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		if watchEnded(buf[:n]) {
			if err := s.watchAnew(f); err != nil {
				s.cfg.Log.Error("cannot watch the spool of hook messages any more", zap.Error(err))
				return
			}
		}
		notify()
	}
}

func (s *Server) watchAnew(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var addErr error
	if err := raw.Control(func(fd uintptr) { addErr = addWatch(int(fd), s.cfg.RuntimeDir) }); err != nil {
		return err
	}
	return addErr
}

// watchEnded says whether one of the events is IN_IGNORED: the directory is gone.
func watchEnded(b []byte) bool {
	for len(b) >= unix.SizeofInotifyEvent {
		if binary.NativeEndian.Uint32(b[4:])&unix.IN_IGNORED != 0 {
			return true
		}
		b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
	}
	return false
}

// drainAgain looks into the spool whenever there may be something.
func (s *Server) drainAgain(ctx context.Context, again <-chan struct{}) {
	for {
		select {
		case <-again:
			s.drainFirst(ctx)
		case <-ctx.Done():
			return
		}
	}
}
