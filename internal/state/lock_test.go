package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("uplinkd is already running (pid %d); stop it first (it holds %s)", os.Getpid(), filepath.Join(dir, "lock"))
	if _, err := Lock(dir); err == nil || err.Error() != want {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// The pid of a longer number must not leave digits behind.
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("99999999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := Lock(dir)
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	if _, err := Lock(dir); err == nil || err.Error() != want {
		t.Errorf("a third one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("\x1b[2J\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || !strings.HasPrefix(err.Error(), "uplinkd is already running; stop it first") {
		t.Errorf("without a pid: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLockUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := Lock(dir); err == nil || !strings.HasPrefix(err.Error(), "lock "+dir+": open ") {
		t.Errorf("error %v", err)
	}
}
