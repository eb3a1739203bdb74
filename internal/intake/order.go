package intake

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// A hook waits one second only, and may take the way through the spool: so messages can come out of order, and an old
// "bound" must not undo a newer "released". Every message carries the time at which its hook ran; sequence remembers the
// newest that counted.
//
// The order does not outlive the daemon: what comes by the socket after a restart counts, however old it is. Only a hook that
// was slow for as long as the restart took brings such a message, and the state file would have to hold every release for it.
type sequence struct {
	newest map[subject]word
}

// maxSubjects bounds what a sequence remembers; then the older half goes. Forgetting only means that an old message might
// count once more.
const maxSubjects = 8192

// subject is what an event is about: an address of a source on a link, or with scope a whole link.
type subject struct {
	place
	address netip.Addr
	scope   scope
}

type scope uint8

const (
	oneAddress scope = iota
	everything       // the last event that was about all addresses: RemoveAll, Replace, or the Bind of a sole lease
	boundAny         // the last Bind or Replace that counted
)

// word is the newest about a subject.
type word struct {
	at    hookwire.Stamp
	bound bool // of an address: it was bound, not given up
}

func newSequence() sequence { return sequence{newest: make(map[subject]word)} }

// sequences keeps the words of ordinary users apart: theirs must not push out what is remembered of root's.
type sequences struct{ root, ordinary sequence }

func newSequences() sequences { return sequences{root: newSequence(), ordinary: newSequence()} }

func (s sequences) admit(ev lease.Event, at hookwire.Stamp) []lease.Event {
	if ev.Source.TunnelOnly() {
		return s.ordinary.admit(ev, at)
	}
	return s.root.admit(ev, at)
}

// admit says what is left of an event: nothing where a newer one about the same has counted already, and several where a
// newer one is about a part of it.
func (q sequence) admit(ev lease.Event, at hookwire.Stamp) []lease.Event {
	v := q.view(ev, at)
	switch ev.Verb {
	case lease.Bind:
		return v.bind(ev)
	case lease.Remove:
		if v.isOld(oneAddress, ev.Address) || v.isOld(everything, netip.Addr{}) {
			return nil
		}
		v.remember(oneAddress, ev.Address, false)
	case lease.Replace:
		return v.replace(ev)
	case lease.RemoveAll:
		return v.removeAll(ev)
	}
	return []lease.Event{ev}
}

func (v view) bind(ev lease.Event) []lease.Event {
	replaced := v.isOld(everything, netip.Addr{})
	ended := v.isOld(oneAddress, ev.Lease.Address)
	v.remember(oneAddress, ev.Lease.Address, true)
	switch {
	case replaced || ended && !ev.Sole:
		return nil
	case ended: // its own end has been told, but not yet that of the lease that it replaced
		return v.removeAll(lease.Event{
			Verb: lease.RemoveAll, Source: ev.Source, Interface: ev.Interface, Index: ev.Index, Reason: ev.Reason,
		})
	}
	if ev.Sole {
		v.remember(everything, netip.Addr{}, false)
		ev.Sole = !v.isOld(boundAny, netip.Addr{}) // what was bound later it did not replace
	}
	v.remember(boundAny, netip.Addr{}, true)
	return []lease.Event{ev}
}

func (v view) replace(ev lease.Event) []lease.Event {
	if v.isOld(everything, netip.Addr{}) || v.isOld(boundAny, netip.Addr{}) {
		return nil
	}
	v.remember(everything, netip.Addr{}, false)
	v.remember(boundAny, netip.Addr{}, true)
	ev.Leases = slices.DeleteFunc(slices.Clone(ev.Leases), func(l lease.Lease) bool { return v.isOld(oneAddress, l.Address) })
	for _, l := range ev.Leases {
		v.remember(oneAddress, l.Address, true)
	}
	return []lease.Event{ev}
}

// removeAll ends what was bound before the event, and not what was bound after it.
func (v view) removeAll(ev lease.Event) []lease.Event {
	if v.isOld(everything, netip.Addr{}) {
		return nil
	}
	left := []lease.Event{ev}
	if v.isOld(boundAny, netip.Addr{}) {
		left = nil
		for _, address := range v.boundBefore() {
			one := ev
			one.Verb, one.Address = lease.Remove, address
			left = append(left, one)
		}
	}
	v.remember(everything, netip.Addr{}, false)
	return left
}

// boundBefore is what was bound before the event, and has not ended since, in ascending order.
func (v view) boundBefore() []netip.Addr {
	all, _ := v.last(everything, netip.Addr{})
	addresses := make(map[netip.Addr]bool)
	for s := range v.q.newest {
		if s.scope != oneAddress || !slices.Contains(v.read, s.place) {
			continue
		}
		if w, _ := v.last(oneAddress, s.address); w.bound && w.at.Compare(v.at) < 0 && w.at.Compare(all.at) >= 0 {
			addresses[s.address] = true
		}
	}
	return slices.SortedFunc(maps.Keys(addresses), netip.Addr.Compare)
}

// forget drops the older half.
func (q sequence) forget() {
	oldest := slices.SortedFunc(maps.Keys(q.newest), func(a, b subject) int { return q.newest[a].at.Compare(q.newest[b].at) })
	for _, s := range oldest[:len(oldest)/2] {
		delete(q.newest, s)
	}
}
