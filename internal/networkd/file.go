package networkd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// MaxFiles is how many lease files are read: more links with DHCP than anybody has. maxEntries is how many entries of the
// directory are looked at.
const (
	MaxFiles   = 1024
	maxEntries = 64 * MaxFiles
)

// file is the content of one lease file.
type file struct {
	text    string
	written time.Time
}

// list gives the ifindexes of the lease files in a directory, in ascending order; those of the lowest where there are more
// than MaxFiles, and then it says that the list was cut. It refuses a directory in which others than its owner can write. The
// owner may be anybody: where the default directory is, root alone makes any, and it gives this one to the user that networkd
// runs as (systemd-network).
func list(dir string) (indexes []int, cut bool, err error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false, fmt.Errorf("open networkd's leases: %w", err)
	}
	defer d.Close()
	info, err := d.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("look at %s: %w", dir, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, false, fmt.Errorf("%s has mode %s: others than its owner can write there", dir, info.Mode())
	}
	names, err := d.Readdirnames(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		if i, ok := parseIndex(name); ok {
			indexes = append(indexes, i)
		}
	}
	slices.Sort(indexes)
	cut = len(indexes) > MaxFiles || len(names) == maxEntries
	return indexes[:min(len(indexes), MaxFiles)], cut, nil
}

// parseIndex reads the name of a lease file: an ifindex in decimal. Temporary files are named otherwise (".#7abc").
func parseIndex(name string) (index int, ok bool) {
	i, err := strconv.Atoi(name)
	return i, err == nil && i > 0 && i <= math.MaxInt32 && strconv.Itoa(i) == name
}

// read reads a lease file, which must be regular, not a symbolic link, of root, of the daemon's user or of the directory's
// owner, and of a sane size.
func read(dir string, index int) (file, error) {
	path := filepath.Join(dir, strconv.Itoa(index))
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return file{}, fmt.Errorf("open lease file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, fmt.Errorf("look at lease file %s: %w", path, err)
	}
	parent, err := os.Stat(dir)
	if err != nil {
		return file{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	if !info.Mode().IsRegular() || !trusted(info, parent) || info.Size() > lease.MaxNetworkdFile {
		return file{}, fmt.Errorf("%s: %s of %d bytes: not a lease file of networkd's", path, info.Mode(), info.Size())
	}
	b, err := io.ReadAll(io.LimitReader(f, lease.MaxNetworkdFile+1))
	if err != nil {
		return file{}, fmt.Errorf("read lease file %s: %w", path, err)
	}
	return file{text: string(b), written: info.ModTime()}, nil
}

// trusted says whether a file belongs to somebody who may speak.
func trusted(f, dir fs.FileInfo) bool {
	st, ok := f.Sys().(*syscall.Stat_t)
	owner, ok2 := dir.Sys().(*syscall.Stat_t)
	return ok && ok2 && (st.Uid == 0 || int(st.Uid) == os.Geteuid() || st.Uid == owner.Uid)
}
