package uplink

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Others is what somebody else's rules mean for ours, which stand before most of them.
type Others struct {
	// Tables are looked up for every packet by rules after our block, as Tailscale's is: what table main is to our
	// addresses, they are too. In the order of their rules.
	Tables []Table
	// NoLocal are the families whose rule for table local was moved behind our block, as is done for VRFs.
	NoLocal []rpdb.Family
	// Before is the priority of a rule that our block has to stand before, in AsideSpan priorities; 0: it stands at its own
	// place. See CatchAll.
	Before uint32
}

// Table is one routing table of one family.
type Table struct {
	Family rpdb.Family
	Number uint32
}

// others reads the rules of the snapshot that are not ours.
func (d *deriver) others() Others {
	o := Others{Before: d.before}
	border := d.border()
	local := make(map[rpdb.Family]bool) // where its rule stands before ours
	rules := slices.Clone(d.in.Snapshot.Rules)
	slices.SortStableFunc(rules, func(a, b rpdb.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range rules {
		if r.Protocol == d.in.Config.Protocol || !forAll(r) || r.Action != rpdb.ActLookup || d.behindMain(r) {
			continue
		}
		t := Table{r.Family, r.Table}
		switch {
		case r.Table == rpdb.TableLocal && r.Priority <= border:
			local[r.Family] = true
		case ownTable(r.Table), r.Priority <= border, d.ours(r.Table), slices.Contains(o.Tables, t):
		default:
			o.Tables = append(o.Tables, t)
		}
	}
	for _, f := range rpdb.Families() {
		if !local[f] && slices.ContainsFunc(rules, func(r rpdb.Rule) bool { return r.Family == f && r.Table == rpdb.TableLocal }) {
			o.NoLocal = append(o.NoLocal, f)
		}
	}
	return o
}

// behindMain says whether a rule never comes to pass: where main is asked before it, for everything, and has a default route.
func (d *deriver) behindMain(r rpdb.Rule) bool {
	asked := slices.ContainsFunc(d.in.Snapshot.Rules, func(m rpdb.Rule) bool {
		return m.Family == r.Family && m.Table == rpdb.TableMain && m.Action == rpdb.ActLookup && forAll(m) && !m.Suppress.Set &&
			m.Priority < r.Priority
	})
	return asked && slices.ContainsFunc(d.in.Snapshot.Routes, func(o rpdb.Route) bool {
		return o.Table == rpdb.TableMain && o.IsDefault() && o.Family() == r.Family
	})
}

// ownTable says whether a table is one of the kernel's own.
func ownTable(t uint32) bool {
	return t == rpdb.TableLocal || t == rpdb.TableMain || t == rpdb.TableDefault
}

// forAll says whether a rule has no selector at all.
func forAll(r rpdb.Rule) bool { return !r.Src.IsValid() && anySource(r) }

// anySource says whether a rule has no selector but perhaps a source.
func anySource(r rpdb.Rule) bool {
	return !r.Opaque && !r.Invert && !r.Dst.IsValid() && r.Mask == 0 && r.IIF == "" && r.OIF == ""
}

// ruledBy finds the rule by which somebody else steers an address after our block: policy routing that was made by hand,
// or that networkd or netplan made. What it does would never come to pass if we put our rules before it.
func (d *deriver) ruledBy(a netip.Addr) (rpdb.Rule, bool) { return d.ruledPrefix(rpdb.HostPrefix(a)) }

// ruledPrefix is ruledBy for any part of a prefix.
func (d *deriver) ruledPrefix(p netip.Prefix) (rpdb.Rule, bool) {
	border := min(d.in.Config.PriorityBase, d.border())
	for _, r := range d.in.Snapshot.Rules {
		foreign := r.Protocol != d.in.Config.Protocol && r.Action == rpdb.ActLookup && !ownTable(r.Table) && !d.ours(r.Table)
		if foreign && !r.Suppress.Set && !d.behindMain(r) && r.Priority >= border && anySource(r) && r.Src.IsValid() && r.Src.Bits() > 0 && r.Src.Overlaps(p) {
			return r, true
		}
	}
	return rpdb.Rule{}, false
}
