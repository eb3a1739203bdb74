package lease

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func raw(code dhcpv4.OptionCode, octets ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(code, octets)
}

func addrs4(list ...string) (as []netip.Addr) {
	for _, s := range list {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

// TestParseDHCPv4: what each message says, and that nothing of it escapes the checks.
func TestParseDHCPv4(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.10")
	your := dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10))
	mine := dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 10))
	mask := raw(dhcpv4.OptionSubnetMask, 255, 255, 255, 0)
	router := raw(dhcpv4.OptionRouter, 192, 0, 2, 1)
	bound := func(l Lease) Event {
		l.Source, l.Address = SourceWire, address
		return Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: l}
	}
	informed := func(l Lease) Event { ev := bound(l); ev.Sole = false; return ev }
	for name, c := range map[string]struct {
		kind dhcpv4.MessageType
		with []dhcpv4.Modifier
		want Event
	}{
		"a lease": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, raw(dhcpv4.OptionRouter, 192, 0, 2, 1, 192, 0, 2, 2), raw(dhcpv4.OptionDomainNameServer, 192, 0, 2, 53),
			raw(dhcpv4.OptionInterfaceMTU, 5, 212), raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 14, 16)},
			bound(Lease{Bits: 24, Routers: addrs4("192.0.2.1", "192.0.2.2"), DNS: addrs4("192.0.2.53"), MTU: 1492, Lifetime: time.Hour})},
		"for ever":  {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255)}, bound(Lease{Bits: -1, Lifetime: Infinite})},
		"no router": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask}, bound(Lease{Bits: 24})},
		"option 121": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, router, raw(dhcpv4.OptionClasslessStaticRoute, 0, 192, 0, 2, 7, 8, 10, 192, 0, 2, 8)},
			bound(Lease{Bits: 24, HasClassless: true, Classless: []Route{
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.7")},
				{Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.8")}}})},
		"option 121, cut": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, router, raw(dhcpv4.OptionClasslessStaticRoute, 0, 192, 0, 2)},
			Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: Lease{Source: SourceWire, Address: address, Bits: 24, Refused: true}, Problems: []string{`option 121 "0 192 0 2": cut short: refused, no default`}}},
		"option 121, empty": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, router, raw(dhcpv4.OptionClasslessStaticRoute)},
			Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: Lease{Source: SourceWire, Address: address, Bits: 24, Refused: true}, Problems: []string{`option 121 "": no route in it: refused, no default`}}},
		"lengths that cannot be": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, raw(dhcpv4.OptionSubnetMask, 255), raw(dhcpv4.OptionRouter, 192, 0, 2, 1, 9), raw(dhcpv4.OptionDomainNameServer),
			raw(dhcpv4.OptionInterfaceMTU, 5), raw(dhcpv4.OptionIPAddressLeaseTime, 1, 2, 3)},
			Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: Lease{Source: SourceWire, Address: address, Bits: -1, Refused: true}, Problems: []string{
				`subnet mask "0xff": not one`, `MTU "0x05": not from 576 to 9216`, `lease time "0x010203": not a number of seconds`, `name server "0x": not an address`, `router "0xc000020109": not an address`}}},
		"longer than they can be": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, raw(dhcpv4.OptionInterfaceMTU, 5, 212, 0), raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 14, 16, 0)},
			Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: Lease{Source: SourceWire, Address: address, Bits: 24}, Problems: []string{
				`MTU "0x05d400": not from 576 to 9216`, `lease time "0x00000e1000": not a number of seconds`}}},
		"hostile router": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{your, mask, raw(dhcpv4.OptionRouter, 127, 0, 0, 1)},
			Event{Verb: Bind, Sole: true, Reason: "ACK", Lease: Lease{Source: SourceWire, Address: address, Bits: 24, Refused: true}, Problems: []string{`router "127.0.0.1": loopback`}}},
		"no address":     {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{mask, router}, Event{Reason: "ACK", Why: "no usable address", Problems: []string{`leased address "0.0.0.0": unspecified`}}},
		"loopback":       {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), router}, Event{Reason: "ACK", Why: "no usable address", Problems: []string{`leased address "127.0.0.1": loopback`}}},
		"informed":       {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{mine, mask, router}, informed(Lease{Bits: 24, Routers: addrs4("192.0.2.1")})},
		"informed, none": {dhcpv4.MessageTypeAck, []dhcpv4.Modifier{mine, mask}, Event{Reason: "ACK", Why: "the answer to a DHCPINFORM names no gateway"}},
		"refused":        {dhcpv4.MessageTypeNak, nil, Event{Verb: Resync, Reason: "NAK"}},
		"released":       {dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{mine}, Event{Verb: Resync, Reason: "RELEASE"}},
		"declined":       {dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{raw(dhcpv4.OptionRequestedIPAddress, 192, 0, 2, 10)}, Event{Verb: Resync, Reason: "DECLINE"}},
		"an offer":       {dhcpv4.MessageTypeOffer, []dhcpv4.Modifier{your, router}, Event{Reason: `"OFFER"`, Why: "no lease yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := dhcpv4.New(append(c.with, dhcpv4.WithMessageType(c.kind))...)
			if err != nil {
				t.Fatal(err)
			}
			if m, err = dhcpv4.FromBytes(m.ToBytes()); err != nil { // as it comes off the wire
				t.Fatal(err)
			}
			c.want.Source, c.want.Interface, c.want.Index = SourceWire, "wan0", 7
			got := ParseDHCPv4(7, "wan0", m)
			if c.want.Verb == Ignore {
				got.Lease = Lease{}
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseDHCPv4TooMany: the limits are those of a hook's lease.
func TestParseDHCPv4TooMany(t *testing.T) {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
		raw(dhcpv4.OptionRouter, []byte(strings.Repeat("\xc0\x00\x02\x01", MaxRouters+1))...))
	if err != nil {
		t.Fatal(err)
	}
	ev := ParseDHCPv4(7, "wan0", m)
	if ev.Keep != KeepGateways || len(ev.Lease.Routers) != 0 || len(ev.Problems) != 1 {
		t.Errorf("%+v", ev)
	}
}
