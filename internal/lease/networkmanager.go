package lease

import (
	"net/netip"
	"slices"
	"strings"
)

// SourceNetworkManager speaks for both families and all protocols of a link.
const SourceNetworkManager Source = "networkmanager"

// The places of the dispatcher's arguments (NetworkManager-dispatcher(8)): the interface, of which hookwire takes care, and
// the action.
const nmAction = 1

// parseNetworkManager understands the dispatcher of NetworkManager (NetworkManager-dispatcher(8)). Each call names all that
// NetworkManager has on the link, in both families; those before the device is "activated" name nothing.
func parseNetworkManager(in Input, ev *Event, p *problems) {
	action := in.argOr(nmAction, "NM_DISPATCHER_ACTION")
	ev.Reason = plain(action)
	switch action {
	case "hostname", "connectivity-change", "dns-change", "device-add", "device-delete":
		ev.ignore("about no address of a link")
		return
	case "":
		ev.ignore("no action named")
		return
	}
	switch {
	case in.Env["CONNECTION_EXTERNAL"] == "1":
		ev.ignore("configured by somebody else, NetworkManager only looks on")
	case in.Interface == "lo":
		ev.ignore("the loopback link")
	default:
		actNetworkManager(action, in, ev, p)
	}
}

func actNetworkManager(action string, in Input, ev *Event, p *problems) {
	switch action {
	case "pre-up", "up", "reapply", "dhcp4-change", "dhcp6-change":
		replaceNetworkManager(in, "", ev, p)
	case "pre-down", "vpn-pre-up", "vpn-pre-down": // all is still, or already, configured
		ev.Verb = Resync
	case "down":
		ev.Verb = RemoveAll
	case "vpn-up":
		if ev.Verb = Resync; ownInterface(in) {
			replaceNetworkManager(in, "VPN_", ev, p)
		}
	case "vpn-down":
		if ev.Verb = Resync; ownInterface(in) {
			ev.Verb = RemoveAll
		}
	default:
		ev.ignore("unknown action")
	}
}

// ownInterface says whether a VPN has a link of its own. IPsec has none: then the call names the one underneath, whose
// leases it says nothing about.
func ownInterface(in Input) bool {
	vpn := in.Env["VPN_IP_IFACE"]
	return vpn != "" && vpn == in.Interface && vpn != in.Env["DEVICE_IP_IFACE"] && vpn != in.Env["DEVICE_IFACE"]
}

// replaceNetworkManager reads the addresses of both families, from variables with a prefix. Where none is named, the kernel
// knows more than the call.
func replaceNetworkManager(in Input, prefix string, ev *Event, p *problems) {
	c4 := nmConfig{family: inet, key: prefix + "IP4_", dhcp: prefix == ""}
	c6 := nmConfig{family: inet6, key: prefix + "IP6_"}
	if in.refusedLike(c4.key+"ADDRESS_#", c6.key+"ADDRESS_#") {
		p.addf("addresses: too many or too long")
		ev.ignore(whyTooLong)
		return
	}
	c4.addresses(in, p)
	c6.addresses(in, p)
	if ev.Verb = Resync; c4.named || c6.named {
		ev.Verb = Replace
		ev.Leases = append(c4.leases(in, ev, p), c6.leases(in, ev, p)...)
		ev.boundLeases(p)
	}
}

// nmConfig is what a call says of one family.
type nmConfig struct {
	family family
	key    string // the beginning of its variables: "IP4_"
	dhcp   bool   // whether DHCPv4's own variables are about it
	named  bool   // whether any address is named, if only one that needs no lease
	own    []netip.Prefix
}

// addresses reads IP4_ADDRESS_0="192.0.2.9/24 192.0.2.1" and so on; the gateway in it is out of date by the manual's word.
func (c *nmConfig) addresses(in Input, p *problems) {
	for _, v := range in.numbered(c.key + "ADDRESS_#") {
		c.named = true
		text, _, _ := strings.Cut(strings.TrimSpace(v.value), " ")
		address, length, _ := strings.Cut(text, "/")
		a, err := c.family.addr(address)
		if err == nil && a.IsLinkLocalUnicast() {
			continue // no address of an uplink's, and no mistake
		}
		if err == nil {
			err = checkUnicast(a)
		}
		if err != nil {
			p.addf("address %s: %v", quote(text), err)
			continue
		}
		if !slices.ContainsFunc(c.own, func(o netip.Prefix) bool { return o.Addr() == a }) {
			c.own = append(c.own, netip.PrefixFrom(a, c.family.prefixLen(length, p)))
		}
	}
}

// leases makes a lease of each address that the gateway is for.
func (c *nmConfig) leases(in Input, ev *Event, p *problems) []Lease {
	if len(c.own) == 0 {
		return nil
	}
	dns := c.dns(in, ev, p)
	var leases []Lease
	for _, own := range c.own {
		one := Event{Source: ev.Source, Lease: Lease{Source: ev.Source, Address: own.Addr(), Bits: own.Bits(), DNS: dns}}
		leased := c.dhcp && in.Env["DHCP4_IP_ADDRESS"] == own.Addr().String()
		if leased {
			one.Lease.MTU = mtu(in.Env["DHCP4_INTERFACE_MTU"], p)
			one.Lease.Lifetime = lifetime("lease time", in.Env["DHCP4_DHCP_LEASE_TIME"], p)
		}
		classless := leased && classless4(in, nmClassless(), own, &one, p)
		if !classless && !c.gateway(in, own, &one, p) {
			continue
		}
		if l := one.Lease; leased && !classless && len(l.Routers) == 0 && !l.Refused {
			// A profile with never-default or ignore-auto-routes keeps the gateway out of main; the lease has it all the same.
			gateways4(in, keys4{routers: "DHCP4_ROUTERS"}, &one, p)
		}
		ev.Keep |= one.Keep
		leases = append(leases, one.Lease)
	}
	return leases
}

func (c *nmConfig) dns(in Input, ev *Event, p *problems) []netip.Addr {
	key := c.key + "NAMESERVERS"
	if in.refused(key) {
		p.addf("%s: too long", key)
		ev.Keep |= KeepDNS
		return nil
	}
	return c.family.mixedDNS(in.Env[key], ev, p)
}

// gateway reads the gateway of a family, of which NetworkManager has one for all addresses. It says whether that is this
// address's too: a gateway in another address's subnet is no word about this one.
func (c *nmConfig) gateway(in Input, own netip.Prefix, one *Event, p *problems) (about bool) {
	key := c.key + "GATEWAY"
	if in.refused(key) {
		p.addf("%s: too long", key)
		one.Keep, one.Lease.Refused = KeepGateways, true
		return true
	}
	text := in.Env[key]
	if r, err := netip.ParseAddr(text); err == nil && c.family == inet6 && r.IsLinkLocalUnicast() && r.Zone() == "" {
		// By a router advertisement. The kernel's route tells of it, and goes when the router does, of which no call tells.
		return true
	}
	if r, err := netip.ParseAddr(text); err == nil && !own.Contains(r) && !own.IsSingleIP() && c.others(own, r) {
		return false
	}
	// Without a gateway it is 0.0.0.0, in IPv6 as well.
	one.Lease.Routers, one.Lease.Refused = c.family.nextHop(text, own, p, "0.0.0.0", "::")
	return true
}

func (c *nmConfig) others(own netip.Prefix, r netip.Addr) bool {
	return slices.ContainsFunc(c.own, func(o netip.Prefix) bool { return o != own && o.Contains(r) })
}

// nmClassless is where option 121 is. Where it has no default route and NetworkManager keeps the router's all the same, that
// is in the kernel, which is the newer word.
func nmClassless() []spelling {
	return []spelling{{key: "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES", routes: classlessPrefixes}}
}
