package lease

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// parseOpenVPN understands OpenVPN's scripts (openvpn(8), "SCRIPTING AND ENVIRONMENTAL VARIABLES"), told apart by script_type.
// The values are the server's, which is a stranger as much as a DHCP server is.
func parseOpenVPN(in Input, ev *Event, p *problems) {
	kind := in.Env["script_type"]
	ev.Reason = plain(kind)
	switch kind {
	case "route-up":
		replaceOpenVPN(in, ev, p)
	case "route-pre-down":
		ev.Verb = RemoveAll
	case "down":
		ev.Verb = RemoveAll
		if in.Env["script_context"] == "restart" {
			ev.Verb = Resync // --persist-tun: the interface stays, and no route-up follows
		}
	case "up", "ipchange":
		ev.ignore("the server's options are not final yet")
	case "":
		ev.ignore("no script_type named")
	default:
		ev.ignore("unknown script_type")
	}
}

// replaceOpenVPN reads the tunnel's addresses, one of each family at most.
func replaceOpenVPN(in Input, ev *Event, p *problems) {
	ev.Verb = Resync
	if in.Env["ifconfig_local"] == "" && in.Env["ifconfig_ipv6_local"] == "" {
		return
	}
	servers := dnsOpenVPN(in, ev, p)
	for _, read := range []func(Input, *Event, *problems) bool{openVPN4, openVPN6} {
		one := Event{Source: ev.Source, Keep: ev.Keep, Lease: Lease{Source: ev.Source, MTU: mtu(in.Env["tun_mtu"], &problems{})}}
		if !read(in, &one, p) {
			continue
		}
		f := inet
		if one.Lease.Address.Is6() {
			f = inet6
		}
		one.Lease.DNS = f.mixedDNS(servers, &one, p)
		ev.Keep |= one.Keep
		ev.Leases = append(ev.Leases, one.Lease)
	}
	ev.Verb = Replace
}

// openVPN4 reads the tunnel's IPv4: with a mask, or point-to-point (topology p2p, net30).
func openVPN4(in Input, ev *Event, p *problems) bool {
	l := &ev.Lease
	if !ownOpenVPN(inet, in.Env["ifconfig_local"], ev, p) {
		return false
	}
	l.Bits = maskBits(in.Env["ifconfig_netmask"], p)
	if remote := in.Env["ifconfig_remote"]; remote != "" && in.Env["ifconfig_netmask"] == "" {
		l.Bits = 32
		if peers, refused := inet.nextHop(remote, netip.PrefixFrom(l.Address, 32), p); !refused {
			l.Peer = peers[0]
		}
	}
	own := netip.PrefixFrom(l.Address, l.Bits)
	l.Routers, l.Refused = inet.nextHop(in.Env["route_vpn_gateway"], own, p, "0.0.0.0")
	for _, v := range routesOpenVPN(in, "route_network_#", ev, p) {
		number := strings.TrimPrefix(v.key, "route_network_")
		mask := cmp.Or(in.Env["route_netmask_"+number], "255.255.255.255")
		if v.value != "0.0.0.0" || mask != "0.0.0.0" { // a default route is the gateway's business
			addRoute(v.value, maskBits(mask, p), in.Env["route_gateway_"+number], l, p)
		}
	}
	return true
}

// openVPN6 reads the tunnel's IPv6. ifconfig_ipv6_remote is the server's address in the subnet, by which all routes go.
func openVPN6(in Input, ev *Event, p *problems) bool {
	l := &ev.Lease
	if !ownOpenVPN(inet6, in.Env["ifconfig_ipv6_local"], ev, p) {
		return false
	}
	l.Bits = inet6.prefixLen(in.Env["ifconfig_ipv6_netbits"], p)
	own := netip.PrefixFrom(l.Address, l.Bits)
	l.Routers, l.Refused = inet6.nextHop(in.Env["ifconfig_ipv6_remote"], own, p, "::")
	for _, v := range routesOpenVPN(in, "route_ipv6_network_#", ev, p) {
		number := strings.TrimPrefix(v.key, "route_ipv6_network_")
		if address, length, _ := strings.Cut(v.value, "/"); v.value != "::/0" {
			addRoute(address, inet6.prefixLen(length, p), in.Env["route_ipv6_gateway_"+number], l, p)
		}
	}
	return true
}

func ownOpenVPN(f family, address string, ev *Event, p *problems) bool {
	if address == "" {
		return false
	}
	a, err := f.unicast(address)
	if err != nil {
		p.addf("local address %s: %v", quote(address), err)
		return false
	}
	ev.Lease.Address = a
	return true
}

// routesOpenVPN are the variables of the pushed routes; none where there are more than a lease may have.
func routesOpenVPN(in Input, pattern string, ev *Event, p *problems) []value {
	routes := in.numbered(pattern)
	if len(routes) > MaxRoutes || in.refusedLike(openVPNRoutes()...) {
		p.addf("routes: too long, or more than %d: all refused", MaxRoutes)
		ev.Keep |= KeepGateways
		return nil
	}
	return routes
}

func openVPNRoutes() []string {
	return []string{"route_network_#", "route_netmask_#", "route_gateway_#", "route_ipv6_network_#", "route_ipv6_gateway_#"}
}

// addRoute adds a route that the server pushed, for what the configuration allows of them. HasClassless stays false: these
// take nothing from the gateway. A route by another gateway than the tunnel's (net_gateway) is not this link's.
func addRoute(network string, bits int, gateway string, l *Lease, p *problems) {
	own := netip.PrefixFrom(l.Address, l.Bits)
	a, err := netip.ParseAddr(network)
	if err != nil || a.Is4() != own.Addr().Is4() || a.Zone() != "" || a.Is4In6() {
		p.addf("route %s: not a network of the family", quote(network))
		return
	}
	if bits < 0 {
		return // it has been said why
	}
	via, ours, err := l.routeGateway(gateway)
	r := Route{Dst: netip.PrefixFrom(a, bits).Masked(), Gateway: via}
	if err == nil {
		err = checkLinkRoute(r, own)
	}
	switch {
	case err == nil && ours:
		l.Classless = append(l.Classless, r)
	case err != nil && (ours || !via.IsValid()):
		p.addf("route %s via %s: %v", r.Dst, quote(cmp.Or(gateway, via.String())), err)
	}
}

// routeGateway reads a route's gateway; none is the tunnel's own, or where that has none, on-link.
func (l *Lease) routeGateway(text string) (gw netip.Addr, ours bool, err error) {
	switch {
	case text == "" && len(l.Routers) > 0:
		return l.Routers[0], true, nil
	case text == "" && l.Address.Is4():
		return netip.IPv4Unspecified(), true, nil
	case text == "":
		return netip.IPv6Unspecified(), true, nil
	}
	gw, err = netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false, errors.New("not an address")
	}
	own := netip.PrefixFrom(l.Address, l.Bits)
	return gw, slices.Contains(l.Routers, gw) || gw == l.Peer || own.Contains(gw), nil
}

// dnsOpenVPN picks "dhcp-option DNS 192.0.2.53" out of the pushed options that OpenVPN leaves to scripts.
func dnsOpenVPN(in Input, ev *Event, p *problems) string {
	if in.refusedLike("foreign_option_#") {
		p.addf("foreign_option: too long")
		ev.Keep |= KeepDNS
		return ""
	}
	var servers []string
	for _, o := range in.numbered("foreign_option_#") {
		if w := strings.Fields(o.value); len(w) == 3 && w[0] == "dhcp-option" && (w[1] == "DNS" || w[1] == "DNS6") {
			servers = append(servers, w[2])
		}
	}
	return strings.Join(servers, " ")
}
