package uplink

import (
	"net/netip"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// State says how much of an uplink works.
type State string

// The states. Down means that the link is down by its administrator: only the fence stands.
const (
	Up       State = "up"
	Degraded State = "degraded"
	Down     State = "down"
)

// Uplink is a link that leads to a wider network, with one routing table. A link whose addresses have different
// gateways of one family is several uplinks, each with a name of its own.
type Uplink struct {
	Name      string // the configuration's, or made of the interface's; safe to print
	Table     uint32 // set by Assign; 0: none could be had
	Link      rpdb.Link
	Primary   bool // the first, or only, uplink of its link: the one that the oif rules lead to
	Settings  config.Settings
	State     State
	Addresses []Address      // IPv4 before IPv6, then by number
	Sources   []Source       // by what its rules know the packets of its addresses
	Bypass    []netip.Prefix // hosts that main sends by another uplink's gateway: its packets go by its own
	Own       []netip.Prefix // parts of its subnets that main has by its own link: a gateway's host route, for example
	Delegated []netip.Prefix // for the networks behind the host: what comes from there leaves by this uplink
	Gateways  []Gateway      // at most one a family
	Routes    []Route        // beside its default routes: what the configuration allows of its leases' classless routes
	DNS       []netip.Addr
	Sysctls   []rpdb.Setting // what the configuration wants of the link's settings; the primary's only
	Problems  []string
	Notes     []string // what is worth knowing and degrades nothing
}

// Address is one address of an uplink.
type Address struct {
	Addr   netip.Addr
	Bits   int          // the length of its subnet
	Subnet netip.Prefix // connected through the link; invalid where there is none (a host address, or "not on-link")
	Peer   netip.Prefix // the other end of a point-to-point link; invalid where there is none
	// Left says that it gets no rules of ours: another link has the same address and keeps them, or a rule of somebody
	// else's is about it.
	Left bool
}

// Gateway is where an uplink's packets of one family go.
type Gateway struct {
	Family rpdb.Family
	Via    netip.Addr // invalid on a point-to-point link; of the other family for RTA_VIA
	Onlink bool       // outside every subnet of the link
	Src    netip.Addr // the preferred source address; invalid: the kernel's choice (RFC 6724)
	Class  Class
	// Metrics are those of the route that says so: its MTU and the like, as rpdb.Route has them.
	Metrics string
	Source  string // who said it, for people: "dhclient", "route proto dhcp", "configuration"
}

// Gateway finds the uplink's gateway of a family.
func (u Uplink) Gateway(f rpdb.Family) (Gateway, bool) {
	for _, g := range u.Gateways {
		if g.Family == f {
			return g, true
		}
	}
	return Gateway{}, false
}

// Lease is a stored lease on a link that exists now.
type Lease struct {
	Link int    // ifindex
	Seq  uint64 // when it last said something new; 0: before this run
	Seen bool   // its address has been on the link since it came
	lease.Lease
}

// Held is what is remembered of an address that once had a gateway, for as long as the address stays on its link: so
// that a packet of it never leaves by another uplink while its own is down, and so that the address stays with the
// link that had it first. Or of a delegated prefix, for as long as its lease stands; Addr is its first address then.
type Held struct {
	Link    int
	Addr    netip.Addr
	Bits    int        // of a delegated prefix: its length; 0: an address, or not known
	Class   Class      // what the gateway was known from
	Gateway netip.Addr // the last good one; invalid: point-to-point
	Onlink  bool
	Source  lease.Source // whose lease named the gateway; empty where it was none's
	Fell    bool         // the gateway was lost with the link going down, and has not come back
	Lent    bool         // another link had the address first, has it still, and gets its rules back when it is up
}

// Input is all that the uplinks follow from.
type Input struct {
	Snapshot  *rpdb.Snapshot
	Leases    []Lease
	Ages      Ages // when a route's word was first seen
	Held      []Held
	Config    config.Config
	CatchAlls []CatchAll // as the last View had them; nil: this is the first look
	// Filtered says that the reverse path filter has dropped packets since the start.
	Filtered bool
	// Tables are the numbers that uplinks have had: what is in them is our own doing, not a word about a gateway.
	Tables map[string]uint32
}

// View is what Derive makes of an Input.
type View struct {
	Uplinks  []Uplink // by ifindex, the primary one first
	Others   Others
	Held     []Held   // for the next Input
	Problems []string // what concerns no single uplink
	Notes    []string // what is worth knowing and nobody has to mend, as of now concerning no single uplink
	// CatchAlls are for the next Input; never nil.
	CatchAlls []CatchAll
}
