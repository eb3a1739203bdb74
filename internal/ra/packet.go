package ra

import (
	"errors"
	"fmt"
	"net/netip"
)

// packet is what a raw socket received, and what the IPv6 header said of it. The kernel has checked the checksum.
type packet struct {
	data     []byte // from the ICMPv6 header on
	link     int    // ifindex
	source   netip.Addr
	hopLimit int
}

const (
	// sizeAdvertisement is what is before the options (RFC 4861 section 4.2).
	sizeAdvertisement = 16
	// hopLimit is that of all neighbour discovery: no router has passed on what still has it.
	hopLimit = 255
	// octets is the unit of an option's length (RFC 4861 section 4.6).
	octets = 8
)

// decodeAdvertisement reads a router advertisement. One that is not valid (RFC 4861 section 6.1.2) is silent as a whole; of one
// that is, a prefix that no host can have does not count, which the error says then, and the others do. The router lifetime
// is not read: whether a router is a default router the kernel's routes say.
func decodeAdvertisement(p packet) (as []announcement, err error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	for options := p.data[sizeAdvertisement:]; len(options) > 0; {
		n := int(options[1]) * octets
		prefix, valid, bad := decodePrefixInfo(options[:n])
		switch {
		case bad == nil && len(as) < maxPrefixes:
			as = append(as, announcement{link: p.link, router: p.source, prefix: prefix, valid: valid})
		case bad != nil && !errors.Is(bad, errOther):
			err = bad
		}
		options = options[n:]
	}
	return as, err
}

// validate is RFC 4861 section 6.1.2.
func (p packet) validate() error {
	switch {
	case p.link <= 0:
		return fmt.Errorf("an advertisement on link %d", p.link)
	case p.hopLimit != hopLimit:
		return fmt.Errorf("an advertisement with hop limit %d", p.hopLimit)
	case len(p.data) < sizeAdvertisement:
		return fmt.Errorf("an advertisement of %d octets: %w", len(p.data), errCut)
	case p.data[0] != typeRA || p.data[1] != 0:
		return fmt.Errorf("type %d, code %d: no advertisement", p.data[0], p.data[1])
	}
	for options := p.data[sizeAdvertisement:]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || int(options[1])*octets > len(options) {
			return fmt.Errorf("an option in the last %d octets of an advertisement: %w", len(options), errCut)
		}
		options = options[int(options[1])*octets:]
	}
	return checkRouter(p.source)
}
