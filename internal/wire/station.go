package wire

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// How many packets of a link are read, in each direction: what a flood brings beyond that, the kernel drops at the socket, for
// as long as it takes to have room for as many as at once.
const (
	packetsPerSecond = 500
	packetsAtOnce    = 100
	blindness        = packetsAtOnce * time.Second / packetsPerSecond
)

// station is one link under observation: a socket, an ear, and the questions that were asked.
type station struct {
	index int
	sock  *socket
	ear   *ear
	ended atomic.Bool // by us

	// All below belongs to the observer's goroutine.
	link  uplink.Observed
	asked map[netip.Addr]*question
}

func newStation(link uplink.Observed, sock *socket) *station {
	return &station{index: link.Index, sock: sock, ear: newEar(link), link: link, asked: make(map[netip.Addr]*question)}
}

// close ends the socket, and with it the reader.
func (s *station) close() {
	s.ended.Store(true)
	s.sock.close()
}

// listen reads the socket until that ends, at a pace that no flood can raise. Each direction has its own: what strangers send
// must not keep us from seeing what we send.
func (s *station) listen(say func(lease.Event)) error {
	sent, received := newPace(), newPace()
	buf, oob := make([]byte, largest), make([]byte, 128)
	for {
		p, err := s.sock.receive(buf, oob)
		if err != nil {
			return err
		}
		if ev, ok := s.ear.hear(p, time.Now()); ok {
			say(ev)
		}
		pace := received
		if p.outgoing {
			pace = sent
		}
		if pace.Allow() {
			continue
		}
		if err := s.sock.blink(p.outgoing, blindness); err != nil {
			return err
		}
	}
}

func newPace() *rate.Limiter { return rate.NewLimiter(packetsPerSecond, packetsAtOnce) }

// follow takes what is new about the link, and says which addresses have gone that had been asked about. A question for an
// address that is new is put off until due.
func (s *station) follow(link uplink.Observed, due time.Time) (gone []netip.Addr) {
	s.link = link
	s.ear.follow(link)
	for a, q := range s.asked {
		switch {
		case !has(link.Addresses, a):
			if q.tries > 0 {
				gone = append(gone, a)
			}
			delete(s.asked, a)
		case q.tries == 0 && !has(link.Unrouted, a):
			delete(s.asked, a) // its gateway came by itself
		}
	}
	if _, ok := canAsk(link.MAC); !ok {
		return gone
	}
	for _, a := range link.Unrouted {
		if s.asked[a] == nil {
			s.asked[a] = newQuestion(due)
		}
	}
	slices.SortFunc(gone, netip.Addr.Compare)
	return gone
}

// waiting says whether a question about an address is to be asked, or asked again.
func (s *station) waiting(a netip.Addr, q *question) bool {
	return q.tries < maxTries && has(s.link.Unrouted, a)
}

// due is when the next question is to be asked; zero: never, as things stand.
func (s *station) due() (next time.Time) {
	for a, q := range s.asked {
		if s.waiting(a, q) && (next.IsZero() || q.due.Before(next)) {
			next = q.due
		}
	}
	return next
}

// dueNow are the addresses to ask about.
func (s *station) dueNow(now time.Time) (as []netip.Addr) {
	for a, q := range s.asked {
		if s.waiting(a, q) && !now.Before(q.due) {
			as = append(as, a)
		}
	}
	slices.SortFunc(as, netip.Addr.Compare)
	return as
}

// ask sends a question, and says whether it is the first about its address. A second one is sent only where the first has
// no answer; one that could not be sent counts as well.
func (s *station) ask(a netip.Addr, now, again time.Time) (first bool, err error) {
	q := s.asked[a]
	first = q.tries == 0
	if !first && !s.ear.waits(q.xid, now) {
		q.tries = maxTries
		return false, nil
	}
	q.tries++
	q.due = again
	mac, _ := canAsk(s.link.MAC)
	b, err := inform(q.xid, mac, a)
	if err != nil {
		return first, err
	}
	s.ear.ask(request{xid: q.xid, kind: dhcpv4.MessageTypeInform, chaddr: string(mac), client: a}, now)
	return first, s.sock.broadcast(encode(a, b))
}
