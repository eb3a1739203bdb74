package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// A rule that is added without a priority gets that of the second rule in the list, less one (net/core/fib_rules.c:
// fib_default_rule_pref): it comes to stand before all of ours, wherever they are. wg-quick(8) adds two such rules, and these
// take every packet, replies as well. So the block of our rules steps aside: it goes before such rules for as long as they are
// there. The next rule without a priority lands before the block again, and it steps aside once more.
const (
	// AsideSpan is how many priorities the block takes where it has stepped aside. There it is without gaps, so that many
	// steps aside have room: mwan3 deletes what it finds between 1001 and 3999 at its own numbers.
	AsideSpan = 64
	// AsideRoom of them, the first ones, stay free. What lands there stands right before our rules, and that nobody
	// could have meant.
	AsideRoom = 16
)

// CatchAll is a rule of somebody else's that takes packets with an uplink's address, whatever their destination is.
type CatchAll struct {
	Rule rpdb.Rule
	// Placed says that nobody chose to have it before our rules: it came to stand in our block, or where the kernel puts what
	// has no priority. One that stood before the block when it was first seen has its way.
	Placed bool
}

// catchAlls finds the rules of somebody else's that would take packets of our addresses if they stood before our rules.
func (d *deriver) catchAlls() []CatchAll {
	from := d.placedFrom()
	out := make([]CatchAll, 0)
	for _, r := range d.in.Snapshot.Rules {
		if r.Protocol == d.in.Config.Protocol || r.Priority >= d.in.Config.PriorityBase+config.PrioritySpan || !takesAll(r) {
			continue
		}
		c := CatchAll{Rule: r, Placed: r.Priority >= from}
		if i := slices.IndexFunc(d.in.CatchAlls, func(o CatchAll) bool { return o.Rule == r }); i >= 0 {
			c.Placed = d.in.CatchAlls[i].Placed
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b CatchAll) int { return rpdb.CompareRules(a.Rule, b.Rule) })
	return out
}

// placedFrom is the first priority at which a rule that is new counts as placed by the kernel: a little before the block, as
// that stood until now. After a restart the first of our own rules tells where that was.
func (d *deriver) placedFrom() uint32 {
	base := d.in.Config.PriorityBase
	from := base - min(base, AsideRoom)
	if d.in.CatchAlls != nil {
		before, _ := d.place(d.in.CatchAlls)
		if before != 0 {
			from = min(from, before-AsideSpan)
		}
		return from
	}
	for _, r := range d.in.Snapshot.Rules {
		if r.Protocol == d.in.Config.Protocol {
			from = min(from, r.Priority-min(r.Priority, AsideSpan))
		}
	}
	return from
}

// place is the priority that our block has to end before; 0: it stands at its own place. It goes before the first rule that was
// placed, unless there is no room, or rules that others put before our place would come to stand behind it. What is then still
// before it is returned, too.
func (d *deriver) place(all []CatchAll) (before uint32, left []CatchAll) {
	floor := d.floor()
	for _, c := range slices.Backward(all) {
		switch {
		case !c.Placed:
		case c.Rule.Priority >= floor+AsideSpan:
			before = c.Rule.Priority
		default:
			left = append(left, c)
		}
	}
	slices.Reverse(left)
	return before, left
}

// floor is the first priority that the block may have: behind every rule with a selector that somebody put before our place,
// as mwan3 does from 1001 to 3250, and behind table local.
func (d *deriver) floor() uint32 {
	floor := uint32(1)
	for _, r := range d.in.Snapshot.Rules {
		if r.Protocol != d.in.Config.Protocol && r.Priority < d.in.Config.PriorityBase && !takesAll(r) {
			floor = max(floor, r.Priority+1)
		}
	}
	return floor
}

// takesAll says whether a rule matches what this host sends from any of its addresses to anywhere, unmarked, and then decides
// something. Rules with selectors are what somebody meant: they take what they name.
func takesAll(r rpdb.Rule) bool {
	if r.Action == rpdb.ActNop || r.Action == rpdb.ActLookup && r.Table == rpdb.TableLocal {
		return false
	}
	matches := !r.Opaque && wide(r.Src, 0) && wide(r.Dst, 1) && (r.IIF == "" || r.IIF == rpdb.Loopback) && r.OIF == "" && r.Mark&r.Mask == 0
	return matches != r.Invert
}

// wide says whether a selector is none. A destination of one bit is half of the Internet: a pair of those is a default by
// another name.
func wide(p netip.Prefix, bits int) bool { return !p.IsValid() || p.Bits() <= bits }

// tellAside says where the block stands if that is not its own place, and what is before it all the same.
func (d *deriver) tellAside(v *View) {
	before, left := d.place(v.CatchAlls)
	var placed []CatchAll
	for _, c := range v.CatchAlls {
		if c.Placed && c.Rule.Priority >= before {
			placed = append(placed, c)
		}
	}
	if before != 0 {
		v.Notes = append(v.Notes, fmt.Sprintf("the rules stand at %d to %d instead of from %d on: %s would take replies away",
			before-AsideSpan, before-1, d.in.Config.PriorityBase, some(placed)))
	}
	if len(left) > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("there is no room to step aside before %s, which takes replies away: give it a priority over %d",
			some(left), d.in.Config.PriorityBase+config.PrioritySpan))
	}
	for _, c := range v.CatchAlls {
		if !c.Placed && d.leadsOut(c.Rule) {
			v.Notes = append(v.Notes, fmt.Sprintf("rule %q stands before ours and takes replies away: a priority over %d would leave them to their uplinks",
				c.Rule, d.in.Config.PriorityBase+config.PrioritySpan))
		}
	}
}

// some names the first of several rules.
func some(cs []CatchAll) string {
	text := fmt.Sprintf("rule %q", cs[0].Rule)
	if len(cs) > 1 {
		text += fmt.Sprintf(" and %d more", len(cs)-1)
	}
	return text
}

// leadsOut says whether a catch-all rule ends the way of packets to the Internet: its table has a default route, or one by
// another name, which it does not suppress.
func (d *deriver) leadsOut(r rpdb.Rule) bool {
	if r.Action != rpdb.ActLookup {
		return r.Action != rpdb.ActGoto
	}
	return slices.ContainsFunc(d.in.Snapshot.Routes, func(o rpdb.Route) bool {
		return o.Table == r.Table && o.Family() == r.Family && o.Dst.Bits() <= 1 && o.Type != rpdb.Throw &&
			(!r.Suppress.Set || o.Dst.Bits() > int(r.Suppress.Len))
	})
}

// border is the first priority of our block, wherever it stands: what is not before it is behind most of our rules.
func (d *deriver) border() uint32 {
	if d.before == 0 {
		return d.in.Config.PriorityBase
	}
	return d.before - AsideSpan
}
