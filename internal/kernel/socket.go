package kernel

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// eventBuffer is the size of the event socket's receive buffer that is asked for; the kernel doubles it. 4 MiB hold
	// about 5000 events, the default holds 256.
	eventBuffer = 4 << 20
	// datagram is the largest that the kernel makes for a dump (32 KiB, net/netlink/af_netlink.c: netlink_recvmsg); an
	// event with many attributes stays far below it.
	datagram = 64 << 10
	// replyTimeout ends the wait for an answer. rtnetlink answers while the request is being sent, so that only a
	// kernel in trouble ever lets it pass.
	replyTimeout = 10 * time.Second
)

// openRequests opens the socket for dumps and changes.
func openRequests() (*requests, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	port, err := setupRequests(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &requests{fd: fd, port: port, in: make([]byte, datagram)}, nil
}

func setupRequests(fd int) (port uint32, err error) {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("bind a netlink socket: %w", err)
	}
	wait := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return 0, fmt.Errorf("set a netlink socket's timeout: %w", err)
	}
	// Each of these only makes answers better or shorter, and an old kernel may lack it: the kernel's own words, no echo
	// of the request (4.3), and dumps of one table (4.20).
	for _, opt := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, opt, 1)
	}
	return localPort(fd)
}

func localPort(fd int) (uint32, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("read a netlink socket's port id: %w", err)
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("read a netlink socket's port id: its address is a %T", sa)
	}
	return nl.Pid, nil
}

// eventGroups are all the multicast groups that change what a snapshot holds (RTNLGRP_*, linux/rtnetlink.h).
func eventGroups() uint32 {
	var mask uint32
	for _, group := range []int{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_NEXTHOP, // since Linux 5.3; before, the kernel passes it over
	} {
		mask |= 1 << (group - 1)
	}
	return mask
}

// openEvents opens the event socket, with its filter in place before the first event can arrive. The file is in Go's
// poller, so that a reader ends when it is closed or its deadline passes.
func openEvents(filter []unix.SockFilter) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink event socket: %w", err)
	}
	if err := setupEvents(fd, filter); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink events"), nil
}

func setupEvents(fd int, filter []unix.SockFilter) error {
	// SO_RCVBUFFORCE wants privilege over the initial user namespace; SO_RCVBUF gives what net.core.rmem_max allows.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer); err != nil {
			return fmt.Errorf("size the receive buffer of the netlink event socket: %w", err)
		}
	}
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
		return fmt.Errorf("attach a filter to the netlink event socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: eventGroups()}); err != nil {
		return fmt.Errorf("subscribe to netlink events: %w", err)
	}
	return nil
}

// receive reads one datagram of the kernel's; what another process sent is passed over. cut says that it was too long.
func receive(fd int, b []byte, flags int) (got []byte, cut bool, err error) {
	for {
		n, _, rf, from, err := unix.Recvmsg(fd, b, nil, flags)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue
		}
		return b[:n], rf&unix.MSG_TRUNC != 0, nil
	}
}
