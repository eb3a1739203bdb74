package testnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// envRole has a re-execution of this test binary do something other than to run the tests.
const envRole = "UPLINKD_TESTNET_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "":
		Main(m)
	case "status":
		Main(run(func() int { return 42 }))
	case "signal":
		Main(run(func() int {
			got := make(chan os.Signal, 1)
			signal.Notify(got, unix.SIGTERM)
			fmt.Println("ready")
			<-got
			return 43
		}))
	case "killed":
		Main(run(func() int {
			_ = syscall.Kill(os.Getpid(), unix.SIGKILL)
			return 0
		}))
	case "parent":
		Main(run(func() int {
			n, err := Current("here")
			if err != nil {
				return 1
			}
			child := n.Command("/bin/sh", "-c", "echo ready; read forever")
			child.Stdin, child.Stdout = os.Stdin, os.Stdout
			if err := child.Start(); err != nil {
				return 1
			}
			_ = child.Wait()
			return 0
		}))
	case "mounts":
		Main(run(func() int {
			fmt.Println(os.WriteFile("/run/testnet-was-here", nil, 0o600))
			_ = os.WriteFile("/etc/testnet-was-here", nil, 0o600) // an ordinary user may not
			return 0
		}))
	}
}

// run is a body for Main.
type run func() int

func (f run) Run() int { return f() }

// again is this binary as somebody outside would start it.
func again(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, EnvInside+"=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, envRole+"="+role)
	return cmd
}

func TestRootInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Errorf("uid %d inside, want 0", os.Getuid())
	}
}

func TestMainPassesTheStatusOn(t *testing.T) {
	for role, want := range map[string]int{"status": 42, "killed": 128 + int(unix.SIGKILL)} {
		var exit *exec.ExitError
		if err := again(role).Run(); !errors.As(err, &exit) || exit.ExitCode() != want {
			t.Errorf("%s: %v, want exit status %d", role, err, want)
		}
	}
}

func TestMainPassesSignalsOn(t *testing.T) {
	cmd := again("signal")
	out, err := cmd.StdoutPipe()
	Must(t, err)
	Must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	Must(t, cmd.Process.Signal(unix.SIGTERM))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 43 {
		t.Errorf("%v, want exit status 43 from the inner process's own handler", err)
	}
}

// TestNothingOutlivesMain: when the outer process is killed, the inner one and its commands go too. They hold the pipe
// that the test reads, so its end is the proof.
func TestNothingOutlivesMain(t *testing.T) {
	cmd := again("parent")
	in, hold, err := os.Pipe()
	Must(t, err)
	defer hold.Close()
	cmd.Stdin = in
	out, give, err := os.Pipe()
	Must(t, err)
	defer out.Close()
	cmd.Stdout = give
	Must(t, cmd.Start(), give.Close())
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	Must(t, cmd.Process.Kill(), out.SetReadDeadline(time.Now().Add(5*time.Second)))
	_ = cmd.Wait() // killed
	if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a command lives on: %v", err)
	}
}

// TestMountsArePrivate: what is written to /run and /etc inside is seen by nobody outside.
func TestMountsArePrivate(t *testing.T) {
	if _, err := os.Stat("/run/current-system"); err == nil {
		Skip(t, "the system itself lives in /run")
	}
	out, err := again("mounts").Output()
	Must(t, err)
	if string(out) != "<nil>\n" {
		t.Errorf("inside, writing to /run: %s", out)
	}
	for _, file := range []string{"/run/testnet-was-here", "/etc/testnet-was-here"} {
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s was written inside, and is seen outside", file)
		}
	}
}

// TestForbidden: where there can be no namespaces, Main fails and says how to mend that.
func TestForbidden(t *testing.T) {
	const limit = "/proc/sys/user/max_user_namespaces" // that of this process's own user namespace
	before, err := os.ReadFile(limit)
	Must(t, err)
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		Skip(t, err.Error())
	}
	var stderr strings.Builder
	cmd := again("status")
	cmd.Stderr = &stderr
	err = cmd.Run()
	Must(t, os.WriteFile(limit, before, 0))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	want := "testnet: make a user, network and mount namespace: fork/exec /proc/self/exe: no space left on device; " +
		"user namespaces are forbidden here: run as root, or: sudo sysctl -w user.max_user_namespaces=1000\n"
	if diff := cmp.Diff(want, stderr.String()); diff != "" {
		t.Error(diff)
	}
}
