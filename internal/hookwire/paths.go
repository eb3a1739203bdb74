package hookwire

import (
	"fmt"
	"strconv"
	"strings"
)

// Where hook and daemon meet, relative to the runtime directory.
const (
	DefaultRuntimeDir = "/run/uplinkd"
	SocketName        = "hook.sock" // stream socket, mode 0600
	SpoolName         = "spool"     // directory, mode 0700: the messages of hooks that found no daemon
)

// The bounds of the spool. When it is full, the oldest message of the link that has the most gives way: a link with a short
// lease must not push out the only word about another.
const (
	MaxSpoolFiles = 256
	MaxSpoolBytes = 1 << 20
)

// TempPrefix starts the name of a spool file that is still being written. A daemon leaves such a file alone.
const TempPrefix = "."

// SpoolFile is the name of the spool file of a message: the stamp's boot time, the process id and the ifindex, each in
// decimal with leading zeros, so that names sort in the order of time, and nothing that a stranger wrote is in it.
func SpoolFile(m Message) string {
	return fmt.Sprintf("%019d.%010d.%010d", max(m.Stamp.Boot, 0), m.Stamp.PID, m.Index)
}

// SpoolTime gives the boot time in the name of a spool file, in nanoseconds; ok is false where it is no such name, or the hook
// could not read that clock.
func SpoolTime(name string) (boot int64, ok bool) {
	if _, ok := ParseSpoolFile(name); !ok {
		return 0, false
	}
	boot, err := strconv.ParseInt(name[:19], 10, 64)
	return boot, err == nil && boot > 0
}

// ParseSpoolFile gives the ifindex in the name of a spool file, and whether it is such a name at all.
func ParseSpoolFile(name string) (index int, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || len(parts[0]) != 19 || len(parts[1]) != 10 || len(parts[2]) != 10 {
		return 0, false
	}
	for _, p := range parts {
		if strings.Trim(p, "0123456789") != "" {
			return 0, false
		}
	}
	index, err := strconv.Atoi(parts[2])
	return index, err == nil
}
