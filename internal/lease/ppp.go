package lease

import (
	"net/netip"
	"strings"
)

// The places of pppd's arguments (pppd(8), "Scripts"), after the name of the script: interface, tty, speed, local address,
// remote address, ipparam. The last is missing where it is not set.
const (
	pppKind   = 0
	pppLocal  = 4
	pppRemote = 5
	pppParam  = 6
)

// parsePPP understands pppd, whose snippets put the script's name first.
//
// ip-pre-up comes when the address is on the link and the link is not up yet, and pppd waits for it: it binds as well, so
// that the rules are there before the first packet. The scripts of IPv6 speak of link-local addresses only.
func parsePPP(in Input, ev *Event, p *problems) {
	ev.Reason = in.arg(pppKind)
	switch ev.Reason {
	case "ip-pre-up", "ip-up":
		if ev.Verb = Resync; !ofNetworkManager(in.arg(pppParam)) {
			bindPPP(in, ev, p)
		}
	case "ip-down":
		if ev.Verb = Resync; !ofNetworkManager(in.arg(pppParam)) {
			removePPP(in, ev, p)
		}
	case "ipv6-up", "ipv6-down":
		ev.Verb = Resync
	case "":
		ev.ignore("no script named")
	default:
		ev.Reason = quote(ev.Reason)
		ev.ignore("unknown script")
	}
}

// ofNetworkManager says, by its ipparam, whether NetworkManager started this pppd: it calls hooks of its own for the session.
func ofNetworkManager(ipparam string) bool {
	if strings.HasPrefix(ipparam, "/org/freedesktop/NetworkManager/PPP/") {
		return true
	}
	plugin, ok := strings.CutPrefix(ipparam, "nm-")
	return ok && strings.Contains(plugin, "-service-")
}

// arg is an argument by its place, empty where it is not there.
func (in Input) arg(i int) string {
	if i < len(in.Args) {
		return in.Args[i]
	}
	return ""
}

// argOr is an argument, or where it is empty a variable.
func (in Input) argOr(i int, key string) string {
	if a := in.arg(i); a != "" {
		return a
	}
	return in.Env[key]
}

// bindPPP reads a session's addresses. There is no gateway: the other end is.
func bindPPP(in Input, ev *Event, p *problems) {
	local := in.argOr(pppLocal, "IPLOCAL")
	addr, err := inet.unicast(local)
	if err != nil {
		p.addf("local address %s: %v", quote(local), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb, ev.Sole = Bind, true
	ev.Lease = Lease{Source: ev.Source, Address: addr, Bits: 32, Peer: peerPPP(in, addr, p)}
	if in.refused("DNS1", "DNS2") {
		p.addf("DNS1, DNS2: too long")
		ev.Keep |= KeepDNS
		return
	}
	var whole bool
	if ev.Lease.DNS, whole = inet.addrs("name server", in.Env["DNS1"]+" "+in.Env["DNS2"], MaxDNS, checkUnicast, p); !whole {
		ev.Keep |= KeepDNS
	}
}

// peerPPP is the other end. It is a name for it, not a way to it: many access concentrators give an address that is
// nobody's, so link-local ones will do, and none at all as well.
func peerPPP(in Input, own netip.Addr, p *problems) netip.Addr {
	remote := in.argOr(pppRemote, "IPREMOTE")
	if remote == "" {
		return netip.Addr{}
	}
	peer, err := inet.addr(remote)
	if err == nil && !peer.IsLinkLocalUnicast() {
		err = checkRouter(peer, netip.PrefixFrom(own, own.BitLen()))
	}
	if err != nil {
		p.addf("remote address %s: %v", quote(remote), err)
		return netip.Addr{}
	}
	return peer
}

// removePPP reads the end of a session's IPv4. A link has one, so an address that cannot be read does not matter.
func removePPP(in Input, ev *Event, p *problems) {
	local := in.argOr(pppLocal, "IPLOCAL")
	addr, err := inet.addr(local)
	if err != nil {
		if local != "" {
			p.addf("local address %s: %v", quote(local), err)
		}
		ev.Verb = RemoveAll
		return
	}
	ev.Verb, ev.Address = Remove, addr
}
