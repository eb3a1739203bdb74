package live

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// TableNames reads the names of tables as iproute2 does (lib/rt_names.c): rt_tables and rt_tables.d/*.conf of each directory,
// what comes first counts. uplinkd puts the names of its tables there. The kernel's own names are left out.
func TableNames(dirs ...string) map[uint32]string {
	names := make(map[uint32]string)
	for _, dir := range dirs {
		more, _ := filepath.Glob(filepath.Join(dir, "rt_tables.d", "*.conf")) // the pattern is good
		for _, file := range append(more, filepath.Join(dir, "rt_tables")) {
			data, err := os.ReadFile(file)
			if err != nil {
				continue // a host without iproute2 has numbers
			}
			readNames(names, string(data))
		}
	}
	return names
}

func readNames(names map[uint32]string, text string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		n, err := strconv.ParseUint(fields[0], 0, 32)
		if _, known := names[uint32(n)]; err == nil && !known && n != 0 && (n < 253 || n > 255) {
			names[uint32(n)] = fields[1]
		}
	}
}
