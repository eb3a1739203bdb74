package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// TestDemo runs the whole demo on the programs of this tree: its promises are the project's.
func TestDemo(t *testing.T) {
	bin := t.TempDir() + "/"
	build := exec.Command(testnet.Need(t, "go"), "build", "-o", bin, "../../../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	var said strings.Builder
	if err := run(&said, bin, patience); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if !strings.HasSuffix(said.String(), "\nAll promises held.\n") {
		t.Error(said.String())
	}
	for line := range strings.Lines(said.String()) {
		if n := len(strings.TrimRight(line, "\n")); n > 110 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestDemoWithoutADaemon: a demo that cannot fail would show nothing.
func TestDemoWithoutADaemon(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"uplinkd", "uplinkctl", "uplink-hook"} {
		text := "#!/bin/sh\nexit 0\n"
		if name == "uplinkctl" {
			text = "#!/bin/sh\necho nobody there\nexit 1\n"
		}
		if err := os.WriteFile(bin+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	err := run(&said, bin, time.Second)
	if err == nil || !strings.Contains(err.Error(), "nobody there") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(said.String(), "FAIL  10 of 32 promises do not hold") {
		t.Error(said.String())
	}
	if _, err := findPrograms(t.TempDir()); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without programs: %v", err)
	}
}
