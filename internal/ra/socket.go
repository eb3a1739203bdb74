package ra

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

const (
	// groupNDUserOption is RTNLGRP_ND_USEROPT (linux/rtnetlink.h): options of advertisements that the kernel has taken. The
	// prefix information is among them since Linux 6.6, and in the stable series since then. It needs no capability.
	groupNDUserOption = 20
	// largest is more than an option of at most 255*8 octets with all that is around it.
	largest = 8 << 10
)

// socket is one that waits in Go's poller.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

func newSocket(fd int, name string) (*socket, error) {
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open a %s: %w", name, err)
	}
	return &socket{file: f, raw: raw}, nil
}

func (s *socket) close() { s.file.Close() }

// closeWith ends the reader when the context ends.
func (s *socket) closeWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) }) // closed: has ended anyway
}

// linkName is for people, by the namespace that the socket is in.
func (s *socket) linkName(index int) string {
	name := fmt.Sprint(index)
	var ifr unix.Ifreq
	ifr.SetUint32(uint32(index))
	_ = s.raw.Control(func(fd uintptr) { // netdevice(7)
		if unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, &ifr) == nil {
			name = rpdb.Printable(ifr.Name())
		}
	})
	return name
}

// received is a datagram with its control messages, and where from.
type received struct {
	data, oob []byte
	from      unix.Sockaddr
}

// receive waits for the next datagram. One that does not fit is passed over, and so is the word that some were lost: routers
// repeat themselves.
func (s *socket) receive(buf, oob []byte) (r received, err error) {
	for {
		wait := s.raw.Read(func(fd uintptr) bool {
			var n, noob, flags int
			n, noob, flags, r.from, err = unix.Recvmsg(int(fd), buf, oob, 0)
			switch {
			case err == nil && flags&unix.MSG_TRUNC != 0:
				err = unix.ENOBUFS
			case err == nil:
				r.data, r.oob = buf[:n], oob[:noob]
			}
			return !errors.Is(err, unix.EAGAIN)
		})
		switch {
		case wait != nil:
			return r, wait
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR):
			return r, err
		}
	}
}

// openOptions subscribes to the options that the kernel passes on. All but prefix information is dropped before it wakes anybody.
func openOptions() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: unix.SizeofNlMsghdr + sizeNDMessage},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typePrefixInfo, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	if err := setUpOptions(fd, filter); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return newSocket(fd, "netlink socket")
}

func setUpOptions(fd int, filter []unix.SockFilter) error {
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
		return fmt.Errorf("attach a filter to a netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNDUserOption - 1)}); err != nil {
		return fmt.Errorf("subscribe to neighbour discovery options: %w", err)
	}
	return nil
}

// options reads what the kernel passes on, and nobody else.
func (s *socket) options(buf []byte) ([]announcement, error) {
	for {
		r, err := s.receive(buf, nil)
		if err != nil {
			return nil, fmt.Errorf("read neighbour discovery options: %w", err)
		}
		if sa, ok := r.from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
			as, err := decodeDatagram(r.data)
			if err != nil {
				err = &malformed{err}
			}
			return as, err
		}
	}
}

// malformed is what is wrong with a message; the socket is as good as before.
type malformed struct{ error }

func (m *malformed) Unwrap() error { return m.error }
