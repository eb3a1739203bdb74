package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// clockBoottime is CLOCK_BOOTTIME (linux/time.h): it goes on while the machine sleeps.
const clockBoottime = 7

// stamp says when this is.
func stamp() hookwire.Stamp {
	var ts syscall.Timespec
	s := hookwire.Stamp{Wall: time.Now().UnixNano(), PID: uint32(os.Getpid())}
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno == 0 {
		s.Boot = ts.Nano()
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.BootID = hookwire.ParseBootID(string(id))
	}
	return s
}

// netNS is the network namespace that this process is in, which is the one that linkIndex looks in.
func netNS() hookwire.NetNS {
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &st); err != nil {
		return hookwire.NetNS{} // no /proc here: the daemon takes the ifindex as it is
	}
	return hookwire.NetNS{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // uint32 on MIPS
}

// The numbers of a link request (rtnetlink(7), linux/if_link.h) that package syscall lacks.
const (
	iflaAltIfname = 53
	ifNameSize    = 16
)

// linkIndexBy is linkIndex, and 0 where the kernel does not say it by the deadline. It answers under its RTNL lock, which others
// may hold for as long as it takes to end a network namespace, and no timeout of a socket's ends that wait.
func linkIndexBy(name string, deadline time.Time) int {
	found := make(chan int, 1)
	go func() { found <- linkIndex(name) }()
	select {
	case index := <-found:
		return index
	case <-time.After(time.Until(deadline)):
		return 0
	}
}

// linkIndex is the ifindex of a link by its name or alternative name, 0 where there is none. It asks rtnetlink, not
// SIOCGIFINDEX: for a link that is gone (ppp0 at ip-down) that one makes the kernel start modprobe.
func linkIndex(name string) int {
	name, _, _ = strings.Cut(name, ":") // "eth0:1" is an address label of eth0
	if name == "" || strings.ContainsRune(name, 0) {
		return 0
	}
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return 0
	}
	defer syscall.Close(fd)
	c := conn{fd: fd, deadline: time.Now().Add(limit)}
	if err := c.send(linkRequest(name)); err != nil {
		return 0
	}
	// The answer is there when the request has been sent, however long that took. Its first bytes do: the kernel cuts the rest off.
	c.deadline = time.Now().Add(limit)
	var answer struct {
		syscall.NlMsghdr
		syscall.IfInfomsg
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer))
	if n, err := c.Read(b); err != nil || n < len(b) || answer.NlMsghdr.Type != syscall.RTM_NEWLINK {
		return 0
	}
	return int(answer.Index)
}

// linkRequest is RTM_GETLINK for one name.
func linkRequest(name string) []byte {
	kind := uint16(syscall.IFLA_IFNAME)
	if len(name) >= ifNameSize {
		kind = iflaAltIfname
	}
	var request struct {
		syscall.NlMsghdr
		syscall.IfInfomsg
		syscall.RtAttr
		name [hookwire.MaxInterface + 1]byte
	}
	n := copy(request.name[:hookwire.MaxInterface], name)
	size := int(unsafe.Offsetof(request.name)) + n + 1
	request.NlMsghdr = syscall.NlMsghdr{Len: uint32(size), Type: syscall.RTM_GETLINK, Flags: syscall.NLM_F_REQUEST, Seq: 1}
	request.RtAttr = syscall.RtAttr{Len: uint16(syscall.SizeofRtAttr + n + 1), Type: kind}
	return unsafe.Slice((*byte)(unsafe.Pointer(&request)), unsafe.Sizeof(request))[:size]
}

// log writes one line to the system's log, if there is one that takes it at once. Standard error is the client's.
func (h *hook) log(err error) {
	fd, sockErr := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if sockErr != nil {
		return
	}
	defer syscall.Close(fd)
	const daemonWarning = 3<<3 | 4 // syslog(3)
	line := fmt.Sprintf("<%d>uplink-hook[%d]: %s", daemonWarning, os.Getpid(), printable(err.Error()))
	// Nobody is left to tell of a failure here.
	_ = syscall.Sendto(fd, []byte(line), syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, &syscall.SockaddrUnix{Name: h.logSocket})
}

// printable keeps a line one line, and short.
func printable(s string) string {
	s = s[:min(len(s), 600)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
