package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// settleShared lets one link keep the rules of an address that is on several. Whoever answers DHCP on one link can have the
// address of another one put there, so the one that had it first keeps it for as long as its link is up, gateway or not. While
// that is down another may have it that has a way out.
func (d *deriver) settleShared(all []candidate) {
	owner := make(map[netip.Addr]candidate)
	for _, c := range all {
		if o, taken := owner[c.a.Prefix.Addr()]; !taken || d.claim(c) > d.claim(o) {
			owner[c.a.Prefix.Addr()] = c
		}
	}
	for i := range all {
		c := &all[i]
		if keeper := owner[c.a.Prefix.Addr()].a.Link; keeper != c.a.Link {
			c.left = true
			c.problems = append(c.problems, fmt.Sprintf("address %s is on %s too, which keeps its rules; this uplink is reached by oif and fwmark only",
				c.a.Prefix.Addr(), rpdb.Printable(d.in.Snapshot.LinkName(keeper))))
		}
	}
}

// sought says whether an address is on another link that can be an uplink, too.
func (d *deriver) sought(a rpdb.Address) bool {
	return d.count[a.Prefix.Addr()] > 1 && slices.ContainsFunc(d.links, func(l rpdb.Link) bool {
		has := slices.ContainsFunc(d.addresses[l.Index], func(o rpdb.Address) bool { return o.Prefix.Addr() == a.Prefix.Addr() })
		return l.Index != a.Link && has && d.canBeUplink(l)
	})
}

// claim is how good a candidate's claim to a shared address is. Of equal ones that of the lowest index is the better.
func (d *deriver) claim(c candidate) (n int) {
	h, was := d.held[heldKey{c.a.Link, c.a.Prefix.Addr()}]
	link, _ := d.in.Snapshot.Link(c.a.Link)
	if was && !h.Lent && link.Up {
		n += 8
	}
	if c.routed {
		n += 4
	}
	if was && !h.Lent {
		n += 2
	}
	if was {
		n++
	}
	return n
}

// remember keeps what is known of each address for the time when its gateway is away, and of an address that is on several
// links also which of them had it first.
func (d *deriver) remember(all []candidate) []Held {
	first := d.firstOwners(all)
	var hs []Held
	for _, c := range all {
		owner, known := first[c.a.Prefix.Addr()]
		mine := known && owner == c.a.Link
		if c.left && !c.ruled && !mine {
			continue
		}
		hs = append(hs, Held{
			Link: c.a.Link, Addr: c.a.Prefix.Addr(), Class: c.word.class, Gateway: c.word.via, Onlink: c.word.onlink, Source: c.word.by,
			Fell: c.fell, Lent: known && !mine,
		})
	}
	return hs
}

// firstOwners are the links that had each address first, as far as that is remembered and the address is still there.
func (d *deriver) firstOwners(all []candidate) map[netip.Addr]int {
	first := make(map[netip.Addr]int)
	for _, c := range all {
		h, was := d.held[heldKey{c.a.Link, c.a.Prefix.Addr()}]
		if _, known := first[h.Addr]; was && !h.Lent && !known {
			first[h.Addr] = h.Link
		}
	}
	return first
}
