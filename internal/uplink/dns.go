package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// settleDNS leaves to the uplinks with dns_rules only the name servers that may be theirs: a rule for one is for every
// packet of the host, so a lease must not draw another link's hosts or name servers to its own. What is refused of them does
// not degrade an uplink: it works without.
func (d *deriver) settleDNS(us []Uplink) {
	owner := make(map[netip.Addr]Uplink)
	for i := range us {
		u := &us[i]
		if !u.Settings.DNSRules {
			continue
		}
		u.DNS = slices.DeleteFunc(u.DNS, func(dns netip.Addr) bool {
			o, has := owner[dns]
			if has && o.Link.Index == u.Link.Index {
				return true // the first uplink of the link has it
			}
			err := d.foreignDNS(dns, *u, us)
			if err == nil && has {
				err = fmt.Errorf("it is one of %s already", o.Name)
			}
			if err != nil {
				u.Problems = append(u.Problems, fmt.Sprintf("name server %s is refused for dns_rules: %v", dns, err))
				return true
			}
			if _, routed := u.Gateway(rpdb.FamilyOf(dns)); routed && u.State != Down {
				owner[dns] = *u
			}
			return false
		})
	}
}

// foreignDNS says why a name server belongs to another link than the uplink's.
func (d *deriver) foreignDNS(dns netip.Addr, u Uplink, us []Uplink) error {
	isGateway := func(o Uplink) bool {
		return slices.ContainsFunc(o.Gateways, func(g Gateway) bool { return g.Via.IsValid() && g.Via.WithZone("") == dns })
	}
	if isGateway(u) {
		return nil
	}
	for _, o := range us {
		if o.Link.Index != u.Link.Index && isGateway(o) {
			return errors.New("it is the gateway of " + o.Name)
		}
	}
	return d.taken(rpdb.HostPrefix(dns), u.Link.Index)
}
