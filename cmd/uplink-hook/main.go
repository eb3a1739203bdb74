// A short-lived program has no use for the runtime's reading of cgroup files at its start, and again every second.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command uplink-hook is what the hooks of DHCP clients and pppd call: it tells uplinkd what the client knows, waits
// until the kernel has been changed, one second at most, and exits 0 whatever happens.
//
// A client waits for its hook without a limit, and some throw their lease away when it fails. So nothing here may hang,
// fail or print, and nothing in the environment changes what it does. Only a person at a terminal, who tries a line for the
// client "generic", is told what is wrong with it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// version is set by the linker.
var version = "unknown"

// The limits of time. The talk leaves the rest of the second to the spool.
const (
	limit     = time.Second
	talkLimit = 800 * time.Millisecond
)

const usage = `Usage: uplink-hook [--runtime-dir DIR] CLIENT [ARG...]

Tells uplinkd what a client's hook was called with, and waits until the kernel
has been changed, one second at most. To be called by the hooks of a client;
always exits 0. Without a daemon the message is kept for its next start.

CLIENT: %s
For a client that is not among them: uplink-hook generic --help
`

func main() {
	syscall.Umask(0o077)
	h := hook{
		runtimeDir: hookwire.DefaultRuntimeDir, logSocket: "/dev/log", talkLimit: talkLimit,
		environ: os.Environ(), stdout: os.Stdout, terminal: terminal(),
	}
	time.AfterFunc(limit, func() {
		h.log(errors.New("out of time: the message may be lost"))
		os.Exit(0)
	})
	h.run(os.Args[1:])
	os.Exit(0)
}

// hook is one run of the program.
type hook struct {
	runtimeDir string
	logSocket  string
	talkLimit  time.Duration
	environ    []string
	stdout     io.Writer // for --help and --version only
	terminal   io.Writer // where the one who wrote a generic call may sit; nil: nobody
	generic    bool      // it is such a call
}

// run does all, and says in the system's log what went wrong.
func (h *hook) run(args []string) {
	defer func() {
		if r := recover(); r != nil {
			h.log(fmt.Errorf("internal error: %v", r))
		}
	}()
	if err := h.try(args); err != nil {
		h.log(err)
		h.tell(err)
	}
}

func (h *hook) try(args []string) error {
	if syscall.Getuid() != syscall.Geteuid() || syscall.Getgid() != syscall.Getegid() {
		return errors.New("refusing to run set-user-id or set-group-id")
	}
	args, done, err := h.options(args)
	if done || err != nil {
		return err
	}
	if done, err := h.checkGeneric(args); done || err != nil {
		return err
	}
	m, err := hookwire.Collect(args[0], args[1:], h.environ)
	if err != nil {
		return fmt.Errorf("%w; known are: %s", err, strings.Join(hookwire.Clients(), " "))
	}
	if m.Idle() {
		return nil
	}
	deadline := time.Now().Add(h.talkLimit)
	m.Stamp = stamp()
	m.NetNS = netNS()
	m.Index = linkIndexBy(m.Interface, deadline.Add(-h.talkLimit/2))
	return h.deliver(m, deadline)
}

// options takes the options off the front: what follows the client's name is the client's. It says whether all is done.
func (h *hook) options(args []string) (rest []string, done bool, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option, value, joined := strings.Cut(args[0], "=")
		switch {
		case args[0] == "--help", args[0] == "-h":
			fmt.Fprintf(h.stdout, usage, strings.Join(hookwire.Clients(), ", "))
			return nil, true, nil
		case args[0] == "--version":
			fmt.Fprintln(h.stdout, "uplink-hook", version)
			return nil, true, nil
		case option == "--runtime-dir" && joined:
			h.runtimeDir, args = value, args[1:]
		case option == "--runtime-dir" && len(args) > 1:
			h.runtimeDir, args = args[1], args[2:]
		default:
			return nil, false, fmt.Errorf("bad option %.40q; see uplink-hook --help", args[0])
		}
	}
	if len(args) == 0 || h.runtimeDir == "" {
		return nil, false, errors.New("no client or directory named; see uplink-hook --help")
	}
	return args, false, nil
}

// deliver brings the message to the daemon, or into the spool where that has not answered by the deadline.
func (h *hook) deliver(m hookwire.Message, deadline time.Time) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	reply, err := talk(filepath.Join(h.runtimeDir, hookwire.SocketName), b, deadline)
	switch {
	case err != nil:
		// Without an answer in time, too: the daemon has the message and goes on without us, unless it is stopped before it
		// comes to it. Told twice, it takes the second time for the same word.
		pushedOut, spoolErr := spool(h.runtimeDir, m, b)
		switch {
		case spoolErr != nil:
			return fmt.Errorf("message of %s for %.40q is lost: %w; %w", m.Client, m.Interface, err, spoolErr)
		case pushedOut > 0:
			return fmt.Errorf("the spool is full: %d of the oldest messages of the links with the most made room: %w", pushedOut, err)
		}
		return nil
	case !reply.OK:
		return fmt.Errorf("message of %s for %.40q: uplinkd says %.200q", m.Client, m.Interface, reply.Text)
	}
	return nil
}
