package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// A provider delegates a prefix for the networks behind the host (RFC 8415 section 6.3), and drops what has another's. So what
// comes from the prefix has to leave by the uplink that it came with, whichever host of the LAN sends it.

// The lengths that a leased prefix may have: a provider's whole allocation is nobody's LAN, and a LAN has 64 bits (RFC 4291
// section 2.5.4).
const (
	minDelegated = 32
	maxDelegated = 64
)

// minLocal is the least length of a unique local prefix: each of these networks makes up its own 48 bits (RFC 4193 section 3.2).
const minLocal = 48

// delegation is a prefix that the configuration or a lease says is behind the host, and by which link.
type delegation struct {
	prefix netip.Prefix
	link   rpdb.Link
	source lease.Source // whose lease; empty: the configuration's word
	seq    uint64
	held   Held
	was    bool // held is there: it has had a gateway before
}

func (n delegation) String() string {
	by := "the configuration"
	if n.source != "" {
		by = string(n.source)
	}
	return fmt.Sprintf("prefix %s, delegated on %s by %s,", n.prefix, rpdb.Printable(n.link.Name), by)
}

// delegate gives each delegated prefix to an uplink of its link, or says why not. Where the link has no uplink any more and the
// prefix is not over, it makes one: the link's IPv6 addresses go with it when it is down, and the LAN's do not.
func (d *deriver) delegate(us []Uplink) []Uplink {
	var given []delegation
	for _, n := range d.delegations() {
		if slices.ContainsFunc(given, func(o delegation) bool { return o.link.Index == n.link.Index && o.prefix == n.prefix }) {
			continue
		}
		if err := d.refuse(n, given, us); err != nil {
			d.problems = append(d.problems, fmt.Sprintf("%s is refused: %v", n, err))
			continue
		}
		var ok bool
		if us, ok = d.give(n, us); ok {
			given = append(given, n)
		}
	}
	return us
}

// delegations are all that there are: first what the configuration says, then what had been given to an uplink before, then by
// age. Of two that overlap the first keeps its place.
func (d *deriver) delegations() []delegation {
	var all []delegation
	for _, l := range d.links {
		s := d.settings(l)
		if !eligible(l, s) {
			continue
		}
		for _, p := range s.Delegated {
			all = append(all, d.remembered(delegation{prefix: p, link: l}))
		}
		for _, w := range d.delegated[l.Index] {
			all = append(all, d.remembered(delegation{prefix: w.Prefix, link: l, source: w.Source, seq: w.Seq}))
		}
	}
	slices.SortStableFunc(all, func(a, b delegation) int {
		return cmp.Or(
			-compareBool(a.source == "", b.source == ""), -compareBool(a.was, b.was), cmp.Compare(a.seq, b.seq),
			cmp.Compare(a.link.Index, b.link.Index), a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()),
			cmp.Compare(a.source, b.source),
		)
	})
	return all
}

func (d *deriver) remembered(n delegation) delegation {
	n.held, n.was = d.held[heldKey{n.link.Index, n.prefix.Addr()}]
	if n.was && n.held.Bits != 0 && n.held.Bits != n.prefix.Bits() {
		n.held, n.was = Held{}, false // another prefix with the same first address
	}
	return n
}

// refuse says why a delegation does not count. Whoever answers DHCPv6 on a link wrote it; it must not draw another uplink's
// packets there. The host's addresses on links that are no uplinks may well be inside: that is what the prefix is for.
func (d *deriver) refuse(n delegation, given []delegation, us []Uplink) error {
	if n.source != "" {
		if err := checkDelegated(n.prefix); err != nil {
			return err
		}
	}
	if n.source.TunnelOnly() {
		return errors.New("an ordinary user may have said it, and it is about packets of others")
	}
	for _, o := range given {
		if o.link.Index != n.link.Index && o.prefix.Overlaps(n.prefix) {
			return fmt.Errorf("%s is delegated on %s", o.prefix, rpdb.Printable(o.link.Name))
		}
	}
	if r, ok := d.sortsForwarded(); ok && n.source != "" {
		return fmt.Errorf("rule %q sorts forwarded packets, and would come too late: name the prefix in delegated to have it all the same", r)
	}
	if r, ok := d.ruledPrefix(n.prefix); ok {
		return fmt.Errorf("somebody else's rule %q steers it: delete that to have it done here", r)
	}
	overlap := n.overlap(us)
	if overlap != nil && n.was {
		// It was there first, and that must not be taken from the LAN by whoever has another link get an address in it. That
		// address keeps its way, for its rules stand before those of the prefix.
		d.problems = append(d.problems, fmt.Sprintf("%s was there before: %v", n, overlap))
		return nil
	}
	return overlap
}

// overlap names an address of another link's uplink that the prefix has to do with.
func (n delegation) overlap(us []Uplink) error {
	for _, u := range us {
		for _, a := range u.Addresses {
			if u.Link.Index != n.link.Index && (n.prefix.Contains(a.Addr) || a.Subnet.IsValid() && a.Subnet.Overlaps(n.prefix)) {
				return fmt.Errorf("it overlaps %s of %s", netip.PrefixFrom(a.Addr, a.Bits), u.Name)
			}
		}
	}
	return nil
}

// checkDelegated says why a prefix can be no server's to give. Global ones lie in 2000::/3 as long as IANA gives out no others;
// unique local ones (RFC 4193) are what a router of the same house hands on.
func checkDelegated(p netip.Prefix) error {
	global := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20}), 3)
	switch {
	case !p.IsValid() || !p.Addr().Is6() || !p.Addr().IsPrivate() && !global.Contains(p.Addr()):
		return errors.New("it is not global unicast IPv6")
	case p.Bits() < minDelegated || p.Addr().IsPrivate() && p.Bits() < minLocal:
		return errors.New("it is too wide")
	case p.Bits() > maxDelegated:
		return fmt.Errorf("it is longer than /%d", maxDelegated)
	}
	return nil
}

// give puts a delegation to an uplink: with the family's gateway, or else, where it has had one, with the fence alone.
func (d *deriver) give(n delegation, us []Uplink) ([]Uplink, bool) {
	family := rpdb.FamilyOf(n.prefix.Addr())
	if i := d.uplinkFor(n, us, family); i >= 0 {
		u := &us[i]
		g, _ := u.Gateway(family)
		d.handed = append(d.handed, Held{
			Link: n.link.Index, Addr: n.prefix.Addr(), Bits: n.prefix.Bits(), Class: g.Class, Gateway: g.Via, Onlink: g.Onlink, Source: n.source,
		})
		u.Delegated = append(u.Delegated, n.prefix)
		d.outranked(n, us)
		return us, true
	}
	fell := n.held.Fell || d.flushed(n.link, rpdb.Address{Prefix: n.prefix})
	if !n.was || !fell && n.held.Class <= ClassStatic {
		d.problems = append(d.problems, fmt.Sprintf("%s waits: the link has no gateway for it", n))
		return us, false
	}
	i := slices.IndexFunc(us, func(u Uplink) bool { return u.Link.Index == n.link.Index })
	if i < 0 {
		u := d.primary(n.link)
		if u.State = Degraded; !n.link.Up {
			u.State = Down
			u.Problems = []string{whyDown}
		}
		i = slices.IndexFunc(us, func(o Uplink) bool { return o.Link.Index > n.link.Index })
		if i < 0 {
			i = len(us)
		}
		us = slices.Insert(us, i, u)
	}
	n.held.Fell = fell
	d.handed = append(d.handed, n.held)
	us[i].Delegated = append(us[i].Delegated, n.prefix)
	if us[i].State != Down {
		us[i].trouble(fmt.Sprintf("no gateway for delegated %s any more: its packets stop here (fence = false lets them out by another uplink)", n.prefix))
	}
	return us, true
}

// uplinkFor is the uplink of the link that has a gateway of the family: the one whose address the same client has leased, for
// its server is behind that gateway; else the first. -1: none.
func (d *deriver) uplinkFor(n delegation, us []Uplink, family rpdb.Family) int {
	first := -1
	for i, u := range us {
		if _, ok := u.Gateway(family); !ok || u.Link.Index != n.link.Index {
			continue
		}
		same := slices.ContainsFunc(d.leases[n.link.Index], func(l Lease) bool {
			return l.Source == n.source && rpdb.FamilyOf(l.Address) == family &&
				slices.ContainsFunc(u.Addresses, func(a Address) bool { return a.Addr == l.Address })
		})
		if same {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// outranked complains where another uplink's iif takes what the hosts of a prefix send: that comes first, and the other
// provider drops it.
func (d *deriver) outranked(n delegation, us []Uplink) {
	for _, a := range d.in.Snapshot.Addresses {
		if a.Link == n.link.Index || !n.prefix.Contains(a.Prefix.Addr()) {
			continue
		}
		lan := d.in.Snapshot.LinkName(a.Link)
		for i := range us {
			_, routed := us[i].Gateway(rpdb.FamilyOf(n.prefix.Addr()))
			if us[i].Link.Index != n.link.Index && routed && slices.Contains(us[i].Settings.IIF, lan) {
				us[i].trouble(fmt.Sprintf("its iif takes what comes from %s before delegated %s of %s is looked at: take that link out of iif",
					rpdb.Printable(lan), n.prefix, rpdb.Printable(n.link.Name)))
			}
		}
	}
}

// trouble notes a problem of an uplink, once.
func (u *Uplink) trouble(p string) {
	if !slices.Contains(u.Problems, p) {
		u.Problems = append(u.Problems, p)
	}
	if u.State == Up {
		u.State = Degraded
	}
}

// sortsForwarded finds a rule of somebody else's behind our block that sends what comes in by a link, or has a mark, to a table of
// its own: a guest network's provider, a VPN by marks. What is delegated would take such packets first.
func (d *deriver) sortsForwarded() (rpdb.Rule, bool) {
	for _, r := range d.in.Snapshot.Rules {
		selects := r.IIF != "" && r.IIF != rpdb.Loopback || r.Mask != 0
		foreign := r.Protocol != d.in.Config.Protocol && r.Action == rpdb.ActLookup && !ownTable(r.Table) && !d.ours(r.Table)
		if r.Family == rpdb.IPv6 && foreign && selects && !r.Invert && !r.Suppress.Set && r.Priority >= d.border() && !d.behindMain(r) {
			return r, true
		}
	}
	return rpdb.Rule{}, false
}
