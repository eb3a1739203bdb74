package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace. It lives until Close, and as long as a process or a socket is in it.
type NS struct {
	Name string // for messages only
	file *os.File
	link *netlink.Handle
}

// Open makes a new network namespace with loopback up. IPv6 addresses are usable in it at once: duplicate address
// detection is off for links to come (accept_dad; Sysctl can turn it on again for one link).
func Open(name string) (*NS, error) {
	n := &NS{Name: name}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		n.file = f
		if n.link, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		// /proc/sys may be read-only in a container; then addresses are tentative for a second.
		_ = writeSysctl("net/ipv6/conf/default/accept_dad", "0")
		return loopbackUp()
	})
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	return n, nil
}

// Current is the namespace that the calling thread is in.
func Current(name string) (*NS, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open current namespace: %w", err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open a netlink socket in namespace %s: %w", name, err)
	}
	return &NS{Name: name, file: f, link: h}, nil
}

// Close lets go of the namespace; the kernel removes it when nobody else is in it.
func (n *NS) Close() {
	if n.link != nil {
		n.link.Close()
	}
	if n.file != nil {
		_ = n.file.Close() // opened for reading: nothing can be lost
	}
}

// Fd is the namespace's file descriptor, as setns(2) takes it; valid until Close.
func (n *NS) Fd() int { return int(n.file.Fd()) }

// Path names the namespace for other processes, as "nsenter --net=PATH" takes it; valid until Close.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()) }

// Run calls f in the namespace, on the caller's goroutine. Sockets that f itself opens stay in the namespace for good;
// goroutines that f starts are not in it.
func (n *NS) Run(f func() error) error {
	err := onThread(func() error {
		if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter: %w", err)
		}
		return f()
	})
	if err != nil {
		return fmt.Errorf("namespace %s: %w", n.Name, err)
	}
	return nil
}

// onThread calls f with the goroutine locked to its thread, and puts the thread back into the namespace where it was,
// also when f panics or ends the goroutine (t.FailNow).
func onThread(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's namespace: %w", err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("testnet: cannot return to the namespace that the thread came from: %v", err))
		}
		_ = home.Close()
		runtime.UnlockOSThread()
	}()
	return f()
}

// Command is exec.Command for a program that is to run in the namespace, with a /sys that shows it. It dies with the
// calling process. The program starts by way of this one's Isolate, which enters the namespace and execs: the process id
// stays, and the program's standard files and ExtraFiles are as given. To add to its environment, append to Env.
func (n *NS) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	if cmd.Err != nil {
		return cmd
	}
	cmd.Args[0], cmd.Path = cmd.Path, "/proc/self/exe"
	cmd.Env = append(os.Environ(), envEnter+"="+n.Path())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// enterAndExec turns this process into the program os.Args in the namespace at path; it returns on failure only.
func enterAndExec(path string) error {
	runtime.LockOSThread()
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	_ = f.Close()
	if unix.Unshare(unix.CLONE_NEWNS) == nil {
		mountSysfs()
	}
	env := os.Environ()
	for i, e := range env {
		if strings.HasPrefix(e, envEnter+"=") {
			env = append(env[:i], env[i+1:]...)
			break
		}
	}
	return fmt.Errorf("exec %s: %w", os.Args[0], unix.Exec(os.Args[0], os.Args, env))
}

// Sysctl writes a sysctl of the namespace; path is relative to /proc/sys, as "net/ipv4/ip_forward".
func (n *NS) Sysctl(path, value string) error {
	return n.Run(func() error { return writeSysctl(path, value) })
}

// writeSysctl writes for the calling thread's namespace: /proc/sys/net is the one of whoever opens it.
func writeSysctl(path, value string) error {
	if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", path, value, err)
	}
	return nil
}

// loopbackUp sets lo up in the calling thread's namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// errNoLink says that a device is not in the namespace.
var errNoLink = errors.New("no such device")

// dev finds a device by its name; "" is no device and gives index 0.
func (n *NS) dev(name string) (netlink.Link, error) {
	l, err := n.link.LinkByName(name)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			err = errNoLink
		}
		return nil, fmt.Errorf("namespace %s: find %s: %w", n.Name, strconv.Quote(name), err)
	}
	return l, nil
}
