package scenario

import (
	"net/netip"
	"strings"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// event is what a client's hook says: the link, the source, and then as the command has it.
func (s *script) event(command string, args []string) (lease.Event, error) {
	ev := lease.Event{Interface: args[0], Source: lease.Source(args[1]), Reason: command}
	if i, err := s.w.Index(args[0]); err == nil {
		ev.Index = i
	}
	var err error
	switch command {
	case "fail":
		ev.Verb = lease.RemoveAll
	case "release":
		ev.Verb = lease.Remove
		ev.Address, err = netip.ParseAddr(args[2])
	case "delegate":
		ev.Verb = lease.Bind
		ev.Lease, err = delegation(ev.Source, args[2])
	case "announce":
		ev.Verb, ev.Source = lease.Bind, lease.SourceRA
		ev.Lease, err = announcement(args[1], args[2:])
	case "replace":
		ev.Verb = lease.Replace
		ev.Leases, err = leases(ev.Source, args[2:])
	default:
		ev.Verb, ev.Sole = lease.Bind, true
		ev.Lease, err = oneLease(ev.Source, args[2], args[3:])
	}
	return ev, err
}

// delegation reads a prefix that a DHCPv6 server has delegated.
func delegation(source lease.Source, prefix string) (lease.Lease, error) {
	p, err := netip.ParsePrefix(prefix)
	return lease.Lease{Source: source, Address: p.Addr(), Prefix: p, Delegated: true, Bits: p.Bits()}, err
}

// announcement reads a prefix and the routers that announce it.
func announcement(prefix string, routers []string) (lease.Lease, error) {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return lease.Lease{}, err
	}
	l, err := oneLease(lease.SourceRA, p.Addr().String(), routers)
	l.Prefix = p
	return l, err
}

// leases reads "ADDR=GW,..." words.
func leases(source lease.Source, words []string) ([]lease.Lease, error) {
	var ls []lease.Lease
	for _, w := range words {
		ip, gateways, _ := strings.Cut(w, "=")
		l, err := oneLease(source, ip, strings.FieldsFunc(gateways, func(r rune) bool { return r == ',' }))
		if err != nil {
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// oneLease reads a lease: gateways, "refused", and classless routes "DST=GW". One with a default route among these is as
// one with option 121: the others are not its gateways.
func oneLease(source lease.Source, ip string, says []string) (lease.Lease, error) {
	addr, err := netip.ParseAddr(ip)
	l := lease.Lease{Source: source, Address: addr, Bits: -1}
	for _, word := range says {
		dst, via, classless := strings.Cut(word, "=")
		if word == "refused" {
			l.Refused = true
			continue
		}
		if !classless {
			via = word
		}
		gw, gwErr := netip.ParseAddr(via)
		if gwErr != nil {
			return l, gwErr
		}
		if !classless {
			l.Routers = append(l.Routers, gw)
			continue
		}
		r := lease.Route{Gateway: gw}
		if r.Dst, err = netip.ParsePrefix(dst); err != nil {
			return l, err
		}
		l.Classless = append(l.Classless, r)
		l.HasClassless = l.HasClassless || r.Dst.Bits() == 0
	}
	return l, err
}
