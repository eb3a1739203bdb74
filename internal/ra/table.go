package ra

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// The bounds: anybody on a link can announce anything, at any pace. The kernel itself makes addresses of 16 prefixes at most
// (net.ipv6.conf.*.max_addresses).
const (
	maxLinks    = 256
	maxPrefixes = 32 // of a link
	maxRouters  = 16 // of a prefix
	// A new prefix, or a new router of one, takes its place from the one that was silent for the longest time. At this pace a
	// flood needs longer to push out those who are there than the 600 s within which routers usually repeat themselves.
	newcomersAtOnce = 16
	newcomerEvery   = time.Minute
	// repeatEvery is the shortest time between two words about a prefix that only change its lifetime.
	repeatEvery = 10 * time.Second
	// withdrawn is how long a prefix lives at most that its only router has withdrawn (RFC 4862 section 5.5.3 (e)): the kernel
	// keeps the addresses for as long.
	withdrawn = 2 * time.Hour
	// evicted is the lifetime of what has lost its place.
	evicted = time.Second
)

// table is what the routers of all links announced.
type table struct {
	links map[int]*link
}

type link struct {
	prefixes map[netip.Prefix]*entry
	pace     *rate.Limiter // of newcomers
	heard    time.Time
}

// entry is one prefix of a link.
type entry struct {
	routers   []router // in the order in which they came
	heard     time.Time
	told      []netip.Addr // as the last word about it had them
	toldAt    time.Time
	toldUntil time.Time
}

type router struct {
	addr  netip.Addr
	until time.Time
	heard time.Time
}

func newTable() *table { return &table{links: make(map[int]*link)} }

// known puts in what a former run was told, without a word about it.
func (t *table) known(index int, l lease.Lease, now time.Time) {
	lk := t.link(index, now)
	e := &entry{heard: now, toldAt: now}
	valid := l.Lifetime
	if valid < 0 {
		valid = infinity
	}
	for _, a := range l.Routers[:min(len(l.Routers), maxRouters)] {
		e.routers = append(e.routers, router{addr: a, until: now.Add(valid), heard: now})
	}
	if len(lk.prefixes) < maxPrefixes && len(e.routers) > 0 {
		e.told, e.toldUntil = e.addrs(), now.Add(valid)
		lk.prefixes[l.Prefix] = e
	}
}

// hear takes an announcement, and gives the words that are to be said after it: none in most cases.
func (t *table) hear(a announcement, now time.Time) (words []lease.Lease) {
	lk := t.link(a.link, now)
	e := lk.prefixes[a.prefix]
	if e == nil || !e.update(a, now) {
		if a.valid == 0 || !lk.pace.AllowN(now, 1) {
			return nil
		}
		if e == nil {
			words, e = lk.makeRoom(now), &entry{}
			lk.prefixes[a.prefix] = e
		}
		e.admit(a, now)
	}
	e.heard = now
	e.prune(now)
	if e.isNews(now) {
		words = append(words, e.word(a.prefix, now))
	}
	return words
}

// link finds a link, or makes room for it in the place of the one that was silent for the longest time.
func (t *table) link(index int, now time.Time) *link {
	lk := t.links[index]
	if lk == nil {
		if len(t.links) >= maxLinks {
			delete(t.links, oldest(t.links, func(l *link) time.Time { return l.heard }))
		}
		lk = &link{prefixes: make(map[netip.Prefix]*entry), pace: rate.NewLimiter(rate.Every(newcomerEvery), newcomersAtOnce)}
		t.links[index] = lk
	}
	lk.heard = now
	return lk
}

// makeRoom ends a prefix where there are too many, and what nobody announces any more.
func (lk *link) makeRoom(now time.Time) (words []lease.Lease) {
	maps.DeleteFunc(lk.prefixes, func(_ netip.Prefix, e *entry) bool { return !now.Before(e.until()) })
	if len(lk.prefixes) < maxPrefixes {
		return nil
	}
	p := oldest(lk.prefixes, func(e *entry) time.Time { return e.heard })
	l := lk.prefixes[p].word(p, now)
	l.Lifetime = evicted
	delete(lk.prefixes, p)
	return []lease.Lease{l}
}

// oldest is the key whose value was heard of the longest ago.
func oldest[K comparable, V any](m map[K]V, heard func(V) time.Time) (key K) {
	var at time.Time
	for k, v := range m {
		if h := heard(v); at.IsZero() || h.Before(at) {
			key, at = k, h
		}
	}
	return key
}

// admit takes a router that was not there, if need be in the place of the one that was silent for the longest time.
func (e *entry) admit(a announcement, now time.Time) {
	if len(e.routers) >= maxRouters {
		silent := slices.MinFunc(e.routers, func(x, y router) int { return x.heard.Compare(y.heard) })
		e.drop(silent.addr)
	}
	e.routers = append(e.routers, router{addr: a.router, until: now.Add(a.valid), heard: now})
}

// update takes a word of a router that is there; false: it is not. Who withdraws the prefix (valid for 0 s) goes where another
// one announces it. A prefix that nobody else announces is still that router's, while there are addresses.
func (e *entry) update(a announcement, now time.Time) bool {
	i := slices.IndexFunc(e.routers, func(r router) bool { return r.addr == a.router })
	if i < 0 {
		return false
	}
	r := &e.routers[i]
	r.heard = now
	others := slices.ContainsFunc(e.routers, func(o router) bool { return o.addr != a.router && now.Before(o.until) })
	switch limit := now.Add(withdrawn); {
	case a.valid > 0:
		r.until = now.Add(a.valid)
	case others:
		e.drop(a.router)
	case r.until.After(limit):
		r.until = limit
	}
	return true
}

// prune drops the routers whose time is over, unless they are the last.
func (e *entry) prune(now time.Time) {
	if now.Before(e.until()) {
		e.routers = slices.DeleteFunc(e.routers, func(r router) bool { return !now.Before(r.until) })
	}
}

func (e *entry) drop(a netip.Addr) {
	e.routers = slices.DeleteFunc(e.routers, func(r router) bool { return r.addr == a })
}

func (e *entry) addrs() []netip.Addr {
	as := make([]netip.Addr, len(e.routers))
	for i, r := range e.routers {
		as[i] = r.addr
	}
	return as
}

// until is when nobody announces the prefix any more.
func (e *entry) until() (last time.Time) {
	for _, r := range e.routers {
		if r.until.After(last) {
			last = r.until
		}
	}
	return last
}

// isNews says whether there is something to say: other routers, or a lifetime that is another by a quarter. Each
// advertisement moves the lifetime's end by what has passed since the last.
func (e *entry) isNews(now time.Time) bool {
	if !slices.Equal(e.told, e.addrs()) {
		return true
	}
	moved := e.until().Sub(e.toldUntil)
	return max(moved, -moved) > e.toldUntil.Sub(e.toldAt)/4 && now.Sub(e.toldAt) >= repeatEvery
}

// word is what is to be said of a prefix now.
func (e *entry) word(p netip.Prefix, now time.Time) lease.Lease {
	e.told, e.toldAt, e.toldUntil = e.addrs(), now, e.until()
	life := max(e.toldUntil.Sub(now), evicted) // 0 would be no word about a lifetime
	if life > infinity/2 {
		life = lease.Infinite
	}
	return lease.Lease{Source: lease.SourceRA, Address: p.Addr(), Prefix: p, Bits: p.Bits(), Routers: e.told, Lifetime: life}
}
