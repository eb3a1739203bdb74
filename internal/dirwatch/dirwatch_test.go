package dirwatch

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what has to come: far longer than anything takes on a loaded machine.
const patience = 20 * time.Second

// start watches a directory for renamed and deleted entries, as long as the test runs.
func start(t *testing.T, dir string) <-chan struct{} {
	t.Helper()
	return Start(t.Context(), dir, unix.IN_MOVED_TO|unix.IN_DELETE, func(err error) { t.Errorf("cannot watch: %v", err) })
}

func expect(t *testing.T, what string, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(patience):
		t.Fatalf("nothing was told of %s", what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put moves a file into place.
func put(t *testing.T, path string) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "temp")
	must(t, os.WriteFile(temp, nil, 0o600))
	must(t, os.Rename(temp, path))
}

func TestEntries(t *testing.T) {
	dir := t.TempDir()
	changes := start(t, dir)
	put(t, filepath.Join(dir, "2"))
	expect(t, "a file that came", changes)
	must(t, os.Remove(filepath.Join(dir, "2")))
	expect(t, "a file that went", changes)
}

// TestDirectoryComesLater: each directory on the way down may be missing, and come alone or all at once.
func TestDirectoryComesLater(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		top := t.TempDir()
		dir := filepath.Join(top, "a", "b", "c")
		changes := start(t, dir)
		if atOnce {
			must(t, os.MkdirAll(dir, 0o755))
		} else {
			for _, d := range []string{"a", "a/b", "a/b/c"} {
				must(t, os.Mkdir(filepath.Join(top, d), 0o755))
				expect(t, d, changes)
			}
		}
		put(t, filepath.Join(dir, "2"))
		expect(t, "the first file", changes)
	}
}

// TestDirectoryComesMeanwhile: it is made while the watch is being set, at one moment or another.
func TestDirectoryComesMeanwhile(t *testing.T) {
	for i := range 300 {
		dir := filepath.Join(t.TempDir(), "a", "b", "c", "d")
		w := &watch{dir: dir, events: unix.IN_MOVED_TO, hint: make(chan struct{}, 1)}
		made := make(chan error, 1)
		go func() {
			for range i % 100 * 5 { // a little later each time
				runtime.Gosched()
			}
			made <- os.MkdirAll(dir, 0o755)
		}()
		f, err := w.open()
		must(t, err)
		must(t, <-made)
		done := make(chan error, 1)
		go func() { done <- w.read(f) }()
		for range 8 { // more than there are directories to be told of
			put(t, filepath.Join(dir, "2"))
			expect(t, "a file", w.hint)
		}
		must(t, f.Close())
		<-done
	}
}

// TestDirectoryGoesAndComes: as systemd removes and makes a service's RuntimeDirectory.
func TestDirectoryGoesAndComes(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	must(t, os.MkdirAll(dir, 0o755))
	changes := start(t, dir)
	for range 3 {
		must(t, os.RemoveAll(filepath.Join(top, "a")))
		expect(t, "the end of the directory", changes)
		must(t, os.MkdirAll(dir, 0o755))
		put(t, filepath.Join(dir, "2"))
		expect(t, "the new directory", changes)
	}
	must(t, os.Rename(dir, dir+".old"))
	expect(t, "the directory's new name", changes)
	must(t, os.Mkdir(dir, 0o755))
	expect(t, "another directory of that name", changes)
	put(t, filepath.Join(dir, "2"))
	expect(t, "a file in that", changes)
}

// TestHeldDirectory: a directory that is removed while a socket that was made in it is open does not tell of its end.
func TestHeldDirectory(t *testing.T) {
	top, err := os.MkdirTemp("", "dirwatch") // short: a socket's path has 107 bytes at most
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(top) })
	dir := filepath.Join(top, "a")
	changes := start(t, dir)
	must(t, os.Mkdir(dir, 0o755))
	expect(t, "the directory", changes)
	ln, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	must(t, os.RemoveAll(dir))
	expect(t, "the socket's end", changes)
	must(t, os.Mkdir(dir, 0o755))
	expect(t, "the new directory", changes)
	put(t, filepath.Join(dir, "2"))
	expect(t, "a file in that", changes)
}

// TestNotADirectory: a file or a symbolic link in the directory's place is none, until it is replaced.
func TestNotADirectory(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a")
	must(t, os.Symlink("/", dir))
	changes := start(t, dir)
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o755))
	expect(t, "the directory", changes)
	put(t, filepath.Join(dir, "2"))
	expect(t, "a file", changes)
}

// event is one event of inotify(7) as the kernel writes it.
func event(wd int32, mask uint32, name string) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
	b = binary.NativeEndian.AppendUint32(b, mask)
	b = binary.NativeEndian.AppendUint32(b, 0)
	padded := make([]byte, (len(name)+15)/16*16)
	copy(padded, name)
	return append(binary.NativeEndian.AppendUint32(b, uint32(len(padded))), padded...)
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name           string
		at             string
		events         []byte
		changed, moved bool
	}{
		{"an entry", "/run/x/y", event(5, unix.IN_MOVED_TO, "2"), true, false},
		{"of an older watch", "/run/x/y", event(4, unix.IN_MOVED_TO, "2"), false, false},
		{"the end of an older watch", "/run/x/y", event(4, unix.IN_IGNORED, ""), false, false},
		{"another in its place", "/run/x/y", event(3, unix.IN_CREATE|unix.IN_ISDIR, "y"), false, true},
		{"another beside it", "/run/x/y", event(3, unix.IN_CREATE|unix.IN_ISDIR, "z"), false, false},
		{"the end", "/run/x/y", event(5, unix.IN_IGNORED, ""), false, true},
		{"too many", "/run/x/y", event(-1, unix.IN_Q_OVERFLOW, ""), false, true},
		{"the way down", "/run", event(5, unix.IN_CREATE|unix.IN_ISDIR, "x"), false, true},
		{"another way", "/run", event(5, unix.IN_CREATE|unix.IN_ISDIR, "y"), false, false},
		{"from the root", "/", event(5, unix.IN_CREATE|unix.IN_ISDIR, "run"), false, true},
		{"two", "/run", append(event(5, unix.IN_CREATE, "other"), event(5, unix.IN_MOVED_TO, "x")...), false, true},
		{"cut short", "/run/x/y", event(5, unix.IN_MOVED_TO, "2")[:15], false, false},
	} {
		w := &watch{dir: "/run/x/y", at: c.at, wd: 5, parent: 3}
		if changed, moved := w.judge(c.events); changed != c.changed || moved != c.moved {
			t.Errorf("%s: changed %v, moved %v", c.name, changed, moved)
		}
	}
}

// TestWithoutInotify: where it is not to be had there is a value every minute.
func TestWithoutInotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{hint: make(chan struct{}, 1)}
		go w.tick(t.Context())
		begin := time.Now()
		<-w.hint
		<-w.hint
		if passed := time.Since(begin); passed != 2*lookAnyway {
			t.Errorf("two values after %s", passed)
		}
	})
}

func TestMissing(t *testing.T) {
	for err, want := range map[error]bool{unix.ENOENT: true, unix.ENOTDIR: true, unix.ELOOP: true, unix.EACCES: true, unix.ENOSPC: false, unix.ENOMEM: false} {
		if missing(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
	if missing(errors.New("x")) {
		t.Error("any error")
	}
}
