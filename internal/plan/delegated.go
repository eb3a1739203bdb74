package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// delegated plans the rules of a prefix that is for the networks behind the host. They match what is forwarded, too: that is
// what they are for. What main knows stays in reach as for addresses: the other LANs, a VPN's networks, and the route to nowhere
// that the client puts there for the unused rest of the prefix (RFC 7084 WPD-5), without which that would go round in circles
// between the provider and us.
//
// The uplink's own subnets come with main. The lookup has a step of its own behind the addresses': one that is inside the
// prefix, and has another gateway of the link, keeps it. While the link is down the LANs still see each other.
func (b *builder) delegated(p netip.Prefix) {
	from := rpdb.Rule{Family: rpdb.FamilyOf(p.Addr()), Src: p}
	down := b.u.State == uplink.Down
	if slices.Contains(b.others.NoLocal, from.Family) {
		b.rule(StepLocal, rpdb.Rule{Family: from.Family, Table: rpdb.TableLocal}, whyLocal)
	}
	b.beyond(from)
	if !down {
		r := from
		r.Table = b.u.Table
		b.rule(StepDelegated, r, "delegated: what comes from it leaves by this uplink")
	}
	if b.u.Settings.Fence {
		r := from
		r.Action = rpdb.ActUnreachable
		b.rule(StepFence, r, fmt.Sprintf("the fence of what was delegated on %s", rpdb.Printable(b.u.Link.Name)))
	}
}
