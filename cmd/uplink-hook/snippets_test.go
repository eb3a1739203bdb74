package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installed is where packages put the program, and what the snippets call.
const installed = "/usr/libexec/uplinkd/uplink-hook"

const hooksDir = "../../hooks"

// snippet gives a snippet with another program in place of the installed one, as a file.
func snippet(t *testing.T, name, program string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(hooksDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte(installed)); n != 1 {
		t.Fatalf("%s calls %s %d times", name, installed, n)
	}
	return script(t, strings.Replace(string(b), installed, program, 1))
}

// script is an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// shells are those that a client's script may run in.
func shells(t *testing.T) [][]string {
	t.Helper()
	var found [][]string
	for _, sh := range [][]string{{"sh"}, {"dash"}, {"bash"}, {"bash", "--posix"}, {"busybox", "ash"}} {
		if path, err := exec.LookPath(sh[0]); err == nil {
			found = append(found, append([]string{path}, sh[1:]...))
		}
	}
	if len(found) == 0 {
		t.Fatal("no shell at all")
	}
	return found
}

// badPrograms is everything that may stand where the program should be.
func badPrograms(t *testing.T) map[string]string {
	t.Helper()
	noexec := script(t, "#!/bin/sh\n")
	if err := os.Chmod(noexec, 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"missing":        "/nonexistent/uplink-hook",
		"not executable": noexec,
		"a directory":    t.TempDir(),
		"not a program":  script(t, "\x7fELF"),
		"failing":        script(t, "#!/bin/sh\nexit 3\n"),
		"killed":         script(t, "#!/bin/sh\nkill -9 $$\n"),
		"talking":        script(t, "#!/bin/sh\necho out; echo err >&2; cat; exit 1\n"),
		"good":           script(t, "#!/bin/sh\nexit 0\n"),
	}
}

// sourced are the snippets that a client's script sources into its own shell, each with the client's name.
func sourced() map[string]string {
	return map[string]string{"dhclient-exit-hooks.d/uplinkd": "dhclient", "dhcpcd-hooks/90-uplinkd": "dhcpcd"}
}

// TestSourcedSnippetIsHarmless: whatever the program does, and whatever options the shell has, the script that sources the
// snippet goes on with its variables as they were: anything else makes dhclient decline its lease, and dhcpcd's script leave
// out the hooks that follow.
func TestSourcedSnippetIsHarmless(t *testing.T) {
	for name := range sourced() {
		t.Run(name, func(t *testing.T) { sourcedIsHarmless(t, name) })
	}
}

func sourcedIsHarmless(t *testing.T, name string) {
	for what, program := range badPrograms(t) {
		file := snippet(t, name, program)
		for _, shell := range shells(t) {
			for _, options := range []string{":", "set -e", "set -u", "set -eu", "set -C", "set -f", "IFS=/", "PATH=", "umask 777", "exec <&-", "unset PATH HOME"} {
				text := options + "\nexit_status=7; reason=BOUND; new_routers='$(echo pwned >&2)'\nexport new_routers\n. " + file +
					"\necho \"$? $exit_status $reason $-\" | { read -r a b c d; echo \"$a $b $c\"; }\nexit 0\n"
				if options == "PATH=" || options == "unset PATH HOME" || options == "IFS=/" {
					text = strings.Replace(text, `echo "$? $exit_status $reason $-" | { read -r a b c d; echo "$a $b $c"; }`, `echo "$? $exit_status $reason"`, 1)
				}
				cmd := exec.Command(shell[0], append(slices.Clone(shell[1:]), "-c", text)...)
				cmd.Stdin = strings.NewReader("the client's own input")
				out, err := cmd.CombinedOutput()
				if what == "killed" { // then the shell itself says so, in a line before
					out = out[bytes.LastIndexByte(bytes.TrimRight(out, "\n"), '\n')+1:]
				}
				if err != nil || string(out) != "0 7 BOUND\n" {
					t.Errorf("%s, program %s, %s: %v, printed %q", shell, what, options, err, out)
				}
			}
		}
	}
}

// recorder is a program that writes its arguments and one variable into a file.
func recorder(t *testing.T) (program, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "calls")
	return script(t, "#!/bin/sh\n{ for a; do printf '<%s>' \"$a\"; done; printf ' %s\\n' \"${new_routers-unset}\"; } >>'"+file+"'\nexit 5\n"), file
}

func TestSourcedSnippetPassesTheEnvironmentUntouched(t *testing.T) {
	for name, client := range sourced() {
		t.Run(name, func(t *testing.T) { passesTheEnvironment(t, name, client) })
	}
}

func passesTheEnvironment(t *testing.T, name, client string) {
	program, calls := recorder(t)
	file := snippet(t, name, program)
	// $1 is the hook's own path where dhclient-script sources it: it is not passed on.
	cmd := exec.Command("/bin/sh", "-c", ". "+file, "sh", "/etc/dhcp/x")
	cmd.Env = []string{"new_routers=$(touch /tmp/pwned) `id` ;* \n two"}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v, printed %q", err, out)
	}
	got, err := os.ReadFile(calls)
	if d := cmp.Diff("<"+client+"> $(touch /tmp/pwned) `id` ;* \n two\n", string(got)); d != "" || err != nil {
		t.Error(err, d)
	}
}

// TestPPPSnippets: run-parts executes them with pppd's arguments; the script's name goes first.
func TestPPPSnippets(t *testing.T) {
	for _, kind := range []string{"ip-pre-up", "ip-up", "ip-down", "ipv6-up", "ipv6-down"} {
		name := "ppp/" + kind + ".d/uplinkd"
		if info, err := os.Stat(filepath.Join(hooksDir, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v, want mode 0755", name, info.Mode(), err)
		}
		program, calls := recorder(t)
		for what, program := range badPrograms(t) {
			cmd := exec.Command(snippet(t, name, program), "ppp0")
			cmd.Env = []string{} // as pppd: no PATH
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s, program %s: %v, printed %q", name, what, err, out)
			}
		}
		file := snippet(t, name, program)
		for _, args := range [][]string{{"a$(id)b", "", "0", "10.64.0.100", "10.64.0.1", "two words"}, {"ppp0", "tty", "0", "10.64.0.100", "10.64.0.1"}} {
			if out, err := exec.Command(file, args...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v, printed %q", name, err, out)
			}
		}
		got, err := os.ReadFile(calls)
		want := "<ppp><" + kind + "><a$(id)b><><0><10.64.0.100><10.64.0.1><two words> unset\n" +
			"<ppp><" + kind + "><ppp0><tty><0><10.64.0.100><10.64.0.1> unset\n"
		if d := cmp.Diff(want, string(got)); d != "" || err != nil {
			t.Error(err, d)
		}
	}
}

// snippets are the paths of all snippets: every file under hooks/ that is no text for people.
func snippets(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(hooksDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) < 11 {
		t.Fatalf("snippets: %q, %v", found, err)
	}
	return found
}

func TestSnippetsAreCleanShell(t *testing.T) {
	for _, file := range snippets(t) {
		if strings.Contains(filepath.Base(file), ".") {
			t.Errorf("%s: run-parts leaves out names with a dot", file)
		}
		for _, shell := range shells(t) {
			if out, err := exec.Command(shell[0], append(slices.Clone(shell[1:]), "-n", file)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n %s: %v\n%s", shell, file, err, out)
			}
		}
	}
	path, err := exec.LookPath("shellcheck")
	if err != nil {
		skip(t, "shellcheck is not installed")
	}
	if out, err := exec.Command(path, append([]string{"-s", "sh", "-o", "all"}, snippets(t)...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// TestSourcedSnippetIsOneCommand: more would be more that can go wrong.
func TestSourcedSnippetIsOneCommand(t *testing.T) {
	for name := range sourced() {
		b, err := os.ReadFile(filepath.Join(hooksDir, name))
		if err != nil {
			t.Fatal(err)
		}
		var commands []string
		for l := range strings.Lines(string(b)) {
			if !strings.HasPrefix(l, "#") {
				commands = append(commands, strings.TrimSpace(l))
			}
		}
		if len(commands) != 1 || strings.ContainsAny(commands[0], "$`\"'") {
			t.Errorf("%s: commands: %q", name, commands)
		}
	}
}

// TestDebianRunsThem: run-parts, by which Debian's dhclient-script and ppp find their hooks, takes these names.
func TestDebianRunsThem(t *testing.T) {
	path, err := exec.LookPath("run-parts")
	if err != nil {
		skip(t, "run-parts is not installed")
	}
	for _, file := range snippets(t) {
		if filepath.Ext(filepath.Dir(file)) != ".d" {
			continue // run by other means
		}
		flag := "--test"
		if strings.Contains(file, "dhclient") {
			flag = "--list"
		}
		out, err := exec.Command(path, flag, filepath.Dir(file)).Output()
		if err != nil || strings.TrimSpace(string(out)) != file {
			t.Errorf("run-parts %s: %v, %q", flag, err, out)
		}
	}
}
