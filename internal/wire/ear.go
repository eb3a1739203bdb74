package wire

import (
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
	requests requests
	sent     *rate.Limiter
	received *rate.Limiter // apart: what strangers send must not keep us from seeing what we send
}

func newEar(link uplink.Observed) *ear {
	limiter := func() *rate.Limiter { return rate.NewLimiter(messagesPerSecond, messagesAtOnce) }
	return &ear{link: link, sent: limiter(), received: limiter()}
}

// follow takes what is new about the link: a name or a hardware address.
func (e *ear) follow(link uplink.Observed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link = link
}

// hear takes a packet, and says what follows from it, if anything.
func (e *ear) hear(p packet, now time.Time) (lease.Event, bool) {
	payload, to, err := decode(p.data, p.unsummed)
	if err != nil {
		return lease.Event{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case p.outgoing && to == serverPort:
		return e.request(payload, now)
	case !p.outgoing && to == clientPort:
		return e.reply(payload, now)
	}
	return lease.Event{}, false
}

// request takes what this host sends: a number to wait for, or the end of a lease.
func (e *ear) request(payload []byte, now time.Time) (none lease.Event, ok bool) {
	op, xid, ok := glance(payload)
	if !ok || op != opRequest || !e.sent.AllowN(now, 1) {
		return none, false
	}
	m, err := message(payload)
	if err != nil || !e.isOwn(m) {
		return none, false
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if !m.Options.Has(dhcpv4.OptionRapidCommit) {
			return none, false // what follows is an offer (RFC 4039: otherwise it may be the lease itself)
		}
	case dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform:
	case dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline:
		return e.word(m)
	default:
		return none, false
	}
	e.requests.remember(request{
		xid: xid, kind: m.MessageType(), chaddr: string(m.ClientHWAddr),
		client: addr4(m.ClientIPAddr), server: addr4(m.ServerIdentifier()),
	}, now)
	return none, false
}

// isOwn says whether a message that left by the link is of the link's own client, and not of a virtual machine's or a
// container's that shares it (macvlan). A link without an Ethernet address has no such guests.
func (e *ear) isOwn(m *dhcpv4.DHCPv4) bool {
	mac, err := net.ParseMAC(e.link.MAC)
	return err != nil || len(mac) != macLen || string(m.ClientHWAddr) == string(mac)
}

// reply takes what came from a server.
func (e *ear) reply(payload []byte, now time.Time) (none lease.Event, ok bool) {
	op, xid, ok := glance(payload)
	if !ok || op != opReply {
		return none, false
	}
	r, ok := e.requests.find(xid, now)
	if !ok || !e.received.AllowN(now, 1) {
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
	return ev, ok
}

// answeredBy says whether a message with a request's number is an answer to it. Table 3 of RFC 2131: a server copies
// chaddr, names itself, and gives ciaddr back or leaves it empty.
func (r request) answeredBy(m *dhcpv4.DHCPv4) bool {
	if string(m.ClientHWAddr) != r.chaddr || r.server.IsValid() && addr4(m.ServerIdentifier()) != r.server {
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
