package wire

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

var ownMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// draw is an IPv4 packet that is DHCP, or nearly.
func draw(t *rapid.T) []byte {
	b := encode(netip.MustParseAddr("192.0.2.1"), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"))
	if rapid.Bool().Draw(t, "from the server") {
		b[21], b[23] = serverPort, clientPort
	}
	if n := rapid.IntRange(0, 10).Draw(t, "options"); n > 0 {
		b[0] += byte(n)
		b = slices.Insert(b, ipHeader, make([]byte, 4*n)...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		copy(b[10:12], []byte{0, 0})
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:headerLen(b)]))
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		b[rapid.IntRange(0, min(len(b), 70)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "to")
	}
	return b[:rapid.IntRange(0, len(b)).Draw(t, "length")]
}

// TestFilterAgreesWithPorts: what the kernel lets pass is what the decoder takes for DHCP, to the octet.
func TestFilterAgreesWithPorts(t *testing.T) {
	vm, err := bpf.NewVM(isDHCP(nil))
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		b := draw(t)
		n, err := vm.Run(b)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = ports(b)
		if (n > 0) != (err == nil) {
			t.Fatalf("the filter passes %d octets, the decoder says %v: %x", n, err, b)
		}
		if n > 0 {
			passed++
		}
	})
	if passed == 0 {
		t.Error("nothing passed")
	}
}

func TestDecode(t *testing.T) {
	good := encode(netip.MustParseAddr("192.0.2.1"), []byte("hello"))
	for name, c := range map[string]struct {
		change   func(b []byte) []byte
		unsummed bool
		want     error
	}{
		"good":                     {func(b []byte) []byte { return b }, false, nil},
		"padded by the link":       {func(b []byte) []byte { return append(b, 0, 0, 0) }, false, nil},
		"cut":                      {func(b []byte) []byte { return b[:len(b)-1] }, false, errLength},
		"shorter than its header":  {func(b []byte) []byte { b[3] = 27; return b }, false, errLength},
		"shorter than IP's":        {func(b []byte) []byte { b[3] = 10; return b }, false, errLength},
		"no room for UDP's length": {func(b []byte) []byte { b[3] = 24; return b }, false, errLength},
		"more behind UDP":          {func(b []byte) []byte { b[3] += 2; return resum(append(b, 7, 7)) }, false, nil},
		"UDP longer than the rest": {func(b []byte) []byte { b[25]++; return b }, false, errLength},
		"UDP shorter than it may":  {func(b []byte) []byte { b[25] = 7; return b }, false, errLength},
		"another payload":          {func(b []byte) []byte { b[28]++; return b }, false, errChecksum},
		"unsummed so far":          {func(b []byte) []byte { b[28]++; return b }, true, nil},
		"no sum":                   {func(b []byte) []byte { b[26], b[27] = 0, 0; return b }, false, nil},
		"another source":           {func(b []byte) []byte { b[15]++; return b }, true, errChecksum},
		"empty":                    {func([]byte) []byte { return nil }, false, errOther},
		"another port":             {func(b []byte) []byte { b[23]++; return b }, false, errOther},
		"a fragment":               {func(b []byte) []byte { b[6] = 0x20; return b }, false, errOther},
		"may not be fragmented":    {func(b []byte) []byte { b[6] = 0x40; return resum(b) }, false, nil},
	} {
		payload, _, err := decode(c.change(slices.Clone(good)), c.unsummed)
		if !errors.Is(err, c.want) || err == nil && len(payload) != 5 {
			t.Errorf("%s: %q, %v, want %v", name, payload, err, c.want)
		}
	}
}

// TestEncodeAlwaysHasASum: where that comes to nothing it is all ones, for nothing would say that there is none (RFC 768).
func TestEncodeAlwaysHasASum(t *testing.T) {
	ones := 0
	for n := range 1 << 16 {
		b := encode(netip.MustParseAddr("192.0.2.1"), binary.BigEndian.AppendUint16(nil, uint16(n)))
		switch sum := binary.BigEndian.Uint16(b[26:]); sum {
		case 0:
			t.Fatalf("%x has no sum", b)
		case 0xffff:
			ones++
		}
		if _, _, err := decode(b, false); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
	if ones != 1 {
		t.Errorf("%d sums of all ones, want 1", ones)
	}
}

// resum puts the header's sum right.
func resum(b []byte) []byte {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:headerLen(b)]))
	return b
}

// TestOverload: options go on in the fields "file" and "sname".
func TestOverload(t *testing.T) {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithGeneric(dhcpv4.OptionOptionOverload, []byte{3}))
	if err != nil {
		t.Fatal(err)
	}
	b := m.ToBytes()
	copy(b[fileAt:], []byte{3, 4, 192, 0, 2, 1, 255})
	copy(b[snameAt:], []byte{3, 4, 192, 0, 2, 2, 6, 4, 192, 0, 2, 3, 255})
	got, err := message(b)
	if err != nil || len(got.Router()) != 2 || !got.Router()[1].Equal(net.IPv4(192, 0, 2, 2)) || len(got.DNS()) != 1 {
		t.Errorf("routers %v, name servers %v, %v", got.Router(), got.DNS(), err)
	}
	odd, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithGeneric(dhcpv4.OptionOptionOverload, []byte{3, 3}))
	if err != nil {
		t.Fatal(err)
	}
	two := odd.ToBytes()
	copy(two[fileAt:], []byte{3, 4, 192, 0, 2, 1, 255})
	if got, err := message(two); err != nil || len(got.Router()) > 0 {
		t.Errorf("an overload of two octets: routers %v, %v", got.Router(), err)
	}
	copy(b[fileAt:], []byte{3, 200, 1})
	b[fileAt+2+126-1] = 0
	if _, err := message(append(b[:fileAt:fileAt], append([]byte{3, 200}, b[fileAt+2:]...)...)); err == nil {
		t.Error("an option that is longer than its field is taken")
	}
	if _, err := message(b[:200]); err == nil {
		t.Error("half a message is taken")
	}
}

// talk is one message in a table of the ear's.
type talk struct {
	out  bool
	kind dhcpv4.MessageType
	with []dhcpv4.Modifier
}

func xid(n byte) dhcpv4.Modifier { return dhcpv4.WithTransactionID(dhcpv4.TransactionID{n}) }

// TestEar: which answers count.
func TestEar(t *testing.T) {
	mod := func(ms ...dhcpv4.Modifier) []dhcpv4.Modifier { return ms }
	server := func(n byte) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, n)))
	}
	your := dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10))
	mine := dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 10))
	router := dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1)))
	rapidly := dhcpv4.WithGeneric(dhcpv4.OptionRapidCommit, nil)
	ask := talk{true, dhcpv4.MessageTypeRequest, mod(xid(1))}
	ack := talk{false, dhcpv4.MessageTypeAck, mod(xid(1), your, router)}
	nak := talk{false, dhcpv4.MessageTypeNak, mod(xid(1))}
	const bind = "bind wan0 192.0.2.10/-1 by [192.0.2.1] for 0s"
	for name, c := range map[string]struct {
		talk []talk
		want []string
	}{
		"request, answer":         {[]talk{ask, ack}, []string{bind}},
		"answer alone":            {[]talk{ack}, nil},
		"a second answer":         {[]talk{ask, ack, ack}, []string{bind}},
		"asked again":             {[]talk{ask, ack, ask, ack}, []string{bind, bind}},
		"another number":          {[]talk{ask, {false, dhcpv4.MessageTypeAck, mod(xid(2), your, router)}}, nil},
		"for another client":      {[]talk{ask, {false, dhcpv4.MessageTypeAck, mod(xid(1), your, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9}))}}, nil},
		"request of another":      {[]talk{{true, dhcpv4.MessageTypeRequest, mod(xid(1), dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9}))}, ack}, nil},
		"by another server":       {[]talk{{true, dhcpv4.MessageTypeRequest, mod(xid(1), server(1))}, {false, dhcpv4.MessageTypeAck, mod(xid(1), your, router, server(2))}}, nil},
		"by the server asked":     {[]talk{{true, dhcpv4.MessageTypeRequest, mod(xid(1), server(1))}, {false, dhcpv4.MessageTypeAck, mod(xid(1), your, router, server(1))}}, []string{bind}},
		"an offer":                {[]talk{ask, {false, dhcpv4.MessageTypeOffer, mod(xid(1), your, router)}}, nil},
		"a request from outside":  {[]talk{{false, dhcpv4.MessageTypeRequest, mod(xid(1))}, ack}, nil},
		"our own server's answer": {[]talk{ask, {true, dhcpv4.MessageTypeAck, mod(xid(1), your, router)}}, nil},
		"refused":                 {[]talk{ask, nak, ack}, []string{"resync wan0 []"}},
		"refused for nothing":     {[]talk{{true, dhcpv4.MessageTypeInform, mod(xid(1), mine)}, nak}, nil},
		"discovered":              {[]talk{{true, dhcpv4.MessageTypeDiscover, mod(xid(1))}, ack}, nil},
		"discovered rapidly":      {[]talk{{true, dhcpv4.MessageTypeDiscover, mod(xid(1), rapidly)}, ack}, []string{bind}},
		"informed":                {[]talk{{true, dhcpv4.MessageTypeInform, mod(xid(1), mine)}, {false, dhcpv4.MessageTypeAck, mod(xid(1), router)}}, []string{bind}},
		"informed, another lease": {[]talk{{true, dhcpv4.MessageTypeInform, mod(xid(1), mine)}, {false, dhcpv4.MessageTypeAck, mod(xid(1), router, dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 66)))}}, []string{bind}},
		"informed of another":     {[]talk{{true, dhcpv4.MessageTypeInform, mod(xid(1), mine)}, {false, dhcpv4.MessageTypeAck, mod(xid(1), router, dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 66)))}}, nil},
		"informed of nothing":     {[]talk{{true, dhcpv4.MessageTypeInform, mod(xid(1))}, {false, dhcpv4.MessageTypeAck, mod(xid(1), router)}}, nil},
		"released":                {[]talk{{true, dhcpv4.MessageTypeRelease, mod(xid(1), mine)}}, []string{"resync wan0 []"}},
		"released by a stranger":  {[]talk{{false, dhcpv4.MessageTypeRelease, mod(xid(1), mine)}}, nil},
		"released by a guest":     {[]talk{{true, dhcpv4.MessageTypeRelease, mod(xid(1), mine, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9}))}}, nil},
		"declined":                {[]talk{{true, dhcpv4.MessageTypeDecline, mod(xid(1), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(192, 0, 2, 10))))}}, []string{"resync wan0 []"}},
		"no usable address first": {[]talk{ask, {false, dhcpv4.MessageTypeAck, mod(xid(1), router)}, ack}, []string{`ignore wan0 [leased address "0.0.0.0": unspecified]`, bind}},
	} {
		e := newEar(uplink.Observed{Index: 7, Name: "wan0", MAC: ownMAC.String()})
		var got []string
		for _, tk := range c.talk {
			if ev, ok := e.hear(packetOf(t, tk), time.Unix(0, 0)); ok {
				got = append(got, text(ev))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

func packetOf(t testing.TB, tk talk) packet {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(ownMAC), dhcpv4.WithMessageType(tk.kind)}, tk.with...)...)
	if err != nil {
		t.Fatal(err)
	}
	requests := []dhcpv4.MessageType{dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline}
	if slices.Contains(requests, tk.kind) {
		return packet{data: encode(netip.IPv4Unspecified(), m.ToBytes()), outgoing: tk.out}
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	return packet{data: fromServer(m.ToBytes()), outgoing: tk.out}
}

// TestEarWithoutEthernet: a link whose address is of another kind has no guests, so every client that is heard there is its own.
func TestEarWithoutEthernet(t *testing.T) {
	for mac, want := range map[string]bool{"": true, "80:00:02:08:fe:80:00:00:00:00:00:00:02:11:22:ff:fe:33:44:55": true, "02:00:00:00:00:09": false} {
		e := newEar(uplink.Observed{Index: 7, Name: "wan0", MAC: mac})
		e.hear(packetOf(t, talk{true, dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{xid(1)}}), time.Unix(0, 0))
		if got := e.waits(dhcpv4.TransactionID{1}, time.Unix(0, 0)); got != want {
			t.Errorf("link address %q: heard %v", mac, got)
		}
	}
}

// TestNotAskedAgain: an address whose gateway came after the first question, by whomever, is asked about no more; when that is lost
// before an answer, the second question is due.
func TestNotAskedAgain(t *testing.T) {
	a, start := netip.MustParseAddr("192.0.2.77"), time.Unix(0, 0)
	link := uplink.Observed{Index: 7, Name: "wan0", MAC: ownMAC.String(), Addresses: []netip.Addr{a}, Unrouted: []netip.Addr{a}}
	s := newStation(link, nil)
	s.follow(link, start)
	if got := s.dueNow(start); !slices.Equal(got, link.Unrouted) {
		t.Errorf("due %v", got)
	}
	s.asked[a].tries = 1
	link.Unrouted = nil
	s.follow(link, start)
	if got := s.dueNow(start); len(got) > 0 || !s.due().IsZero() {
		t.Errorf("due with a gateway: %v, next %v", got, s.due())
	}
	link.Unrouted = link.Addresses
	s.follow(link, start.Add(time.Hour))
	if got := s.dueNow(start); !slices.Equal(got, link.Addresses) {
		t.Errorf("due without it: %v", got)
	}
	other := link
	other.Addresses = []netip.Addr{a.Next()}
	other.Unrouted = other.Addresses
	if gone := s.follow(other, start); !slices.Equal(gone, []netip.Addr{a}) {
		t.Errorf("gone: %v, want the one that was asked about", gone)
	}
	if gone := s.follow(link, start); len(gone) > 0 {
		t.Errorf("gone: %v, which was never asked about", gone)
	}
}

// TestRequestsAreBounded: in number, and in time.
func TestRequestsAreBounded(t *testing.T) {
	var rs requests
	start := time.Unix(0, 0)
	for i := range 3 * maxRequests {
		rs.remember(request{xid: dhcpv4.TransactionID{byte(i)}}, start)
		rs.remember(request{xid: dhcpv4.TransactionID{byte(i)}}, start) // a client that repeats itself takes no second place
	}
	if len(rs.open) != maxRequests {
		t.Errorf("%d remembered", len(rs.open))
	}
	for i := 2 * maxRequests; i < 3*maxRequests; i++ {
		if _, ok := rs.find(dhcpv4.TransactionID{byte(i)}, start); !ok {
			t.Errorf("number %d of %d is not there", i, 3*maxRequests)
		}
	}
	last := dhcpv4.TransactionID{3*maxRequests - 1}
	if _, ok := rs.find(last, start.Add(requestLife)); !ok {
		t.Error("the last is not there")
	}
	if _, ok := rs.find(last, start.Add(requestLife+1)); ok {
		t.Error("the last is there for ever")
	}
}

// TestPaceOfMessages: an answer that is repeated again and again, each time in a form that leaves the request open, is decoded
// so many times and no more; the host's own messages have a pace apart.
func TestPaceOfMessages(t *testing.T) {
	e := newEar(uplink.Observed{Index: 7, Name: "wan0"})
	now := time.Unix(0, 0)
	e.hear(packetOf(t, talk{true, dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{xid(1)}}), now)
	bad := packetOf(t, talk{false, dhcpv4.MessageTypeOffer, []dhcpv4.Modifier{xid(1)}})
	for range 1000 {
		e.hear(bad, now)
	}
	if n := e.received.TokensAt(now); n >= 1 {
		t.Errorf("%v messages more would be decoded", n)
	}
	if n := e.sent.TokensAt(now); n != messagesAtOnce-1 {
		t.Errorf("%v of our own would be decoded", n)
	}
	e.hear(packetOf(t, talk{true, dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{xid(2)}}), now)
	if _, ok := e.requests.find(dhcpv4.TransactionID{2}, now); !ok {
		t.Error("a request is not heard in a flood")
	}
}

// FuzzPacket: nothing that comes off a wire makes more of it than a checked event about this link.
func FuzzPacket(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeRelease} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(ownMAC), xid(1), dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
			dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))), dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{0, 192, 0, 2, 1}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes(), false)
		f.Add(m.ToBytes(), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, outgoing bool) {
		if len(payload) > largest {
			return
		}
		e := newEar(uplink.Observed{Index: 7, Name: "wan0", MAC: ownMAC.String()})
		now := time.Unix(0, 0)
		e.ask(request{xid: dhcpv4.TransactionID{1}, kind: dhcpv4.MessageTypeRequest, chaddr: string(ownMAC)}, now)
		p := packet{data: fromServer(payload), outgoing: outgoing}
		if outgoing {
			p.data = encode(netip.IPv4Unspecified(), payload)
		}
		ev, ok := e.hear(p, now)
		switch {
		case !ok:
			return
		case ev.Index != 7 || ev.Source != lease.SourceWire || len(e.requests.open) > 2:
			t.Errorf("%+v", ev)
		case ev.Verb == lease.Bind && (outgoing || !ev.Lease.Address.Is4() || ev.Lease.Address.IsUnspecified()):
			t.Errorf("bound %+v", ev.Lease)
		case ev.Verb != lease.Bind && ev.Verb != lease.Resync && ev.Verb != lease.Ignore:
			t.Errorf("that is the kernel's word: %+v", ev)
		}
	})
}
