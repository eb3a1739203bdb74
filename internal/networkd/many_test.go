package networkd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fill makes lease files of links that are not there.
func (b *bench) fill(from, n int) {
	b.t.Helper()
	for i := range n {
		must(b.t, os.WriteFile(filepath.Join(b.dir, fmt.Sprint(from+i)), []byte(content("192.0.2.66", "192.0.2.66")), 0o644))
	}
}

// TestTooManyFiles: whatever the directory is filled with, a file that is there has not ended, a changed one is news, and one
// that is gone has ended; the lowest ifindexes are read, wherever in the directory their files are.
func TestTooManyFiles(t *testing.T) {
	const high = 3 // of the links that are there
	b := newBench(t)
	inner := b.w.cfg.Link
	b.w.cfg.Link = func(index int) string {
		if index == 300000 {
			return inner(high)
		}
		return inner(index)
	}
	b.mkdir()
	b.put("300000", content("198.51.100.9", "198.51.100.1"))
	b.w.Look(t.Context())
	b.expect("wan3 lease file: replace 198.51.100.9 via [198.51.100.1] for 2m0s")
	b.fill(200000, 3*MaxFiles)
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
	if !b.warned("too many lease files") {
		t.Error("nothing in the log")
	}
	b.put("300000", content("198.51.100.9", "198.51.100.254"))
	b.w.Look(t.Context())
	b.expect("wan3 lease file: replace 198.51.100.9 via [198.51.100.254] for 2m0s")
	b.remove("300000")
	b.remove("2")
	b.w.Look(t.Context())
	got := map[string]bool{}
	for _, line := range b.got()[3:] {
		got[line] = true
	}
	for _, want := range []string{
		"wan2 lease file deleted: replace 192.0.2.101 via [192.0.2.1] for 1s",
		"wan3 lease file deleted: replace 198.51.100.9 via [198.51.100.254] for 1s",
	} {
		if !got[want] || len(got) != 2 {
			t.Errorf("not told: %s, of %v", want, got)
		}
	}
}

// TestListIsCut at the limit, not before.
func TestListIsCut(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	for n, want := range map[int]bool{MaxFiles: false, MaxFiles + 1: true} {
		b.fill(1, n)
		indexes, cut, err := list(b.dir)
		if err != nil || cut != want || len(indexes) != MaxFiles || indexes[0] != 1 || indexes[MaxFiles-1] != MaxFiles {
			t.Errorf("%d files: %d listed, cut: %v, %v", n, len(indexes), cut, err)
		}
		must(t, os.RemoveAll(b.dir))
		b.mkdir()
	}
}
