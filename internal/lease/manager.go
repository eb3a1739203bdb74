package lease

import (
	"errors"
	"net/netip"
	"strings"
)

// What the parsers of network managers and VPNs have in common: a client's own word for what happened, one gateway or none,
// name servers of both families in one list, and routes of both families.

// plain is a client's own word for what happened as it goes into Event.Reason: as it is where it looks like one.
func plain(word string) string {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }
	if len(word) > maxQuoted || strings.IndexFunc(word, odd) >= 0 {
		return quote(word)
	}
	return word
}

// nextHop reads the one gateway of a client that names one or none; none are all spellings of "there is none".
func (f family) nextHop(s string, own netip.Prefix, p *problems, none ...string) (routers []netip.Addr, refused bool) {
	for _, n := range append(none, "") {
		if s == n {
			return nil, false
		}
	}
	r, err := f.addr(s)
	if err == nil {
		err = checkRouter(r, own)
	}
	if err != nil {
		p.addf("gateway %s: %v", quote(s), err)
		return nil, true
	}
	return []netip.Addr{r}, false
}

// mixedDNS reads a list that may hold name servers of both families, and takes those of this one. A link-local IPv6 server
// (router advertisements often name one) is nothing that a rule could be about.
func (f family) mixedDNS(list string, ev *Event, p *problems) []netip.Addr {
	var own []string
	for _, w := range strings.Fields(list) {
		a, err := netip.ParseAddr(w)
		if err == nil && (a.Is4() != (f == inet) || a.Is6() && a.IsLinkLocalUnicast()) {
			continue
		}
		own = append(own, w)
	}
	dns, whole := f.addrs("name server", strings.Join(own, " "), MaxDNS, checkUnicast, p)
	if !whole {
		ev.Keep |= KeepDNS
	}
	return dns
}

// checkLinkRoute is checkRoute for both families: a route that a VPN server or a script names for the link.
func checkLinkRoute(r Route, own netip.Prefix) error {
	if r.Dst.Addr().Is4() {
		return checkRoute(r, own)
	}
	if a := r.Dst.Addr(); r.Dst.Bits() >= 8 && (a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback()) {
		return errors.New("destination is local to the link or the host")
	}
	if r.Gateway.IsUnspecified() {
		return nil
	}
	return checkRouter(r.Gateway, own)
}
