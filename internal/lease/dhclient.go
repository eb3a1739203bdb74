package lease

import (
	"net/netip"
	"slices"
	"strings"
)

// parseDhclient understands ISC dhclient (dhclient-script(8)); reasons of IPv6 end in 6 and are another source.
func parseDhclient(in Input, ev *Event, p *problems) {
	ev.Reason = in.Env["reason"]
	switch ev.Reason {
	case "BOUND", "REBOOT", "RENEW", "REBIND", "TIMEOUT":
		// TIMEOUT takes up a recorded lease. Where its router did not answer, the address is gone again by now: a
		// lease only adds knowledge, so that does no harm.
		bindDhclient(in, ev, p)
	case "EXPIRE", "RELEASE", "STOP", "V6ONLY":
		removeDhclient(in, ev, p)
	case "FAIL":
		ev.Verb = RemoveAll
	case "BOUND6", "RENEW6", "REBIND6":
		ev.Source = SourceDhclient6
		bindDhclient6(in, ev, p)
	case "EXPIRE6", "RELEASE6", "STOP6":
		ev.Source = SourceDhclient6
		removeDhclient6(in, ev, p)
	case "PREINIT6":
		ev.Source = SourceDhclient6
		ev.ignore("no lease yet")
	case "DEPREF6":
		ev.Source = SourceDhclient6
		ev.ignore("deprecated: the kernel's own flag says so")
	case "PREINIT", "MEDIUM", "ARPCHECK", "ARPSEND":
		ev.ignore("no lease yet")
	case "": // NBI, "no broadcast interfaces", comes in a variable of another name
		ev.ignore("no reason named")
	default:
		ev.Reason = quote(ev.Reason)
		ev.ignore("unknown reason")
	}
}

// bindDhclient reads an IPv4 lease. dhclient holds one on a link.
func bindDhclient(in Input, ev *Event, p *problems) {
	addr, err := inet.unicast(in.Env["new_ip_address"])
	if err != nil {
		p.addf("leased address %s: %v", quote(in.Env["new_ip_address"]), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb, ev.Sole = Bind, true
	ev.Lease = Lease{
		Source:   ev.Source,
		Address:  addr,
		Bits:     maskBits(in.Env["new_subnet_mask"], p),
		MTU:      mtu(in.Env["new_interface_mtu"], p),
		Lifetime: lifetime("lease time", in.Env["new_dhcp_lease_time"], p),
	}
	inet.dns(in, "new_domain_name_servers", ev, p)
	gatewaysDhclient(in, ev, p)
}

// gatewaysDhclient reads option 121, or where it is absent the router option (RFC 3442).
func gatewaysDhclient(in Input, ev *Event, p *problems) {
	own := netip.PrefixFrom(ev.Lease.Address, ev.Lease.Bits)
	if present := classlessDhclient(in, own, ev, p); present {
		return
	}
	if in.refused("new_routers") {
		p.addf("new_routers: too long")
		ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
		return
	}
	check := func(r netip.Addr) error { return checkRouter(r, own) }
	routers, whole := inet.addrs("router", in.Env["new_routers"], MaxRouters, check, p)
	ev.Lease.Routers = routers
	ev.Lease.Refused = len(routers) == 0 && strings.TrimSpace(in.Env["new_routers"]) != ""
	if !whole {
		ev.Keep |= KeepGateways
	}
}

// classlessDhclient reads option 121, in whichever of its three spellings it is there, and says whether it is. A malformed
// one counts as present: the client said that its routers are to be ignored.
func classlessDhclient(in Input, own netip.Prefix, ev *Event, p *problems) (present bool) {
	for _, spelling := range []struct {
		key    string
		octets func(string) ([]byte, error)
	}{
		{"new_rfc3442_classless_static_routes", classlessDecimal},
		{"new_classless_static_routes", classlessPairs},
		{"new_unknown_121", classlessHex},
	} {
		if in.refused(spelling.key) {
			p.addf("%s: too long", spelling.key)
			ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
			return true
		}
		text := in.Env[spelling.key]
		if text == "" {
			continue
		}
		b, err := spelling.octets(text)
		var routes []Route
		if err == nil {
			routes, err = decodeClassless(b)
		}
		setClassless(text, routes, err, own, ev, p)
		return true
	}
	return false
}

// setClassless puts the routes of option 121 into the lease, or says why not.
func setClassless(text string, routes []Route, err error, own netip.Prefix, ev *Event, p *problems) {
	switch {
	case err != nil:
		p.addf("option 121 %s: %v: refused, no default", quote(text), err)
		ev.Lease.Refused = true
	case len(routes) > MaxRoutes:
		p.addf("option 121: %d routes, at most %d are taken: all refused", len(routes), MaxRoutes)
		ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
	default:
		ev.Lease.HasClassless = true
		ev.Lease.Classless = checkRoutes(routes, own, p)
		named := slices.ContainsFunc(routes, func(r Route) bool { return r.Dst.Bits() == 0 })
		ev.Lease.Refused = named && len(ev.Lease.Gateways()) == 0
	}
}

// removeDhclient reads the end of an IPv4 lease. There is one on a link, so one whose address cannot be read means that.
func removeDhclient(in Input, ev *Event, p *problems) {
	old := in.Env["old_ip_address"]
	addr, err := inet.addr(old)
	if err != nil {
		if old != "" {
			p.addf("old address %s: %v", quote(old), err)
		}
		ev.Verb = RemoveAll
		return
	}
	ev.Verb, ev.Address = Remove, addr
}
