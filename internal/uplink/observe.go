package uplink

import (
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Observed is a link on which the DHCP messages of this host's own clients are to be read (observe_dhcp).
type Observed struct {
	Index     int
	Name      string       // as the kernel has it: never trusted
	MAC       string       // colon-separated lower-case hex; empty where the link has none
	Addresses []netip.Addr // its IPv4 addresses that can have rules, in order
	// Unrouted are those of them whose gateway nobody knows, while there may be somebody on the link to be asked. None on
	// a point-to-point link, which needs no gateway.
	Unrouted []netip.Addr
}

// Equal says whether there is nothing new.
func (o Observed) Equal(p Observed) bool {
	return o.Index == p.Index && o.Name == p.Name && o.MAC == p.MAC &&
		slices.Equal(o.Addresses, p.Addresses) && slices.Equal(o.Unrouted, p.Unrouted)
}

// Observe finds the links to observe, by ifindex. The view is what Derive made of the same snapshot and configuration.
func Observe(s *rpdb.Snapshot, cfg config.Config, v View) []Observed {
	if !slices.ContainsFunc(cfg.Uplinks, func(u config.Uplink) bool { return u.ObserveDHCP }) {
		return nil
	}
	var out []Observed
	d := newDeriver(Input{Snapshot: s, Config: cfg})
	for _, l := range d.links {
		if d.settings(l).ObserveDHCP && d.canBeUplink(l) {
			out = append(out, d.observed(l, v))
		}
	}
	return out
}

func (d *deriver) observed(l rpdb.Link, v View) Observed {
	o := Observed{Index: l.Index, Name: l.Name, MAC: l.MAC}
	for _, a := range d.addresses[l.Index] {
		ip := a.Prefix.Addr()
		if !ip.Is4() || !usable(a) || slices.Contains(o.Addresses, ip) {
			continue
		}
		o.Addresses = append(o.Addresses, ip)
		if l.Up && l.Carrier && !l.PointToPoint && !a.Peer.IsValid() && !v.settled(l.Index, ip) {
			o.Unrouted = append(o.Unrouted, ip)
		}
	}
	return o
}

// settled says whether there is nothing to ask about an address: it has a gateway, or is not ours to steer.
func (v View) settled(link int, ip netip.Addr) bool {
	for _, u := range v.Uplinks {
		if u.Link.Index != link {
			continue
		}
		_, routed := u.Gateway(rpdb.FamilyOf(ip))
		if slices.ContainsFunc(u.Addresses, func(a Address) bool { return a.Addr == ip && (routed || a.Left) }) {
			return true
		}
	}
	return false
}
