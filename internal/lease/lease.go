// Package lease turns what a client's hook was called with into a Lease, or into the word that one is gone.
//
// It is pure, and everything in it is hostile until checked: the values were written by whoever answers DHCP on the link.
package lease

import (
	"net/netip"
	"time"
)

// Infinite is the lifetime of a lease that does not end (RFC 2131 section 3.3: 0xffffffff).
const Infinite = time.Duration(-1)

// Source is who said it: the client, as "dhclient" or "ppp".
type Source string

// The sources. A client that speaks for both families with one voice each is two sources: the end of one family's lease
// says nothing of the other's.
const (
	SourceDhclient  Source = "dhclient"
	SourceDhclient6 Source = "dhclient6"
	SourcePPP       Source = "ppp"
)

// Route is one classless static route (option 121, RFC 3442): Dst is masked; an unspecified Gateway means on-link.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway"`
}

// Lease is what a client said about one address of a link, or about one prefix. It says nothing about whether the address is
// there.
type Lease struct {
	Source  Source     `json:"source"`
	Address netip.Addr `json:"address"`
	// Prefix is what the lease is about in place of one address, where it is valid; Address is its first one then, for who
	// asks which lease it is. A router announced it for the link (RFC 4861 section 4.6.2), and is in Routers.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Delegated says that the prefix is for the networks behind the host instead (RFC 8415 section 21.22).
	Delegated bool `json:"delegated,omitzero"`

	Bits    int          `json:"bits"`             // prefix length by the client's word; -1 where it gave none. Information only.
	Peer    netip.Addr   `json:"peer,omitzero"`    // the other end of a point-to-point link
	Routers []netip.Addr `json:"routers,omitzero"` // the router option (RFC 2132 section 3.5), less what can be no gateway
	// Refused says that the client named gateways and none of them can be one, or named them in no readable form. That is
	// a mistake or an attack, and not the word that there is no gateway any more.
	Refused bool `json:"refused,omitzero"`
	// HasClassless says that option 121 was there and well-formed; then the router option does not count (RFC 3442).
	// Where it was there and malformed, HasClassless is false and Routers is empty: no silent way back to the routers.
	// Without it, Classless is what a VPN's server pushed or a script named beside the routers, which count.
	HasClassless bool          `json:"has_classless,omitzero"`
	Classless    []Route       `json:"classless,omitzero"`
	DNS          []netip.Addr  `json:"dns,omitzero"`
	MTU          int           `json:"mtu,omitzero"`
	Lifetime     time.Duration `json:"lifetime,omitzero"` // 0: the client gave none; Infinite
}

// Gateways lists the lease's candidates for a default gateway, best first, by RFC 3442: the defaults of option 121
// where the lease has it, else the router option.
func (l Lease) Gateways() []netip.Addr {
	if !l.HasClassless {
		return l.Routers
	}
	var gws []netip.Addr
	for _, r := range l.Classless {
		if r.Dst.Bits() == 0 && r.Gateway.IsValid() && !r.Gateway.IsUnspecified() {
			gws = append(gws, r.Gateway)
		}
	}
	return gws
}
