package hookserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// The ordinary user of these tests: neither root nor the one that runs them.
const (
	stranger      = 64999
	strangerGroup = 64998
)

// as runs f on a thread that has given up root for good: the kernel takes a peer's credentials from the thread that connects.
func as(t *testing.T, uid, gid int, groups []uint32, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root, to be another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := become(uid, gid, groups)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		skip(t, "cannot become another user: "+err.Error())
	}
}

// become changes the calling thread only: the functions of package syscall change all of the process.
func become(uid, gid int, groups []uint32) error {
	list := append(slices.Clone(groups), 0) // never empty, so that it has an address
	for _, c := range [][4]uintptr{
		{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0]))},
		{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
	} {
		if _, _, errno := syscall.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 {
			return errno
		}
	}
	return nil
}

// openBench is a server's directory that others can get to.
func openBench(t *testing.T, a Access) *bench {
	t.Helper()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return newBenchIn(t, dir, func(c *Config) { c.Access = a }).run()
}

// say sends a message on the calling thread, and gives the answer in a word: "ok", what was said against it, or "no way in".
func (b *bench) say(m hookwire.Message) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	f := os.NewFile(uintptr(fd), "hook")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(b.dir, hookwire.SocketName)}); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return "no way in"
		}
		return err.Error()
	}
	msg, err := m.Encode()
	if err != nil {
		return err.Error()
	}
	_, _ = f.Write(msg) // fails where the server has closed already, after its answer
	r, err := hookwire.ReadReply(f)
	switch {
	case err != nil:
		return err.Error()
	case r.OK:
		return "ok"
	}
	return r.Text
}

// tunnelUp is a call of the generic client.
func tunnelUp(at int64, address string) hookwire.Message {
	return hookwire.Message{Client: "generic", Interface: "tun0", Index: 7, Stamp: hookwire.Stamp{Boot: at, PID: 1, BootID: readBootID()},
		Args: []string{"--interface", "tun0", "--address", address, "--source", "vpn"}}
}

// TestWhoMaySpeak: nobody but root by default; those on the list by their user, their group or one of their other groups; and
// the socket's mode lets in no more than it must.
func TestWhoMaySpeak(t *testing.T) {
	const denied = "user 64999 may not send hook messages: see hook_users and hook_groups"
	many := make([]uint32, 200) // more than the first room for them
	for i := range many {
		many[i] = uint32(70000 + i)
	}
	for _, c := range []struct {
		name   string
		access Access
		mode   fs.FileMode
		want   string
	}{
		{"nobody", Access{}, 0o600, "no way in"},
		{"the user", Access{Users: []uint32{1, stranger}}, 0o666, "ok"},
		{"the group", Access{Groups: []uint32{strangerGroup}}, 0o660, "ok"},
		{"one of its groups", Access{Groups: []uint32{70199}}, 0o660, "ok"},
		{"one of two groups", Access{Groups: []uint32{1, 70000}}, 0o666, "ok"},
		{"another user", Access{Users: []uint32{1}}, 0o666, denied},
		{"another group", Access{Groups: []uint32{1}}, 0o660, "no way in"},
		{"a group that has the user's number", Access{Users: []uint32{strangerGroup}, Groups: []uint32{stranger}}, 0o666, denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := openBench(t, c.access)
			var got string
			as(t, stranger, strangerGroup, many, func() { got = b.say(tunnelUp(1, "10.8.0.2")) })
			if got != c.want || (len(b.got()) == 1) != (c.want == "ok") {
				t.Errorf("said %q, events %q, want %q", got, b.got(), c.want)
			}
			b.wantMode(c.mode)
			if got := b.say(tunnelUp(2, "10.8.0.3")); got != "ok" {
				t.Errorf("root: %q", got)
			}
		})
	}
}

func (b *bench) wantMode(want fs.FileMode) {
	b.t.Helper()
	info, err := os.Stat(filepath.Join(b.dir, hookwire.SocketName))
	if err != nil || info.Mode().Perm() != want {
		b.t.Errorf("mode %v, %v, want %v", info.Mode().Perm(), err, want)
	}
}

// TestAccessChanges: another list counts at once, for the socket's mode too, and a group that is off the list is out.
func TestAccessChanges(t *testing.T) {
	b := openBench(t, Access{})
	for i, c := range []struct {
		access Access
		mode   fs.FileMode
		want   string
	}{
		{Access{Users: []uint32{stranger}}, 0o666, "ok"},
		{Access{Groups: []uint32{strangerGroup}}, 0o660, "ok"},
		{Access{}, 0o600, "no way in"},
		{Access{Groups: []uint32{1}}, 0o660, "no way in"},
		{Access{Groups: []uint32{1, strangerGroup}}, 0o666, "ok"},
	} {
		if err := b.SetAccess(c.access); err != nil {
			t.Fatal(err)
		}
		var got string
		as(t, stranger, strangerGroup, nil, func() { got = b.say(tunnelUp(int64(i), "10.8.0.2")) })
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.access, got, c.want)
		}
		b.wantMode(c.mode)
	}
}

// TestDirectoryIsOpened: a directory that only root may enter would keep the users of the list out; without a list it stays.
func TestDirectoryIsOpened(t *testing.T) {
	dir := shortDir(t)
	b := newBenchIn(t, dir, nil)
	mode := func() fs.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode() != 0o700 {
		t.Errorf("without a list: %v", mode())
	}
	for _, before := range []fs.FileMode{0o700, 0o750, 0o711, 0o755} {
		if err := os.Chmod(dir, before); err != nil {
			t.Fatal(err)
		}
		if err := b.SetAccess(Access{Users: []uint32{stranger}}); err != nil || mode() != 0o755 {
			t.Errorf("with a list, from %v: %v, %v", before, mode(), err)
		}
	}
}

// TestOrdinaryUsersWord: an ordinary user speaks for OpenVPN and for generic clients only, and under a source of its own, so that
// it ends and replaces nothing of root's.
func TestOrdinaryUsersWord(t *testing.T) {
	b := openBench(t, Access{Users: []uint32{stranger}})
	openvpn := tunnelUp(1, "")
	openvpn.Client, openvpn.Args = "openvpn", nil
	openvpn.Env = map[string]string{"script_type": "route-up", "dev": "tun0", "ifconfig_local": "10.8.0.2", "ifconfig_netmask": "255.255.255.0", "route_vpn_gateway": "10.8.0.1"}
	for _, c := range []struct {
		m    hookwire.Message
		want string
	}{
		{message(7, 1, "BOUND", "192.0.2.1"), `user 64999 may not speak for client "dhclient"`},
		{hookwire.Message{Client: "wg-quick", Args: []string{"up", "wg0"}}, `user 64999 may not speak for client "wg-quick"`},
		{hookwire.Message{Client: "nobody"}, `user 64999 may not speak for client "nobody"`},
		{tunnelUp(2, "10.8.0.2"), "ok"},
		{openvpn, "ok"},
	} {
		var got string
		as(t, stranger, strangerGroup, nil, func() { got = b.say(c.m) })
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.m.Client, got, c.want)
		}
	}
	if got := b.say(tunnelUp(3, "10.8.0.2")); got != "ok" {
		t.Errorf("root: %q", got)
	}
	want := []string{"generic-vpn@64999 generic-vpn@64999", "openvpn openvpn", "generic-vpn generic-vpn"}
	if d := cmp.Diff(want, b.sources()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// sources are who spoke, as the event has it and as its leases do.
func (b *bench) sources() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.whole {
		line := string(ev.Source)
		for _, l := range ev.Leases {
			line += " " + string(l.Source)
		}
		if len(ev.Leases) == 0 {
			line += " " + string(ev.Lease.Source)
		}
		all = append(all, line)
	}
	return all
}

// TestRefusedPeersAreLogged: one line, however often somebody tries.
func TestRefusedPeersAreLogged(t *testing.T) {
	b := openBench(t, Access{Users: []uint32{1}})
	as(t, stranger, strangerGroup, nil, func() {
		for range 20 {
			b.say(tunnelUp(1, "10.8.0.2"))
		}
	})
	lines := b.log.FilterLevelExact(zap.WarnLevel).FilterMessage("refused a hook's connection").All()
	if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["error"]), "user 64999 may not") {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
}

// TestOrdinaryUsersLeaveRoom: connections of ordinary users that say nothing do not keep root's hooks waiting.
func TestOrdinaryUsersLeaveRoom(t *testing.T) {
	dir := shortDir(t)
	b := newBenchIn(t, dir, func(c *Config) {
		c.Access, c.MaxConns, c.ReadTimeout = Access{Users: []uint32{stranger}}, 8, time.Hour
	}).run()
	path := filepath.Join(dir, hookwire.SocketName)
	var idle []net.Conn
	as(t, stranger, strangerGroup, nil, func() {
		for range 40 {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
				t.Error(err)
			}
			f := os.NewFile(uintptr(fd), "hook")
			if c, err := net.FileConn(f); err == nil {
				idle = append(idle, c)
			}
			f.Close()
		}
	})
	said := make(chan string, 1)
	go func() { said <- b.say(tunnelUp(1, "10.8.0.2")) }()
	if got := wait(t, said); got != "ok" {
		t.Errorf("root: %q", got)
	}
	for _, c := range idle {
		c.Close()
	}
}

// TestOrdinaryUsersComeAgain: each gives its place back, so that there is one for the next, however many there were.
func TestOrdinaryUsersComeAgain(t *testing.T) {
	dir := shortDir(t)
	b := newBenchIn(t, dir, func(c *Config) { c.Access, c.MaxConns = Access{Users: []uint32{stranger}}, 4 }).run()
	as(t, stranger, strangerGroup, nil, func() {
		for i := range int64(20) {
			if got := b.say(tunnelUp(i, "10.8.0.2")); got != "ok" {
				t.Errorf("call %d: %q", i, got)
				return
			}
		}
	})
}

// TestSign: an ordinary user's name stands at all that it says; root's word is as it was.
func TestSign(t *testing.T) {
	for uid, want := range map[uint32]lease.Source{stranger: "generic@64999", 0: "generic"} {
		evs := []lease.Event{
			{Verb: lease.Bind, Source: "generic", Lease: lease.Lease{Source: "generic"}},
			{Verb: lease.Replace, Source: "generic", Leases: []lease.Lease{{Source: "generic"}, {Source: "generic"}}},
		}
		sign(peer{uid: uid}, evs)
		for _, got := range []lease.Source{evs[0].Source, evs[0].Lease.Source, evs[1].Source, evs[1].Leases[0].Source, evs[1].Leases[1].Source} {
			if got != want {
				t.Errorf("user %d: %q, want %q", uid, got, want)
			}
		}
	}
}

// TestPeerGroups: the groups are those of the peer, which is this process here.
func TestPeerGroups(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	groups, err := peerGroups(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	want := []uint32{}
	for _, g := range own {
		want = append(want, uint32(g))
	}
	slices.Sort(groups)
	slices.Sort(want)
	if d := cmp.Diff(want, groups); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := peerGroups(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no socket: %v", err)
	}
	if _, err := peerOf(&net.TCPConn{}); err == nil {
		t.Error("a TCP connection has a peer with credentials")
	}
}
