package e2e

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// guestInit is the first program of the guest: it makes the root file system and runs the command.
//
//go:embed guest-init.sh
var guestInit string

// moduleDir is where Debian's user-mode-linux package has the guest's kernel modules.
const moduleDir = "/usr/lib/uml/modules"

// Guest is a User-Mode Linux that sees the file system of this machine, copy-on-write: what it changes is gone when it
// ends, but for what it writes to Out. It has the network devices that it makes itself, and no other.
type Guest struct {
	Modules  []string      // kernel modules to load, by name
	Env      []string      // "KEY=value", in addition to PATH and HOME
	Memory   int           // MiB; 0: 512
	Deadline time.Duration // for the whole run; 0: two minutes
}

// Result is what a command in a guest left behind.
type Result struct {
	Output string // standard output and standard error
	Status int    // exit status
	Out    string // the directory that the guest saw as /out
}

// NeedGuest skips the test where no guest can run.
func NeedGuest(t testing.TB) {
	t.Helper()
	testnet.Need(t, "linux.uml")
	if _, err := os.Stat(moduleDir); err != nil {
		testnet.Skip(t, "no kernel modules for User-Mode Linux: "+err.Error())
	}
	// The guest takes the owners of files as they are seen here. In an ordinary user's namespace root's belong to nobody,
	// and set-user-id programs, mount for one, would give up root in the guest.
	var root syscall.Stat_t
	if err := syscall.Stat("/", &root); err != nil || root.Uid != 0 {
		testnet.Skip(t, "User-Mode Linux needs a file system whose files are root's: run the tests as root")
	}
}

// Run boots a guest, runs a command in it as root, and returns when the guest is down. It ends the test where the
// command did not come to its end; its exit status is the caller's to judge.
func (g Guest) Run(t testing.TB, command ...string) Result {
	t.Helper()
	out := t.TempDir()
	var script strings.Builder
	for _, e := range g.Env {
		key, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&script, "export %s=%s\n", key, quote(value))
	}
	script.WriteString("exec")
	for _, word := range command {
		script.WriteString(" " + quote(word))
	}
	write(t, filepath.Join(out, "command"), script.String()+"\n")
	write(t, filepath.Join(out, "init"), guestInit)
	console, err := g.boot(t, out)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(out, "log")) // there may be none
		t.Fatalf("the guest did not come to its end: %v\n%s\n%s", err, console, log)
	}
	status, err := os.ReadFile(filepath.Join(out, "status"))
	if err != nil {
		t.Fatalf("the guest's command did not come to its end: %v\n%s", err, console)
	}
	r := Result{Out: out}
	if r.Status, err = strconv.Atoi(strings.TrimSpace(string(status))); err != nil {
		t.Fatalf("the guest's exit status: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(out, "log"))
	if err != nil {
		t.Fatal(err)
	}
	r.Output = string(text)
	return r
}

// boot runs the guest to its end, and returns what it said on its console.
func (g Guest) boot(t testing.TB, out string) (string, error) {
	memory, deadline := g.Memory, g.Deadline
	if memory == 0 {
		memory = 512
	}
	if deadline == 0 {
		deadline = 2 * time.Minute
	}
	console, err := os.Create(filepath.Join(out, "console"))
	if err != nil {
		return "", err
	}
	defer console.Close()
	// A process namespace of its own: when its first process ends, so do all the others that make up a guest. That one
	// is a shell, for linux.uml as the first process of a namespace does not find its end.
	cmd := exec.Command("/bin/sh", "-c", `"$@"; exit $?`, "sh",
		testnet.Need(t, "linux.uml"), fmt.Sprintf("mem=%dM", memory),
		"rootfstype=hostfs", "rootflags=/", "rw", "init="+filepath.Join(out, "init"), "con=null", "con0=fd:0,fd:1", "quiet",
		"OUT="+out, "MODULES="+strings.Join(g.Modules, ","))
	cmd.Stdout, cmd.Stderr = console, console
	// The guest keeps its memory in a file in /dev/shm, and its management socket under HOME.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + out}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start linux.uml: %w", err)
	}
	overdue := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !overdue.Stop() {
		err = fmt.Errorf("it was killed after %v: %w", deadline, err)
	}
	said, readErr := os.ReadFile(console.Name())
	return string(said), errors.Join(err, readErr)
}

// quote makes a word for sh.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// write writes a script.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
