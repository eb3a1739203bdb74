package lease

import (
	"net/netip"
	"slices"
)

const whyTooLong = "over a limit: what was known stays"

// dhcpcd6Addresses are the addresses of the identity associations, of each kind that has some (RFC 8415 sections 21.4, 21.5).
func dhcpcd6Addresses(when string) []string {
	return []string{when + "_dhcp6_ia_na#_ia_addr#", when + "_dhcp6_ia_ta#_ia_addr#"}
}

// dhcpcd6Prefixes are the prefixes of the identity associations for prefix delegation (RFC 8415 section 21.21); their lengths are
// under keys of their own.
func dhcpcd6Prefixes(when string) string { return when + "_dhcp6_ia_pd#_prefix#" }

// replaceDhcpcd6 reads a DHCPv6 lease: one call names all its addresses and delegated prefixes. Those whose valid lifetime is 0
// are taken back (RFC 8415 section 21.6). DHCPv6 knows no gateway: it comes with router advertisements.
func replaceDhcpcd6(in Input, ev *Event, p *problems) {
	patterns, prefixes := dhcpcd6Addresses("new"), dhcpcd6Prefixes("new")
	if in.refusedLike(patterns[0], patterns[0]+"_vltime", patterns[1], patterns[1]+"_vltime", prefixes, prefixes+"_length", prefixes+"_vltime") {
		p.addf("addresses: too many or too long")
		ev.ignore(whyTooLong)
		return
	}
	ev.Verb = Replace
	dns := inet6.servers(in, "new_dhcp6_name_servers", ev, p)
	for _, v := range slices.Concat(in.numbered(patterns[0]), in.numbered(patterns[1])) {
		life := in.Env[v.key+"_vltime"]
		if isZero(life) {
			continue
		}
		addr, err := inet6.unicast(v.value)
		if err != nil {
			p.addf("leased address %s: %v", quote(v.value), err)
			continue
		}
		ev.merge(Lease{Source: ev.Source, Address: addr, Bits: 128, DNS: dns, Lifetime: lifetime("valid lifetime", life, p)})
	}
	for _, v := range in.numbered(prefixes) {
		life := in.Env[v.key+"_vltime"]
		if isZero(life) {
			continue
		}
		if prefix, ok := dhcpcd6Prefix(in, v, p); ok {
			l := delegated(ev.Source, prefix)
			l.Lifetime = lifetime("valid lifetime", life, p)
			ev.merge(l)
		}
	}
	ev.boundLeases(p)
}

// dhcpcd6Prefix is the prefix under one key, with the length under the other.
func dhcpcd6Prefix(in Input, v value, p *problems) (netip.Prefix, bool) {
	text := v.value + "/" + in.Env[v.key+"_length"]
	prefix, err := delegatedPrefix(text)
	if err != nil {
		p.addf("delegated prefix %s: %v", quote(text), err)
	}
	return prefix, err == nil
}

// removeDhcpcd6 reads the end of a DHCPv6 lease, with all its addresses and prefixes.
func removeDhcpcd6(in Input, ev Event, p *problems) []Event {
	patterns, prefixes := dhcpcd6Addresses("old"), dhcpcd6Prefixes("old")
	if in.refusedLike(append(patterns, prefixes, prefixes+"_length")...) {
		p.addf("old addresses: too many or too long")
		ev.Verb = RemoveAll
		return []Event{ev}
	}
	var gone []netip.Addr
	for _, v := range slices.Concat(in.numbered(patterns[0]), in.numbered(patterns[1])) {
		addr, err := inet6.addr(v.value)
		if err != nil {
			p.addf("old address %s: %v", quote(v.value), err)
			continue
		}
		gone = append(gone, addr)
	}
	for _, v := range in.numbered(prefixes) {
		if prefix, ok := dhcpcd6Prefix(in, v, p); ok {
			gone = append(gone, prefix.Addr())
		}
	}
	return removeEach(ev, union(nil, gone))
}

// removeEach makes an event of each address that is over. More than a client can have told us of are all.
func removeEach(ev Event, gone []netip.Addr) []Event {
	switch {
	case len(gone) == 0:
		ev.ignore("no address named")
		return []Event{ev}
	case len(gone) > MaxLeases:
		ev.Verb = RemoveAll
		return []Event{ev}
	}
	var evs []Event
	for _, addr := range gone {
		ev.Verb, ev.Address = Remove, addr
		evs = append(evs, ev)
	}
	return evs
}

// merge adds a lease to those of a Replace. Where its address is there already, by another router, it is one lease, with the
// routers and name servers of both in their order. An address keeps its place before a prefix that begins with it.
func (e *Event) merge(l Lease) {
	i := slices.IndexFunc(e.Leases, func(o Lease) bool { return o.Address == l.Address })
	if i < 0 {
		e.Leases = append(e.Leases, l)
		return
	}
	e.Leases[i].Routers = union(e.Leases[i].Routers, l.Routers)
	e.Leases[i].DNS = union(e.Leases[i].DNS, l.DNS)
}

// union is a and then what of b is not in it, in a list of its own.
func union(a, b []netip.Addr) []netip.Addr {
	u := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(u, x) {
			u = append(u, x)
		}
	}
	return u
}

// boundLeases refuses what is over a limit: too many leases, and the event says nothing; too many routers or name servers
// of one, and they stay as they were.
func (e *Event) boundLeases(p *problems) {
	if len(e.Leases) > MaxLeases {
		p.addf("addresses: %d of them, at most %d are taken: all refused", len(e.Leases), MaxLeases)
		e.Leases, e.Keep = nil, 0
		e.ignore(whyTooLong)
		return
	}
	for i := range e.Leases {
		l := &e.Leases[i]
		if len(l.Routers) > MaxRouters {
			p.addf("router: %d of them, at most %d are taken: all refused", len(l.Routers), MaxRouters)
			l.Routers, l.Refused, e.Keep = nil, true, e.Keep|KeepGateways
		}
		if len(l.DNS) > MaxDNS {
			p.addf("name server: %d of them, at most %d are taken: all refused", len(l.DNS), MaxDNS)
			l.DNS, e.Keep = nil, e.Keep|KeepDNS
		}
	}
}
