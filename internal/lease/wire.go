package lease

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// SourceWire is what was seen on the wire itself, whatever client it was for.
const SourceWire Source = "wire"

// ParseDHCPv4 understands a DHCPv4 message that was sent by, or to, a client on this host: whether it was is for the caller
// to know, and so is the link. An acknowledgement is a Bind, of "yiaddr", or where that is empty of "ciaddr": the answer to
// a DHCPINFORM (RFC 2131 section 3.4), which is no word about a lease, so that it replaces none, and where it names no
// gateway says nothing. Every value goes through the same checks as a hook's.
func ParseDHCPv4(index int, name string, m *dhcpv4.DHCPv4) Event {
	ev := Event{Source: SourceWire, Interface: name, Index: index, Reason: m.MessageType().String()}
	var p problems
	switch m.MessageType() {
	case dhcpv4.MessageTypeAck:
		ackDHCPv4(m, &ev, &p)
	case dhcpv4.MessageTypeNak, dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline:
		// The client gives its address up; that it goes is the kernel's word. The message alone proves nothing: whoever saw
		// the request could have sent a NAK, and a host behind this router a RELEASE that leaves by NAT.
		ev.Verb = Resync
	default:
		ev.Reason = quote(ev.Reason)
		ev.ignore("no lease yet")
	}
	ev.Problems = p.list()
	return ev
}

// ackDHCPv4 reads what a server has granted.
func ackDHCPv4(m *dhcpv4.DHCPv4, ev *Event, p *problems) {
	address := text4(m.YourIPAddr)
	inform := m.YourIPAddr.IsUnspecified()
	if inform {
		address = text4(m.ClientIPAddr)
	}
	keys := keys4{
		address: "address", mask: "mask", routers: "routers", dns: "dns", mtu: "mtu", lifetime: "lifetime",
		classless: []spelling{{key: "classless", routes: inOctets(classlessDecimal), empty: true}},
	}
	env := map[string]string{"address": address}
	for key, text := range map[string]string{
		"mask":     optionAddrs(m, dhcpv4.OptionSubnetMask),
		"routers":  optionAddrs(m, dhcpv4.OptionRouter),
		"dns":      optionAddrs(m, dhcpv4.OptionDomainNameServer),
		"mtu":      optionNumber(m, dhcpv4.OptionInterfaceMTU, 2),
		"lifetime": optionNumber(m, dhcpv4.OptionIPAddressLeaseTime, 4),
	} {
		if text != "" {
			env[key] = text
		}
	}
	if m.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		env["classless"] = optionOctets(m, dhcpv4.OptionClasslessStaticRoute) // an empty one is malformed, not absent
	}
	bind4(Input{Env: env}, keys, ev, p)
	if !inform || ev.Verb != Bind {
		return
	}
	ev.Sole = false
	if len(ev.Lease.Gateways()) == 0 {
		ev.Lease = Lease{}
		ev.ignore("the answer to a DHCPINFORM names no gateway")
	}
}

// text4 is an address field of the fixed part of a message.
func text4(octets []byte) string {
	a, ok := netip.AddrFromSlice(octets)
	if !ok {
		return ""
	}
	return a.Unmap().String()
}

// The options as text, as a client would hand them to its hook: the checks of all sources are on text. An option of a length
// that it cannot have becomes its octets in hex, which no check takes for an address or a number.

func optionAddrs(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) string {
	b := m.Options.Get(code)
	if len(b) == 0 || len(b)%4 != 0 {
		return malformed(m, code)
	}
	words := make([]string, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		words = append(words, netip.AddrFrom4([4]byte(b)).String())
	}
	return strings.Join(words, " ")
}

func optionNumber(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode, size int) string {
	b := m.Options.Get(code)
	switch {
	case len(b) != size:
		return malformed(m, code)
	case size == 2:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	}
	return strconv.FormatUint(uint64(binary.BigEndian.Uint32(b)), 10)
}

func optionOctets(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) string {
	b := m.Options.Get(code)
	words := make([]string, 0, len(b))
	for _, o := range b {
		words = append(words, strconv.Itoa(int(o)))
	}
	return strings.Join(words, " ")
}

func malformed(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) string {
	if !m.Options.Has(code) {
		return ""
	}
	return "0x" + hex.EncodeToString(m.Options.Get(code))
}
