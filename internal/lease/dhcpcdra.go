package lease

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dhcpcdRAKeys are the variables of a router advertisement that are looked at: one of each for each router, address, prefix
// and list of name servers (RFC 4861 section 4.2, RFC 8106).
func dhcpcdRAKeys() []string {
	return []string{
		"nd#_from", "nd#_lifetime", "nd#_addr#",
		"nd#_prefix_information#_prefix", "nd#_prefix_information#_length", "nd#_prefix_information#_vltime",
		"nd#_rdnss#_servers", "nd#_rdnss#_lifetime",
	}
}

// replaceDhcpcdRA reads the state of router advertisements: one call names all routers and the addresses made by each.
//
// A router of lifetime 0 is no default router (RFC 4861 section 6.3.4). What it gave is left out: as a lease without
// gateways it would be the word that none is needed any more, and the addresses would leave by another uplink. Left
// out, they keep what is remembered of them.
func replaceDhcpcdRA(in Input, ev *Event, p *problems) {
	if in.refusedLike(dhcpcdRAKeys()...) {
		p.addf("routers: too many or too long")
		ev.ignore(whyTooLong)
		return
	}
	ev.Verb = Replace
	for _, from := range in.numbered("nd#_from") {
		nd := strings.TrimSuffix(from.key, "_from")
		if isDefaultRouter(in.Env[nd+"_lifetime"], p) {
			routerDhcpcd(in, nd, from.value, ev, p)
		}
	}
	for i := range ev.Leases {
		ev.Leases[i].Refused = len(ev.Leases[i].Routers) == 0
	}
	ev.boundLeases(p)
}

// isDefaultRouter reads a router lifetime: 16 bits of seconds.
func isDefaultRouter(life string, p *problems) bool {
	n, err := strconv.ParseUint(life, 10, 16)
	if err != nil {
		p.addf("router lifetime %s: not a number of seconds", quote(life))
	}
	return err == nil && n > 0
}

// routerDhcpcd adds a lease for each address that one router's advertisement gave.
func routerDhcpcd(in Input, nd, from string, ev *Event, p *problems) {
	router, err := inet6.addr(from)
	if err == nil {
		err = checkRouter(router, netip.Prefix{})
	}
	if err != nil {
		p.addf("router %s: %v", quote(from), err)
	}
	dns := rdnss(in, nd, ev, p)
	prefixes := prefixesRA(in, nd)
	for _, v := range in.numbered(nd + "_addr#") {
		l, ok := addressRA(v.value, prefixes, p)
		if !ok {
			continue
		}
		l.Source, l.DNS = ev.Source, dns
		switch {
		case err != nil:
		case router == l.Address:
			p.addf("router %s: the host's own address", quote(from))
		default:
			l.Routers = []netip.Addr{router}
		}
		ev.merge(l)
	}
}

// prefixRA is a prefix of an advertisement, and how long it is valid.
type prefixRA struct {
	prefix netip.Prefix
	life   string
}

// prefixesRA are the prefixes of a router's last advertisement. What is wrong with them does not matter here: they only say
// more of the addresses, which dhcpcd has made and named.
func prefixesRA(in Input, nd string) []prefixRA {
	var ps []prefixRA
	for _, v := range in.numbered(nd + "_prefix_information#_prefix") {
		key := strings.TrimSuffix(v.key, "_prefix")
		p, err := netip.ParsePrefix(v.value + "/" + in.Env[key+"_length"])
		if err == nil {
			ps = append(ps, prefixRA{p, in.Env[key+"_vltime"]})
		}
	}
	return ps
}

// addressRA reads an address "2001:db8::1/64". Its prefix may be in no advertisement any more, and lives on for a while.
func addressRA(s string, prefixes []prefixRA, p *problems) (l Lease, ok bool) {
	text, length, _ := strings.Cut(s, "/")
	addr, err := inet6.unicast(text)
	if err != nil {
		p.addf("address %s: %v", quote(s), err)
		return Lease{}, false
	}
	l = Lease{Address: addr, Bits: inet6.prefixLen(length, p)}
	if i := slices.IndexFunc(prefixes, func(x prefixRA) bool { return x.prefix.Contains(addr) }); i >= 0 {
		l.Lifetime = lifetime("valid lifetime", prefixes[i].life, p)
		if length == "" {
			l.Bits = max(prefixes[i].prefix.Bits(), 1)
		}
	}
	return l, true
}

// rdnss are the name servers of a router's advertisement, less those that it takes back with lifetime 0.
func rdnss(in Input, nd string, ev *Event, p *problems) []netip.Addr {
	var dns []netip.Addr
	for _, v := range in.numbered(nd + "_rdnss#_servers") {
		if in.Env[strings.TrimSuffix(v.key, "_servers")+"_lifetime"] != "0" {
			dns = union(dns, inet6.servers(in, v.key, ev, p))
		}
	}
	return dns
}
