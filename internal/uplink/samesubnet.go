package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// sameSubnet says for the primary uplink of a link which other links' IPv4 subnets overlap one of its own. By default Linux
// answers ARP for every address of the host on every link (arp_ignore 0, ip-sysctl.rst): where the links are in one network,
// what is for one comes in by the other.
func (d *deriver) sameSubnet(u *Uplink, us []Uplink) {
	if !u.Primary || !speaksARP(u.Link) {
		return
	}
	for _, l := range d.links {
		if l.Index == u.Link.Index || l.Master != 0 || !speaksARP(l) {
			continue
		}
		subnet, ok := d.commonSubnet(u.Link.Index, l.Index)
		if !ok || d.apart(u.Link, l, us) {
			continue
		}
		if note := d.flux(u.Link, l, subnet, us); note != "" {
			u.Notes = append(u.Notes, note)
		}
		u.Notes = append(u.Notes, silent(u, l)...)
	}
}

func speaksARP(l rpdb.Link) bool { return !l.Loopback && !l.PointToPoint }

// commonSubnet is the wider of two links' subnets that overlap, where different addresses are in it: what concerns the same
// address on both is said elsewhere.
func (d *deriver) commonSubnet(one, other int) (netip.Prefix, bool) {
	for _, a := range d.addresses[one] {
		for _, b := range d.addresses[other] {
			if inSubnet(a) && inSubnet(b) && a.Prefix.Addr() != b.Prefix.Addr() && a.Prefix.Overlaps(b.Prefix) {
				if b.Prefix.Bits() < a.Prefix.Bits() {
					a = b
				}
				return a.Prefix.Masked(), true
			}
		}
	}
	return netip.Prefix{}, false
}

func inSubnet(a rpdb.Address) bool {
	return a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() && !a.Peer.IsValid()
}

// apart says whether two links of one subnet are known to be in different networks: a gateway of theirs is there on both, and
// is not the same machine. The kernel has no other word on that.
func (d *deriver) apart(one, other rpdb.Link, us []Uplink) bool {
	differ := false
	for _, u := range us {
		g, ok := u.Gateway(rpdb.IPv4)
		if !ok || u.Link.Index != one.Index && u.Link.Index != other.Index {
			continue
		}
		x, y := d.macOf(one.Index, g.Via), d.macOf(other.Index, g.Via)
		if x != "" && x == y {
			return false
		}
		differ = differ || x != "" && y != ""
	}
	return differ
}

func (d *deriver) macOf(link int, a netip.Addr) string {
	for _, n := range d.in.Snapshot.Neighbors {
		if n.Link == link && n.Addr == a {
			return n.MAC
		}
	}
	return ""
}

// flux says what two links in one subnet do, and what ends it, in the same words for both: a log has it once. Empty where each
// answers for itself.
func (d *deriver) flux(one, other rpdb.Link, subnet netip.Prefix, us []Uplink) string {
	if other.Index < one.Index {
		one, other = other, one
	}
	var uplinks, sysctls []string
	for _, l := range []rpdb.Link{one, other} {
		switch {
		case d.answersForItself(l, us):
		case slices.ContainsFunc(us, func(u Uplink) bool { return u.Link.Index == l.Index }) && !wantsStrict(l, us):
			uplinks = append(uplinks, rpdb.Printable(l.Name))
		default:
			key := rpdb.SettingKey{Link: l.Index, Name: rpdb.ARPIgnore}
			sysctls = append(sysctls, fmt.Sprintf("sysctl -w %s=%d", key.Text(d.in.Snapshot.LinkName), arpIgnore))
		}
	}
	var mends []string
	if len(uplinks) > 0 {
		mends = append(mends, `arp = "strict" in the [[uplink]] section of `+strings.Join(uplinks, " and that of "))
	}
	mends = append(mends, sysctls...)
	if len(mends) == 0 {
		return ""
	}
	return fmt.Sprintf("%s and %s are in one subnet, %s: unless these are two networks, each answers ARP for the other's address, and what then comes in "+
		"by the wrong one is lost where rp_filter is 1; the mend: %s",
		rpdb.Printable(one.Name), rpdb.Printable(other.Name), subnet, strings.Join(mends, " and "))
}

// answersForItself says whether a link answers ARP for no address of another, or is about to: 1 and 2 do so, 8 answers for none.
func (d *deriver) answersForItself(l rpdb.Link, us []Uplink) bool {
	v, _ := d.in.Snapshot.Effective(rpdb.SettingKey{Link: l.Index, Name: rpdb.ARPIgnore})
	if all, _ := d.in.Snapshot.Setting(rpdb.SettingKey{Link: rpdb.AllLinks, Name: rpdb.ARPIgnore}); all <= 2 && wantsStrict(l, us) {
		return true
	}
	return v == 1 || v == 2 || v == 8
}

// silent says of an uplink whose link is down why its addresses do not answer by the other link meanwhile, which they would
// without a fence: Linux takes an address for the host's own on whatever link it is.
func silent(u *Uplink, l rpdb.Link) []string {
	if u.State != Down || !u.Settings.Fence || !l.Up {
		return nil
	}
	var notes []string
	for _, a := range u.Addresses {
		if a.Addr.Is4() && !a.Left {
			notes = append(notes, fmt.Sprintf("%s is silent while %s is down, though %s is in its subnet and could answer for it: fence = false "+
				`lets it, where arp is not "strict"`, a.Addr, rpdb.Printable(u.Link.Name), rpdb.Printable(l.Name)))
		}
	}
	return notes
}
