package wire

import (
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// maxRequests bounds what is remembered of a link. A client has one open, and seldom a second.
	maxRequests = 16
	// requestLife is how long a request waits for its answer: longer than any client does before it asks anew, with another
	// number or with a packet that is seen again (RFC 2131 section 4.1: 64 seconds at most).
	requestLife = 2 * time.Minute
)

// request is what this host has asked a DHCP server.
type request struct {
	xid    dhcpv4.TransactionID
	kind   dhcpv4.MessageType
	chaddr string     // the client's hardware address, as octets
	client netip.Addr // ciaddr: the address that the client has
	server netip.Addr // the one that was asked, by its identifier; invalid: any
	voice  string     // see voice
	// unicast: it went to the server alone, so that it may be a forwarded packet of some other host's, and only from there
	// does its answer come.
	unicast bool
	until   time.Time
}

// requests are those without an answer so far, the newest last. A zero value is empty.
type requests struct{ open []request }

// remember adds a request, in place of one with the same number. Where there are too many, the oldest goes that was unicast:
// a host behind this router can send of those what it likes.
func (rs *requests) remember(r request, now time.Time) {
	r.until = now.Add(requestLife)
	rs.open = slices.DeleteFunc(rs.open, func(o request) bool { return o.xid == r.xid || now.After(o.until) })
	if len(rs.open) == maxRequests {
		i := max(0, slices.IndexFunc(rs.open, func(o request) bool { return o.unicast }))
		rs.open = slices.Delete(rs.open, i, i+1)
	}
	rs.open = append(rs.open, r)
}

// find finds the request that a number belongs to.
func (rs *requests) find(xid dhcpv4.TransactionID, now time.Time) (request, bool) {
	i := slices.IndexFunc(rs.open, func(r request) bool { return r.xid == xid && !now.After(r.until) })
	if i < 0 {
		return request{}, false
	}
	return rs.open[i], true
}

// answered forgets a request: a client takes the first answer and no second one.
func (rs *requests) answered(xid dhcpv4.TransactionID) {
	rs.open = slices.DeleteFunc(rs.open, func(r request) bool { return r.xid == xid })
}
