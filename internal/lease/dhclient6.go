package lease

import "strconv"

const whyPrefix = "a delegated prefix, not an address of this link"

// bindDhclient6 reads one address of a DHCPv6 lease: the hook is called once for each address and prefix, and a link may
// have several. A valid lifetime of 0 takes the address back (RFC 8415 section 21.6).
func bindDhclient6(in Input, ev *Event, p *problems) {
	text := in.Env["new_ip6_address"]
	if text == "" {
		ignoreWithoutAddress(in, "new_ip6_prefix", ev)
		return
	}
	addr, err := inet6.unicast(text)
	if err != nil {
		p.addf("leased address %s: %v", quote(text), err)
		ev.ignore("no usable address")
		return
	}
	life := in.Env["new_max_life"]
	if n, err := strconv.ParseUint(life, 10, 32); err == nil && n == 0 {
		ev.Verb, ev.Address = Remove, addr
		return
	}
	ev.Verb = Bind
	ev.Lease = Lease{
		Source: ev.Source, Address: addr, Bits: inet6.prefixLen(in.Env["new_ip6_prefixlen"], p),
		Lifetime: lifetime("valid lifetime", life, p),
	}
	inet6.dns(in, "new_dhcp6_name_servers", ev, p)
}

// removeDhclient6 reads the end of one address. Without one there is nothing to remove: the others may live on.
func removeDhclient6(in Input, ev *Event, p *problems) {
	text := in.Env["old_ip6_address"]
	if text == "" {
		ignoreWithoutAddress(in, "old_ip6_prefix", ev)
		return
	}
	addr, err := inet6.addr(text)
	if err != nil {
		p.addf("old address %s: %v", quote(text), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb, ev.Address = Remove, addr
}

func ignoreWithoutAddress(in Input, prefixKey string, ev *Event) {
	if in.Env[prefixKey] != "" {
		ev.ignore(whyPrefix)
		return
	}
	ev.ignore("no address named")
}
