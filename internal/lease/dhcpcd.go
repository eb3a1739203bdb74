package lease

// The sources of dhcpcd. It speaks for three protocols, each with calls of its own.
const (
	SourceDhcpcd   Source = "dhcpcd"    // DHCPv4, or a static address of its configuration
	SourceDhcpcd6  Source = "dhcpcd6"   // DHCPv6
	SourceDhcpcdRA Source = "dhcpcd-ra" // router advertisements
)

// parseDhcpcd understands dhcpcd (dhcpcd-run-hooks(8)): its hook, and the messages of its socket, which have the same
// variables. The reason alone says which protocol it is about.
func parseDhcpcd(in Input, ev Event, p *problems) []Event {
	ev.Reason = in.Env["reason"]
	switch ev.Reason {
	case "STOPPED", "DEPARTED":
		return stopDhcpcd(ev)
	case "EXPIRE6", "STOP6", "RELEASE6":
		ev.Source = SourceDhcpcd6
		return removeDhcpcd6(in, ev, p)
	case "BOUND6", "RENEW6", "REBIND6", "REBOOT6", "INFORM6", "TIMEOUT6":
		ev.Source = SourceDhcpcd6
		replaceDhcpcd6(in, &ev, p)
	case "ROUTERADVERT":
		ev.Source = SourceDhcpcdRA
		replaceDhcpcdRA(in, &ev, p)
	case "DELEGATED6":
		ev.Source = SourceDhcpcd6
		ev.ignore("a delegated prefix: the link is a LAN of this host")
	default:
		dhcpcd4(in, &ev, p)
	}
	return []Event{ev}
}

// dhcpcd4 understands the calls about IPv4 and about the link.
func dhcpcd4(in Input, ev *Event, p *problems) {
	switch ev.Reason {
	case "BOUND", "REBOOT", "RENEW", "REBIND", "TIMEOUT", "INFORM", "STATIC":
		bind4(in, dhcpcdKeys(), ev, p)
	case "NAK", "EXPIRE", "RELEASE", "STOP":
		remove4(in, "old_ip_address", ev, p)
	case "IPV4LL", "NOCARRIER":
		// A link-local address has no gateway, and IPV4LL also says that it went. Without carrier the address is still
		// there; EXPIRE follows where dhcpcd takes it away.
		ev.Verb = Resync
	case "PREINIT", "CARRIER", "RECONFIGURE", "UNKNOWN", "TEST", "FAIL", "3RDPARTY", "NOCARRIER_ROAMING":
		ev.ignore("no news of a lease")
	case "":
		ev.ignore("no reason named")
	default:
		ev.Reason = quote(ev.Reason)
		ev.ignore("unknown reason")
	}
}

// dhcpcdKeys are dhcpcd's variables of an IPv4 lease. Where it finds option 121 empty or malformed, the key is set, and what
// follows the routes that it could read is nothing, or (9.4.1) the next variable, name and all: no form of option 121.
func dhcpcdKeys() keys4 {
	return keys4{
		address: "new_ip_address", mask: "new_subnet_mask", bits: "new_subnet_cidr", routers: "new_routers",
		dns: "new_domain_name_servers", mtu: "new_interface_mtu", lifetime: "new_dhcp_lease_time",
		classless: []spelling{{key: "new_classless_static_routes", routes: classlessPrefixes, empty: true}},
	}
}

// stopDhcpcd is the end of all that dhcpcd had on the link.
func stopDhcpcd(ev Event) []Event {
	ev.Verb = RemoveAll
	var evs []Event
	for _, s := range []Source{SourceDhcpcd, SourceDhcpcd6, SourceDhcpcdRA} {
		ev.Source = s
		evs = append(evs, ev)
	}
	return evs
}
