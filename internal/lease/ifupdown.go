package lease

import (
	"net/netip"
	"strings"
)

// SourceIfupdown6 is the IPv6 half of what /etc/network/interfaces says; the IPv4 half goes by the client's name.
const SourceIfupdown6 Source = "ifupdown6"

// parseIfupdown understands the scripts of ifupdown (interfaces(5), "IFACE OPTIONS" and "HOOK SCRIPTS"): if-up.d is called with
// the phase post-up, if-down.d with pre-down, once for each stanza. The administrator wrote the values, and is checked like
// anybody else.
func parseIfupdown(in Input, ev *Event, p *problems) {
	f := inet
	if in.Env["ADDRFAM"] == "inet6" {
		f, ev.Source = inet6, SourceIfupdown6
	}
	ev.Reason = plain(in.Env["PHASE"])
	switch method := in.Env["METHOD"]; {
	case in.Interface == "--all" || in.Interface == "lo":
		ev.ignore("about no uplink")
	case method == "static":
		staticIfupdown(f, in, ev, p)
	case method == "dhcp" || method == "auto" || method == "bootp" || method == "":
		ev.Verb = Resync // the client that it starts has hooks of its own
	default: // manual, ppp, loopback, tunnels, NetworkManager: somebody else's business
		ev.ignore("method " + plain(method) + " gives no address")
	}
}

func staticIfupdown(f family, in Input, ev *Event, p *problems) {
	if in.Env["IF_ADDRESS"] == "" { // ifupdown-ng and ifupdown2 may leave it out
		ev.Verb = Resync
		return
	}
	address, length, _ := strings.Cut(in.Env["IF_ADDRESS"], "/")
	switch in.Env["PHASE"] {
	case "post-up", "up":
		bindIfupdown(f, address, length, in, ev, p)
	case "pre-down", "down":
		removeIfupdown(f, address, ev, p)
	case "pre-up":
		ev.ignore("not configured yet")
	default:
		ev.Verb = Resync
	}
}

// bindIfupdown reads one static address. A link may have several stanzas.
func bindIfupdown(f family, address, length string, in Input, ev *Event, p *problems) {
	a, err := f.unicast(address)
	if err != nil {
		p.addf("address %s: %v", quote(address), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb = Bind
	ev.Lease = Lease{Source: ev.Source, Address: a, Bits: f.netmask(length, in.Env["IF_NETMASK"], p), MTU: mtu(in.Env["IF_MTU"], p)}
	own := netip.PrefixFrom(a, ev.Lease.Bits)
	if in.refused("IF_GATEWAY") {
		p.addf("IF_GATEWAY: too long")
		ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
	} else {
		ev.Lease.Routers, ev.Lease.Refused = f.nextHop(strings.TrimSpace(in.Env["IF_GATEWAY"]), own, p)
	}
	if in.refused("IF_DNS_NAMESERVERS") {
		p.addf("IF_DNS_NAMESERVERS: too long")
		ev.Keep |= KeepDNS
		return
	}
	ev.Lease.DNS = f.mixedDNS(in.Env["IF_DNS_NAMESERVERS"], ev, p)
}

// netmask is the prefix length of a static address: what follows it after a slash, else the option netmask, which may be a
// number or a mask.
func (f family) netmask(length, mask string, p *problems) int {
	switch {
	case length != "":
		mask = length
	case f == inet && strings.Contains(mask, "."):
		return maskBits(mask, p)
	}
	return f.prefixLen(mask, p)
}

func removeIfupdown(f family, address string, ev *Event, p *problems) {
	a, err := f.addr(address)
	if err != nil {
		p.addf("address %s: %v", quote(address), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb, ev.Address = Remove, a
}
