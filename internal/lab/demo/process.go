package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// grace is how long the daemon may take to end.
const grace = 3 * time.Second

// daemon is the running uplinkd.
type daemon struct {
	cmd *exec.Cmd
	log string // path of what it writes
	end chan error
}

func (s *story) startDaemon() (*daemon, error) {
	conf := filepath.Join(s.dir, "uplinkd.toml")
	if err := s.writeConfig(conf); err != nil {
		return nil, err
	}
	d := &daemon{log: filepath.Join(s.dir, "uplinkd.log"), end: make(chan error, 1)}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("start uplinkd: %w", err)
	}
	defer log.Close()
	d.cmd = s.lab.Host.Command(filepath.Join(s.bin, "uplinkd"), "--runtime-dir", s.dir, "--state-dir", s.dir,
		"--config", conf, "--log-format", "console")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start uplinkd: %w", err)
	}
	go func() { d.end <- d.cmd.Wait() }()
	s.closers = append(s.closers, func() { _ = d.cmd.Process.Kill() }) // after stop it has ended already
	return d, nil
}

// stop asks it to end, and is nil when it ended with status 0.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("send SIGTERM: %w", err)
	}
	select {
	case err := <-d.end:
		return err
	case <-time.After(grace):
		return errors.New("still runs after SIGTERM")
	}
}

// complain is the end of its log, as an error; nil without a daemon.
func (d *daemon) complain() error {
	if d == nil {
		return nil
	}
	text, err := os.ReadFile(d.log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("the end of uplinkd's log:\n%s", indent(strings.Join(lines[max(0, len(lines)-30):], "\n")))
}

// hook runs uplink-hook on the host with more environment, as a client would.
func (s *story) hook(env []string, args ...string) (string, error) {
	cmd := s.lab.Host.Command(filepath.Join(s.bin, "uplink-hook"), append([]string{"--runtime-dir", s.dir}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs one of the programs on the host and gives what it prints.
func (s *story) run(_ context.Context, name string, args ...string) (string, error) {
	out, err := s.lab.Host.Command(filepath.Join(s.bin, name), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
