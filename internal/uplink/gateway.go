package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// reserved are the addresses that can be nobody's next hop: "this network" (RFC 1122 section 3.2.1.3), and class E with
// the limited broadcast (RFC 1112 section 4, RFC 919 section 7).
func reserved() [2]netip.Prefix {
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{0}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4),
	}
}

// unusable says why an address can be no host's, whatever the link.
func unusable(a netip.Addr) error {
	switch {
	case a.IsUnspecified():
		return errors.New("it is unspecified")
	case a.IsLoopback():
		return errors.New("it is a loopback address")
	case a.IsMulticast():
		return errors.New("it is a multicast address")
	}
	for _, p := range reserved() {
		if p.Contains(a) {
			return fmt.Errorf("it is in reserved %s", p)
		}
	}
	return nil
}

// checkGateway says whether a word's next hop can be the gateway of address a, and whether it needs the onlink flag.
// on are all addresses of the link. A lease's gateway outside the subnet is taken for a host address only: clouds do
// that, and elsewhere it is a rogue server's. A route's was taken by the kernel, and counts as long as that would take it.
func (d *deriver) checkGateway(w word, a rpdb.Address, on []rpdb.Address) (onlink bool, err error) {
	if w.bad != nil || !w.via.IsValid() {
		return false, w.bad
	}
	if err := unusable(w.via); err != nil {
		return false, err
	}
	if d.isOwn(w.via, on) {
		return false, errors.New("it is the host's own address")
	}
	if rpdb.FamilyOf(w.via) != rpdb.FamilyOf(a.Prefix.Addr()) {
		if w.via.Is4() || w.class == ClassLease {
			return false, errors.New("it is of the other family")
		}
		return w.onlink, nil // IPv4 by an IPv6 next hop: RTA_VIA, which only a route can say
	}
	if w.via.Is6() && w.via.IsLinkLocalUnicast() {
		return w.onlink, nil
	}
	if p, ok := subnetOf(w.via, on); ok {
		return w.onlink || !d.reached(w.via, on), checkHostPart(w.via, p)
	}
	switch {
	case w.class == ClassLease && !a.Prefix.IsSingleIP():
		return false, fmt.Errorf("it is outside the subnet %s", a.Prefix.Masked())
	case (w.class == ClassStatic || w.class == ClassClient) && !w.onlink && !onLinkRoute(d.in.Snapshot, a.Link, w.via, w.table).IsValid():
		return false, errStale
	}
	return true, nil
}

// errStale says that a route's gateway is on no subnet of the link any more: the kernel leaves such a route where it is
// when only the address goes.
var errStale = errors.New("its subnet is gone")

// reached says whether a subnet that will be in the uplink's table holds the gateway: without IFA_F_NOPREFIXROUTE all are.
func (d *deriver) reached(via netip.Addr, on []rpdb.Address) bool {
	return slices.ContainsFunc(on, func(a rpdb.Address) bool {
		p := connected(a, d.in.Snapshot)
		return p.IsValid() && p.Contains(via) || a.Peer.IsValid() && a.Peer.Contains(via)
	})
}

// subnetOf finds the link's subnet that an address is in, the longest first. A peer counts as its own subnet.
func subnetOf(a netip.Addr, on []rpdb.Address) (netip.Prefix, bool) {
	var best netip.Prefix
	for _, o := range on {
		for _, p := range []netip.Prefix{o.Prefix, o.Peer} {
			if p.IsValid() && p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
				best = p.Masked()
			}
		}
	}
	return best, best.IsValid()
}

// isOwn says whether an address is the host's own. A link-local one counts on its link only: bridges for containers often
// have fe80::1, and so have routers.
func (d *deriver) isOwn(ip netip.Addr, on []rpdb.Address) bool {
	if !ip.IsLinkLocalUnicast() {
		return d.own[ip]
	}
	return slices.ContainsFunc(on, func(a rpdb.Address) bool { return a.Prefix.Addr() == ip.WithZone("") })
}

// checkHostPart refuses an IPv4 subnet's network and broadcast addresses (RFC 1122 section 3.2.1.3); a /31 has neither (RFC
// 3021).
func checkHostPart(a netip.Addr, subnet netip.Prefix) error {
	if !a.Is4() || subnet.Bits() >= 31 {
		return nil
	}
	if a == subnet.Addr() {
		return fmt.Errorf("it is the network address of %s", subnet)
	}
	if a == lastAddr(subnet) {
		return fmt.Errorf("it is the broadcast address of %s", subnet)
	}
	return nil
}

// lastAddr is the last address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// choice is what choose makes of the words about one address.
type choice struct {
	word    word
	ok      bool
	near    bool     // the word is about this address or its subnet
	refused []string // words that could not be followed, and why
}

// choose finds the gateway of one address: what is said of this very address or of its subnet, else what is said of
// the link. The configuration's word stands above all.
func (d *deriver) choose(a rpdb.Address, on []rpdb.Address, routes []word, s config.Settings) choice {
	var c choice
	family := rpdb.FamilyOf(a.Prefix.Addr())
	ws := slices.Concat(d.leaseWords(a), routes)
	for _, g := range s.Gateways {
		ws = append(ws, word{class: ClassConfig, family: family, via: g, source: "configuration"})
	}
	var near, far []word
	var stale []string // worth a word only where nothing else is said
	for _, w := range ws {
		if w.family != family || w.class == ClassConfig && rpdb.FamilyOf(w.via) != family {
			continue
		}
		onlink, err := d.checkGateway(w, a, on)
		switch {
		case errors.Is(err, errStale):
			stale = append(stale, refusal(w, a, err))
			continue
		case err != nil:
			if fits(w, a, on) || w.aboutLink() {
				c.refused = append(c.refused, refusal(w, a, err))
			}
			w, onlink = d.keep(w, a, on)
		}
		if w.class == ClassNone {
			continue
		}
		w.onlink = onlink
		switch {
		case fits(w, a, on):
			near = append(near, w)
		case mayServe(w, a):
			far = append(far, w)
		}
	}
	c.word, c.ok = newest(near)
	if c.near = c.ok; !c.ok {
		c.word, c.ok = newest(far)
	}
	if !c.ok {
		c.refused = append(c.refused, stale...)
	}
	return c
}

func refusal(w word, a rpdb.Address, err error) string {
	if !w.via.IsValid() {
		return fmt.Sprintf("lease of %s by %s is refused: %v", a.Prefix.Addr(), w.source, err)
	}
	return fmt.Sprintf("gateway %s of %s by %s is refused: %v", w.via, a.Prefix.Addr(), w.source, err)
}

// keep replaces a lease's refused word by the gateway that worked before, if it still can be one. Whether that was known from
// the lease or from the client's own route does not matter: with a refused router many clients give up the good route, too.
// An ordinary user's word brings back only what it had said itself.
func (d *deriver) keep(w word, a rpdb.Address, on []rpdb.Address) (word, bool) {
	h, ok := d.held[heldKey{a.Link, a.Prefix.Addr()}]
	if w.class != ClassLease || w.addr != a.Prefix.Addr() || !ok || h.Class != ClassLease && h.Class != ClassClient ||
		w.by.TunnelOnly() && w.by != h.Source {
		return word{}, false
	}
	w.via, w.onlink, w.bad = h.Gateway, h.Onlink, nil
	w.source += ", kept from before"
	onlink, err := d.checkGateway(w, a, on)
	if err != nil {
		return word{}, false
	}
	return w, onlink
}

// fits says whether a word is about this address rather than about another one of the link.
func fits(w word, a rpdb.Address, on []rpdb.Address) bool {
	if w.addr.IsValid() {
		return w.addr == a.Prefix.Addr()
	}
	if w.announced || !w.via.IsValid() || w.class == ClassConfig || a.Prefix.Contains(w.via) || a.Peer.IsValid() && a.Peer.Contains(w.via) {
		return true
	}
	if w.aboutLink() {
		return false
	}
	_, others := subnetOf(w.via, on)
	return !others
}

// aboutLink says whether a word's next hop is of the link and of no subnet of its family: an IPv6 link-local one (RFC 4861
// section 6.3.4 takes routers by no other), or one of the other family.
func (w word) aboutLink() bool {
	return w.via.IsValid() && (w.via.Is6() && w.via.IsLinkLocalUnicast() || rpdb.FamilyOf(w.via) != w.family)
}

// silent says whether a word's next hop says nothing of who is behind it, public or private.
func (w word) silent() bool { return w.aboutLink() || w.via.IsLinkLocalUnicast() }

// mayServe says whether a word about the link may be followed for an address of which nothing is said. A private address behind
// a public gateway would be nobody's: it is a LAN's. A link-local next hop, and one of the other family, say nothing of that: a
// router takes packets from a unique local address as from a global one (that is what its site has NPTv6 for, RFC 6296, or its
// other networks), and what is nearby stays where main has it.
func mayServe(w word, a rpdb.Address) bool {
	return !a.Prefix.Addr().IsPrivate() || w.via.IsPrivate() || w.silent()
}

// leaseWords are what the leases on an address's link say, newest first. A lease whose own address is not on the link
// says nothing: anybody could have sent it.
func (d *deriver) leaseWords(a rpdb.Address) []word {
	family := rpdb.FamilyOf(a.Prefix.Addr())
	var ws []word
	for _, l := range d.leases[a.Link] {
		i := slices.IndexFunc(d.addresses[a.Link], func(o rpdb.Address) bool { return o.Prefix.Addr() == l.Address })
		if i >= 0 && rpdb.FamilyOf(l.Address) == family {
			ws = append(ws, d.leaseWord(l, d.addresses[a.Link][i]))
		}
	}
	ws = slices.DeleteFunc(ws, func(w word) bool { return w.class == ClassNone })
	slices.SortStableFunc(ws, func(x, y word) int {
		return cmp.Or(-cmp.Compare(x.seq, y.seq), x.addr.Compare(y.addr), cmp.Compare(x.source, y.source))
	})
	return ws
}

// leaseWord is the first gateway of a lease that can be one for its own address, or its first, to be refused with the
// reason.
func (d *deriver) leaseWord(l Lease, owner rpdb.Address) word {
	w := word{class: ClassLease, family: rpdb.FamilyOf(l.Address), addr: l.Address, seq: l.Seq, source: string(l.Source), by: l.Source}
	if keepsKernel(l.Source) && l.Lifetime > 0 && owner.Permanent {
		return word{} // somebody else's address: what is left of a lease says nothing about it
	}
	gws := l.Gateways()
	switch {
	case len(gws) == 0 && l.Refused:
		w.bad = errors.New("none of the gateways that it named can be one")
		return w
	case len(gws) == 0:
		return word{}
	}
	for _, g := range gws {
		w.via = g
		if _, err := d.checkGateway(w, owner, d.addresses[owner.Link]); err == nil {
			return w
		}
	}
	w.via = gws[0]
	return w
}
