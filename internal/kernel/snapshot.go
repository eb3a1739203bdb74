package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// maxLooks is how often Snapshot looks before it takes what it has.
const maxLooks = 5

// look is one round of dumps.
type look struct {
	rpdb.Snapshot
	torn  bool // the kernel itself says that a dump was not consistent
	split bool // the IPv6 routes took several datagrams

	bare    []bareRoute     // what says no next hops; see resolveObjects
	objects map[uint32]bool // the nexthop objects that the routes depend on
}

// Snapshot lists links, addresses, routes and rules as they are at one moment.
//
// Dumps of rules and of IPv6 routes lose stable entries while others write, and say nothing of it. So a round of dumps
// only counts if nobody else changed anything meanwhile: the event socket is read before and after. Writers to foreign
// routes are not seen there (see eventFilter); against these, IPv6 routes that did not fit into one datagram, and so were
// not listed under one lock, have to come out the same twice. Where the kernel never comes to rest, what all the rounds
// saw is put together and a hint with Restless set follows: better one entry too many for a moment than one that is taken
// for gone.
func (k *Kernel) Snapshot(ctx context.Context) (rpdb.Snapshot, error) {
	k.asking.Lock()
	defer k.asking.Unlock()
	return k.settle(func() (*look, error) { return k.watchObjects(func() (*look, error) { return k.look(ctx) }) })
}

// settle looks until a look counts.
func (k *Kernel) settle(take func() (*look, error)) (rpdb.Snapshot, error) {
	var last, now *look
	var all rpdb.Snapshot
	for range maxLooks {
		before, err := k.drain()
		if err != nil {
			return rpdb.Snapshot{}, err
		}
		last = now
		if now, err = take(); err != nil {
			return rpdb.Snapshot{}, err
		}
		after, err := k.drain()
		if err != nil {
			return rpdb.Snapshot{}, err
		}
		if before == after && settled(now, last) {
			return now.Snapshot, nil
		}
		all = union(now.Snapshot, all)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hint(Event{Restless: true})
	return all, nil
}

func settled(now, last *look) bool {
	return !now.torn && (!now.split || last != nil && slices.Equal(now.Routes, last.Routes))
}

// union adds to the rules and routes of a snapshot what an earlier one had besides.
func union(now, earlier rpdb.Snapshot) rpdb.Snapshot {
	now.Routes, now.Rules = slices.Clip(now.Routes), slices.Clip(now.Rules)
	now.Routes = appendMissing(now.Routes, earlier.Routes)
	now.Rules = appendMissing(now.Rules, earlier.Rules)
	return now
}

func appendMissing[T comparable](to, from []T) []T {
	have := make(map[T]bool, len(to))
	for _, v := range to {
		have[v] = true
	}
	for _, v := range from {
		if !have[v] {
			to = append(to, v)
		}
	}
	return to
}

// look does one round of dumps. Links come first: what follows can then name no link that is missing, unless it was
// made meanwhile, and then there is an event.
func (k *Kernel) look(ctx context.Context) (*look, error) {
	l := look{objects: make(map[uint32]bool)}
	steps := []func() error{
		func() error { return list(k.ask, &l, linkRequest(), 0, &l.Links, one(decodeLink)) },
	}
	for _, f := range rpdb.Families() {
		steps = append(steps,
			func() error { return list(k.ask, &l, addressRequest(f), f, &l.Addresses, one(decodeAddress)) },
			func() error { return k.listRoutes(&l, f) },
			func() error { return list(k.ask, &l, ruleRequest(f), f, &l.Rules, one(decodeRule)) },
		)
	}
	steps = append(steps, func() error { return k.resolveObjects(&l) })
	steps = append(steps, func() error { return k.listSettings(&l) }, func() error { return k.listNeighbors(&l) })
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read the kernel's state: %w", err)
		}
		if err := step(); err != nil {
			return nil, fmt.Errorf("read the kernel's state: %w", err)
		}
	}
	return &l, nil
}

func (k *Kernel) listRoutes(l *look, f rpdb.Family) error {
	parts := dumped{}
	want := l.noteObjects(atMost(maxHostRoutes, k.watched.kept))
	err := listParts(k.ask, &parts, routeRequest(f, 0), f, &l.Routes, func(out []rpdb.Route, b []byte) ([]rpdb.Route, error) {
		if !plainRoute(b) {
			return out, nil
		}
		return appendRoutes(out, b, want)
	})
	l.torn = l.torn || parts.torn
	l.split = l.split || f == rpdb.IPv6 && parts.parts > 1
	return err
}

// list dumps into to. A family that the kernel does not have leaves it as it is; of IPv4 that cannot be said.
func list[T any](c *requests, l *look, r request, f rpdb.Family, to *[]T, decode func([]T, []byte) ([]T, error)) error {
	var d dumped
	err := listParts(c, &d, r, f, to, decode)
	l.torn = l.torn || d.torn
	return err
}

// listParts is list for who wants to know how the dump went. Where a family has no handler, the kernel answers with the
// messages of all that do (net/core/rtnetlink.c: rtnl_dump_all): others are passed over. Family 0 takes all.
func listParts[T any](c *requests, d *dumped, r request, f rpdb.Family, to *[]T, decode func([]T, []byte) ([]T, error)) error {
	got, err := c.dump(r, func(b []byte) (err error) {
		if f != 0 && len(b) > 0 && b[0] != byte(f) {
			return nil
		}
		*to, err = decode(*to, b)
		return err
	})
	*d = got
	if err != nil && f == rpdb.IPv6 && absent(err) {
		return nil
	}
	return err
}

// one makes a decoder of one message add to a list.
func one[T any](decode func([]byte) (T, error)) func([]T, []byte) ([]T, error) {
	return func(out []T, b []byte) ([]T, error) {
		v, err := decode(b)
		if err != nil {
			return out, err
		}
		return append(out, v), nil
	}
}

// readRoutes lists what is at a route's key, as far as the kernel can be asked: the routes of its table.
func (k *Kernel) readRoutes(key rpdb.RouteKey) ([]rpdb.Route, error) {
	var routes []rpdb.Route
	f := rpdb.FamilyOf(key.Dst.Addr())
	_, err := k.ask.dump(routeRequest(f, key.Table), func(b []byte) (err error) {
		if !plainRoute(b) || b[0] != byte(f) {
			return nil
		}
		routes, err = appendRoutes(routes, b, func(r listing) bool { return r.RouteKey == key })
		return err
	})
	if err != nil && !gone(err) { // ENOENT: there is no such table yet
		return nil, fmt.Errorf("read routes to %s in table %d: %w", key.Dst, key.Table, err)
	}
	return routes, nil
}

// readRules lists the rules of a family.
func (k *Kernel) readRules(f rpdb.Family) ([]rpdb.Rule, error) {
	var l look
	var rules []rpdb.Rule
	if err := list(k.ask, &l, ruleRequest(f), f, &rules, one(decodeRule)); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s rules", f), err)
	}
	return rules, nil
}
