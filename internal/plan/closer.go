package plan

import (
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// maxNest is how deep prefixes of one table may lie in one another for each to have steps of its own, between StepNested
// and StepCloser. Those that lie deeper share the innermost.
const maxNest = (StepCloser - StepNested) / 2

// closer leaves to main what it knows closer than the prefixes of the uplink's table. That table is asked before main, and
// without this a virtual machine's address inside the subnet, or a LAN inside a classless route, would be drawn out.
//
// Where prefixes lie in one another (the subnet in a classless route, mostly), the inner one comes first, with a lookup of
// the uplink's table for it: what main has of the inner one by another link, as with two cards in one subnet, is closer
// than the outer one, and not meant.
func (b *builder) closer(from rpdb.Rule) {
	subnets, routes := b.prefixes(from.Family)
	subnets = nearest(from.Src, subnets)
	all := slices.Concat(subnets, routes)
	for i, p := range all {
		level := uint32(0)
		if len(routes) > 0 {
			level = min(depth(p, all), maxNest)
		}
		step := StepCloser - 2*level
		r := from
		r.Dst, r.Suppress = p, rpdb.Suppress(uint8(p.Bits()))
		r.Table = rpdb.TableMain
		if i < len(subnets) {
			b.rule(step, r, "what main knows closer than the subnet stays there")
		} else if !p.IsSingleIP() {
			b.rule(step, r, "what main knows closer than the classless route stays there")
			b.closerBeside(step, r)
		}
		if level > 0 {
			r.Table, r.Suppress = b.u.Table, rpdb.Suppress(subnetSuppress)
			b.rule(step+1, r, "it is inside another prefix of the same table")
		}
	}
}

// maxSubnets is how many of an uplink's subnets a source has such a rule for: each source has them, and whoever advertises
// prefixes on a link would otherwise make their number squared.
const maxSubnets = 8

// nearest are a source's own subnets, and others of its uplink as far as there is room.
func nearest(src netip.Prefix, subnets []netip.Prefix) []netip.Prefix {
	if len(subnets) <= maxSubnets {
		return subnets
	}
	own := slices.DeleteFunc(slices.Clone(subnets), func(p netip.Prefix) bool { return !p.Overlaps(src) })
	for _, p := range subnets {
		if len(own) < maxSubnets && !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	return own
}

// closerBeside does the same for the tables that are asked beside main.
func (b *builder) closerBeside(step uint32, r rpdb.Rule) {
	n := 0
	for _, t := range b.others.Tables {
		if t.Family == r.Family && n < maxBeside {
			r.Table = t.Number
			b.rule(step, r, "what this table knows closer than the classless route stays there")
			n++
		}
	}
}

// prefixes are the uplink's subnets of a family, and its classless routes.
func (b *builder) prefixes(f rpdb.Family) (subnets, routes []netip.Prefix) {
	for _, a := range b.u.Addresses {
		if a.Subnet.IsValid() && rpdb.FamilyOf(a.Addr) == f && !slices.Contains(subnets, a.Subnet) {
			subnets = append(subnets, a.Subnet)
		}
	}
	for _, r := range b.u.Routes {
		if rpdb.FamilyOf(r.Dst.Addr()) == f {
			routes = append(routes, r.Dst)
		}
	}
	return subnets, routes
}

// depth is how many of the prefixes p lies in.
func depth(p netip.Prefix, all []netip.Prefix) (n uint32) {
	for _, o := range all {
		if o.Bits() < p.Bits() && o.Contains(p.Addr()) {
			n++
		}
	}
	return n
}
