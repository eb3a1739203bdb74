package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const header = "# Written by uplinkd, which replaces it; see iproute2's rt_tables.\n"

// iproute2 makes a directory like /etc/iproute2 and gives its rt_tables.d.
func iproute2(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, file, text)
	}
	return filepath.Join(root, "rt_tables.d")
}

func wantText(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", filepath.Base(file), diff)
	}
}

func TestWriteNames(t *testing.T) {
	dir := iproute2(t, nil)
	names := map[uint32]string{7001: "lte", 7000: "dsl"}
	problems, err := WriteNames(dir, names, 117)
	if err != nil || problems != nil {
		t.Fatalf("%q, %v", problems, err)
	}
	file := filepath.Join(dir, "uplinkd.conf")
	wantText(t, file, header+"7000\tdsl\n7001\tlte\n")
	wantText(t, filepath.Join(dir, "../rt_protos.d/uplinkd.conf"),
		"# Written by uplinkd, which replaces it; see iproute2's rt_protos.\n117\tuplinkd\n")
	wantFiles(t, dir, "uplinkd.conf")
	before, err := os.Stat(file)
	if err != nil || before.Mode() != 0o644 {
		t.Fatalf("mode %v, error %v", before.Mode(), err)
	}
	if _, err := WriteNames(dir, names, 117); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(file)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the same names were written again (error %v)", err)
	}
	delete(names, 7001)
	if _, err := WriteNames(dir, names, 117); err != nil {
		t.Fatal(err)
	}
	wantText(t, file, header+"7000\tdsl\n")
}

func TestWriteNamesKeepsOutOfTheWayOfOthers(t *testing.T) {
	files := map[string]string{
		"rt_tables":              "255\tlocal\n# 7005 lte\n100 mine # a comment\n0x65\thex\nnonsense\n1 2 3\nx y\n",
		"rt_tables.d/other.conf": "7003 theirs\n7004 same\n",
		"rt_tables.d/README":     "7005 unread\n",
		"rt_protos":              "117 bird2\n",
	}
	dir := iproute2(t, files)
	problems, err := WriteNames(dir, map[uint32]string{
		7000: "mine", 7001: "hex", 7003: "dsl", 7004: "same", 7005: "lte", 7006: "lte",
		7007: "a b", 7008: "", 7009: "x#y", 7010: "a\nb", 7011: "main", 7012: "0x10", 7013: "\x1b[2J", 7014: "009",
	}, 117)
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, filepath.Join(dir, "uplinkd.conf"), header+"7004\tsame\n7005\tlte\n")
	root := filepath.Dir(dir)
	want := []string{
		`table 7000 is left without its name "mine": ` + root + `/rt_tables gives it to 100`,
		`table 7001 is left without its name "hex": ` + root + `/rt_tables gives it to 101`,
		`table 7003 is left without its name "dsl": ` + root + `/rt_tables.d/other.conf calls it "theirs"`,
		`table 7006 is left without its name "lte": table 7005 has that name`,
		`table 7007 is left without its name "a b": it is no word of printable ASCII`,
		`table 7008 is left without its name "": it is no word of printable ASCII`,
		`table 7009 is left without its name "x#y": it is no word of printable ASCII`,
		`table 7010 is left without its name "a\nb": it is no word of printable ASCII`,
		`table 7011 is left without its name "main": it is a name of the kernel's own`,
		`table 7012 is left without its name "0x10": it is a number`,
		`table 7013 is left without its name "\x1b[2J": it is no word of printable ASCII`,
		`table 7014 is left without its name "009": it is a number`,
		`protocol 117 is left without its name "uplinkd": ` + root + `/rt_protos calls it "bird2"`,
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for name, text := range files {
		wantText(t, filepath.Join(root, name), text)
	}
}

func TestRemoveNames(t *testing.T) {
	dir := iproute2(t, map[string]string{"rt_tables.d/other.conf": "1 a\n"})
	if _, err := WriteNames(dir, map[uint32]string{7000: "dsl"}, 117); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to do
		if err := RemoveNames(dir); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, "other.conf")
		wantFiles(t, protosDir(dir))
	}
	if err := RemoveNames(filepath.Join(dir, "no", "such")); err != nil {
		t.Error(err)
	}
}

func TestWriteNamesWithoutIproute2(t *testing.T) {
	root := filepath.Join(t.TempDir(), "iproute2")
	problems, err := WriteNames(filepath.Join(root, "rt_tables.d"), map[uint32]string{7000: "dsl"}, 117)
	if err != nil || problems != nil {
		t.Errorf("%q, %v", problems, err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

func TestWriteNamesUnwritable(t *testing.T) {
	dir := iproute2(t, map[string]string{"rt_tables.d": "a file"})
	if _, err := WriteNames(dir, nil, 117); err == nil || !strings.Contains(err.Error(), "write names: ") {
		t.Errorf("error %v", err)
	}
}
