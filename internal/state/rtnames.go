package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ourNames is our own file in each of iproute2's directories: it reads those that end in ".conf" (lib/rt_names.c).
const ourNames = "uplinkd.conf"

// kind is a family of names in iproute2's configuration: its file, its directory with ".d", and what a number of it is.
type kind struct{ file, what string }

// WriteNames gives the tables their names, and the protocol number the name uplinkd, in the way of iproute2: as
// uplinkd.conf in dir (a rt_tables.d) and in the rt_protos.d beside it. They are written only where they change, and
// only where dir exists or its parent does; nobody else's file is touched.
//
// Names that iproute2 could not read, and names or numbers that another file gives away already, are left out: each is
// a line in problems.
func WriteNames(dir string, names map[uint32]string, protocol uint8) (problems []string, err error) {
	if _, err := os.Stat(filepath.Dir(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	problems, err = write(dir, kind{"rt_tables", "table"}, names)
	more, protoErr := write(protosDir(dir), kind{"rt_protos", "protocol"}, map[uint32]string{uint32(protocol): "uplinkd"})
	return append(problems, more...), errors.Join(err, protoErr)
}

// RemoveNames removes what WriteNames wrote.
func RemoveNames(dir string) error {
	var errs []error
	for _, d := range []string{dir, protosDir(dir)} {
		if err := os.Remove(filepath.Join(d, ourNames)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove names: %w", err))
		}
	}
	return errors.Join(errs...)
}

func protosDir(dir string) string { return filepath.Join(filepath.Dir(dir), "rt_protos.d") }

func write(dir string, k kind, names map[uint32]string) (problems []string, err error) {
	others := readOthers(dir, k)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by uplinkd, which replaces it; see iproute2's %s.\n", k.file)
	seen := map[string]uint32{}
	for _, number := range slices.Sorted(maps.Keys(names)) {
		name := names[number]
		wrong := checkTableName(name)
		if wrong == "" {
			wrong = others.conflict(number, name)
		}
		if first, twice := seen[name]; wrong == "" && twice {
			wrong = fmt.Sprintf("%s %d has that name", k.what, first)
		}
		if wrong != "" {
			problems = append(problems, fmt.Sprintf("%s %d is left without its name %q: %s", k.what, number, name, wrong))
			continue
		}
		seen[name] = number
		fmt.Fprintf(&b, "%d\t%s\n", number, name)
	}
	return problems, replace(dir, b.Bytes())
}

// replace writes our file in dir where it holds something else.
func replace(dir string, data []byte) error {
	file := filepath.Join(dir, ourNames)
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write names: %w", err)
	}
	// The name of the temporary file does not end in ".conf": iproute2 never reads half of it.
	if err := writeAtomic(file, file+".new", data, 0o644, false); err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	return nil
}

// checkTableName says why iproute2 could not read the name, or nothing: it splits lines at white space, ends them at '#',
// and takes a number for a number.
func checkTableName(name string) string {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return "it is no word of printable ASCII"
	}
	if _, err := strconv.ParseUint(name, 0, 64); err == nil || strings.Trim(name, "0123456789") == "" {
		return "it is a number"
	}
	switch name {
	case "main", "default", "local", "unspec", "all":
		return "it is a name of the kernel's own"
	}
	return ""
}

// given is what other files say: which number a name has, which name a number has, and where that stands.
type given struct {
	numbers map[string]uint32
	names   map[uint32]string
	where   map[string]string // by name
}

func (g given) conflict(number uint32, name string) string {
	if other, ok := g.numbers[name]; ok && other != number {
		return fmt.Sprintf("%s gives it to %d", g.where[name], other)
	}
	if other, ok := g.names[number]; ok && other != name {
		return fmt.Sprintf("%s calls it %q", g.where[other], other)
	}
	return ""
}

// readOthers reads all files of a kind but our own: those beside dir, and for the system's own directory those that
// distributions ship elsewhere.
func readOthers(dir string, k kind) given {
	g := given{map[string]uint32{}, map[uint32]string{}, map[string]string{}}
	roots := []string{filepath.Dir(dir)}
	if roots[0] == "/etc/iproute2" {
		roots = append(roots, "/usr/share/iproute2", "/usr/lib/iproute2")
	}
	for _, root := range roots {
		g.read(filepath.Join(root, k.file))
		sub := filepath.Join(root, k.file+".d")
		files, _ := os.ReadDir(sub) // most hosts have none
		for _, f := range files {
			if file := filepath.Join(sub, f.Name()); strings.HasSuffix(file, ".conf") && file != filepath.Join(dir, ourNames) {
				g.read(file)
			}
		}
	}
	return g
}

// read takes the lines "NUMBER NAME" of a file; those of another form are iproute2's to complain about.
func (g given) read(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return // not there, or not for us to read: then ours is written, as an administrator would
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		number, err := strconv.ParseUint(fields[0], 0, 32)
		if err != nil {
			continue
		}
		g.numbers[fields[1]] = uint32(number)
		g.names[uint32(number)] = fields[1]
		g.where[fields[1]] = file
	}
}
