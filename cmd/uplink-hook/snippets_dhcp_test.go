package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// original is the script of Debian's udhcpc package, which the wrapper runs first.
const original = "/etc/udhcpc/default.script"

// runtimeVariables are those that the runtime of a Go program heeds.
func runtimeVariables() []string {
	return []string{"GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "GOGC", "GOMEMLIMIT"}
}

// hostileEnv is what udhcpc passes on: its own environment, and what a server wrote.
func hostileEnv() []string {
	env := []string{"ip=192.0.2.9", "router=$(touch /tmp/pwned) `id` ;* \n two", "message=' \" $(id)", "status=3", "0=x", "IFS=/", "PATH="}
	for _, v := range runtimeVariables() {
		env = append(env, v+"=x")
	}
	return env
}

// udhcpcRecorder is a program that writes its name and arguments, the router and the variables of Go into a file.
func udhcpcRecorder(t *testing.T, name, file string, status int) string {
	t.Helper()
	text := "#!/bin/sh\n{ printf '%s' " + name + "; for a; do printf '<%s>' \"$a\"; done; printf ' %s' \"${router-unset}\"\n"
	for _, v := range runtimeVariables() {
		text += "printf ' %s' \"${" + v + "-unset}\"\n"
	}
	return script(t, text+"echo; } >>'"+file+"'\necho to stdout; echo to stderr >&2\nexit "+fmt.Sprint(status)+"\n")
}

// wrapper is Debian's snippet with other programs in place of the installed ones.
func wrapper(t *testing.T, defaultScript, program string) string {
	t.Helper()
	file := snippet(t, "udhcpc/uplinkd", program)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), original); n != 1 {
		t.Fatalf("the wrapper runs %s %d times", original, n)
	}
	return script(t, strings.Replace(string(b), original, defaultScript, 1))
}

// status is a program's exit status; -1 where it was killed.
func status(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

// TestUdhcpcWrapperRunsTheOriginalFirst: with udhcpc's arguments, output and environment, and then the program, which says
// nothing and gets no variable that would change a Go program.
func TestUdhcpcWrapperRunsTheOriginalFirst(t *testing.T) {
	const value = "$(touch /tmp/pwned) `id` ;* \n two"
	for _, shell := range shells(t) {
		for _, args := range [][]string{{"deconfig"}, {"bound"}, {"renew", "two words", "", "*"}, nil} {
			calls := filepath.Join(t.TempDir(), "calls")
			file := wrapper(t, udhcpcRecorder(t, "original", calls, 42), udhcpcRecorder(t, "program", calls, 5))
			cmd := exec.Command(shell[0], append(append(slices.Clone(shell[1:]), file), args...)...)
			cmd.Env = hostileEnv()
			out, err := cmd.CombinedOutput()
			if status(t, err) != 42 || string(out) != "to stdout\nto stderr\n" {
				t.Errorf("%s %q: %v, printed %q", shell, args, err, out)
			}
			var words string
			for _, a := range args {
				words += "<" + a + ">"
			}
			want := "original" + words + " " + value + " x x x x x\n" + "program<udhcpc>" + words + " " + value + " unset unset unset unset unset\n"
			got, err := os.ReadFile(calls)
			if d := cmp.Diff(want, string(got)); d != "" || err != nil {
				t.Errorf("%s %q: %v %s", shell, args, err, d)
			}
		}
	}
}

// TestUdhcpcWrapperKeepsTheStatus: whatever stands where the program or the original should be. The original's end is what a
// shell says of it: 126 and 127 where it cannot be run, 128 and the signal where it was killed.
func TestUdhcpcWrapperKeepsTheStatus(t *testing.T) {
	want := map[string]int{"missing": 127, "not executable": 126, "a directory": 126, "failing": 3, "killed": 137, "talking": 1, "good": 0}
	for _, shell := range shells(t) {
		run := func(file string) (int, []byte) {
			cmd := exec.Command(shell[0], append(slices.Clone(shell[1:]), file, "bound")...)
			cmd.Env = hostileEnv()
			out, err := cmd.Output()
			return status(t, err), out
		}
		for what, program := range badPrograms(t) {
			for _, s := range []int{0, 1, 3, 255} {
				if got, out := run(wrapper(t, script(t, fmt.Sprintf("#!/bin/sh\nexit %d\n", s)), program)); got != s || len(out) > 0 {
					t.Errorf("%s, program %s: exit %d, want %d, printed %q", shell, what, got, s, out)
				}
			}
			calls := filepath.Join(t.TempDir(), "calls")
			got, _ := run(wrapper(t, program, udhcpcRecorder(t, "program", calls, 0)))
			if s, sure := want[what]; sure && got != s {
				t.Errorf("%s, original %s: exit %d, want %d", shell, what, got, s)
			}
			if b, err := os.ReadFile(calls); err != nil || !strings.HasPrefix(string(b), "program<udhcpc><bound> ") {
				t.Errorf("%s, original %s: the program was not run: %v", shell, what, err)
			}
		}
	}
}

// TestUdhcpcSnippetsForAlpine: default.script runs them without arguments, and what they are called for is their directory.
func TestUdhcpcSnippetsForAlpine(t *testing.T) {
	for _, action := range []string{"bound", "renew", "deconfig"} {
		name := "udhcpc/post-" + action + "/uplinkd"
		for _, shell := range shells(t) {
			for what, program := range badPrograms(t) {
				cmd := exec.Command(shell[0], append(slices.Clone(shell[1:]), snippet(t, name, program))...)
				cmd.Env = hostileEnv()
				if out, err := cmd.Output(); err != nil || len(out) > 0 {
					t.Errorf("%s %s, program %s: %v, printed %q", shell, name, what, err, out)
				}
			}
		}
		calls := filepath.Join(t.TempDir(), "calls")
		cmd := exec.Command(snippet(t, name, udhcpcRecorder(t, "program", calls, 5)))
		cmd.Env = hostileEnv()
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v, printed %q", name, err, out)
		}
		got, err := os.ReadFile(calls)
		want := "program<udhcpc><" + action + "> $(touch /tmp/pwned) `id` ;* \n two unset unset unset unset unset\n"
		if d := cmp.Diff(want, string(got)); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

// TestModes: what a client executes is executable, and what it sources is not: run-parts would execute it.
func TestModes(t *testing.T) {
	for name, mode := range map[string]os.FileMode{
		"dhclient-exit-hooks.d/uplinkd": 0o644, "dhcpcd-hooks/90-uplinkd": 0o644, "udhcpc/uplinkd": 0o755,
		"udhcpc/post-bound/uplinkd": 0o755, "udhcpc/post-renew/uplinkd": 0o755, "udhcpc/post-deconfig/uplinkd": 0o755,
	} {
		if info, err := os.Stat(filepath.Join(hooksDir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, want mode %o", name, err, mode)
		}
	}
}
