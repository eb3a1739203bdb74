package hookserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// ErrRunning says that another daemon holds the runtime directory.
var ErrRunning = errors.New("another uplinkd is running")

// lockName is the file whose lock (flock(2)) a daemon holds for its life. It is never removed: a lock on a file that has
// no name any more locks nobody out.
const lockName = "uplinkd.lock"

// open makes what hooks need to find the daemon.
func (s *Server) open() error {
	dir := s.cfg.RuntimeDir
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("runtime directory %s cannot be used: %w: run uplinkd as root, or name another with --runtime-dir", dir, err)
	}
	var err error
	if s.lock, err = lockDir(dir); err != nil {
		return err
	}
	if s.ln = s.cfg.Listener; s.ln != nil {
		return s.SetAccess(s.cfg.Access)
	}
	path := filepath.Join(dir, hookwire.SocketName)
	if s.ln, err = listen(path); err != nil {
		return err
	}
	s.path = path
	return s.SetAccess(s.cfg.Access)
}

// Close ends what New began. The socket's file goes first: a hook that finds none spools without another try.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		os.Remove(s.path)
		s.path = ""
	}
	if s.ln != nil {
		s.ln.Close()
	}
	if s.lock != nil {
		// By name, not by the end of the descriptor alone: a child of the process may be about to exec with a copy of it.
		_ = unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
		s.lock.Close()
		s.lock = nil
	}
}

// makeDir makes the runtime directory with mode 0755, and refuses one in which others can replace the socket.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !ownedByUs(info) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s must belong to root or to the daemon's user, and be writable by nobody else", dir)
	}
	return nil
}

// ownedByUs says whether root or the daemon's own user owns a file.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the runtime directory: %w", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, fmt.Errorf("%w with the runtime directory %s: stop it first", ErrRunning, dir)
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// listen makes the socket under another name, and moves it into place with its mode set: so a dead daemon's socket is
// replaced in one step, and nobody connects to one that has the umask's mode.
func listen(path string) (net.Listener, error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(temp, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		ln.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return ln, nil
}
