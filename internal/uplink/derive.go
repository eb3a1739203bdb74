package uplink

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Derive finds the uplinks. They have no table numbers yet, but for those that the configuration pins: see Assign.
func Derive(in Input) View {
	d := newDeriver(in)
	var all []candidate
	for _, l := range d.links {
		all = append(all, d.candidates(l)...)
	}
	v := View{CatchAlls: d.catchAlls()}
	d.before, _ = d.place(v.CatchAlls)
	d.settleShared(all)
	d.leaveToOthers(all)
	v.Others = d.others()
	d.beside = v.Others.Tables
	for _, l := range d.links {
		v.Uplinks = append(v.Uplinks, d.uplinks(l, ofLink(all, l.Index))...)
	}
	v.Uplinks = d.delegate(v.Uplinks)
	setSources(v.Uplinks, in.Snapshot)
	d.bypass(&v)
	nameApart(v.Uplinks)
	d.settleDNS(v.Uplinks)
	d.linkSettings(v.Uplinks)
	v.Held = slices.Concat(d.remember(all), d.handed, d.inVRF())
	v.Problems = append(d.problems, d.strayLeases()...)
	d.tellAside(&v)
	return v
}

type heldKey struct {
	link int
	addr netip.Addr
}

// deriver is the input, indexed.
type deriver struct {
	in        Input
	links     []rpdb.Link // by ifindex
	addresses map[int][]rpdb.Address
	leases    map[int][]Lease // about addresses
	announced map[int][]Lease // about prefixes, by routers
	delegated map[int][]Lease // about prefixes, by DHCPv6 servers
	handed    []Held          // of delegated prefixes that uplinks have
	held      map[heldKey]Held
	own       map[netip.Addr]bool // every address of the host
	count     map[netip.Addr]int  // on how many links it is
	order     map[heldKey]int     // the kernel's own order of the addresses
	ours      func(uint32) bool   // whether a table holds routes of ours alone
	beside    []Table             // as in Others
	before    uint32              // as in Others
	problems  []string
}

func newDeriver(in Input) *deriver {
	d := &deriver{
		in:        in,
		links:     slices.Clone(in.Snapshot.Links),
		addresses: make(map[int][]rpdb.Address),
		leases:    make(map[int][]Lease),
		announced: make(map[int][]Lease),
		delegated: make(map[int][]Lease),
		held:      make(map[heldKey]Held),
		own:       make(map[netip.Addr]bool),
		count:     make(map[netip.Addr]int),
		order:     make(map[heldKey]int),
		ours:      ourTables(in),
	}
	slices.SortFunc(d.links, func(a, b rpdb.Link) int { return cmp.Compare(a.Index, b.Index) })
	for i, a := range in.Snapshot.Addresses {
		d.order[heldKey{a.Link, a.Prefix.Addr()}] = i
		d.own[a.Prefix.Addr()] = true
		d.count[a.Prefix.Addr()]++
		d.addresses[a.Link] = append(d.addresses[a.Link], a)
	}
	for _, as := range d.addresses {
		slices.SortFunc(as, compareAddresses)
	}
	d.sortLeases()
	for _, h := range in.Held {
		d.held[heldKey{h.Link, h.Addr}] = h
	}
	return d
}

// sortLeases puts the leases to their links, but for those that do not count there.
func (d *deriver) sortLeases() {
	for _, l := range d.in.Leases {
		link, ok := d.in.Snapshot.Link(l.Link)
		if ok && !MaySpeak(l.Source, link) {
			d.problems = append(d.problems, fmt.Sprintf("lease of %s by %s on %s does not count: that is no tunnel",
				l.Address, l.Source, rpdb.Printable(link.Name)))
			continue
		}
		to := d.leases
		switch {
		case l.Delegated:
			to = d.delegated
		case l.Prefix.IsValid():
			to = d.announced
		}
		to[l.Link] = append(to[l.Link], l)
	}
	slices.Sort(d.problems)
}

// compareAddresses puts IPv4 before IPv6 and then goes by number: the kernel's own order depends on history.
func compareAddresses(a, b rpdb.Address) int {
	return cmp.Or(
		cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen()),
		a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
	)
}

// candidate is one address of a link that may be an uplink's.
type candidate struct {
	a        rpdb.Address
	routed   bool // it has a way out: a gateway, or a point-to-point link
	near     bool // by a word about itself or its subnet, not about the link
	word     word // where it is routed, or what was remembered
	fell     bool // see Held.Fell
	left     bool // no rules of ours: see Address.Left
	ruled    bool // by somebody else's rule
	problems []string
}

// candidates are the addresses of one link that make it an uplink: those that have a way out, and those that had one
// and must not leave by another while their own is away.
func (d *deriver) candidates(l rpdb.Link) []candidate {
	if !d.canBeUplink(l) {
		d.noteManaged(l)
		return nil
	}
	s := d.settings(l)
	routes := d.routeWords(l)
	on := d.addresses[l.Index]
	var cs []candidate
	for _, a := range on {
		if a.Prefix.Bits() == 0 && a.Scope < rpdb.ScopeLink {
			d.problems = append(d.problems, fmt.Sprintf("%s has address %s: a subnet of length 0 is refused", rpdb.Printable(l.Name), a.Prefix))
		}
		if !usable(a) {
			continue
		}
		ch := d.choose(a, on, d.heed(a, routes), s)
		ch.word.metrics = metricsOf(routes, ch.word)
		if c, ok := d.candidate(l, a, ch, s); ok {
			cs = append(cs, c)
		}
	}
	follow(cs)
	return cs
}

// follow sends the addresses of which nobody said anything where the first of their family goes of which somebody did. What a
// router announced of a prefix says nothing about others.
func follow(cs []candidate) {
	for i := range cs {
		c := &cs[i]
		first := slices.IndexFunc(cs, func(o candidate) bool { return o.near && !o.word.announced && o.word.family == c.word.family })
		if !c.near && c.routed && first >= 0 {
			c.word = cs[first].word
		}
	}
}

func (d *deriver) settings(l rpdb.Link) config.Settings {
	return d.in.Config.For(l.Name, l.MAC, LinkKind(l))
}

func (d *deriver) candidate(l rpdb.Link, a rpdb.Address, ch choice, s config.Settings) (candidate, bool) {
	c := candidate{a: a, word: ch.word, routed: ch.ok, near: ch.near, problems: ch.refused}
	h, was := d.held[heldKey{l.Index, a.Prefix.Addr()}]
	switch {
	case c.routed:
	case d.ownWayOut(l, a, s):
		c.routed, c.near = true, true
		c.word = word{class: ClassStatic, family: rpdb.FamilyOf(a.Prefix.Addr()), source: "point-to-point link"}
	case was && (h.Fell || d.flushed(l, a) || h.Class > ClassStatic || !h.Lent && d.sought(a)) && !d.saysNone(a, h):
		c.fell = h.Fell || d.flushed(l, a)
		c.word = word{class: h.Class, family: rpdb.FamilyOf(h.Addr), via: h.Gateway, onlink: h.Onlink, source: "memory", by: h.Source}
	default:
		for _, p := range ch.refused {
			d.problems = append(d.problems, rpdb.Printable(l.Name)+": "+p)
		}
		return c, false
	}
	if was && c.word.by.TunnelOnly() && !h.Source.TunnelOnly() && h.Class > ClassStatic {
		c.word.by = h.Source // an ordinary user's word does not make the fence that was there before the user's own
	}
	c.routed = c.routed && l.Up
	return c, true
}

// flushed says whether a link is down, or has been since the last look: then the kernel has flushed every route of the
// family by it, ours with the others.
func (d *deriver) flushed(l rpdb.Link, a rpdb.Address) bool {
	ours := slices.ContainsFunc(d.in.Snapshot.Routes, func(r rpdb.Route) bool {
		return r.OIF == l.Index && r.Protocol == d.in.Config.Protocol && r.Family() == rpdb.FamilyOf(a.Prefix.Addr())
	})
	return !l.Up || !ours
}

// saysNone says whether a lease of the address names no gateway: that is the client's word that there is none. An IPv6 lease is
// silent always, for DHCPv6 has no such option: router advertisements have it. An ordinary user's word ends nothing but what
// the same source's made.
func (d *deriver) saysNone(a rpdb.Address, h Held) bool {
	return a.Prefix.Addr().Is4() && slices.ContainsFunc(d.leases[a.Link], func(l Lease) bool {
		return l.Address == a.Prefix.Addr() && !l.Refused && len(l.Gateways()) == 0 && !l.Peer.IsValid() &&
			(!l.Source.TunnelOnly() || l.Source == h.Source)
	})
}

// ownWayOut says whether a point-to-point link leads out with no gateway named: all that is sent there arrives at the one
// other end. Without a peer's address that is so where the configuration says it: WireGuard's links, and OpenVPN's, have a
// subnet or nothing. One whose local address is on other links too is a server's end of a client's session.
func (d *deriver) ownWayOut(l rpdb.Link, a rpdb.Address, s config.Settings) bool {
	if !l.PointToPoint || !l.Up {
		return false
	}
	return s.Configured || a.Peer.IsValid() && d.count[a.Prefix.Addr()] == 1
}

// leaveToOthers keeps our hands off the addresses that somebody else's rules steer.
func (d *deriver) leaveToOthers(all []candidate) {
	for i := range all {
		c := &all[i]
		if r, ok := d.ruledBy(c.a.Prefix.Addr()); ok && !c.left {
			c.left, c.ruled = true, true
			c.problems = append(c.problems, fmt.Sprintf("%s is left to somebody else's rule %q: delete that to have it done here",
				c.a.Prefix.Addr(), r.String()))
		}
	}
}

func ofLink(all []candidate, index int) []candidate {
	var cs []candidate
	for _, c := range all {
		if c.a.Link == index {
			cs = append(cs, c)
		}
	}
	return cs
}

// strayLeases names the leases that cannot be followed because their address never came to their link. One that was
// there and is gone is no mistake: the client was killed, or somebody took the address away.
func (d *deriver) strayLeases() []string {
	var ps []string
	for _, l := range slices.Concat(slices.Collect(maps.Values(d.leases))...) {
		there := slices.ContainsFunc(d.addresses[l.Link], func(a rpdb.Address) bool { return a.Prefix.Addr() == l.Address })
		if !there && !l.Seen {
			ps = append(ps, fmt.Sprintf("lease of %s by %s on %s waits: the address is not on the link",
				l.Address, l.Source, rpdb.Printable(d.in.Snapshot.LinkName(l.Link))))
		}
	}
	slices.Sort(ps)
	return ps
}
