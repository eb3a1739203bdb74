package scenario

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTopologies holds the table of topologies to the tests that there are: each that it names, and each script is in it.
func TestTopologies(t *testing.T) {
	table, err := os.ReadFile("TOPOLOGIES.md")
	if err != nil {
		t.Fatal(err)
	}
	known := knownTests(t)
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`([A-Za-z][A-Za-z0-9-]*)`").FindAllStringSubmatch(string(table), -1) {
		named[m[1]] = true
		if !known[m[1]] && m[1] != "name" && m[1] != "way" && m[1] != "e2e" && m[1] != "TestName" {
			t.Errorf("%s is in the table, and is no test", m[1])
		}
	}
	for name := range known {
		if !strings.HasPrefix(name, "Test") && !named[name] {
			t.Errorf("%s.txtar is not in the table", name)
		}
	}
}

// knownTests are the scripts, and the test functions of the project.
func knownTests(t *testing.T) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	for _, path := range scripts {
		known[strings.TrimSuffix(filepath.Base(path), ".txtar")] = true
	}
	files, err := filepath.Glob("../*/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("tests: %v, %v", files, err)
	}
	commands, err := filepath.Glob("../../cmd/*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, path := range append(files, commands...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			known[m[1]] = true
		}
	}
	return known
}
