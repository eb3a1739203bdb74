package hookserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is the most groups that a process can have (NGROUPS_MAX in linux/limits.h).
const maxGroups = 65536

// peerOf asks the kernel who connected: SO_PEERCRED for the user and its first group, SO_PEERGROUPS for the others (unix(7),
// since Linux 4.13). Both are those of the moment of connect(2).
func peerOf(c net.Conn) (peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	var p peer
	var askErr error
	if err := raw.Control(func(fd uintptr) { p, askErr = askPeer(int(fd)) }); err != nil || askErr != nil {
		return peer{}, fmt.Errorf("ask for the peer's credentials: %w", errors.Join(err, askErr))
	}
	return p, nil
}

func askPeer(fd int) (peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return peer{}, err
	}
	p := peer{uid: cred.Uid, groups: []uint32{cred.Gid}}
	if p.trusted() {
		return p, nil // nobody asks for its groups
	}
	more, err := peerGroups(fd)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return p, nil // an older kernel: the first group has to do
	}
	p.groups = append(p.groups, more...)
	return p, err
}

// peerGroups reads SO_PEERGROUPS, for which package unix has no function: an array of gid_t, and ERANGE with the size that
// it needs where the room is too small.
func peerGroups(fd int) ([]uint32, error) {
	const gidSize = 4
	for room := 32; room <= maxGroups; room *= 8 {
		buf := make([]byte, room*gidSize)
		size := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE:
			continue
		case errno != 0:
			return nil, errno
		}
		groups := make([]uint32, 0, size/gidSize)
		for b := buf[:size]; len(b) >= gidSize; b = b[gidSize:] {
			groups = append(groups, binary.NativeEndian.Uint32(b))
		}
		return groups, nil
	}
	return nil, unix.ERANGE
}
