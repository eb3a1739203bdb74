package hookserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
)

// staleTemp is the age at which a file that is still being written belongs to a hook that died: none lives longer than
// a second.
const staleTemp = time.Minute

// taken is a message of the spool that has been handed on.
type taken struct {
	name string
	done <-chan error
}

// Drain hands on all messages of the spool in the order in which their hooks ran, waits for their outcome, and removes
// them. A file stays where ctx ends first; one that is no message, or of another boot, is removed and said in the log.
func (s *Server) Drain(ctx context.Context) error {
	s.spool.Lock()
	defer s.spool.Unlock()
	root, err := hookwire.OpenSpool(s.cfg.RuntimeDir)
	if err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	defer root.Close()
	names, err := listSpool(root)
	if err != nil {
		return fmt.Errorf("list spool %s: %w", root.Name(), err)
	}
	var pending []taken
	for _, name := range names {
		done, err := s.take(ctx, root, name)
		if err != nil {
			s.cfg.Log.Warn("dropped a file of the spool", zap.String("file", fmt.Sprintf("%.80q", name)), zap.Error(err))
			s.removeSpooled(root, name)
			continue
		}
		pending = append(pending, taken{name, done})
	}
	return s.settle(ctx, root, pending)
}

// drainFirst takes in what is in the spool before a message that came by the socket: a client's call may have gone by the spool
// and its next one not, and that must not count first. The memory of which was newer does not outlive the daemon, so the older
// one's file must be gone by then, too.
func (s *Server) drainFirst(ctx context.Context) {
	if err := s.Drain(ctx); err != nil && ctx.Err() == nil {
		s.warn("cannot read the spool of hook messages", zap.Error(err))
	}
}

// settle waits for the outcomes and removes the files. What failed has been tried: to keep it would be to try it for ever.
//
// Where ctx ends first, what has not been dealt with stays for the next daemon, and all that came after it: that one
// remembers nothing newer. What has been dealt with goes all the same, or the next daemon would take it for news.
func (s *Server) settle(ctx context.Context, root *os.Root, pending []taken) error {
	for _, t := range pending {
		dealt, err := outcomeOf(ctx, t.done)
		if !dealt || err != nil && ctx.Err() != nil { // not at all, or it failed because the daemon stops
			return ctx.Err()
		}
		if err != nil {
			s.warn("a message of the spool failed", zap.Error(err))
		}
		s.removeSpooled(root, t.name)
	}
	return nil
}

// outcomeOf waits for an outcome until ctx is done. One that is there by then counts.
func outcomeOf(ctx context.Context, done <-chan error) (dealt bool, err error) {
	select {
	case err = <-done:
		return true, err
	case <-ctx.Done():
	}
	select {
	case err = <-done:
		return true, err
	default:
		return false, nil
	}
}

func (s *Server) removeSpooled(root *os.Root, name string) {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.warn("cannot remove a file of the spool", zap.Error(err))
	}
}

// listSpool gives the names in the order of time. Files that are being written are left out, those of dead hooks removed.
func listSpool(root *os.Root) ([]string, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), hookwire.TempPrefix) {
			names = append(names, e.Name())
		} else if unfinished(e) > staleTemp {
			_ = root.Remove(e.Name()) // it will be tried again at the next look
		}
	}
	slices.Sort(names)
	return names, nil
}

// unfinished is for how long a file has been being written: by the time of its hook, which is in its name and which no clock
// that is set moves, or else by that of the file. A hook's file must not be taken away from it because the right time came.
func unfinished(e fs.DirEntry) time.Duration {
	if boot, ok := hookwire.SpoolTime(strings.TrimPrefix(e.Name(), hookwire.TempPrefix)); ok {
		return time.Duration(intake.Now().Boot - boot)
	}
	info, err := e.Info()
	if err != nil {
		return 0
	}
	return time.Since(info.ModTime())
}

// take reads one file and hands its message on.
func (s *Server) take(ctx context.Context, root *os.Root, name string) (<-chan error, error) {
	if _, ok := hookwire.ParseSpoolFile(name); !ok {
		return nil, errors.New("not the name of a message")
	}
	b, err := readSpooled(root, name)
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(b)
	m, err := hookwire.Read(r)
	switch {
	case err != nil:
		return nil, err
	case r.Len() > 0:
		return nil, fmt.Errorf("%d bytes too many: %w", r.Len(), hookwire.ErrMalformed)
	case m.Stamp.OtherBoot(s.bootID):
		return nil, errors.New("from before this boot")
	}
	return s.dispatch(ctx, peer{uid: uint32(os.Geteuid())}, m) // nobody else can write there
}

// readSpooled reads a file that must be regular, of our own, and not larger than a message.
func readSpooled(root *os.Root, name string) ([]byte, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() || !ownedByUs(before) || before.Size() > hookwire.MaxMessage {
		return nil, fmt.Errorf("%s of %d bytes: not a message of our own", before.Mode(), before.Size())
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(before, now) {
		return nil, errors.Join(err, errors.New("changed while it was opened"))
	}
	return io.ReadAll(io.LimitReader(f, hookwire.MaxMessage+1))
}
