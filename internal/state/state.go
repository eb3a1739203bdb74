package state

import (
	"net/netip"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// Version is the version of the file that Save writes. A file of a later version is set aside, not read.
const Version = 1

// State is everything that is kept.
//
// On disk it is one JSON object, DIR/state.json, with the members "version", "boot_id", "protocol", "tables" (an object:
// uplink name to table number), "leases", "held", "routes" and "settings". Interface and uplink names, which may hold any byte, are written
// with Go's escapes (\x07, \\) where they are not plain printable ASCII.
type State struct {
	Version  int    // set by Save
	BootID   string // /proc/sys/kernel/random/boot_id; set by Save
	Protocol uint8  // the rtnetlink protocol that rules and routes were written with; 0: not known
	// Tables gives every uplink that ever was its table number. They outlive a boot: a number belongs to a name for good.
	Tables map[string]uint32
	// What follows speaks of this boot's links by their index, and is dropped after the next one.
	Leases []StoredLease
	Held   []Held
	Routes []RouteWord
	// Settings are those of links that we wrote, and what was there before: all that is known of it.
	Settings []Setting
}

// Setting is a setting of a link that we wrote (see rpdb.Changed), and enough of the link to know it again: an index may be
// given to another one.
type Setting struct {
	Index     int
	Interface string // what the link was called; never trusted
	MAC       string // empty where it has none
	Name      string // "arp_ignore"
	Value     int    // what we wrote
	Was       int    // what was there before
}

// RouteWord is what default routes say of a link's gateway, and its place in the same order as the leases': after a restart
// it must not look newer, or older, than a lease that it came before.
type RouteWord struct {
	Index   int
	IPv6    bool
	Class   string
	Gateway netip.Addr // invalid: no next hop
	Seq     uint64
}

// StoredLease is a lease and where it came from.
type StoredLease struct {
	Index     int           // ifindex
	Interface string        // the link's name when the lease came: for people, never trusted
	Seq       uint64        // its place in the order of arrival: the highest is the newest word
	Received  time.Time     // by the wall clock, for people: it may have been set since
	Boottime  time.Duration // when it was received, by CLOCK_BOOTTIME; 0: not known
	Lease     lease.Lease   // as it was understood then
	Seen      bool          // its address has been on the link
	Sole      bool          // the client has one lease of the family on the link: see agent
	Problems  []string      // what was refused of it; not kept on disk
}

// Held is an address that an uplink had, and the class of word that its gateway came from.
type Held struct {
	Index     int
	Interface string // for people, never trusted
	Address   netip.Addr
	Bits      int // of a delegated prefix: its length; 0: an address, or not known
	Class     string
	Gateway   netip.Addr   // the last good one; invalid where the link needs none
	Onlink    bool         // the gateway is outside every subnet of the link
	Source    lease.Source // whose lease named the gateway; empty where it was none's
	Fell      bool         // the gateway was lost with the link going down
	Lent      bool         // another link had the address first, and gets its rules back when it is up
}
