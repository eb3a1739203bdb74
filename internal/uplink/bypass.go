package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// maxBypass is how many hosts of a family get rules for every source: each costs every packet a rule. A full-tunnel VPN has
// one, its server.
const maxBypass = 16

// bypass gives each uplink the hosts that main sends by another uplink's gateway. A VPN that takes the default route puts
// such a route to its server, by the gateway that was the default one then: it stands for the default route and not for a network
// nearby, and a packet with the address of another uplink does not belong there.
//
// What is private (RFC 1918, RFC 4193, RFC 6598) stays as main has it: a corporate network may be meant, where any source is
// welcome.
func (d *deriver) bypass(v *View) {
	for _, f := range rpdb.Families() {
		hosts := d.bypassed(v.Uplinks, f)
		if more := len(hosts) - maxBypass; more > 0 {
			v.Notes = append(v.Notes, fmt.Sprintf("table main has %d routes to single hosts by an uplink's gateway: packets with another uplink's address follow all but the first %d",
				len(hosts), maxBypass))
			hosts = hosts[:maxBypass]
		}
		for i := range v.Uplinks {
			u := &v.Uplinks[i]
			if _, ok := u.Gateway(f); !ok {
				continue
			}
			for _, h := range hosts {
				if !byGateway(v.Uplinks[i:i+1], h) {
					u.Bypass = append(u.Bypass, h.Dst)
				}
			}
		}
	}
}

// bypassed are the routes of main to single hosts that lead by an uplink's own gateway, in order of their hosts; of several to
// one host the one that the kernel takes.
func (d *deriver) bypassed(us []Uplink, f rpdb.Family) []rpdb.Route {
	best := make(map[netip.Prefix]rpdb.Route)
	for _, r := range d.in.Snapshot.Routes {
		if r.Table != rpdb.TableMain || r.Family() != f || !r.Dst.IsSingleIP() || private(r.Dst.Addr()) {
			continue
		}
		if o, ok := best[r.Dst]; !ok || r.Metric < o.Metric {
			best[r.Dst] = r
		}
	}
	var out []rpdb.Route
	for _, r := range best {
		if r.Type == rpdb.Unicast && byGateway(us, r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b rpdb.Route) int { return a.Dst.Addr().Compare(b.Dst.Addr()) })
	return out
}

// byGateway says whether a route goes where the default route of an uplink of its link goes: by its gateway, or on a
// point-to-point link by none. The other end of that one is the kernel's own route.
func byGateway(us []Uplink, r rpdb.Route) bool {
	return r.Protocol != rpdb.ProtoKernel && slices.ContainsFunc(us, func(u Uplink) bool {
		g, ok := u.Gateway(r.Family())
		peer := slices.ContainsFunc(u.Addresses, func(a Address) bool { return a.Peer == r.Dst })
		return ok && !peer && u.Link.Index == r.OIF && g.Via.WithZone("") == r.Via.WithZone("")
	})
}

// private says whether an address is of those that only networks nearby have.
func private(a netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsLoopback() || shared.Contains(a)
}
