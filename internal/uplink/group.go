package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// uplinks makes the uplinks of one link of its candidates, which are in order: one for the first gateway of each
// family together, and one for each further gateway.
func (d *deriver) uplinks(l rpdb.Link, cs []candidate) []Uplink {
	if len(cs) == 0 {
		return nil
	}
	us := []Uplink{d.primary(l)}
	for _, family := range rpdb.Families() {
		groups := d.favored(l, groupByGateway(cs, family))
		for i, g := range groups {
			u := &us[0]
			if i > 0 {
				us = append(us, d.further(l, us[0].Name, g[0].word.via))
				u = &us[len(us)-1]
			}
			d.fill(u, g, len(groups) > 1)
		}
	}
	noteUnbound(us)
	d.noteUnannounced(l, us)
	for i := range us {
		d.finish(&us[i])
		d.addRoutes(&us[i])
	}
	return us
}

func (d *deriver) primary(l rpdb.Link) Uplink {
	s := d.settings(l)
	name := s.Name
	if name == "" {
		name = SafeName(l.Name)
	}
	return Uplink{Name: name, Table: s.Table, Link: l, Primary: true, Settings: s}
}

// further is an uplink for another gateway of the same link. What the configuration pins is the primary's.
func (d *deriver) further(l rpdb.Link, name string, via netip.Addr) Uplink {
	s := d.settings(l)
	s.Name, s.Table, s.Mark, s.Mask, s.IIF = "", 0, 0, 0, nil
	return Uplink{Name: name + "-" + via.WithZone("").String(), Link: l, Settings: s}
}

// groupByGateway puts candidates of one family together that have the same gateway, in order of their first address.
// Those without a way out belong to the first group: it has none either, or they would have taken it.
func groupByGateway(cs []candidate, family rpdb.Family) [][]candidate {
	var order []netip.Addr
	groups := make(map[netip.Addr][]candidate)
	for _, c := range cs {
		if rpdb.FamilyOf(c.a.Prefix.Addr()) != family {
			continue
		}
		g := c.word.via
		if !slices.Contains(order, g) {
			order = append(order, g)
		}
		groups[g] = append(groups[g], c)
	}
	out := make([][]candidate, 0, len(order))
	for _, g := range order {
		out = append(out, groups[g])
	}
	return out
}

// fill adds one group of addresses and their gateway. several says that the link has other gateways of the family:
// then the kernel's choice of a source address by link (RFC 6724 rule 5) is not enough for IPv6.
func (d *deriver) fill(u *Uplink, group []candidate, several bool) {
	for _, c := range group {
		u.Addresses = append(u.Addresses, Address{
			Addr: c.a.Prefix.Addr(), Bits: c.a.Prefix.Bits(), Peer: c.a.Peer, Left: c.left,
			Subnet: connected(c.a, d.in.Snapshot),
		})
		u.Problems = append(u.Problems, c.problems...)
	}
	i := slices.IndexFunc(group, func(c candidate) bool { return c.routed })
	if i < 0 {
		return
	}
	first := group[i]
	g := Gateway{
		Family: first.word.family, Via: first.word.via, Onlink: slices.ContainsFunc(group, func(c candidate) bool { return c.word.onlink }),
		Class: first.word.class, Source: first.word.source, Metrics: first.word.metrics,
	}
	if g.Family == rpdb.IPv4 || several {
		g.Src = d.preferredSource(first.word, group)
	}
	u.Gateways = append(u.Gateways, g)
}

// preferredSource is the address that the word itself names, as a lease and a route's own source do; else what the kernel
// would take (inet_select_addr): the first in its own order in the gateway's subnet, and after that any; behind a
// gateway that is in none, a public one before a private one. One that is deprecated comes last; but a ULA (RFC 4193) is of no
// use in the Internet at all, nor may be one that this router did not announce.
func (d *deriver) preferredSource(w word, group []candidate) netip.Addr {
	rank := func(c candidate) (n int) {
		ip := c.a.Prefix.Addr()
		if ip == w.addr {
			n += 16
		}
		if ip.Is6() && !ip.IsPrivate() {
			n += 8
		}
		if c.word.announced {
			n += 4
		}
		if !c.a.Deprecated {
			n += 2
		}
		if w.via.IsValid() && c.a.Prefix.Contains(w.via) || w.silent() && !ip.IsPrivate() {
			n++
		}
		return n
	}
	best := group[0]
	for _, c := range group[1:] {
		if n := rank(c) - rank(best); n > 0 || n == 0 && d.position(c) < d.position(best) {
			best = c
		}
	}
	return best.a.Prefix.Addr()
}

func (d *deriver) position(c candidate) int { return d.order[heldKey{c.a.Link, c.a.Prefix.Addr()}] }

// whyDown is the problem of an uplink whose link is down.
const whyDown = "the link is down: only the fence stands"

// finish adds what concerns the whole uplink.
func (d *deriver) finish(u *Uplink) {
	for _, l := range d.leases[u.Link.Index] {
		for _, dns := range l.DNS {
			if unusable(dns) == nil && !d.own[dns] && !slices.Contains(u.DNS, dns) {
				u.DNS = append(u.DNS, dns)
			}
		}
	}
	slices.SortFunc(u.DNS, netip.Addr.Compare)
	u.Own = ownRoutes(u.Addresses, u.Link.Index, d.in.Snapshot)
	u.State = Up
	switch {
	case !u.Link.Up:
		u.State = Down
		u.Problems = append(u.Problems, whyDown)
		return
	case !u.Link.Carrier:
		u.Problems = append(u.Problems, "no carrier")
	}
	for _, a := range u.Addresses {
		if _, ok := u.Gateway(rpdb.FamilyOf(a.Addr)); !ok {
			u.Problems = append(u.Problems, fmt.Sprintf("no gateway for %s any more: its packets stop here (fence = false lets them out by another uplink)", a.Addr))
		}
	}
	if len(u.Problems) > 0 {
		u.State = Degraded
	}
}

// nameApart gives uplinks of one name different ones: a pinned name may match several links, and the first keeps it.
func nameApart(us []Uplink) {
	taken := make(map[string]string)
	for i := range us {
		u := &us[i]
		if owner, ok := taken[u.Name]; ok {
			u.Problems = append(u.Problems, fmt.Sprintf("the name %s is taken by %s", u.Name, owner))
			u.Name += "-" + SafeName(u.Link.Name)
			u.Table = 0
			if u.State == Up {
				u.State = Degraded
			}
		}
		taken[u.Name] = rpdb.Printable(u.Link.Name)
	}
}
