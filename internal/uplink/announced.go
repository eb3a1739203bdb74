package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// A link may have several routers, each with a prefix of its own provider's, whose ingress filter drops what has another's
// (BCP 38). The host has to send what comes from an address to a router that announced its prefix (RFC 8028 section 3.1). The
// kernel does not: it takes one router for all, whatever the source address is.
//
// An announcement alone makes no uplink and no gateway: anybody on the link may send one. It only chooses, for the addresses
// inside its prefix, among the routers that the link has a default route by. So one whose router lifetime is over, or who
// never was a default router (RFC 4861 section 6.3.4), is passed over: its route is gone or was never there.

// announcers are the routers that announced the prefix of an address: the longest that it is in. None where nobody did.
func (d *deriver) announcers(a rpdb.Address) []netip.Addr {
	var best netip.Prefix
	var routers []netip.Addr
	for _, l := range d.announced[a.Link] {
		switch {
		case !l.Prefix.Contains(a.Prefix.Addr()) || best.IsValid() && l.Prefix.Bits() < best.Bits():
		case l.Prefix == best:
			routers = append(routers, l.Routers...)
		default:
			best, routers = l.Prefix, slices.Clone(l.Routers)
		}
	}
	return routers
}

// heed makes the default routes by those routers words about the address itself, and leaves out what other routers of the link
// say by their link-local addresses, which is about the link. Where none of those routers is a default router now, nothing
// changes: another one is better than none.
func (d *deriver) heed(a rpdb.Address, routes []word) []word {
	routers := d.announcers(a)
	byRouter := func(w word) bool { return w.family == rpdb.IPv6 && slices.Contains(routers, w.via) }
	if !slices.ContainsFunc(routes, byRouter) || d.setByHand(a.Link, routes) {
		return routes
	}
	var heeded []word
	for _, w := range routes {
		switch {
		case byRouter(w):
			w.announced = true
			w.source += " by the prefix's router"
		case w.family == rpdb.IPv6 && w.via.IsLinkLocalUnicast() && !w.addr.IsValid():
			continue
		}
		heeded = append(heeded, w)
	}
	return heeded
}

// setByHand says whether the default route that the kernel prefers on a link is an administrator's, by a router that announces
// nothing there: then another way is meant than that of those who do.
func (d *deriver) setByHand(link int, routes []word) bool {
	i := slices.IndexFunc(routes, func(w word) bool { return w.family == rpdb.IPv6 })
	return i >= 0 && routes[i].class == ClassStatic && !slices.ContainsFunc(d.announced[link], func(l Lease) bool {
		return slices.Contains(l.Routers, routes[i].via)
	})
}

// favored brings the group of the router that the kernel itself takes to the front: it becomes the link's first uplink, to which
// unbound sockets and those bound to the link belong. The order of the addresses would be an accident.
func (d *deriver) favored(l rpdb.Link, groups [][]candidate) [][]candidate {
	byRouter := func(g []candidate) bool {
		return slices.ContainsFunc(g, func(c candidate) bool { return c.word.announced })
	}
	if len(groups) < 2 || !slices.ContainsFunc(groups, byRouter) {
		return groups
	}
	for _, w := range d.routeWords(l) {
		i := slices.IndexFunc(groups, func(g []candidate) bool {
			return w.family == g[0].word.family && w.via == g[0].word.via
		})
		if i >= 0 {
			first := groups[i]
			return slices.Insert(slices.Delete(slices.Clone(groups), i, i+1), 0, first)
		}
	}
	return groups
}

// noteUnbound says what rules cannot do where a link has several routers with prefixes of their own: while a socket has no address
// yet, the kernel looks up the route first, and then takes any address of the link's for it, not one of a prefix that this router
// announced (RFC 6724 section 5, rule 5.5, which Linux does not have). It does take account of labels (rule 6).
func noteUnbound(us []Uplink) {
	routers := 0
	for _, u := range us {
		if g, ok := u.Gateway(rpdb.IPv6); ok && g.Via.IsValid() {
			routers++
		}
	}
	if routers > 1 {
		us[0].Notes = append(us[0].Notes, fmt.Sprintf("%d IPv6 routers: a socket that is bound to nothing leaves by the one that the kernel prefers (ip -6 route "+
			"get), and may get an address of another one's prefix (RFC 6724 rule 5.5 is not in Linux): ip addrlabel add prefix PREFIX label 8028 for "+
			"each prefix of the others", routers))
	}
}

// noteUnannounced says, where a link has several routers and several prefixes, that nobody tells which router announced which:
// the kernel does only where it takes advertisements itself. One prefix, as two routers that stand in for each other announce
// it, goes by any of them, and a ULA (RFC 4193) has no provider that could drop it.
func (d *deriver) noteUnannounced(l rpdb.Link, us []Uplink) {
	s := d.settings(l)
	byHand := slices.ContainsFunc(s.Gateways, netip.Addr.Is6)
	if routers := d.linkLocalRouters(l); s.ObserveRA || byHand || routers < 2 {
		return
	} else if prefixes := d.unannounced(l); prefixes > 1 {
		us[0].Notes = append(us[0].Notes, fmt.Sprintf("%s has %d IPv6 routers and %d prefixes, and nobody says which router announced which: set "+
			"observe_ra = true in its [[uplink]], or packets may go to a router that drops them", rpdb.Printable(l.Name), routers, prefixes))
	}
}

// linkLocalRouters is how many routers, as advertisements name them, a link has default routes by.
func (d *deriver) linkLocalRouters(l rpdb.Link) int {
	vias := make(map[netip.Addr]bool)
	for _, w := range d.routeWords(l) {
		if w.family == rpdb.IPv6 && w.via.IsLinkLocalUnicast() {
			vias[w.via] = true
		}
	}
	return len(vias)
}

// unannounced is in how many prefixes a link has addresses that a provider may drop; none where a router's announcement is known of any.
// What is longer than a prefix for SLAAC (RFC 4291 section 2.5.1), as DHCPv6's addresses are, counts by that.
func (d *deriver) unannounced(l rpdb.Link) int {
	prefixes := make(map[netip.Prefix]bool)
	for _, a := range d.addresses[l.Index] {
		ip := a.Prefix.Addr()
		if !usable(a) || !ip.Is6() || ip.IsPrivate() {
			continue
		}
		if len(d.announcers(a)) > 0 {
			return 0
		}
		prefixes[netip.PrefixFrom(ip, min(a.Prefix.Bits(), 64)).Masked()] = true
	}
	return len(prefixes)
}
