package scenario

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/tools/txtar"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// TestScenarios plays every script on both kernels.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run("memory/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, a, newFakeWorld()) })
		})
		t.Run("kernel/"+name, func(t *testing.T) {
			t.Parallel()
			run(t, a, newRealWorld(t))
		})
	}
}
