package state

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/uplinkd/uplinkd/internal/lease"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// values compares addresses and prefixes as values, and an absent list with an empty one as equal.
func values() cmp.Options {
	return cmp.Options{
		cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	}
}

// example has every field of the state set, with names that JSON could not hold as they are.
func example() State {
	received := time.Date(2026, 3, 1, 12, 30, 0, 5, time.UTC)
	return State{
		Version: Version, BootID: "boot-1", Protocol: 117,
		Tables: map[string]uint32{"dsl": 7000, "a$(id)b": 7001, "\xff\x01\"\\": 101},
		Leases: []StoredLease{
			{Index: 3, Interface: "wan0", Seq: 9, Received: received, Boottime: 90 * time.Minute, Lease: lease.Lease{
				Source: "dhclient", Address: addr("192.0.2.7"), Bits: 24, Peer: addr("192.0.2.9"),
				Routers: []netip.Addr{addr("192.0.2.1")}, HasClassless: true,
				Classless: []lease.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("192.0.2.2")}},
				DNS:       []netip.Addr{addr("192.0.2.53")}, MTU: 1400, Lifetime: time.Hour, Refused: true,
			}, Seen: true, Sole: true},
			{Index: 4, Interface: "p\xe9p", Seq: 10, Received: received, Lease: lease.Lease{
				Source: "ppp", Address: addr("2001:db8::7"), Bits: -1, Lifetime: lease.Infinite,
			}},
		},
		Held: []Held{{Index: 3, Interface: "wan0", Address: addr("192.0.2.7"), Class: "lease",
			Gateway: addr("192.0.2.1"), Onlink: true, Fell: true, Lent: true}},
		Settings: []Setting{
			{Index: 3, Interface: "wan0", MAC: "02:00:5e:10:00:01", Name: "rp_filter", Value: 2, Was: 1},
			{Index: 4, Interface: "\xffwan1", Name: "arp_ignore", Value: 1},
		},
	}
}

func open(t *testing.T, dir, bootID string) *Store {
	t.Helper()
	s, err := OpenAt(dir, bootID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantState(t *testing.T, s *Store, want State) {
	t.Helper()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, values()); diff != "" {
		t.Errorf("loaded state (-want +got):\n%s", diff)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uplinkd")
	s := open(t, dir, "boot-1")
	wantState(t, s, State{Version: Version, BootID: "boot-1"})
	if err := s.Save(example()); err != nil {
		t.Fatal(err)
	}
	wantState(t, open(t, dir, "boot-1"), example())
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory's mode %v, error %v", info.Mode(), err)
	}
	wantFiles(t, dir, fileName)
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestAnotherBootKeepsOnlyTables(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir, "boot-1").Save(example()); err != nil {
		t.Fatal(err)
	}
	want := example()
	want.BootID, want.Leases, want.Held, want.Settings = "boot-2", nil, nil, nil
	wantState(t, open(t, dir, "boot-2"), want)
}

func TestOpenReadsTheBootID(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.bootID) != 36 { // a UUID: random(4)
		t.Errorf("boot id %q", s.bootID)
	}
}

func TestSaveSkipsEqualBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	inode := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	save := func(st State) {
		t.Helper()
		if err := s.Save(st); err != nil {
			t.Fatal(err)
		}
	}
	save(example())
	first := inode()
	save(example())
	if !os.SameFile(first, inode()) {
		t.Error("the same state was written again")
	}
	s = open(t, dir, "boot-1")
	wantState(t, s, example())
	save(example())
	if !os.SameFile(first, inode()) {
		t.Error("the state that was loaded was written again")
	}
	changed := example()
	changed.Leases[0].Seq++
	save(changed)
	if os.SameFile(first, inode()) {
		t.Error("the changed state replaced nothing")
	}
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	save(changed)
	wantState(t, s, changed)
}

func TestLoadSetsDamagedFilesAside(t *testing.T) {
	whole, err := encode(example())
	if err != nil {
		t.Fatal(err)
	}
	text := string(whole)
	tables := map[string]uint32{"dsl": 7000, "a$(id)b": 7001, "\xff\x01\"\\": 101}
	tests := map[string]struct {
		data   string
		tables map[string]uint32
		why    string
	}{
		"empty":            {"", nil, "unexpected end of JSON input"},
		"zeroes":           {strings.Repeat("\x00", 4096), nil, "invalid character"},
		"cut off":          {text[:len(text)-40], tables, "unexpected end of JSON input"},
		"cut off in it":    {`{"tables":{"a":300,"b":30`, map[string]uint32{"a": 300}, "unexpected end of JSON input"},
		"a later version":  {strings.Replace(text, `"version": 1`, `"version": 2`, 1), tables, "version 2, this uplinkd writes 1"},
		"no version":       {`{"tables":{"dsl":7000}}`, map[string]uint32{"dsl": 7000}, "version 0"},
		"wrong type":       {`{"version":1,"leases":"x","tables":{"a":300}}`, map[string]uint32{"a": 300}, "cannot unmarshal string"},
		"no object":        {`[1]`, nil, "cannot unmarshal array"},
		"tables no object": {`{"tables":7`, nil, "unexpected end of JSON input"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, "boot-1")
			file := filepath.Join(dir, fileName)
			writeFile(t, file, tt.data)
			got, err := s.Load()
			damage, ok := errors.AsType[*DamageError](err)
			if !ok || !strings.Contains(err.Error(), tt.why) || damage.Tables != len(tt.tables) {
				t.Fatalf("error %v", err)
			}
			want := State{Version: Version, BootID: "boot-1", Tables: tt.tables}
			if diff := cmp.Diff(want, got, values()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if damage.Aside != file+".corrupt-1" {
				t.Errorf("set aside as %q", damage.Aside)
			}
			wantFiles(t, dir, fileName+".corrupt-1")
			if err := s.Save(got); err != nil {
				t.Fatal(err)
			}
			wantState(t, s, want)
		})
	}
}

func writeFile(t *testing.T, file, data string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	for i := range maxAside + 3 {
		writeFile(t, filepath.Join(dir, fileName), strings.Repeat("x", i+1))
		if _, err := s.Load(); err == nil {
			t.Fatal("no error")
		}
	}
	wantFiles(t, dir, "state.json.corrupt-1", "state.json.corrupt-2", "state.json.corrupt-3", "state.json.corrupt-4", "state.json.corrupt-5")
	last, err := os.ReadFile(filepath.Join(dir, "state.json.corrupt-5"))
	if err != nil || len(last) != maxAside+3 {
		t.Errorf("the last one has %d bytes, error %v", len(last), err)
	}
}

func TestLoadOfSomethingElseIsAnError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	if err := os.Mkdir(filepath.Join(dir, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if err == nil || !strings.HasPrefix(err.Error(), "read state: ") {
		t.Errorf("error %v", err)
	}
	if _, ok := errors.AsType[*DamageError](err); ok || got.Version != Version {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOpenUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	for _, dir := range []string{file, filepath.Join(file, "sub"), filepath.Join(t.TempDir(), "no", "parent")} {
		_, err := OpenAt(dir, "boot-1")
		if err == nil || strings.Contains(err.Error(), "\n") ||
			!strings.HasPrefix(err.Error(), "state directory "+dir+" cannot be written: ") ||
			!strings.HasSuffix(err.Error(), ": run uplinkd as root, or name another with --state-dir") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestSaveLeavesTheOldFileWhenItFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	if err := s.Save(example()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.temporary(), 0o700); err != nil { // in the way of the temporary file
		t.Fatal(err)
	}
	changed := example()
	changed.Protocol = 118
	if err := s.Save(changed); err == nil {
		t.Error("no error")
	}
	wantState(t, s, example())
}

// A second uplinkd opens the directory before it finds it locked: that must not disturb a save of the first.
func TestOpenDisturbsNobody(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, fileName+".new"), "half a state")
	open(t, dir, "boot-1")
	wantText(t, filepath.Join(dir, fileName+".new"), "half a state")
	wantFiles(t, dir, fileName+".new")
}
