package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnvInside is set in the environment of a process that is in its own namespaces already: Isolate leaves it where it is.
const EnvInside = "UPLINKD_TESTNET_INSIDE"

// The environment variables with which the process tells its own re-executions what they are.
const (
	envSetup = "UPLINKD_TESTNET_SETUP" // set: new namespaces, to be made usable
	envEnter = "UPLINKD_TESTNET_ENTER" // path of a network namespace: enter it, then exec os.Args
)

// TestingM is what Main wants of a *testing.M.
type TestingM interface{ Run() int }

// Main is the body of a TestMain: it runs the tests in namespaces of their own and ends the process with their status.
// Where the system forbids that, it says in one line how to mend it and fails: it never passes silently.
func Main(m TestingM) {
	inside, code, err := Isolate()
	if err != nil {
		fmt.Fprintf(os.Stderr, "testnet: %v\n", err)
		os.Exit(1)
	}
	if inside {
		code = m.Run()
	}
	os.Exit(code)
}

// Isolate re-executes the running program in a new user, network and mount namespace, as root there. In the outer
// process it returns inside false and the inner one's exit status when that has ended; in the inner process it
// returns inside true at once. It has to be called first thing in main or TestMain: Command goes through it as well.
//
// Real root gets a user namespace too, so that both ways meet the same limits; root keeps all its user ids in it.
func Isolate() (inside bool, code int, err error) {
	if ns := os.Getenv(envEnter); ns != "" {
		return false, 1, enterAndExec(ns)
	}
	if os.Getenv(EnvInside) != "" {
		return true, 0, nil
	}
	if os.Getenv(envSetup) != "" {
		if err := prepare(); err != nil {
			return false, 1, fmt.Errorf("%w; %s", err, mend())
		}
		return true, 0, nil
	}
	code, err = runInside()
	return false, code, err
}

// runInside starts the program again in new namespaces and hands signals on until it ends.
func runInside() (int, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), envSetup+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings:                idMap("/proc/self/uid_map", os.Getuid()),
		GidMappings:                idMap("/proc/self/gid_map", os.Getgid()),
		GidMappingsEnableSetgroups: maySetgroups(),
		Pdeathsig:                  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("make a user, network and mount namespace: %w; %s", err, mend())
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may have ended just now
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	return exitCode(cmd, err)
}

// exitCode is the shell's convention: the status, or 128 and the signal's number.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("wait for the process in the namespace: %w", err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// idMap maps id to 0; root, who may, keeps every id that it has (user_namespaces(7)), so that programs which give up
// root after their start, and files of other users, work as outside.
func idMap(file string, id int) []syscall.SysProcIDMap {
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	if os.Getuid() != 0 || id != 0 {
		return one
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return one
	}
	var all []syscall.SysProcIDMap
	for line := range strings.Lines(string(text)) {
		var first, outer, size int
		if n, _ := fmt.Sscan(line, &first, &outer, &size); n == 3 {
			all = append(all, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
		}
	}
	if len(all) == 0 {
		return one
	}
	return all
}

// maySetgroups says whether the namespace may keep setgroups(2): not without privilege, where the kernel wants it off
// before it takes a gid map, and not where an outer namespace has it off already (user_namespaces(7)).
func maySetgroups() bool {
	v, err := os.ReadFile("/proc/self/setgroups")
	return os.Getuid() == 0 && err == nil && strings.TrimSpace(string(v)) == "allow"
}

// mend says what would allow namespaces here.
func mend() string {
	for _, s := range []struct{ path, bad, good string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=1000"},
	} {
		if v, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(v)) == s.bad {
			return "user namespaces are forbidden here: run as root, or: sudo sysctl -w " + s.good
		}
	}
	return "user namespaces are forbidden here (in a container: run it with --privileged); run as root"
}
