package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// settings is the directory of the links' IPv4 settings, and the file with the reverse path filter's counter. Both are those
// of the network namespace of the thread that opened them, whatever thread reads (fs/proc/proc_sysctl.c: the links of
// /proc/sys/net are followed at lookup; fs/proc/proc_net.c).
type settings struct {
	dir     *os.File // nil: there is none
	netstat *os.File
	missing error // why there is none
}

// openSettings never fails: uplinkd works without /proc/sys.
func openSettings() settings {
	dir, err := os.Open("/proc/sys/net/ipv4/conf")
	s := settings{dir: dir, missing: err}
	if f, err := os.Open("/proc/thread-self/net/netstat"); err == nil {
		s.netstat = f
	}
	return s
}

func (s settings) close() error {
	var errs []error
	for _, f := range []*os.File{s.dir, s.netstat} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// open opens a setting's file: a bare descriptor, for a snapshot opens hundreds. A link's name can be no path: the kernel allows
// neither "/" nor "." nor "..", and neither "all" nor "default" for a link with settings (net/core/dev.c: dev_valid_name;
// net/ipv4/devinet.c: devinet_sysctl_register).
func (s settings) open(link string, name rpdb.SettingName, flags int) (fd int, err error) {
	if s.dir == nil {
		return -1, s.missing
	}
	return unix.Openat(int(s.dir.Fd()), link+"/"+string(name), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}

// read reads the setting of a link by its name.
func (s settings) read(link string, name rpdb.SettingName) (int, error) {
	fd, err := s.open(link, name, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	value, err := readNumber(fd)
	return value, errors.Join(err, unix.Close(fd))
}

func readNumber(fd int) (int, error) {
	b := make([]byte, 32)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(b[:n])))
}

// filtered reads the counter of packets that the reverse path filter dropped; 0 where there is none.
func (s settings) filtered() uint64 {
	if s.netstat == nil {
		return 0
	}
	b := make([]byte, 32<<10) // 4 KiB on Linux 6.18
	n, _ := s.netstat.ReadAt(b, 0)
	return netstatCounter(b[:n], "TcpExt:", "IPReversePathFilter")
}

// netstatCounter finds a counter in the text of /proc/net/netstat: a line of names and under it one of numbers, each after the
// same prefix. 0 where it is not there.
func netstatCounter(text []byte, prefix, name string) uint64 {
	var names [][]byte
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) == 0 || string(words[0]) != prefix {
			continue
		}
		if names == nil {
			names = words
			continue
		}
		for i, w := range names {
			if string(w) == name && i < len(words) {
				n, err := strconv.ParseUint(string(words[i]), 10, 64)
				if err != nil {
					return 0
				}
				return n
			}
		}
	}
	return 0
}

// listSettings reads the settings that a snapshot holds. What cannot be read is not there: nothing else hangs on it.
func (k *Kernel) listSettings(l *look) error {
	if err := list(k.ask, l, netconfRequest(), rpdb.IPv4, &l.Settings, decodeNetconf); err != nil && !refused(err) {
		return err
	}
	if k.settings.dir == nil {
		return nil
	}
	strict := false
	read := func(index int, link string, names ...rpdb.SettingName) {
		for _, name := range names {
			if v, err := k.settings.read(link, name); err == nil {
				l.Settings = append(l.Settings, rpdb.Setting{SettingKey: rpdb.SettingKey{Link: index, Name: name}, Value: v})
			}
		}
	}
	for _, link := range arpLinks(&l.Snapshot) {
		read(link.Index, link.Name, rpdb.ARPIgnore, rpdb.ARPAnnounce)
	}
	for _, link := range l.Links {
		if v, _ := l.Effective(rpdb.SettingKey{Link: link.Index, Name: rpdb.RPFilter}); v == 1 && hasIPv4(&l.Snapshot, link.Index) {
			strict = true
			read(link.Index, link.Name, rpdb.SrcValidMark)
		}
	}
	read(rpdb.AllLinks, "all", rpdb.ARPIgnore, rpdb.ARPAnnounce)
	if strict {
		read(rpdb.AllLinks, "all", rpdb.SrcValidMark)
		l.Filtered = k.settings.filtered()
	}
	return nil
}

// refused says that the kernel understood and would not, as one without the message does.
func refused(err error) bool {
	_, ok := errors.AsType[*refusal](err)
	return ok
}

// maxARPLinks is up to how many links all have their ARP settings read: two files each, some 10 us a file.
const maxARPLinks = 64

// arpLinks are the links whose ARP settings matter: those that could be uplinks, and speak ARP. Of very many only those that
// are likely to be: by which there is a way to a next hop, ours among them, or that share a subnet.
func arpLinks(s *rpdb.Snapshot) []rpdb.Link {
	var out []rpdb.Link
	for _, l := range s.Links {
		if !l.Loopback && !l.PointToPoint && l.Master == 0 && hasIPv4(s, l.Index) {
			out = append(out, l)
		}
	}
	if len(out) <= maxARPLinks {
		return out
	}
	likely := make(map[int]bool)
	for _, r := range s.Routes {
		if r.Via.IsValid() {
			likely[r.OIF] = true
		}
	}
	for _, i := range sharing(out, s.Addresses) {
		likely[i] = true
	}
	return slices.DeleteFunc(out, func(l rpdb.Link) bool { return !likely[l.Index] })
}

func hasIPv4(s *rpdb.Snapshot, index int) bool {
	for _, a := range s.Addresses {
		if a.Link == index && a.Prefix.Addr().Is4() && a.Scope < rpdb.ScopeLink {
			return true
		}
	}
	return false
}

// setSetting writes a link's setting.
func (k *Kernel) setSetting(s rpdb.Setting) error {
	return k.onSetting(s.SettingKey, func(fd int) error { return writeNumber(fd, s.Value) })
}

// putBack writes what was there before us, where the value is still ours. A link that is gone has taken its values along.
func (k *Kernel) putBack(s rpdb.Setting, ours int) error {
	err := k.onSetting(s.SettingKey, func(fd int) error {
		if now, err := readNumber(fd); err != nil || now != ours {
			return err
		}
		return writeNumber(fd, s.Value)
	})
	if gone(err) || isAny(err, unix.ENXIO) {
		return nil
	}
	return err
}

// onSetting opens a link's file for both ways and does something to it. The directory is called by the link's name, which may
// change at any moment: an open file belongs to the link that had the name, and it had it if it has it now.
func (k *Kernel) onSetting(key rpdb.SettingKey, do func(fd int) error) error {
	if key.Link == rpdb.AllLinks {
		return errors.New("what counts for all links is not ours to write")
	}
	for range maxLooks {
		name, err := k.nameOf(key.Link)
		if err != nil {
			return err
		}
		fd, err := k.settings.open(name, key.Name, unix.O_RDWR)
		again, nameErr := k.nameOf(key.Link)
		if nameErr == nil && again != name {
			if err == nil {
				_ = unix.Close(fd)
			}
			continue
		}
		if err != nil {
			return explainSetting(err)
		}
		return errors.Join(do(fd), unix.Close(fd))
	}
	return errors.New("its name changes all the time")
}

func writeNumber(fd, value int) error {
	_, err := unix.Pwrite(fd, []byte(strconv.Itoa(value)), 0)
	return explainSetting(err)
}

// explainSetting adds the mend to what the kernel says.
func explainSetting(err error) error {
	switch {
	case isAny(err, unix.EROFS):
		return fmt.Errorf("/proc/sys is read-only here: make it writable for uplinkd (ProtectKernelTunables=no in its unit, or the "+
			"container's option for that), or set it outside: %w", err)
	case isAny(err, unix.EACCES, unix.EPERM):
		return fmt.Errorf("run uplinkd as root or with CAP_NET_ADMIN: %w", err)
	}
	return err
}
