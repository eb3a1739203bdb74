package dhcpcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
)

// errOtherNetNS says that a dhcpcd looks after the links of another network namespace: the names of its links are ours by
// chance only (ip netns exec shares /run).
var errOtherNetNS = errors.New("it runs in another network namespace")

// dial connects to an instance and says something.
func (w *Watcher) dial(ctx context.Context, name, words string) (net.Conn, error) {
	path, err := safeSocket(w.cfg.Dir, name)
	if err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{Timeout: w.talk}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to dhcpcd: %w", err)
	}
	err = c.SetDeadline(time.Now().Add(w.talk))
	if err == nil && peerNetNS(c).Other(netNS("thread-self")) {
		err = errOtherNetNS
	}
	if err == nil {
		_, err = c.Write([]byte(words))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("talk to dhcpcd on %s: %w", path, err)
	}
	return c, nil
}

// peerNetNS is the network namespace of the process that made the socket (SO_PEERCRED, unix(7)); unknown where that has
// ended, or is not to be seen from here.
func peerNetNS(c net.Conn) hookwire.NetNS {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return hookwire.NetNS{}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return hookwire.NetNS{}
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil || pid <= 0 {
		return hookwire.NetNS{}
	}
	return netNS(strconv.Itoa(pid))
}

// netNS is the network namespace of a process or thread, by its name in /proc; unknown where it cannot be read.
func netNS(process string) hookwire.NetNS {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/proc", process, "ns/net"), &st); err != nil {
		return hookwire.NetNS{}
	}
	return hookwire.NetNS{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // uint32 on MIPS
}

// drain hands on the messages of an instance that are there whole, at most so many, and says how many these were.
func (b *batch) drain(ctx context.Context, stream *decoder, most int) (n int, err error) {
	for n < most {
		environ, ok, err := stream.message()
		if err != nil || !ok {
			return n, err
		}
		if b.pace != nil {
			if err := b.pace.Wait(ctx); err != nil {
				return n, err
			}
		}
		b.take(ctx, environ)
		n++
	}
	return n, nil
}

// dump asks for all leases and hands them on. What it does not name it does not take back: a dhcpcd that has just started
// has nothing yet, whatever it left on the link before, and the lease of an address that is gone says nothing anyway.
//
// The answer is of the time at which it was asked for: what a hook says meanwhile is newer. Each link is looked up once.
func (w *Watcher) dump(ctx context.Context, name, command string) error {
	b := batch{w: w, instance: name, at: intake.Now(), link: remembered(w.cfg.Link)}
	c, err := w.dial(ctx, name, command)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := b.readDump(ctx, c); err != nil {
		return fmt.Errorf("read the leases of %s: %w", c.RemoteAddr(), err)
	}
	return nil
}

// remembered asks once for each name.
func remembered(link func(string) int) func(string) int {
	known := make(map[string]int)
	return func(name string) int {
		index, ok := known[name]
		if !ok {
			index = link(name)
			known[name] = index
		}
		return index
	}
}

// readDump reads the answer to one of dumpCommands: the number of messages, and these.
func (b *batch) readDump(ctx context.Context, c net.Conn) error {
	var stream decoder
	buf := make([]byte, readAtOnce)
	counted, left := false, 0
	for total := 0; total <= MaxDump; {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		total += n
		stream.feed(buf[:n])
		if !counted {
			var count uint64
			if count, counted = stream.word(); count > MaxRecords {
				return fmt.Errorf("%d messages, at most %d are taken", count, MaxRecords)
			}
			left = int(count)
		}
		taken, err := b.drain(ctx, &stream, left)
		if left -= taken; err != nil || counted && left == 0 {
			return err
		}
	}
	return fmt.Errorf("over %d bytes", MaxDump)
}
