package lease

import "net/netip"

// bindDhclient6 reads one address of a DHCPv6 lease, or one delegated prefix: the hook is called once for each, and a link may
// have several. A valid lifetime of 0 takes it back (RFC 8415 section 21.6).
func bindDhclient6(in Input, ev *Event, p *problems) {
	l, ok := dhclient6Subject(in, "new_", "leased ", family.unicast, ev, p)
	if !ok {
		return
	}
	life := in.Env["new_max_life"]
	if isZero(life) {
		ev.Verb, ev.Address = Remove, l.Address
		return
	}
	if !l.Delegated {
		l.Bits = inet6.prefixLen(in.Env["new_ip6_prefixlen"], p)
		l.DNS = inet6.servers(in, "new_dhcp6_name_servers", ev, p)
	}
	l.Lifetime = lifetime("valid lifetime", life, p)
	ev.Verb, ev.Lease = Bind, l
}

// removeDhclient6 reads the end of one address or prefix. Without one there is nothing to remove: the others may live on.
func removeDhclient6(in Input, ev *Event, p *problems) {
	if l, ok := dhclient6Subject(in, "old_", "old ", family.addr, ev, p); ok {
		ev.Verb, ev.Address = Remove, l.Address
	}
}

// dhclient6Subject is what a call is about, as a lease that says nothing else yet. Where that cannot be read the event is made
// one from which there is nothing to learn.
func dhclient6Subject(in Input, when, what string, read func(family, string) (netip.Addr, error), ev *Event, p *problems) (Lease, bool) {
	if text := in.Env[when+"ip6_address"]; text != "" {
		addr, err := read(inet6, text)
		if err != nil {
			p.addf("%saddress %s: %v", what, quote(text), err)
			ev.ignore("no usable address")
		}
		return Lease{Source: ev.Source, Address: addr}, err == nil
	}
	text := in.Env[when+"ip6_prefix"]
	if text == "" {
		ev.ignore("no address named")
		return Lease{}, false
	}
	prefix, err := delegatedPrefix(text)
	if err != nil {
		p.addf("delegated prefix %s: %v", quote(text), err)
		ev.ignore("no usable prefix")
		return Lease{}, false
	}
	return delegated(ev.Source, prefix), true
}
