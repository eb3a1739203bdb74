package control

import (
	"net/netip"
	"time"
)

// SchemaVersion is the version of Status as JSON. It changes when a member goes or gets another meaning, not when one is
// added.
const SchemaVersion = 1

// The states of an uplink.
const (
	Up       = "up"       // a default route, and rules for all its addresses
	Degraded = "degraded" // it works, but not all of it as wanted: see Problems
	Down     = "down"     // no default route: its addresses reach nothing, and leave by no other uplink
)

// Status is what the daemon knows, at one moment. Strings that came from outside are as they came: fit for JSON, not for
// a terminal. Lists are in a fixed order and never null.
type Status struct {
	Schema        int       `json:"schema"`    // SchemaVersion
	Version       string    `json:"version"`   // of the daemon
	Protocol      uint8     `json:"protocol"`  // the rtnetlink protocol number of its rules and routes
	Suspended     bool      `json:"suspended"` // a flush was ordered: nothing is in the kernel until reload or restart
	Uplinks       []Uplink  `json:"uplinks"`   // by name
	Problems      []string  `json:"problems"`  // what is wrong and belongs to no uplink, a line each
	Notes         []string  `json:"notes"`     // what is worth knowing and belongs to no uplink, a line each
	Drift         uint64    `json:"drift"`     // how often rules or routes that another program took away were put back
	Filtered      uint64    `json:"filtered"`  // packets that the host's reverse path filter dropped since the boot; 0 where none is strict
	LastReconcile time.Time `json:"last_reconcile,omitzero"`
	LastError     string    `json:"last_error,omitempty"` // of the last reconciliation; empty: it went well
}

// Uplink is one uplink.
type Uplink struct {
	Name      string    `json:"name"`      // its own and its table's
	Interface string    `json:"interface"` // any bytes but '/', ':' and white space; what is no UTF-8 is replaced by U+FFFD
	Index     int       `json:"index"`     // ifindex
	Table     uint32    `json:"table"`
	State     string    `json:"state"` // Up, Degraded or Down
	Problems  []string  `json:"problems"`
	Notes     []string  `json:"notes"` // what is worth knowing and makes it no worse
	Addresses []Address `json:"addresses"`
	// Delegated are the prefixes of networks behind the host: what comes from there leaves by this uplink.
	Delegated []netip.Prefix `json:"delegated"`
	Gateways  []Gateway      `json:"gateways"`
	Leases    []Lease        `json:"leases"`
}

// Address is an address of the link that has rules.
type Address struct {
	Address netip.Addr `json:"address"`
	Bits    int        `json:"bits"`          // the length of its subnet
	Peer    netip.Addr `json:"peer,omitzero"` // the other end of a point-to-point link
}

// Gateway is where a default route of the uplink leads.
type Gateway struct {
	Family  string     `json:"family"`           // "inet" or "inet6"
	Address netip.Addr `json:"address,omitzero"` // absent on a point-to-point link, which needs none
	Onlink  bool       `json:"onlink"`           // outside of the subnet
	Source  string     `json:"source"`           // whose word it is: "config", "dhclient", "route proto dhcp"
}

// Lease is what a client said about an address.
type Lease struct {
	Source    string       `json:"source"`
	Address   netip.Addr   `json:"address"`         // or the first one of a prefix
	Prefix    netip.Prefix `json:"prefix,omitzero"` // what it is about instead of one address: announced by a router, or delegated
	Received  time.Time    `json:"received"`
	ExpiresAt time.Time    `json:"expires_at,omitzero"` // absent: never, or not said
}

// normalize sets what every answer has: the schema's version, and lists instead of null.
func (s Status) normalize() Status {
	s.Schema = SchemaVersion
	s.Uplinks = append([]Uplink{}, s.Uplinks...)
	s.Problems = append([]string{}, s.Problems...)
	s.Notes = append([]string{}, s.Notes...)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		u.Problems = append([]string{}, u.Problems...)
		u.Notes = append([]string{}, u.Notes...)
		u.Addresses = append([]Address{}, u.Addresses...)
		u.Delegated = append([]netip.Prefix{}, u.Delegated...)
		u.Gateways = append([]Gateway{}, u.Gateways...)
		u.Leases = append([]Lease{}, u.Leases...)
	}
	return s
}
