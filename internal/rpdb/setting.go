package rpdb

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// SettingName names an IPv4 setting of a link: a file in /proc/sys/net/ipv4/conf/LINK (ip-sysctl.rst).
type SettingName string

// The settings that uplinkd knows.
const (
	ARPIgnore    SettingName = "arp_ignore"     // 1: answers ARP for the link's own addresses only; 0: for every address of the host
	ARPAnnounce  SettingName = "arp_announce"   // 2: asks with the best address of the link itself; 0: with any of the host's
	RPFilter     SettingName = "rp_filter"      // 1: strict, 2: loose (RFC 3704); 0: off
	SrcValidMark SettingName = "src_valid_mark" // 1: the reverse path is looked up with the packet's mark
)

// AllLinks stands in a SettingKey for "all": what is set there counts for every link that has less (the kernel takes the
// greater of the two, IN_DEV_MAXCONF in linux/inetdevice.h). It is read and never written.
const AllLinks = 0

// SettingKey is a setting's place.
type SettingKey struct {
	Link int // ifindex, or AllLinks
	Name SettingName
}

// Setting is one setting and its value.
type Setting struct {
	SettingKey
	Value int
}

// Changed is a setting that we wrote. Rules and routes bear their owner's mark; a setting bears none, so that this has to be
// remembered.
type Changed struct {
	Setting     // what we wrote
	Was     int // and what was there before
}

// Neighbor is an entry of the ARP table.
type Neighbor struct {
	Link int
	Addr netip.Addr
	MAC  string // colon-separated lower-case hex
}

// Text is the setting as sysctl(8) writes it, a dot in the link's name as a slash; link gives a link's name by its index.
func (s Setting) Text(link func(int) string) string {
	return fmt.Sprintf("%s = %d", s.SettingKey.Text(link), s.Value)
}

// Text is the setting's name as sysctl(8) has it.
func (k SettingKey) Text(link func(int) string) string {
	name := "all"
	if k.Link != AllLinks {
		name = strings.ReplaceAll(Printable(link(k.Link)), ".", "/")
	}
	return fmt.Sprintf("net.ipv4.conf.%s.%s", name, k.Name)
}

// Setting finds the value of a link's own setting; known is false where it was not read.
func (s *Snapshot) Setting(k SettingKey) (value int, known bool) {
	for _, o := range s.Settings {
		if o.SettingKey == k {
			return o.Value, true
		}
	}
	return 0, false
}

// Effective is the value that counts for a link: the greater of its own and that of "all".
func (s *Snapshot) Effective(k SettingKey) (value int, known bool) {
	own, known := s.Setting(k)
	all, _ := s.Setting(SettingKey{AllLinks, k.Name})
	return max(own, all), known
}

// diffSettings gives what has to be written, and what is to be put back: where a setting is not wanted any more, and still
// has the value that we wrote, or a value that nobody read. One that cannot be read is not written either: nobody would know
// what to put back.
func diffSettings(wanted []Setting, actual *Snapshot) []Op {
	var ops []Op
	keep := make(map[SettingKey]bool, len(wanted))
	for _, w := range wanted {
		keep[w.SettingKey] = true
		if value, known := actual.Setting(w.SettingKey); known && value != w.Value {
			ops = append(ops, Op{Verb: SetSetting, Setting: w})
		}
	}
	for _, c := range actual.Changed {
		value, known := actual.Setting(c.SettingKey)
		if !keep[c.SettingKey] && (!known || value == c.Value) {
			ops = append(ops, Op{Verb: PutBack, Setting: Setting{c.SettingKey, c.Was}, Ours: c.Value})
		}
	}
	return ops
}

func compareSettings(a, b Setting) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
}

// Known says whether it is one of the settings that uplinkd knows.
func (n SettingName) Known() bool {
	switch n {
	case ARPIgnore, ARPAnnounce, RPFilter, SrcValidMark:
		return true
	}
	return false
}
