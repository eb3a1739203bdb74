package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func socketPath(runtimeDir string) string { return filepath.Join(runtimeDir, SocketName) }

// listen makes the socket. It gets its mode under another name, and its own name then: nobody can connect in between,
// and the socket of a dead daemon is replaced.
func listen(runtimeDir string) (*net.UnixListener, error) {
	path := socketPath(runtimeDir)
	temporary := path + ".new"
	_ = os.Remove(temporary) // left by a crash; a real reason is the listen's to tell
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make control socket in %s: %w: run uplinkd as root, or name another with --runtime-dir",
			runtimeDir, err)
	}
	l.SetUnlinkOnClose(false) // by then the name is another one
	err = setMode(temporary)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make control socket %s: %w", path, err), l.Close(), os.Remove(temporary))
	}
	return l, nil
}

// setMode opens the socket to group uplinkd where there is one and the daemon may give it away, else to its user only.
func setMode(path string) error {
	if gid, ok := groupID(Group); ok && os.Chown(path, -1, gid) == nil {
		return os.Chmod(path, 0o660)
	}
	return os.Chmod(path, 0o600)
}

func groupID(name string) (gid int, ok bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err = strconv.Atoi(g.Gid)
	return gid, err == nil
}

// peer says who connected, by the kernel's word at the time of the connect.
func peer(conn *net.UnixConn) (uid uint32, pid int32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, 0, err
	}
	return cred.Uid, cred.Pid, nil
}

// mayWrite says whether a user may change something: root, or who the daemon runs as.
func mayWrite(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }
