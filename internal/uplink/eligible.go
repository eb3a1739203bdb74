package uplink

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// arphrdPPP is the link type of PPP (ARPHRD_PPP in linux/if_arp.h).
const arphrdPPP = 512

// LinkKind is what the configuration's kind is compared with: the kernel's own word, or "ppp" for any link of type PPP,
// whatever driver made it.
func LinkKind(l rpdb.Link) string {
	if l.Type == arphrdPPP {
		return "ppp"
	}
	return l.Kind
}

// eligible says whether a link can be an uplink at all. A tunnel may be, where the configuration says so: by itself it
// is a VPN, whose routes are its own business; so may a link of a kind that carries no packets of this host's. A port of a
// bridge or a bond, or a member of a VRF, is not: packets do not enter the main RPDB by it.
func eligible(l rpdb.Link, s config.Settings) bool {
	if l.Loopback || l.Master != 0 || s.Excluded {
		return false
	}
	kind := LinkKind(l)
	return s.Configured || !isTunnel(kind) && !isBystander(kind)
}

// canBeUplink is eligible, with the names of the links that belong to managers of containers and virtual machines.
func (d *deriver) canBeUplink(l rpdb.Link) bool {
	return eligible(l, d.settings(l)) && !d.managed(l)
}

// MaySpeak says whether a source's word about a link counts. What an ordinary user may have said does for tunnels only: it
// must not speak for the DHCP client of another link.
func MaySpeak(by lease.Source, l rpdb.Link) bool { return !by.TunnelOnly() || isTunnel(LinkKind(l)) }

// isTunnel knows the kinds (rtnl_link_ops.kind in the kernel's drivers/net, net/ipv4, net/ipv6 and net/xfrm) that put
// packets into other packets, and "tun", which is both tun and tap: 464XLAT's clat is one, too.
func isTunnel(kind string) bool {
	switch kind {
	case "wireguard", "tun", "ovpn", "ovpn-dco", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip", "ip6tnl", "sit", "vti", "vti6",
		"xfrm", "vxlan", "geneve", "gtp", "pfcp", "amt", "bareudp":
		return true
	}
	return false
}

// isBystander knows the kinds by which no packet of this host's enters a wider network: a VRF's master is a routing table,
// what arrives at macvtap and ipvtap goes to a virtual machine, an ifb only shapes, nlmon and vsockmon only watch, and CAN
// has no IP. All other kinds can be uplinks: hardware (no kind, or "dsa", a switch's port), "bond", "team", "bridge", "vlan",
// "macvlan", "ipvlan", "macsec", "ipoib", "hsr", "batadv", "lowpan", "virt_wifi", modems ("wwan", "rmnet", "ppp"), and the
// ends that containers have ("veth", "netkit", "macvlan", "ipvlan", "dummy" in tests).
func isBystander(kind string) bool {
	switch kind {
	case "vrf", "macvtap", "ipvtap", "ifb", "nlmon", "vsockmon", "can", "vcan", "vxcan":
		return true
	}
	return false
}

// usable says whether an address can have rules: global, unicast, and past duplicate address detection.
func usable(a rpdb.Address) bool {
	ip := a.Prefix.Addr()
	if a.Tentative || a.DADFailed || a.Scope >= rpdb.ScopeLink || ip.IsLinkLocalUnicast() {
		return false
	}
	return unusable(ip) == nil && a.Prefix.Bits() > 0
}

// connected is the subnet that is on the link with an address. For a host address (DHCPv6 gives no other), and where the
// kernel was told to add no route (IFA_F_NOPREFIXROUTE), it is the one that somebody has put into table main: an IPv6
// prefix may be "not on-link" (RFC 4861 section 4.6.2, flag L).
func connected(a rpdb.Address, s *rpdb.Snapshot) netip.Prefix {
	if a.Peer.IsValid() {
		return netip.Prefix{}
	}
	if !a.NoPrefixRoute && !a.Prefix.IsSingleIP() {
		return a.Prefix.Masked()
	}
	p := onLinkRoute(s, a.Link, a.Prefix.Addr(), rpdb.TableMain)
	if p.IsSingleIP() {
		return netip.Prefix{}
	}
	return p
}

// onLinkRoute is the longest prefix by which an address is on a link itself, in table main or in another one; invalid where
// there is none.
func onLinkRoute(s *rpdb.Snapshot, link int, ip netip.Addr, table uint32) netip.Prefix {
	var best netip.Prefix
	for _, r := range s.Routes {
		if (r.Table == rpdb.TableMain || r.Table == table) && isOnLink(r, link) && r.Dst.Contains(ip) && r.Dst.Bits() > best.Bits() {
			best = r.Dst
		}
	}
	return best
}

// isOnLink says whether a route's destination is on a link itself. An address's own host route, which the kernel makes for
// IPv6, says nothing.
func isOnLink(r rpdb.Route, link int) bool {
	own := r.Protocol == rpdb.ProtoKernel && r.Dst.IsSingleIP()
	return r.Type == rpdb.Unicast && r.OIF == link && !r.Via.IsValid() && r.Dst.Bits() > 0 && !own
}

// maxOwn bounds Uplink.Own: networkd and clouds make one such route a gateway or a name server.
const maxOwn = 16

// ownRoutes are main's routes to parts of an uplink's subnets by the uplink's own link.
func ownRoutes(as []Address, link int, s *rpdb.Snapshot) []netip.Prefix {
	var own []netip.Prefix
	for _, r := range s.Routes {
		inside := slices.ContainsFunc(as, func(a Address) bool {
			return a.Subnet.IsValid() && a.Subnet.Contains(r.Dst.Addr()) && r.Dst.Bits() > a.Subnet.Bits()
		})
		if inside && r.Table == rpdb.TableMain && isOnLink(r, link) && !slices.Contains(own, r.Dst) && len(own) < maxOwn {
			own = append(own, r.Dst)
		}
	}
	slices.SortFunc(own, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return own
}
