package lease

import "net/netip"

// Verb says what an event does to what is known of a link.
type Verb uint8

// The verbs (HOOKS: bind, update, remove, resync, ignore; an update is a Bind of the same address).
const (
	Ignore    Verb = iota // nothing to learn; Why says why
	Bind                  // Lease is the newest word about Lease.Address
	Remove                // the lease of Address is over
	RemoveAll             // all leases of the source on the link are over
	Resync                // no data: look at the kernel again
	Replace               // Leases are all that the source has on the link; none: it has none, and gave none up
)

// String names the verb for logs.
func (v Verb) String() string {
	return [...]string{"ignore", "bind", "remove", "remove all", "resync", "replace"}[v]
}

// Keep is a set of parts of a lease.
type Keep uint8

// The parts that a list over a limit leaves as they were.
const (
	KeepGateways Keep = 1 << iota // Routers, HasClassless, Classless: together they make the gateway
	KeepDNS
)

// Event is what one hook call says, or one part of it: see Parse.
type Event struct {
	Verb      Verb
	Source    Source
	Interface string  // the name that the client gave: not trusted
	Index     int     // its ifindex when the hook ran; 0 where there was no such link any more
	Reason    string  // the client's own word: "BOUND", "ip-up"
	Lease     Lease   // Bind
	Leases    []Lease // Replace; at most MaxLeases, each address once
	// Sole, with Bind: the client holds one lease of the family on the link, so this one replaces any other of its own.
	Sole bool
	// Keep, with Bind and Replace: what the client did say, but in a form that was refused whole. See Over.
	Keep     Keep
	Address  netip.Addr // Remove
	Why      string     // Ignore: the reason, for the log
	Problems []string   // values that were refused, one line each, already quoted and cut
}

// Over is what stands of one of the event's leases: l itself, with the parts that are in Keep taken from prev, the lease
// that the same source had of the link before. A list that is too long must not turn into an empty one. Where prev is of
// another address (or the zero Lease), there is nothing to keep.
func (e Event) Over(prev, l Lease) Lease {
	if prev.Source != l.Source || prev.Address != l.Address {
		return l
	}
	if e.Keep&KeepGateways != 0 {
		l.Routers, l.HasClassless, l.Classless, l.Refused = prev.Routers, prev.HasClassless, prev.Classless, prev.Refused
	}
	if e.Keep&KeepDNS != 0 {
		l.DNS = prev.DNS
	}
	return l
}
