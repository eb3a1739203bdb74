package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Route is a classless static route of a lease (RFC 3442, or what a VPN's server pushes) that the configuration allows. It
// is for the uplink's own table, and for no other.
type Route struct {
	Dst    netip.Prefix // masked, never of length 0: that one is a Gateway
	Via    netip.Addr   // invalid: on the link itself
	Onlink bool         // as in Gateway
	Src    netip.Addr   // the address whose lease it is
	Source string       // who said it
}

// maxRouteProblems is how many refused routes of an uplink are told one by one.
const maxRouteProblems = 8

// addRoutes gives an uplink the classless routes of its addresses' leases. What is refused of them does not degrade it: it
// works without, as it would by default.
func (d *deriver) addRoutes(u *Uplink) {
	var refused []string
	for _, a := range d.addresses[u.Link.Index] {
		mine := slices.ContainsFunc(u.Addresses, func(o Address) bool { return o.Addr == a.Prefix.Addr() })
		if !mine {
			continue
		}
		for _, l := range d.leasesOf(a) {
			refused = append(refused, d.addLeaseRoutes(u, a, l)...)
		}
	}
	if more := len(refused) - maxRouteProblems; more > 0 {
		refused = append(refused[:maxRouteProblems], fmt.Sprintf("and %d routes more are refused", more))
	}
	u.Problems = append(u.Problems, refused...)
}

// leasesOf are the leases of one address, newest first.
func (d *deriver) leasesOf(a rpdb.Address) []Lease {
	ls := slices.DeleteFunc(slices.Clone(d.leases[a.Link]), func(l Lease) bool { return l.Address != a.Prefix.Addr() })
	slices.SortStableFunc(ls, func(x, y Lease) int { return cmp.Or(-cmp.Compare(x.Seq, y.Seq), cmp.Compare(x.Source, y.Source)) })
	return ls
}

func (d *deriver) addLeaseRoutes(u *Uplink, a rpdb.Address, l Lease) (refused []string) {
	for _, r := range l.Classless {
		has := slices.ContainsFunc(u.Routes, func(o Route) bool { return o.Dst == r.Dst }) ||
			slices.ContainsFunc(u.Addresses, func(o Address) bool { return o.Subnet == r.Dst || o.Peer == r.Dst })
		if has || r.Dst.Bits() <= 0 || !allowed(u.Settings, r.Dst) {
			continue
		}
		route, err := d.classlessRoute(a, l, r)
		if err != nil {
			refused = append(refused, fmt.Sprintf("route %s of %s by %s is refused: %v", r.Dst, l.Address, l.Source, err))
			continue
		}
		u.Routes = append(u.Routes, route)
	}
	return refused
}

// allowed says whether a destination lies within one of the prefixes that the configuration allows.
func allowed(s config.Settings, dst netip.Prefix) bool {
	return slices.ContainsFunc(s.ClasslessRoutes, func(p netip.Prefix) bool { return within(dst, p) })
}

// within says whether all of a prefix is in another one.
func within(p, outer netip.Prefix) bool { return p.Bits() >= outer.Bits() && outer.Contains(p.Addr()) }

// classlessRoute checks a lease's route as the gateways are checked, and that it leads no traffic away from where it belongs.
func (d *deriver) classlessRoute(a rpdb.Address, l Lease, r lease.Route) (Route, error) {
	route := Route{Dst: r.Dst, Src: l.Address, Source: string(l.Source)}
	if rpdb.FamilyOf(r.Dst.Addr()) != rpdb.FamilyOf(l.Address) {
		return route, errors.New("it is of the other family")
	}
	if why := config.Nowhere(r.Dst); why != "" {
		return route, errors.New("it " + why)
	}
	if err := d.taken(r.Dst, a.Link); err != nil {
		return route, err
	}
	if !r.Gateway.IsValid() || r.Gateway.IsUnspecified() {
		return route, nil
	}
	route.Via = r.Gateway.WithZone("")
	w := word{class: ClassLease, family: rpdb.FamilyOf(l.Address), via: route.Via, addr: l.Address}
	onlink, err := d.checkGateway(w, a, d.addresses[a.Link])
	if err != nil {
		return route, fmt.Errorf("its gateway %s: %w", route.Via, err)
	}
	route.Onlink = onlink
	return route, nil
}

// taken says why a destination belongs to another link already: it is in a subnet there, or in what somebody routes there
// without a next hop, as a VPN's networks are. Halves of the Internet are a default route by another name. Where two cards
// are in one subnet, a part of it is as much the one's as the other's. What table main has by other routers is not known
// here: the longer prefix has it, as always.
func (d *deriver) taken(dst netip.Prefix, link int) error {
	closest := 1
	if own, ok := subnetOf(dst.Addr(), d.addresses[link]); ok && within(dst, own) {
		closest = own.Bits()
	}
	for _, a := range d.in.Snapshot.Addresses {
		for _, p := range []netip.Prefix{a.Prefix, a.Peer} {
			if a.Link != link && p.IsValid() && p.Bits() > closest && within(dst, p) {
				return fmt.Errorf("it is in %s of %s", p.Masked(), rpdb.Printable(d.in.Snapshot.LinkName(a.Link)))
			}
		}
	}
	for _, r := range d.in.Snapshot.Routes {
		elsewhere := r.OIF != link && r.Protocol != d.in.Config.Protocol && r.Type != rpdb.Throw && !r.Via.IsValid()
		if !elsewhere || r.Dst.Bits() <= closest || !within(dst, r.Dst) || !d.asked(r.Table, r.Family()) {
			continue
		}
		if r.Type != rpdb.Unicast {
			return fmt.Errorf("it is in %s, to which somebody has barred the way", r.Dst)
		}
		return fmt.Errorf("it is in %s, which is routed by %s", r.Dst, rpdb.Printable(d.in.Snapshot.LinkName(r.OIF)))
	}
	return nil
}

// asked says whether a table is looked up for every packet: main, and what somebody has put beside it.
func (d *deriver) asked(table uint32, f rpdb.Family) bool {
	return table == rpdb.TableMain || slices.Contains(d.beside, Table{f, table})
}
