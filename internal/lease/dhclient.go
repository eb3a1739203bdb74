package lease

// parseDhclient understands ISC dhclient (dhclient-script(8)); reasons of IPv6 end in 6 and are another source.
func parseDhclient(in Input, ev *Event, p *problems) {
	ev.Reason = in.Env["reason"]
	switch ev.Reason {
	case "BOUND", "REBOOT", "RENEW", "REBIND", "TIMEOUT":
		// TIMEOUT takes up a recorded lease. Where its router did not answer, the address is gone again by now: a
		// lease only adds knowledge, so that does no harm.
		bind4(in, dhclientKeys(), ev, p)
	case "EXPIRE", "RELEASE", "STOP", "V6ONLY":
		remove4(in, "old_ip_address", ev, p)
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

// dhclientKeys are dhclient's variables of an IPv4 lease. Option 121 has three spellings: as Debian declares it, as Fedora
// does, and undeclared.
func dhclientKeys() keys4 {
	return keys4{
		address: "new_ip_address", mask: "new_subnet_mask", routers: "new_routers", dns: "new_domain_name_servers",
		mtu: "new_interface_mtu", lifetime: "new_dhcp_lease_time",
		classless: []spelling{
			{key: "new_rfc3442_classless_static_routes", routes: inOctets(classlessDecimal)},
			{key: "new_classless_static_routes", routes: inOctets(classlessPairs)},
			{key: "new_unknown_121", routes: inOctets(classlessHex)},
		},
	}
}
