// Package dirwatch says when something in a directory has changed, also where the directory comes and goes.
package dirwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lookAnyway is how often a change is supposed where inotify(7) is not to be had.
const lookAnyway = time.Minute

// What is always watched: the end of the directory itself, and above it the way down to a directory that is not there yet.
const (
	ended   = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	appears = unix.IN_CREATE | unix.IN_MOVED_TO
)

// watch is one inotify descriptor, which watches the wanted directory, or where that is missing the nearest above it; and the
// parent, for a removed directory tells of its end only when nothing holds it any more, such as a socket that was made in it.
type watch struct {
	dir    string
	events uint32
	at     string // the directory that is watched
	wd     int32
	parent int32 // the watch on the parent; 0: none
	hint   chan struct{}
}

// Start watches a directory for events of its entries (IN_MOVED_TO and the like) until ctx ends. The directory need not
// exist, and may vanish and come again. The channel gives a value when there was a change, one for many that come together.
// The watch is set when Start returns: what happens after that is told. An error goes to warn, and then there is a value
// every minute.
func Start(ctx context.Context, dir string, events uint32, warn func(error)) <-chan struct{} {
	w := &watch{dir: filepath.Clean(dir), events: events, hint: make(chan struct{}, 1)}
	f, err := w.open()
	if err != nil {
		warn(err)
		go w.tick(ctx)
		return w.hint
	}
	go func() {
		defer context.AfterFunc(ctx, func() { f.Close() })()
		defer f.Close()
		if err := w.read(f); ctx.Err() == nil {
			warn(err)
			w.tick(ctx)
		}
	}()
	return w.hint
}

func (w *watch) notify() {
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

func (w *watch) tick(ctx context.Context) {
	t := time.NewTicker(lookAnyway)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.notify()
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) open() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an inotify descriptor: %w", err)
	}
	if err := w.settle(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// settle puts the watch on the directory, or on the nearest above it that is there. What came into being before its watch
// was set is seen by trying once more after that.
func (w *watch) settle(fd int) error {
	for before := ""; ; before = w.at {
		old := []int32{w.wd, w.parent}
		w.parent = 0
		if wd, err := unix.InotifyAddWatch(fd, filepath.Dir(w.dir), appears|ended|unix.IN_ONLYDIR); err == nil {
			w.parent = int32(wd)
		}
		if err := w.nearest(fd); err != nil {
			return err
		}
		for _, wd := range old {
			if wd > 0 && wd != w.wd && wd != w.parent {
				_, _ = unix.InotifyRmWatch(fd, uint32(wd)) // it may have ended by itself
			}
		}
		if w.at == w.dir || w.at == before {
			return nil
		}
	}
}

// nearest sets a watch as far down as there are directories.
func (w *watch) nearest(fd int) error {
	mask := w.events | ended | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW
	for at := w.dir; ; at = filepath.Dir(at) {
		wd, err := unix.InotifyAddWatch(fd, at, mask)
		switch {
		case err == nil:
			w.at, w.wd = at, int32(wd)
			return nil
		case at == "/" || at == "." || !missing(err):
			return fmt.Errorf("watch %s: %w", at, err)
		}
		mask = appears | ended | unix.IN_ONLYDIR
	}
}

// missing says whether an error means that there is no such directory, or none that can be looked into.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EACCES)
}

// read reads events until the descriptor is closed.
func (w *watch) read(f *os.File) error {
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := f.Read(buf)
		if err != nil {
			return fmt.Errorf("read inotify events: %w", err)
		}
		changed, moved := w.judge(buf[:n])
		if moved {
			if err := w.resettle(f); err != nil {
				return err
			}
		}
		if changed || moved {
			w.notify()
		}
	}
}

func (w *watch) resettle(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var settled error
	if err := raw.Control(func(fd uintptr) { settled = w.settle(int(fd)) }); err != nil {
		return err
	}
	return settled
}

// judge says whether something in the directory changed, and whether the watch has to be put elsewhere.
func (w *watch) judge(b []byte) (changed, moved bool) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
		end := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
		name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
		b = b[end:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			moved = true // anything may have happened
		case wd != w.wd:
			moved = moved || wd == w.parent && name == filepath.Base(w.dir) // another directory has its place
		case mask&(ended|unix.IN_IGNORED) != 0:
			moved = true
		case w.at == w.dir:
			changed = true
		case name == w.next():
			moved = true
		}
	}
	return changed, moved
}

// next is the name of the entry that is missing in the watched directory.
func (w *watch) next() string {
	below := strings.TrimPrefix(strings.TrimPrefix(w.dir, w.at), "/")
	name, _, _ := strings.Cut(below, "/")
	return name
}
