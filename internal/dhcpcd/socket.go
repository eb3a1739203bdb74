package dhcpcd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// MaxInstances is how many dhcpcds are listened to: each has two connections at most. maxEntries is how many entries of the
// directory are looked at.
const (
	MaxInstances = 64
	maxEntries   = 4096
)

// The sockets of a dhcpcd (control.c, make_path): its name and these, or these without the leading dot for the one that
// looks after all links. Anybody may talk to the first, which takes requests for knowledge only; 10.5 has the second only.
const (
	unprivSuffix = ".unpriv.sock"
	privSuffix   = ".sock"
)

// list names the dhcpcds that have a socket in a directory that checkDir takes: "wan0", "wan0-4" and "wan0-6" for one family,
// "" for the one that looks after all links.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open dhcpcd's directory: %w", err)
	}
	defer d.Close()
	info, err := d.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := checkDir(dir, info); err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var instances []string
	for _, name := range names {
		if i, ok := instanceOf(name); ok {
			if _, err := socketOf(dir, i); err == nil {
				instances = append(instances, i)
			}
		}
	}
	slices.Sort(instances)
	return slices.Compact(instances), nil
}

// checkDir refuses a directory that is not root's or the daemon's own user's, or in which others can write. So whatever is in
// one that passes root put there, whoever owns it: dhcpcd changes to a user of its own after it has made its sockets.
func checkDir(dir string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || st.Uid != 0 && int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s (%s) must be a directory of root's that others cannot write to", dir, info.Mode())
	}
	return nil
}

// safeSocket is the path of the socket to talk to, in a directory that may have changed hands since it was listed.
func safeSocket(dir, instance string) (path string, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("look at dhcpcd's directory: %w", err)
	}
	if err := checkDir(dir, info); err != nil {
		return "", err
	}
	return socketOf(dir, instance)
}

// instanceOf is whose socket a file is, by its name.
func instanceOf(file string) (instance string, ok bool) {
	if i, ok := strings.CutSuffix("."+file, unprivSuffix); ok {
		return strings.TrimPrefix(i, "."), true
	}
	i, ok := strings.CutSuffix("."+file, privSuffix)
	return strings.TrimPrefix(i, "."), ok
}

// socketOf is the path of the socket to talk to.
func socketOf(dir, instance string) (path string, err error) {
	for _, suffix := range []string{unprivSuffix, privSuffix} {
		path = filepath.Join(dir, strings.TrimPrefix(instance+suffix, "."))
		info, err := os.Lstat(path)
		if err == nil && info.Mode().Type() == fs.ModeSocket {
			return path, nil
		}
	}
	return "", fmt.Errorf("socket %s: %w", path, fs.ErrNotExist)
}

// settled is when an instance is old enough to be asked for its leases, by the time at which its socket was made. A clock
// that was set back since then does not count.
func (w *Watcher) settled(instance string) time.Time {
	var age time.Duration
	if path, err := socketOf(w.cfg.Dir, instance); err == nil {
		if info, err := os.Lstat(path); err == nil {
			age = max(time.Since(info.ModTime()), 0)
		}
	}
	return time.Now().Add(w.settle - min(age, w.settle))
}
