package rpdb

import (
	"net/netip"
	"syscall"
)

// Database is all that decides where packets to one destination go: the whole routing policy database, and of the routes those
// that cover the destination. Snapshot is what the daemon needs; this is what an explanation needs.
type Database struct {
	Links     []LinkDetail
	Addresses []Address // of the question's family
	Rules     []RuleDetail
	Routes    []RouteDetail // in the kernel's own order
	// Failed are the IPv6 neighbors that do not answer (NUD_FAILED): a host passes routes by these over
	// (net/ipv6/route.c: rt6_check_neigh).
	Failed []Hop
	// Forwarding is net.ipv6.conf.all.forwarding, or with IPv4 that of the link that the packet came in on.
	Forwarding bool
}

// Link finds a link by its index.
func (d *Database) Link(index int) (LinkDetail, bool) {
	for _, l := range d.Links {
		if l.Index == index {
			return l, true
		}
	}
	return LinkDetail{}, false
}

// LinkDetail is a link with what rules ask of it besides.
type LinkDetail struct {
	Link
	Group    uint32 // IFLA_GROUP, for suppress_ifgroup
	VRFTable uint32 // the table of a VRF device; 0: it is none
}

// Flow is a question to the routing policy database: a packet as far as rules and routes look at it.
type Flow struct {
	Dst  netip.Addr
	Src  netip.Addr // invalid: not chosen yet
	OIF  int        // the link that the socket is bound to; 0: none
	IIF  int        // the link that the packet came in on, to be forwarded; 0: this host sends it
	Mark uint32
	UID  uint32 // of the sending user; the kernel takes 0 for what it forwards
	// Proto is the IP protocol (IPPROTO_*), which rules with ports or a protocol ask for.
	Proto            uint8
	SrcPort, DstPort uint16
	TOS              uint8 // the TOS or traffic class octet, less its two ECN bits
}

// Family is the family of the destination.
func (f Flow) Family() Family { return FamilyOf(f.Dst) }

// RuleDetail is a rule with everything that the kernel selects by (include/net/fib_rules.h, net/ipv4/fib_rules.c,
// net/ipv6/fib6_rules.c). A zero selector takes all.
type RuleDetail struct {
	Family     Family
	Priority   uint32
	Action     Action
	Table      uint32
	Goto       uint32
	Unresolved bool // FIB_RULE_UNRESOLVED: there is no rule with the priority of Goto, which then goes nowhere
	Invert     bool // FIB_RULE_INVERT
	FindSource bool // FIB_RULE_FIND_SADDR: where the source is not chosen yet, the one to be chosen counts

	Src, Dst  netip.Prefix
	IIF, OIF  string
	Mark      uint32
	Mask      uint32 // 0: any mark
	TOS       uint8  // of the old selector: IPv4 compares three bits of the DSCP only
	DSCP      Masked // the DSCP itself, 6 bits
	FlowLabel Masked
	TunnelID  uint64 // in network byte order
	L3MDev    bool   // FRA_L3MDEV: the packet is a VRF's, and the table the VRF's
	UIDs      Range
	IPProto   uint8
	SrcPorts  Range
	SrcPort   Masked
	DstPorts  Range
	DstPort   Masked

	SuppressLen   int   // FRA_SUPPRESS_PREFIXLEN; -1: off
	SuppressGroup int64 // FRA_SUPPRESS_IFGROUP; -1: off
	Protocol      uint8
	// Unknown are the numbers of the attributes (FRA_*) that this program does not know: a later kernel's selectors.
	Unknown []uint16
}

// Range is an inclusive range of numbers; not Set, it takes all.
type Range struct {
	Set         bool
	First, Last uint32
}

// Masked is a number of which the bits of Mask count; with Mask 0 it takes all.
type Masked struct{ Value, Mask uint32 }

// RouteDetail is one entry of a routing table with everything that decides whether it is taken.
type RouteDetail struct {
	Table    uint32
	Dst      netip.Prefix // masked
	From     netip.Prefix // IPv6 source routes (RTA_SRC); length 0: any
	TOS      uint8
	Metric   uint32
	Type     RouteType
	Scope    Scope
	Protocol uint8
	Pref     Preference
	Src      netip.Addr // RTA_PREFSRC
	Object   uint32     // the number of its nexthop object (RTA_NH_ID); 0: none
	Expires  int32      // hundredths of a second, negative where it is over; 0: never (struct rta_cacheinfo)
	Hops     []Hop      // IPv6 lists "lo" with a route that leads nowhere
}

// Hop is one next hop of a route.
type Hop struct {
	Via    netip.Addr // of either family; invalid: the destination itself
	OIF    int
	Weight int  // of several: 1 and up
	Onlink bool // RTNH_F_ONLINK
	Dead   bool // RTNH_F_DEAD: not to be taken
	Down   bool // RTNH_F_LINKDOWN: no carrier; taken all the same unless ignore_routes_with_linkdown makes it Dead
}

// Found is the kernel's own answer to a Flow (RTM_GETROUTE).
type Found struct {
	Errno syscall.Errno // 0: there is a way
	Words string        // what the kernel says besides its number
	Type  RouteType
	Via   netip.Addr
	OIF   int
	Src   netip.Addr // the source address that it chooses
	// Entry is the entry of the routing table that it took (RTM_F_FIB_MATCH); nil where there is none, or the kernel cannot
	// say (before 4.14).
	Entry *RouteDetail
}

// The route types besides those of route.go (RTN_* in linux/rtnetlink.h): the kernel keeps them in table local for itself.
const (
	Local     RouteType = 2
	Broadcast RouteType = 3
	Anycast   RouteType = 4
	Multicast RouteType = 5
)
