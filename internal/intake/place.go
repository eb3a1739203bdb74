package intake

import (
	"net/netip"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// place is a source on a link as an event names it. A hook that ran when its link was gone knows the name only, so an event
// with an ifindex is remembered under both. Events with an ifindex are compared by that and, of the name, only with those that
// had nothing else: another link may bear the name by now.
type place struct {
	source lease.Source
	index  int
	name   string // of a link without an index
	gone   bool   // with name: by those events only that have no index
}

// view is what a sequence knows that concerns an event.
type view struct {
	q           sequence
	at          hookwire.Stamp
	read, write []place
}

func (q sequence) view(ev lease.Event, at hookwire.Stamp) view {
	byIndex := place{source: ev.Source, index: ev.Index}
	byName := place{source: ev.Source, name: ev.Interface}
	gone := place{source: ev.Source, name: ev.Interface, gone: true}
	switch {
	case ev.Index == 0:
		return view{q: q, at: at, read: []place{byName}, write: []place{byName, gone}}
	case ev.Interface == "":
		return view{q: q, at: at, read: []place{byIndex}, write: []place{byIndex}}
	}
	return view{q: q, at: at, read: []place{byIndex, gone}, write: []place{byIndex, byName}}
}

// last is the newest word about something; ok is false where there is none.
func (v view) last(s scope, address netip.Addr) (newest word, ok bool) {
	for _, p := range v.read {
		w, had := v.q.newest[subject{p, address, s}]
		if had && (!ok || w.at.Compare(newest.at) > 0) {
			newest, ok = w, true
		}
	}
	return newest, ok
}

// isOld says whether there is a newer word than the event about something.
func (v view) isOld(s scope, address netip.Addr) bool {
	newest, ok := v.last(s, address)
	return ok && v.at.Compare(newest.at) < 0
}

// remember takes the event for the newest about something, where it is.
func (v view) remember(s scope, address netip.Addr, bound bool) {
	for _, p := range v.write {
		about := subject{p, address, s}
		old, had := v.q.newest[about]
		if had && v.at.Compare(old.at) < 0 {
			continue
		}
		if !had && len(v.q.newest) >= maxSubjects {
			v.q.forget()
		}
		v.q.newest[about] = word{v.at, bound}
	}
}
