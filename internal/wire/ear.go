package wire

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// How many messages of a link are decoded: a client has a handful for a lease. What is not an answer to an open request is
// not decoded at all.
const (
	messagesPerSecond = 10
	messagesAtOnce    = 20
)

// packet is what came off a socket, from the IP header on.
type packet struct {
	data     []byte
	outgoing bool // this host sent it
	unsummed bool // the checksum of UDP has not been computed
}

// ear listens to one link: it tells the answers to this host's own requests from all else. The reader of the socket and the
// goroutine that owns it share it.
type ear struct {
	mu       sync.Mutex
	link     uplink.Observed
	mac      net.HardwareAddr // the link's, if that is Ethernet; else nil
	requests requests
	lease    granted
	sent     *rate.Limiter
	unicast  *rate.Limiter // apart: what a host behind this router sends must not keep us from seeing what we send
	received *rate.Limiter // and neither must what strangers send
}

// granted is the lease that the client has as far as was seen, and who gave it.
type granted struct {
	client, server netip.Addr
	voice          string
}

func newEar(link uplink.Observed) *ear {
	limiter := func() *rate.Limiter { return rate.NewLimiter(messagesPerSecond, messagesAtOnce) }
	mac, _ := canAsk(link.MAC)
	return &ear{link: link, mac: mac, sent: limiter(), unicast: limiter(), received: limiter()}
}

// follow takes what is new about the link: a name or a hardware address.
func (e *ear) follow(link uplink.Observed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link = link
	e.mac, _ = canAsk(link.MAC)
}

// hear takes a packet, and says what follows from it, if anything.
func (e *ear) hear(p packet, now time.Time) (lease.Event, bool) {
	payload, to, err := decode(p.data, p.unsummed)
	if err != nil {
		return lease.Event{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	src, dst := addresses(p.data)
	switch {
	case p.outgoing && to == serverPort:
		return e.request(payload, dst, now)
	case !p.outgoing && to == clientPort:
		return e.reply(payload, src, dst, now)
	}
	return lease.Event{}, false
}

// broadcast is the limited broadcast, which no router forwards (RFC 1812 section 5.3.5.1).
func broadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

// request takes what leaves by the link: a number to wait for, or the end of a lease. It leaves by this host's hands, but that
// may be forwarding, and with NAT it has this host's address too. Only a broadcast is this host's for certain; what went to a
// server alone counts for the lease that this server gave, and for no other.
func (e *ear) request(payload []byte, to netip.Addr, now time.Time) (none lease.Event, ok bool) {
	op, xid, ok := glance(payload)
	if !ok || op != opRequest || !e.isOwn(payload) || !e.admits(payload, to, now) {
		return none, false
	}
	m, err := message(payload)
	if err != nil {
		return none, false
	}
	if kind := m.MessageType(); kind == dhcpv4.MessageTypeRelease || kind == dhcpv4.MessageTypeDecline {
		return e.word(m)
	}
	r := request{
		xid: xid, kind: m.MessageType(), chaddr: chaddr(payload), voice: voice(m), unicast: to != broadcast(),
		client: addr4(m.ClientIPAddr), server: addr4(m.ServerIdentifier()),
	}
	if r.unicast {
		r.server = to
	}
	if e.counts(r, m) {
		e.requests.remember(r, now)
	}
	return none, false
}

// admits says whether a message is worth decoding: by its addresses, and by the pace of its kind.
func (e *ear) admits(payload []byte, to netip.Addr, now time.Time) bool {
	if to == broadcast() {
		return e.sent.AllowN(now, 1)
	}
	return e.isOfLease(payload, to) && e.unicast.AllowN(now, 1)
}

// counts says whether the answer to a request may be a lease.
func (e *ear) counts(r request, m *dhcpv4.DHCPv4) bool {
	switch {
	case r.kind == dhcpv4.MessageTypeRequest:
		return !r.unicast || r.voice == e.lease.voice
	case r.unicast:
		return false
	case r.kind == dhcpv4.MessageTypeDiscover:
		return m.Options.Has(dhcpv4.OptionRapidCommit) // RFC 4039; else what follows is an offer
	}
	return r.kind == dhcpv4.MessageTypeInform
}

// voice is what a request says that decides what the server answers: what it asks for, and who it says that it is. A renewal
// in another voice is somebody else's, who would have the server leave the gateway out.
func voice(m *dhcpv4.DHCPv4) string {
	var says []byte
	for _, code := range []dhcpv4.OptionCode{
		dhcpv4.OptionParameterRequestList, dhcpv4.OptionClassIdentifier, dhcpv4.OptionUserClassInformation, dhcpv4.OptionClientIdentifier,
	} {
		value := m.Options.Get(code)
		says = append(binary.BigEndian.AppendUint16(says, uint16(len(value))), value...)
	}
	return string(says)
}

// isOwn says whether a message is of the link's own client, and not of a virtual machine's or a container's that shares it
// (macvlan). A link without an Ethernet address has no such guests.
func (e *ear) isOwn(payload []byte) bool { return e.mac == nil || isAbout(payload, e.mac) }

// isOfLease says whether a message to a server is about the lease that it gave.
func (e *ear) isOfLease(payload []byte, to netip.Addr) bool {
	return to.IsValid() && to == e.lease.server && addr4(payload[ciaddrAt:yiaddrAt]) == e.lease.client
}

// reply takes what came from a server.
func (e *ear) reply(payload []byte, from, to netip.Addr, now time.Time) (none lease.Event, ok bool) {
	op, xid, ok := glance(payload)
	if !ok || op != opReply || !e.isOwn(payload) {
		return none, false
	}
	r, ok := e.requests.find(xid, now)
	if !ok || chaddr(payload) != r.chaddr || !r.reachedBy(payload, from, to) || !e.received.AllowN(now, 1) {
		return none, false
	}
	m, err := message(payload)
	if err != nil || !r.answeredBy(m) {
		return none, false
	}
	if r.kind == dhcpv4.MessageTypeInform {
		m.ClientIPAddr, m.YourIPAddr = r.client.AsSlice(), net.IPv4zero
	}
	ev, ok := e.word(m)
	if ev.Verb != lease.Ignore {
		e.requests.answered(xid)
	}
	if ev.Verb == lease.Bind && r.kind != dhcpv4.MessageTypeInform {
		e.lease = granted{client: ev.Lease.Address, server: addr4(m.ServerIdentifier()), voice: r.voice}
	}
	return ev, ok
}

// reachedBy says whether a packet is one that a server would send in answer to a request: to everybody, to the address that
// it gives or to the one that the client has (RFC 2131 section 4.1); and where one server was asked, by that.
func (r request) reachedBy(payload []byte, from, to netip.Addr) bool {
	if r.unicast && from != r.server {
		return false
	}
	return to == broadcast() || to.IsValid() && (to == r.client || to == addr4(payload[yiaddrAt:yiaddrAt+4]))
}

// answeredBy says whether a message with a request's number is an answer to it. Table 3 of RFC 2131: a server names
// itself, and gives ciaddr back or leaves it empty.
func (r request) answeredBy(m *dhcpv4.DHCPv4) bool {
	if r.server.IsValid() && addr4(m.ServerIdentifier()) != r.server {
		return false
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeAck:
		back := addr4(m.ClientIPAddr)
		return r.kind != dhcpv4.MessageTypeInform || r.client.IsValid() && (!back.IsValid() || back == r.client)
	case dhcpv4.MessageTypeNak:
		return r.kind == dhcpv4.MessageTypeRequest
	}
	return false
}

// word is what a message says of the link. An Ignore leaves the request open; without problems it is worth no word.
func (e *ear) word(m *dhcpv4.DHCPv4) (lease.Event, bool) {
	ev := lease.ParseDHCPv4(e.link.Index, e.link.Name, m)
	return ev, ev.Verb != lease.Ignore || len(ev.Problems) > 0
}

// ask remembers a request of our own.
func (e *ear) ask(r request, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests.remember(r, now)
}

// waits says whether a request has no answer so far.
func (e *ear) waits(xid dhcpv4.TransactionID, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.requests.find(xid, now)
	return ok
}

// addr4 is an address of a message; invalid where there is none.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// has says whether a link still has an address.
func has(as []netip.Addr, a netip.Addr) bool { return slices.Contains(as, a) }
