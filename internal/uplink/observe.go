package uplink

import (
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Observed is a link on which something is to be read off the wire.
type Observed struct {
	Index int
	Name  string // as the kernel has it: never trusted
	MAC   string // colon-separated lower-case hex; empty where the link has none
	DHCP  bool   // the DHCP messages of this host's own clients (observe_dhcp)
	RA    bool   // router advertisements (observe_ra)
	// Solicit says that its routers can be asked now: it is up, and has a link-local address to ask from. With RA only.
	Solicit bool
	// Addresses are its IPv4 addresses that can have rules, in order. With DHCP only.
	Addresses []netip.Addr
	// Unrouted are those of them whose gateway nobody knows, while there may be somebody on the link to be asked. None on
	// a point-to-point link, which needs no gateway.
	Unrouted []netip.Addr
}

// Equal says whether there is nothing new.
func (o Observed) Equal(p Observed) bool {
	return o.Index == p.Index && o.Name == p.Name && o.MAC == p.MAC && o.DHCP == p.DHCP && o.RA == p.RA && o.Solicit == p.Solicit &&
		slices.Equal(o.Addresses, p.Addresses) && slices.Equal(o.Unrouted, p.Unrouted)
}

// Observe finds the links to observe, by ifindex. The view is what Derive made of the same snapshot and configuration.
func Observe(s *rpdb.Snapshot, cfg config.Config, v View) []Observed {
	if !slices.ContainsFunc(cfg.Uplinks, func(u config.Uplink) bool { return u.ObserveDHCP || u.ObserveRA }) {
		return nil
	}
	var out []Observed
	d := newDeriver(Input{Snapshot: s, Config: cfg})
	for _, l := range d.links {
		if s := d.settings(l); (s.ObserveDHCP || s.ObserveRA) && d.canBeUplink(l) {
			o := Observed{Index: l.Index, Name: l.Name, MAC: l.MAC, DHCP: s.ObserveDHCP, RA: s.ObserveRA}
			if o.DHCP {
				d.leasable(&o, l, v)
			}
			o.Solicit = o.RA && l.Up && l.Carrier && d.hasLinkLocal(l)
			out = append(out, o)
		}
	}
	return out
}

// hasLinkLocal says whether a link has an IPv6 link-local address that nobody else on it claims.
func (d *deriver) hasLinkLocal(l rpdb.Link) bool {
	return slices.ContainsFunc(d.addresses[l.Index], func(a rpdb.Address) bool {
		ip := a.Prefix.Addr()
		return ip.Is6() && ip.IsLinkLocalUnicast() && !a.Tentative && !a.DADFailed
	})
}

// leasable adds what addresses a DHCP server may have given.
func (d *deriver) leasable(o *Observed, l rpdb.Link, v View) {
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
