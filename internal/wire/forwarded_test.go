package wire

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/uplinkd/uplinkd/internal/uplink"
)

// sent is one packet in a table of the ear's, with the addresses of its IP header. Without any: to everybody.
type sent struct {
	talk
	from, to string
}

func (s sent) packet(t testing.TB) packet {
	p := packetOf(t, s.talk)
	for at, a := range map[int]string{12: s.from, 16: s.to} {
		if a != "" {
			copy(p.data[at:], netip.MustParseAddr(a).AsSlice())
		}
	}
	p.data[26], p.data[27] = 0, 0 // no sum of UDP
	resum(p.data)
	return p
}

// hearAll is what an ear on wan0 tells of some packets.
func hearAll(t testing.TB, e *ear, packets []sent) (told []string) {
	for _, p := range packets {
		if ev, ok := e.hear(p.packet(t), time.Unix(0, 0)); ok {
			told = append(told, text(ev))
		}
	}
	return told
}

func ownEar() *ear { return newEar(uplink.Observed{Index: 7, Name: "wan0", MAC: ownMAC.String()}) }

// The parts of a lease's life, by the server 192.0.2.1.
var (
	wants    = dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter))
	yours    = dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10))
	having   = dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 10))
	byFirst  = dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1)))
	bySecond = dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 2)))
	theRoute = dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1)))
	hijacked = dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 66)))
)

func says(out bool, kind dhcpv4.MessageType, number byte, with ...dhcpv4.Modifier) talk {
	return talk{out, kind, append(with, xid(number))}
}

var (
	asked   = sent{says(true, dhcpv4.MessageTypeRequest, 1, wants), "", ""}
	leased  = sent{says(false, dhcpv4.MessageTypeAck, 1, yours, byFirst, theRoute), "", ""}
	renewal = says(true, dhcpv4.MessageTypeRequest, 2, having, wants)
	renewed = says(false, dhcpv4.MessageTypeAck, 2, yours, byFirst, hijacked)
)

const (
	first  = "bind wan0 192.0.2.10/-1 by [192.0.2.1] for 0s"
	second = "bind wan0 192.0.2.10/-1 by [192.0.2.66] for 0s"
	resync = "resync wan0 []"
)

// TestForwarded: what leaves by the link may be what a host behind this router sent, and NAT gives it this host's address. Only a
// broadcast is this host's own for certain; what goes to one server counts for the lease that this server gave, and that may be seen.
func TestForwarded(t *testing.T) {
	const me, server, stranger = "192.0.2.10", "192.0.2.1", "203.0.113.5"
	release := says(true, dhcpv4.MessageTypeRelease, 3, having)
	for name, c := range map[string]struct {
		packets []sent
		want    []string
	}{
		"renewed at its server":       {[]sent{asked, leased, {renewal, me, server}, {renewed, server, me}}, []string{first, second}},
		"asked of a stranger":         {[]sent{asked, leased, {renewal, me, stranger}, {renewed, stranger, me}}, []string{first}},
		"asked of nobody":             {[]sent{asked, {says(false, dhcpv4.MessageTypeAck, 1, yours, theRoute), "", ""}, {renewal, me, "0.0.0.0"}, {renewed, server, me}}, []string{first}},
		"answered by a stranger":      {[]sent{asked, leased, {renewal, me, server}, {renewed, stranger, me}}, []string{first}},
		"answered in another's name":  {[]sent{asked, leased, {renewal, me, server}, {says(false, dhcpv4.MessageTypeAck, 2, yours, bySecond, hijacked), server, me}}, []string{first}},
		"no lease seen":               {[]sent{{renewal, me, server}, {renewed, server, me}}, nil},
		"of another address":          {[]sent{asked, leased, {says(true, dhcpv4.MessageTypeRequest, 2, dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 11)), wants), me, server}, {renewed, server, me}}, []string{first}},
		"in another voice":            {[]sent{asked, leased, {says(true, dhcpv4.MessageTypeRequest, 2, having), me, server}, {renewed, server, me}}, []string{first}},
		"as another client":           {[]sent{asked, leased, {says(true, dhcpv4.MessageTypeRequest, 2, having, wants, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1}))), me, server}, {renewed, server, me}}, []string{first}},
		"an INFORM to one":            {[]sent{asked, leased, {says(true, dhcpv4.MessageTypeInform, 2, having, wants), me, server}, {renewed, server, me}}, []string{first}},
		"a rapid DISCOVER to one":     {[]sent{asked, leased, {says(true, dhcpv4.MessageTypeDiscover, 2, having, wants, dhcpv4.WithGeneric(dhcpv4.OptionRapidCommit, nil)), me, server}, {renewed, server, me}}, []string{first}},
		"the lease is of another now": {[]sent{asked, leased, asked, {says(false, dhcpv4.MessageTypeAck, 1, yours, bySecond, theRoute), "", ""}, {renewal, me, server}, {renewed, server, me}}, []string{first, first}},
		"an INFORM gives no lease":    {[]sent{{says(true, dhcpv4.MessageTypeInform, 1, having, wants), "", ""}, leased, {renewal, me, server}, {renewed, server, me}}, []string{first}},
		"rebound":                     {[]sent{asked, leased, {renewal, me, ""}, {renewed, server, me}}, []string{first, second}},
		"released at its server":      {[]sent{asked, leased, {release, me, server}}, []string{first, resync}},
		"released at a stranger":      {[]sent{asked, leased, {release, me, stranger}}, []string{first}},
		"released without a lease":    {[]sent{{release, me, server}}, nil},
	} {
		if got := hearAll(t, ownEar(), c.packets); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

// TestSentToAnother: an answer goes to everybody, or to the address that it gives or the client has.
func TestSentToAnother(t *testing.T) {
	ack := leased.talk
	inform := sent{says(true, dhcpv4.MessageTypeInform, 1, having), "", ""}
	informed := says(false, dhcpv4.MessageTypeAck, 1, theRoute)
	rebind := sent{says(true, dhcpv4.MessageTypeRequest, 1, dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 9))), "", ""}
	nak := says(false, dhcpv4.MessageTypeNak, 1)
	for name, c := range map[string]struct {
		packets []sent
		want    []string
	}{
		"to everybody":                {[]sent{asked, {ack, "", "255.255.255.255"}}, []string{first}},
		"to the address it gives":     {[]sent{asked, {ack, "", "192.0.2.10"}}, []string{first}},
		"to the address it has":       {[]sent{rebind, {ack, "", "192.0.2.9"}}, []string{first}},
		"to another host":             {[]sent{asked, {ack, "", "192.0.2.200"}}, nil},
		"to the loopback":             {[]sent{asked, {ack, "127.0.0.1", "127.0.0.1"}}, nil},
		"to the subnet":               {[]sent{asked, {ack, "", "192.0.2.255"}}, nil},
		"to nobody":                   {[]sent{asked, {ack, "", "0.0.0.0"}}, nil},
		"informed":                    {[]sent{inform, {informed, "", "192.0.2.10"}}, []string{first}},
		"informed, to another":        {[]sent{inform, {informed, "", "192.0.2.200"}}, nil},
		"refused, to the address":     {[]sent{rebind, {nak, "", "192.0.2.9"}}, []string{resync}},
		"refused, to another":         {[]sent{rebind, {nak, "", "192.0.2.200"}}, nil},
		"to another first, then well": {[]sent{asked, {ack, "", "192.0.2.200"}, leased}, []string{first}},
	} {
		if got := hearAll(t, ownEar(), c.packets); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

// TestForgedAnswersCostNothing: what cannot be an answer uses up nothing of the pace of those that can.
func TestForgedAnswersCostNothing(t *testing.T) {
	other := dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9})
	kinds := []sent{
		{says(false, dhcpv4.MessageTypeAck, 1, yours, byFirst, hijacked, other), "", ""},
		{says(false, dhcpv4.MessageTypeAck, 9, yours, byFirst, hijacked), "", ""},
		{says(false, dhcpv4.MessageTypeAck, 1, yours, byFirst, hijacked), "", "192.0.2.200"},
	}
	for _, mac := range []string{ownMAC.String(), ""} { // a link without an Ethernet address has the request's to compare
		e := newEar(uplink.Observed{Index: 7, Name: "wan0", MAC: mac})
		packets := []sent{asked}
		for range 3 * messagesAtOnce {
			packets = append(packets, kinds...)
		}
		if got := hearAll(t, e, append(packets, leased)); !slices.Equal(got, []string{first}) {
			t.Errorf("link address %q: told %q", mac, got)
		}
	}
}

// TestForwardedCostNothing: what a host behind this router sends, with as many numbers as it likes, neither uses up the pace of the
// host's own requests nor takes their place.
func TestForwardedCostNothing(t *testing.T) {
	e := ownEar()
	again := sent{says(true, dhcpv4.MessageTypeRequest, 100, wants), "", ""}
	packets := []sent{asked, leased, again}
	for n := range byte(3 * messagesAtOnce) {
		packets = append(packets, sent{says(true, dhcpv4.MessageTypeRequest, 101+n, having, wants), "192.0.2.10", "192.0.2.1"})
	}
	hearAll(t, e, packets)
	if n := e.sent.TokensAt(time.Unix(0, 0)); n != messagesAtOnce-2 {
		t.Errorf("%v of our own would be decoded", n)
	}
	if !e.waits(dhcpv4.TransactionID{100}, time.Unix(0, 0)) {
		t.Error("the host's own request has gone")
	}
	if !e.requests.open[len(e.requests.open)-1].unicast || len(e.requests.open) != maxRequests {
		t.Errorf("%d requests, the last %+v", len(e.requests.open), e.requests.open[len(e.requests.open)-1])
	}
}
