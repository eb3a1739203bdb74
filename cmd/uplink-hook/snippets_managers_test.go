package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// managerSnippet is a snippet that a network manager or a VPN executes.
type managerSnippet struct {
	client   string
	passArgs bool // whether it hands its arguments on
	unsets   bool // whether its caller passes on the environment that it was started with
}

func managerSnippets() map[string]managerSnippet {
	networkd := managerSnippet{client: "networkd-dispatcher", unsets: true}
	ifupdown := managerSnippet{client: "ifupdown", unsets: true}
	return map[string]managerSnippet{
		"NetworkManager/dispatcher.d/90-uplinkd":   {client: "networkmanager", passArgs: true},
		"networkd-dispatcher/routable.d/uplinkd":   networkd,
		"networkd-dispatcher/degraded.d/uplinkd":   networkd,
		"networkd-dispatcher/no-carrier.d/uplinkd": networkd,
		"networkd-dispatcher/off.d/uplinkd":        networkd,
		"network/if-up.d/uplinkd":                  ifupdown,
		"network/if-down.d/uplinkd":                ifupdown,
		"openvpn/uplinkd":                          {client: "openvpn"},
	}
}

// managerRecorder is a program that writes its arguments and what it has of some variables into a file, and fails.
func managerRecorder(t *testing.T) (program, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "calls")
	text := "#!/bin/sh\n{ for a; do printf '<%s>' \"$a\"; done\n"
	for _, v := range append([]string{"IF_ADDRESS"}, runtimeVariables()...) {
		text += "printf ' %s' \"${" + v + "-unset}\"\n"
	}
	return script(t, text+"echo; } >>'"+file+"'\necho to stdout; echo to stderr >&2\nexit 5\n"), file
}

// TestManagerSnippetsAreHarmless: whatever stands where the program should be, and whatever the caller's environment and
// descriptors are, they exit 0 and print nothing. ifup says that it failed otherwise, and does not run the scripts after it.
func TestManagerSnippetsAreHarmless(t *testing.T) {
	for name := range managerSnippets() {
		if info, err := os.Lstat(filepath.Join(hooksDir, name)); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v, want a file of mode 0755", name, info.Mode(), err)
		}
		for what, program := range badPrograms(t) {
			file := snippet(t, name, program)
			for _, shell := range shells(t) {
				for _, env := range [][]string{{}, {"PATH=", "IFS=/", "ENV=/nonexistent", "GODEBUG=x", "GOGC=x"}} {
					cmd := exec.Command(shell[0], append(slices.Clone(shell[1:]), file, "wan0", "up")...)
					cmd.Env = env
					cmd.Stdin = strings.NewReader("the caller's own input")
					out, err := cmd.CombinedOutput()
					if what == "killed" && strings.Count(string(out), "\n") == 1 && strings.Contains(string(out), " Killed ") {
						out = nil // the line of a shell that is bash: it says so itself
					}
					if err != nil || len(out) > 0 {
						t.Errorf("%s, %s, program %s: %v, printed %q", name, shell, what, err, out)
					}
				}
			}
			for _, closed := range []string{"<&- >&- 2>&-", "</dev/full >/dev/full 2>/dev/full"} {
				if out, err := exec.Command("/bin/sh", "-c", file+" wan0 up "+closed).CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s with %s, program %s: %v, printed %q", name, closed, what, err, out)
				}
			}
		}
	}
}

// TestManagerSnippetsPassTheirCall: with the environment as it is, less what would change a Go program, and with the arguments
// where they say something.
func TestManagerSnippetsPassTheirCall(t *testing.T) {
	const value = "$(touch /tmp/pwned) `id` ;* \n two"
	env := []string{"IF_ADDRESS=" + value, "PATH=/usr/bin:/bin"}
	for _, v := range runtimeVariables() {
		env = append(env, v+"=x")
	}
	for name, s := range managerSnippets() {
		for _, shell := range shells(t) {
			for _, args := range [][]string{{"wan0", "up"}, {"a$(id)b", "", "*", "two words"}, nil} {
				program, calls := managerRecorder(t)
				cmd := exec.Command(shell[0], slices.Concat(shell[1:], []string{snippet(t, name, program)}, args)...)
				cmd.Env = env
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s %s %q: %v, printed %q", name, shell, args, err, out)
				}
				want := "<" + s.client + ">"
				for _, a := range args {
					if s.passArgs {
						want += "<" + a + ">"
					}
				}
				seen := "x"
				if s.unsets {
					seen = "unset"
				}
				want += " " + value + strings.Repeat(" "+seen, len(runtimeVariables())) + "\n"
				got, err := os.ReadFile(calls)
				if d := cmp.Diff(want, string(got)); d != "" || err != nil {
					t.Errorf("%s %s %q: %v %s", name, shell, args, err, d)
				}
			}
		}
	}
}

// TestSnippetsOfStatesAreOne: the file is the same in the directories of all states and phases.
func TestSnippetsOfStatesAreOne(t *testing.T) {
	same := map[string]string{}
	for name, s := range managerSnippets() {
		b, err := os.ReadFile(filepath.Join(hooksDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if first, ok := same[s.client]; ok && first != string(b) {
			t.Errorf("%s differs from the others of %s", name, s.client)
		}
		same[s.client] = string(b)
	}
}

// TestIfupRunsTheScriptsAfterOurs: as ifupdown starts them. A script that fails ends the row, which shows that the test can.
func TestIfupRunsTheScriptsAfterOurs(t *testing.T) {
	path, err := exec.LookPath("run-parts")
	if err != nil {
		skip(t, "run-parts is not installed")
	}
	row := func(ours string) string {
		dir := t.TempDir()
		b, err := os.ReadFile(ours)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"uplinkd": string(b), "wireless-tools": "#!/bin/sh\necho the next one\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(path, "--exit-on-error", dir).Output()
		return fmt.Sprintf("%s%v", out, err)
	}
	for what, program := range badPrograms(t) {
		for _, dir := range []string{"if-up.d", "if-down.d"} {
			if got := row(snippet(t, "network/"+dir+"/uplinkd", program)); got != "the next one\n<nil>" {
				t.Errorf("%s, program %s: %q", dir, what, got)
			}
		}
	}
	if got := row(script(t, "#!/bin/sh\nexit 1\n")); strings.Contains(got, "the next one") {
		t.Errorf("a script that fails: %q", got)
	}
}

// wgQuickLine is what hooks/README.md gives for PostUp and PreDown; wg-quick puts the interface's name in place of %i.
const wgQuickLine = installed + " wg-quick %s %%i </dev/null >/dev/null 2>&1 || true"

// TestWGQuickLines: wg-quick(8) evaluates them with bash, in a subshell under set -e, and takes the interface down where one
// fails.
func TestWGQuickLines(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		skip(t, "bash is not installed")
	}
	run := func(line string) string {
		cmd := exec.Command(bash, "-c", `set -e -o pipefail; shopt -s extglob; hook="$1"; hook="${hook//%i/wg0}"; (eval "$hook"); echo still up`, "wg-quick", line)
		out, err := cmd.CombinedOutput()
		return fmt.Sprintf("%s%v", out, err)
	}
	for _, action := range []string{"up", "down"} {
		line := fmt.Sprintf(wgQuickLine, action)
		for what, program := range badPrograms(t) {
			got := run(strings.Replace(line, installed, program, 1))
			if what == "killed" { // then the shell itself may say so, in a line before
				got = got[strings.LastIndex(strings.TrimSuffix(got, "\n<nil>"), "\n")+1:]
			}
			if got != "still up\n<nil>" {
				t.Errorf("%s, program %s: %q", action, what, got)
			}
		}
		program, calls := managerRecorder(t)
		run(strings.Replace(line, installed, program, 1))
		if got, err := os.ReadFile(calls); err != nil || !strings.HasPrefix(string(got), "<wg-quick><"+action+"><wg0> ") {
			t.Errorf("%s: %q, %v", action, got, err)
		}
		if got := run(script(t, "#!/bin/sh\nexit 1\n")); strings.Contains(got, "still up") {
			t.Errorf("a line that fails: %q", got)
		}
	}
}
