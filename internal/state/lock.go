package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock takes the directory for this process until the file is closed or the process ends, however it ends (flock(2)).
// The error says so where another uplinkd has it.
func Lock(dir string) (io.Closer, error) {
	file := filepath.Join(dir, "lock")
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: run uplinkd as root, or name another directory", dir, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, fmt.Errorf("uplinkd is already running%s; stop it first (it holds %s)", holder(f), file)
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder is " (pid N)" by the word of the process that has the lock.
func holder(f *os.File) string {
	data := make([]byte, 32)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(string(data[:n])), 10, 31)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}
