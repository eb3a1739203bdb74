package intake

import (
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// A hook waits one second only, and may take the way through the spool: so messages can come out of order, and an old
// "bound" must not undo a newer "released". Every message carries the time at which its hook ran; sequence remembers the
// newest that counted.
type sequence struct {
	newest map[subject]hookwire.Stamp
}

// maxSubjects bounds what a sequence remembers. Forgetting only means that an old message might count once more.
const maxSubjects = 4096

// subject is what an event is about: an address of a source on a link, or with scope a whole link.
type subject struct {
	source  lease.Source
	index   int
	name    string // of a link without an index
	address netip.Addr
	scope   scope
}

type scope uint8

const (
	oneAddress scope = iota
	everything       // the last event that was about all addresses: RemoveAll, Replace, or the Bind of a sole lease
	boundAny         // the last Bind or Replace that counted
)

func newSequence() sequence { return sequence{newest: make(map[subject]hookwire.Stamp)} }

// admit says what is left of an event, and whether anything is: a newer one about the same may have counted already.
func (q *sequence) admit(ev lease.Event, at hookwire.Stamp) (lease.Event, bool) {
	address, link, bound := subjects(ev)
	switch ev.Verb {
	case lease.Bind:
		ended, replaced := q.before(at, address), q.before(at, link)
		q.remember(address, at)
		if ev.Sole {
			q.remember(link, at)
		}
		switch {
		case replaced || ended && !ev.Sole:
			return ev, false
		case ended: // its own end has been told, but not yet that of the lease that it replaced
			ev = lease.Event{Verb: lease.RemoveAll, Source: ev.Source, Interface: ev.Interface, Index: ev.Index, Reason: ev.Reason}
			return ev, !q.before(at, bound)
		}
		q.remember(bound, at)
	case lease.Remove:
		if q.before(at, address) || q.before(at, link) {
			return ev, false
		}
		q.remember(address, at)
	case lease.Replace:
		if q.before(at, link) || q.before(at, bound) {
			return ev, false
		}
		q.remember(link, at)
		q.remember(bound, at)
		ev.Leases = slices.DeleteFunc(slices.Clone(ev.Leases), func(l lease.Lease) bool {
			one := address
			one.address = l.Address
			return q.before(at, one)
		})
	case lease.RemoveAll:
		q.remember(link, at)
		return ev, !q.before(at, bound)
	}
	return ev, true
}

func subjects(ev lease.Event) (address, link, bound subject) {
	link = subject{source: ev.Source, index: ev.Index, scope: everything}
	if ev.Index == 0 {
		link.name = ev.Interface
	}
	address, bound = link, link
	address.scope, address.address = oneAddress, ev.Address
	if ev.Verb == lease.Bind {
		address.address = ev.Lease.Address
	}
	bound.scope = boundAny
	return address, link, bound
}

// before says whether the stamp is older than the newest about the subject.
func (q *sequence) before(at hookwire.Stamp, about subject) bool {
	newest, ok := q.newest[about]
	return ok && at.Compare(newest) < 0
}

func (q *sequence) remember(about subject, at hookwire.Stamp) {
	if q.before(at, about) {
		return
	}
	if len(q.newest) >= maxSubjects {
		clear(q.newest)
	}
	q.newest[about] = at
}
