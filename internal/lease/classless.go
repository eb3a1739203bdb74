package lease

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Option 121 (RFC 3442) is a list of: a prefix length, as many octets of the destination as it needs, the 4 octets of the
// router. It is understood whole or not at all. Its spellings in the environment all lead back to these octets.

var (
	errWidth    = errors.New("prefix length over 32")
	errCutShort = errors.New("cut short")
	errForm     = errors.New("not in its form")
)

// decodeClassless reads the octets of option 121. Bits of a destination under its mask are cleared, as the RFC demands.
func decodeClassless(b []byte) ([]Route, error) {
	var routes []Route
	for len(b) > 0 {
		width := int(b[0])
		octets := (width + 7) / 8
		if width > 32 {
			return nil, errWidth
		}
		if len(b) < 1+octets+4 {
			return nil, errCutShort
		}
		var dst [4]byte
		copy(dst[:], b[1:1+octets])
		routes = append(routes, Route{
			Dst:     netip.PrefixFrom(netip.AddrFrom4(dst), width).Masked(),
			Gateway: netip.AddrFrom4([4]byte(b[1+octets : 1+octets+4])),
		})
		b = b[1+octets+4:]
	}
	return routes, nil
}

// inOctets reads the option in a spelling of its octets.
func inOctets(octets func(string) ([]byte, error)) func(string) ([]Route, error) {
	return func(s string) ([]Route, error) {
		b, err := octets(s)
		if err != nil {
			return nil, err
		}
		return decodeClassless(b)
	}
}

// octets reads numbers of one octet each, in a base.
func octets(words []string, base int) ([]byte, error) {
	b := make([]byte, 0, len(words))
	for _, w := range words {
		n, err := strconv.ParseUint(w, base, 8)
		if err != nil {
			return nil, errForm
		}
		b = append(b, byte(n))
	}
	return b, nil
}

// classlessDecimal reads "24 10 1 2 192 0 2 1": the option declared as an array of unsigned octets (Debian's dhclient.conf).
func classlessDecimal(s string) ([]byte, error) { return octets(strings.Fields(s), 10) }

// classlessHex reads "18:a:1:2:c0:0:2:1": the option without a declaration (dhclient's unknown_121).
func classlessHex(s string) ([]byte, error) {
	return octets(strings.Split(strings.TrimSpace(s), ":"), 16)
}

// classlessPairs reads "24.10.1.2 192.0.2.1": the option as Fedora's dhclient prints it.
func classlessPairs(s string) ([]byte, error) {
	words := strings.Fields(s)
	if len(words)%2 != 0 {
		return nil, errCutShort
	}
	var b []byte
	for i := 0; i < len(words); i += 2 {
		dst, err := octets(strings.Split(words[i], "."), 10)
		if err != nil {
			return nil, err
		}
		if dst[0] > 32 {
			return nil, errWidth
		}
		if len(dst) != 1+(int(dst[0])+7)/8 {
			return nil, errForm
		}
		gw, err := inet.addr(words[i+1])
		if err != nil {
			return nil, errForm
		}
		b = append(append(b, dst...), gw.AsSlice()...)
	}
	return b, nil
}

// classlessPrefixes reads "10.1.2.0/24 192.0.2.1 0.0.0.0/0 192.0.2.7": the option as dhcpcd, udhcpc and NetworkManager
// print it, all or nothing. Bits of a destination under its mask are cleared here too, for not all of them do.
func classlessPrefixes(s string) ([]Route, error) {
	words := strings.Fields(s)
	if len(words)%2 != 0 {
		return nil, errCutShort
	}
	var routes []Route
	for i := 0; i < len(words); i += 2 {
		dst, err := netip.ParsePrefix(words[i])
		if err != nil || !dst.Addr().Is4() {
			return nil, errForm
		}
		gw, err := inet.addr(words[i+1])
		if err != nil {
			return nil, errForm
		}
		routes = append(routes, Route{Dst: dst.Masked(), Gateway: gw})
	}
	return routes, nil
}

// checkRoute says why a route of option 121 is refused, although it is well-formed.
func checkRoute(r Route, own netip.Prefix) error {
	if !r.Gateway.IsUnspecified() {
		if err := checkRouter(r.Gateway, own); err != nil {
			return err
		}
	}
	for _, no := range []netip.Prefix{
		netip.PrefixFrom(netip.IPv4Unspecified(), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 3), // multicast and reserved
	} {
		if r.Dst.Bits() >= no.Bits() && no.Contains(r.Dst.Addr()) {
			return errors.New("destination in " + no.String())
		}
	}
	return nil
}

// checkRoutes drops the routes that are refused, with a problem each.
func checkRoutes(routes []Route, own netip.Prefix, p *problems) []Route {
	var good []Route
	for _, r := range routes {
		if err := checkRoute(r, own); err != nil {
			p.addf("classless route %s via %s: %v", r.Dst, r.Gateway, err)
			continue
		}
		good = append(good, r)
	}
	return good
}
