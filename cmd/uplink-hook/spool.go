package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// spool keeps an encoded message for the daemon's next start. The file appears under its name when it is whole; nothing
// is synced to disk, for what is older than the boot is of no use. pushedOut is how many others it took the place of.
func spool(runtimeDir string, m hookwire.Message, b []byte) (pushedOut int, err error) {
	root, err := openSpool(runtimeDir)
	if err != nil {
		return 0, fmt.Errorf("open spool: %w", err)
	}
	defer root.Close()
	if pushedOut, err = makeRoom(root, len(b)); err != nil {
		return pushedOut, fmt.Errorf("make room in %s: %w", root.Name(), err)
	}
	name := hookwire.SpoolFile(m)
	temp := hookwire.TempPrefix + name
	if err := writeNew(root, temp, b); err != nil {
		return pushedOut, fmt.Errorf("spool to %s: %w", root.Name(), err)
	}
	if err := root.Rename(temp, name); err != nil {
		return pushedOut, fmt.Errorf("spool to %s: %w", root.Name(), errors.Join(err, root.Remove(temp)))
	}
	return pushedOut, nil
}

// openSpool opens the spool, and makes the runtime directory where it is missing: a hook may run long before the first
// daemon of this boot.
func openSpool(runtimeDir string) (*os.Root, error) {
	if err := os.Mkdir(runtimeDir, 0o755); err == nil {
		if err := os.Chmod(runtimeDir, 0o755); err != nil { // the umask is 077
			return nil, err
		}
	}
	return hookwire.OpenSpool(runtimeDir)
}

func writeNew(root *os.Root, name string, b []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(name))
	}
	return nil
}

// spooled is one file of the spool.
type spooled struct {
	name  string
	index int // ifindex; 0 for what is no spool file
	size  int64
}

// makeRoom removes files until one of need bytes fits, see hookwire.MaxSpoolFiles.
func makeRoom(root *os.Root, need int) (removed int, err error) {
	files, err := list(root)
	if err != nil {
		return 0, err
	}
	total := int64(need)
	for _, f := range files {
		total += f.size
	}
	for len(files) > 0 && (len(files) >= hookwire.MaxSpoolFiles || total > hookwire.MaxSpoolBytes) {
		i := victim(files)
		switch err := root.Remove(files[i].name); {
		case err == nil:
			removed++
		case !errors.Is(err, fs.ErrNotExist):
			return removed, err
		}
		total -= files[i].size
		files = slices.Delete(files, i, i+1)
	}
	return removed, nil
}

// victim picks the oldest file of the link that has the most.
func victim(files []spooled) int {
	count := map[int]int{}
	for _, f := range files {
		count[f.index]++
	}
	most := 0
	for i, f := range files {
		if count[f.index] > count[files[most].index] {
			most = i
		}
	}
	return most
}

// list is the spool, oldest first.
func list(root *os.Root) ([]spooled, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var files []spooled
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone: the daemon has just taken it
		}
		index, _ := hookwire.ParseSpoolFile(bare(e.Name()))
		files = append(files, spooled{name: e.Name(), index: index, size: info.Size()})
	}
	slices.SortFunc(files, func(a, b spooled) int { return strings.Compare(bare(a.name), bare(b.name)) })
	return files, nil
}

// bare is the name that a file that is being written will have.
func bare(name string) string { return strings.TrimPrefix(name, hookwire.TempPrefix) }
