package rpdb

import (
	"net/netip"
	"strconv"
)

// Link is a network interface at one moment.
type Link struct {
	Index        int
	Name         string // as the kernel has it: never trusted, see Printable
	Kind         string // IFLA_INFO_KIND: "veth", "bridge", "wireguard"; empty for hardware
	Type         uint16 // ARPHRD_* (linux/if_arp.h): 1 Ethernet, 512 PPP, 65534 none
	MAC          string // colon-separated lower-case hex; empty where the link has none
	Master       int    // the ifindex of its bridge, bond or VRF; 0: none
	MTU          int
	Up           bool // IFF_UP: the administrator wants it up
	Carrier      bool // IFF_LOWER_UP: the other end is there
	Loopback     bool // IFF_LOOPBACK
	PointToPoint bool // IFF_POINTOPOINT
}

// Address is an address on a link at one moment.
type Address struct {
	Link          int          // ifindex
	Prefix        netip.Prefix // the address itself with the length of its subnet; not masked
	Peer          netip.Prefix // the other end of a point-to-point link; invalid where there is none
	Scope         Scope
	Tentative     bool // IFA_F_TENTATIVE without IFA_F_OPTIMISTIC: duplicate address detection is not over
	DADFailed     bool // IFA_F_DADFAILED
	Deprecated    bool // IFA_F_DEPRECATED
	Permanent     bool // IFA_F_PERMANENT: it has no lifetime, so no client with a lease of one has put it there
	Temporary     bool // IFA_F_TEMPORARY (RFC 8981)
	NoPrefixRoute bool // IFA_F_NOPREFIXROUTE: the kernel adds no route to the subnet
}

// Snapshot is what the kernel held at one moment, in the kernel's own order.
type Snapshot struct {
	Links     []Link
	Addresses []Address
	// Routes holds all that carry our protocol, all default routes, all in tables other than main, local and default,
	// the routes of table main that have no next hop (the connected subnets), and those to single hosts that have one, as a VPN
	// puts there for its server: no routing daemon's, and a bounded number.
	Routes []Route
	Rules  []Rule // all of them, both families
	// Settings holds rp_filter of every link and of "all", and ARPIgnore and ARPAnnounce of "all" and of the links that have an
	// IPv4 address and could be uplinks with ARP; SrcValidMark only where strict reverse path filtering makes it count.
	// None where they could not be read.
	Settings []Setting
	// Changed are those of them that we wrote. The kernel does not know: whoever compares has to fill it in.
	Changed []Changed
	// Neighbors holds the gateways, by next hops of Routes, on links that share an IPv4 subnet with another one.
	Neighbors []Neighbor
	// Filtered counts the packets that the reverse path filter dropped since the boot (TcpExt IPReversePathFilter in
	// /proc/net/netstat); 0 where no link filters strictly.
	Filtered uint64
}

// Link finds a link by its index.
func (s *Snapshot) Link(index int) (Link, bool) {
	for _, l := range s.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// LinkName is a link's name by its index, or "if7" where there is no such link.
func (s *Snapshot) LinkName(index int) string {
	if l, ok := s.Link(index); ok {
		return l.Name
	}
	return "if" + strconv.Itoa(index)
}
