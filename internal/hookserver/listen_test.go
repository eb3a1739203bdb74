package hookserver

import (
	"errors"
	"go.uber.org/zap"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
)

func TestSecondInstanceIsRefused(t *testing.T) {
	b := newBench(t, nil)
	_, err := New(Config{RuntimeDir: b.dir, Intake: intake.New(b.handle, zap.NewNop())})
	if !errors.Is(err, ErrRunning) {
		t.Fatalf("second instance: %v", err)
	}
	b.run() // the first is none the worse for it
	if r, err := b.send(encode(t, message(7, 1, "FAIL", ""))); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	b.stop()
	newBenchIn(t, b.dir, nil)
}

// TestStaleSocketIsReplaced: a daemon that was killed leaves its socket's file behind.
func TestStaleSocketIsReplaced(t *testing.T) {
	dir := shortDir(t)
	for _, name := range []string{hookwire.SocketName, hookwire.SocketName + ".new"} {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
	}
	b := newBenchIn(t, dir, nil).run()
	if r, err := b.send(encode(t, message(7, 1, "FAIL", ""))); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	b := newBenchIn(t, dir, nil).run()
	for path, want := range map[string]os.FileMode{
		dir: 0o755 | os.ModeDir, filepath.Join(dir, hookwire.SocketName): 0o600 | os.ModeSocket,
		filepath.Join(dir, hookwire.SpoolName): 0o700 | os.ModeDir,
	} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %s", path, info.Mode(), err, want)
		}
	}
	b.stop()
}

func TestBadDirectories(t *testing.T) {
	open := shortDir(t)
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(shortDir(t), strings.Repeat("x", 120))
	for _, dir := range []string{open, file, long} {
		s, err := New(Config{RuntimeDir: dir, Intake: intake.New((&bench{}).handle, zap.NewNop())})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("New in %s: %v", dir, err)
		}
	}
	if _, err := New(Config{RuntimeDir: shortDir(t)}); err == nil {
		t.Error("New without a handler")
	}
}
