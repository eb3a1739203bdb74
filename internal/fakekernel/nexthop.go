package fakekernel

import (
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// nexthop is a nexthop object: one next hop, or a group of others.
type nexthop struct {
	hop     rpdb.Route // its Via, OIF and Onlink
	members []uint32
}

// PutNexthop adds a nexthop object, or replaces it, and with it the next hops of all routes that name it: the next hop of r, or
// a group of members.
func (k *Kernel) PutNexthop(id uint32, r rpdb.Route, members ...uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nexthops == nil {
		k.nexthops, k.named = make(map[uint32]nexthop), make(map[rpdb.RouteKey]namedRoute)
	}
	k.nexthops[id] = nexthop{hop: r, members: members}
	for _, n := range k.named {
		k.putNamed(n)
	}
	k.emit(rpdb.Event{Routes: true})
	return nil
}

// DelNexthop removes a nexthop object, and the routes that name it.
func (k *Kernel) DelNexthop(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.nexthops[id]; !ok {
		return unix.ENOENT
	}
	delete(k.nexthops, id)
	for key, n := range k.named {
		if n.id == id {
			delete(k.named, key)
			k.deleteRoute(func(r rpdb.Route) bool { return r.RouteKey == key })
		} else {
			k.putNamed(n)
		}
	}
	k.emit(rpdb.Event{Routes: true})
	return nil
}

// namedRoute is a route that names a nexthop object.
type namedRoute struct {
	rpdb.Route
	id uint32
}

// PutRouteBy adds a route of somebody else's that names a nexthop object.
func (k *Kernel) PutRouteBy(r rpdb.Route, id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.nexthops[id]; !ok {
		return unix.EINVAL
	}
	if r.Family() == rpdb.IPv6 && r.Metric == 0 {
		r.Metric = 1024
	}
	k.named[r.RouteKey] = namedRoute{r, id}
	k.putNamed(k.named[r.RouteKey])
	k.emit(rpdb.Event{Routes: true})
	return nil
}

// putNamed lists a route anew by what its object leads to.
func (k *Kernel) putNamed(n namedRoute) {
	k.deleteRoute(func(r rpdb.Route) bool { return r.RouteKey == n.RouteKey && r.Protocol == n.Protocol })
	ids := []uint32{n.id}
	if members := k.nexthops[n.id].members; members != nil {
		ids, n.Multipath = members, true
	}
	for _, id := range ids {
		if object, ok := k.nexthops[id]; ok {
			n.Via, n.OIF, n.Onlink = object.hop.Via, object.hop.OIF, object.hop.Onlink
			k.routes = append(k.routes, n.Route)
		}
	}
}

// PutMultipath adds a route of somebody else's with several next hops.
func (k *Kernel) PutMultipath(hops []rpdb.Route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range hops {
		if err := k.checkRoute(r); err != nil {
			return err
		}
	}
	for _, r := range hops {
		if r.Family() == rpdb.IPv6 && r.Metric == 0 {
			r.Metric = 1024
		}
		r.Multipath = true
		k.routes = append(k.routes, r)
	}
	k.emit(rpdb.Event{Routes: true})
	return nil
}
