package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// program is a process that the test started, with its output in a file.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// run starts a program, as the leader of a process group of its own; the end of the test ends the group, and shows what it
// wrote where the test has failed.
func run(t *testing.T, log string, cmd *exec.Cmd) *program {
	t.Helper()
	f, err := os.Create(log)
	testnet.Must(t, err)
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	testnet.Must(t, cmd.Start())
	p := &program{t: t, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a program ended that was killed says nothing
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(log), p.text())
		}
	})
	return p
}

// kill ends the whole group at once, as systemd ends a service that hangs; it may have ended long ago.
func (p *program) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// signal sends a signal to the program itself.
func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	testnet.Must(p.t, p.cmd.Process.Signal(s))
}

// wait waits for the end.
func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s: still running after %v", filepath.Base(p.log), patience)
	}
}

func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *program) text() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// await waits until the program has written something.
func (p *program) await(text string) {
	p.t.Helper()
	testnet.Eventually(p.t, patience, func() error {
		if strings.Contains(p.text(), text) {
			return nil
		}
		return fmt.Errorf("%s says nothing of %q", filepath.Base(p.log), text)
	})
}
