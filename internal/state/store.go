package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

const (
	fileName = "state.json"
	// maxAside is how many damaged files are kept for a person to look at; then the last is overwritten.
	maxAside = 5
	bootFile = "/proc/sys/kernel/random/boot_id"
)

// Store is the directory that the state is kept in. It is for one goroutine; Lock keeps other processes away.
type Store struct {
	dir    string
	bootID string
	last   []byte            // what the file holds, as far as is known
	synced map[string]uint32 // the table numbers that are on the disk for sure
}

// DamageError says what of a state file could not be used. The state that comes with it is good: the rest of the file.
type DamageError struct {
	File    string
	Aside   string   // where the file was put; empty: it stays, only single entries were dropped
	Err     error    // why the whole file could not be used; nil: only single entries
	Dropped []string // the entries that were left out, a line each
	Tables  int      // how many table numbers were saved from it
}

// Error is one line.
func (e *DamageError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("state file %s: left out: %s", e.File, strings.Join(e.Dropped, "; "))
	}
	s := fmt.Sprintf("state file %s cannot be used: %v; %d table numbers were saved from it", e.File, e.Err, e.Tables)
	if e.Aside != "" {
		s += ", it was set aside as " + e.Aside
	}
	return s
}

// Unwrap is the reason.
func (e *DamageError) Unwrap() error { return e.Err }

// Open makes the directory where it is missing, and checks that it can be written. Its parent must exist.
func Open(dir string) (*Store, error) {
	id, err := os.ReadFile(bootFile)
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	return OpenAt(dir, strings.TrimSpace(string(id)))
}

// OpenAt is Open with the boot's id given.
func OpenAt(dir, bootID string) (*Store, error) {
	s := &Store{dir: dir, bootID: bootID}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = probe(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory %s cannot be written: %w: run uplinkd as root, or name another with --state-dir",
			dir, err)
	}
	return s, nil
}

// probe makes a file and removes it. It has a name of its own: another uplinkd may be saving at this moment.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (s *Store) file() string      { return filepath.Join(s.dir, fileName) }
func (s *Store) temporary() string { return filepath.Join(s.dir, fileName+".new") }

// Load reads the state; where there is none it is empty. The state is good whatever the error is. A *DamageError says
// what was lost of a damaged file, or of one from a later version, which is set aside; any other error that the file is
// there and could not be read. What belongs to an earlier boot is left out.
func (s *Store) Load() (State, error) {
	empty := State{Version: Version, BootID: s.bootID, Tables: map[string]uint32{}}
	data, err := s.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return empty, nil
	case err != nil:
		return empty, fmt.Errorf("read state: %w", err)
	}
	st, dropped, err := decode(data)
	if err != nil {
		empty.Tables = st.Tables
		aside, asideErr := s.setAside()
		return empty, &DamageError{
			File: s.file(), Aside: aside, Err: errors.Join(err, asideErr), Dropped: dropped, Tables: len(st.Tables),
		}
	}
	s.last, s.synced = data, maps.Clone(st.Tables)
	if st.BootID != s.bootID {
		st.BootID, st.Leases, st.Held, st.Settings = s.bootID, nil, nil, nil
	}
	if dropped != nil {
		return st, &DamageError{File: s.file(), Dropped: dropped, Tables: len(st.Tables)}
	}
	return st, nil
}

// read reads the file; one that is too large is cut, which makes it a damaged one.
func (s *Store) read() ([]byte, error) {
	f, err := os.Open(s.file())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// setAside renames the file to the first free of its names for damaged ones, and says which.
func (s *Store) setAside() (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.corrupt-%d", s.file(), n)
		if _, err := os.Lstat(aside); err == nil && n < maxAside {
			continue
		}
		if err := os.Rename(s.file(), aside); err != nil {
			return "", fmt.Errorf("set it aside: %w", err)
		}
		return aside, nil
	}
}

// Save writes the state so that after a crash of the process either the old or the new one is there, whole. It writes
// nothing where the file holds the same already. It waits for the disk only when a table number is new: what else there
// is does not outlive a boot, and a slow disk must not hold the network.
func (s *Store) Save(st State) error {
	st.BootID = s.bootID
	data, err := encode(st)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(s.file()); err == nil && bytes.Equal(data, s.last) {
		return nil
	}
	if err := writeAtomic(s.file(), s.temporary(), data, 0o600, !maps.Equal(s.synced, st.Tables)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	s.last, s.synced = data, maps.Clone(st.Tables)
	return nil
}

// writeAtomic replaces a file by way of a temporary one in the same directory (rename(2)), and syncs both if told to.
func writeAtomic(file, temporary string, data []byte, mode fs.FileMode, sync bool) error {
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	// The mode is set once more: the umask may have taken bits away, and hooks and pppd run with 077.
	err = errors.Join(err, f.Chmod(mode))
	if sync {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if !sync {
		return nil
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
