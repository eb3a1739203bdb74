package uplink

import (
	"fmt"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// What arp = "strict" sets on a link, and what the reverse path filter may be (ip-sysctl.rst; RFC 3704 sections 2.2 and 2.4).
const (
	arpIgnore   = 1 // answer for the addresses of the link that was asked only
	arpAnnounce = 2 // ask with the best address of the link itself
	rpStrict    = 1 // a source is good on the link by which its answer would leave
	rpLoose     = 2 // a source is good that has a route at all
)

// linkSettings plans the links' settings, and says what those do that are not ours to change.
func (d *deriver) linkSettings(us []Uplink) {
	for i := range us {
		d.strictARP(&us[i])
	}
	for i := range us {
		d.sameSubnet(&us[i], us)
		d.reversePath(&us[i], us)
	}
}

// strictARP plans the settings that the configuration wants. A point-to-point link has no ARP, and an uplink of IPv6 alone no
// IPv4 address to answer for.
func (d *deriver) strictARP(u *Uplink) {
	four := slices.ContainsFunc(u.Addresses, func(a Address) bool { return a.Addr.Is4() })
	if !u.Primary || !u.Settings.ARPStrict || !speaksARP(u.Link) || !four {
		return
	}
	for _, s := range []rpdb.Setting{
		{SettingKey: rpdb.SettingKey{Name: rpdb.ARPIgnore}, Value: arpIgnore},
		{SettingKey: rpdb.SettingKey{Name: rpdb.ARPAnnounce}, Value: arpAnnounce},
		{SettingKey: rpdb.SettingKey{Name: rpdb.RPFilter}, Value: rpLoose},
	} {
		s.Link = u.Link.Index
		u.Sysctls = append(u.Sysctls, s)
	}
	name := d.in.Snapshot.LinkName
	if _, known := d.in.Snapshot.Setting(u.Sysctls[0].SettingKey); !known {
		u.Problems = append(u.Problems, fmt.Sprintf(`arp = "strict" does nothing yet, for %s could not be read: is /proc mounted?`, u.Sysctls[0].SettingKey.Text(name)))
		if u.State == Up {
			u.State = Degraded
		}
	}
	all := rpdb.SettingKey{Link: rpdb.AllLinks, Name: rpdb.ARPIgnore}
	if v, _ := d.in.Snapshot.Setting(all); v > 2 {
		u.Notes = append(u.Notes, fmt.Sprintf(`%s overrules arp = "strict", for the greater of two values counts: sysctl -w %s=0`,
			rpdb.Setting{SettingKey: all, Value: v}.Text(name), all.Text(name)))
	}
}

// wantsStrict says whether a link is an uplink with arp = "strict".
func wantsStrict(l rpdb.Link, us []Uplink) bool {
	return slices.ContainsFunc(us, func(u Uplink) bool { return u.Link.Index == l.Index && len(u.Sysctls) > 0 })
}

// reversePath says what a strict reverse path filter drops on an uplink. With the rules for its own addresses the answer to
// everything that comes in leaves by the same link, and nothing is lost; without, the filter takes the packets for martians.
func (d *deriver) reversePath(u *Uplink, us []Uplink) {
	shared := d.sharedAddress(*u)
	if shared != "" {
		u.Notes = append(u.Notes, fmt.Sprintf("connections to %s that come in by %s are answered by the link that keeps the rules: only a mark "+
			"(connmark, net.ipv4.tcp_fwmark_accept) or SO_BINDTODEVICE brings the answer back", shared, rpdb.Printable(u.Link.Name)))
	}
	snap := d.in.Snapshot
	key := rpdb.SettingKey{Link: u.Link.Index, Name: rpdb.RPFilter}
	if v, _ := snap.Effective(key); v != rpStrict || wantsStrict(u.Link, us) {
		return
	}
	filter := fmt.Sprintf("the reverse path filter of %s is strict (rp_filter 1)", rpdb.Printable(u.Link.Name))
	mend := fmt.Sprintf("sysctl -w %s=2", key.Text(snap.LinkName))
	if speaksARP(u.Link) {
		mend += `, or arp = "strict" in its [[uplink]] section`
	}
	if d.in.Filtered {
		filter += ", and packets have been dropped since uplinkd started,"
	}
	if shared != "" {
		u.Problems = append(u.Problems, fmt.Sprintf("%s and drops the answers to what is sent bound to the device or marked: %s", filter, mend))
	}
	marked, _ := snap.Effective(rpdb.SettingKey{Link: u.Link.Index, Name: rpdb.SrcValidMark})
	if _, four := u.Gateway(rpdb.IPv4); four && u.Settings.Mask != 0 && marked == 0 {
		u.Notes = append(u.Notes, fmt.Sprintf("%s and drops the answers to packets with the mark and another link's address, as masqueraded ones are before "+
			"they leave: %s, or src_valid_mark = 1 and a connmark that is restored in prerouting", filter, mend))
	}
}

// sharedAddress is an IPv4 address whose rules another link keeps; empty where there is none.
func (d *deriver) sharedAddress(u Uplink) string {
	for _, a := range u.Addresses {
		if a.Left && a.Addr.Is4() && d.count[a.Addr] > 1 {
			return a.Addr.String()
		}
	}
	return ""
}
