package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Somebody's route may name a nexthop object instead of next hops (ip-nexthop(8)). By default the kernel lists the next hops
// with the route all the same; with net.ipv4.nexthop_compat_mode = 0, of both families, it lists the object's number alone
// (Documentation/networking/ip-sysctl.rst), and tells of the object's changes only, not of the route's.

// sizeofNhmsg is the size of struct nhmsg (linux/nexthop.h): family, scope, protocol, one byte reserved, flags.
const sizeofNhmsg = 8

// sizeofNexthopGrp is the size of struct nexthop_grp (linux/nexthop.h): the member's number, its weight, 3 bytes more.
const sizeofNexthopGrp = 8

// The attributes of a nexthop object that matter here (NHA_* in linux/nexthop.h).
const (
	nhaID        = 1
	nhaGroup     = 2
	nhaBlackhole = 4
	nhaOIF       = 5
	nhaGateway   = 6
	nhaFDB       = 11
)

// maxSeen bounds how many objects are noted while a snapshot is taken.
const maxSeen = 1024

// nexthopObject is one next hop, a group of others, or a hole.
type nexthopObject struct {
	id        uint32
	via       netip.Addr // of either family; invalid: none
	oif       int
	onlink    bool
	members   []uint32 // of a group
	blackhole bool
	other     bool // no route's: of a bridge's forwarding database
}

func nexthopRequest() request {
	return request{typ: unix.RTM_GETNEXTHOP, body: make([]byte, sizeofNhmsg)}
}

// decodeNexthop reads an RTM_NEWNEXTHOP or RTM_DELNEXTHOP message.
func decodeNexthop(b []byte) (nexthopObject, error) {
	var n nexthopObject
	if len(b) < sizeofNhmsg {
		return n, fmt.Errorf("nexthop: %w", errShort)
	}
	n.onlink = binary.NativeEndian.Uint32(b[4:])&unix.RTNH_F_ONLINK != 0
	as := attributesAfter(b, sizeofNhmsg)
	for as.next() {
		var err error
		switch as.typ {
		case nhaID:
			n.id = as.uint32()
		case nhaGroup:
			n.members, err = decodeGroup(as.val)
		case nhaBlackhole:
			n.blackhole = true
		case nhaFDB:
			n.other = true
		case nhaOIF:
			n.oif = int(int32(as.uint32()))
		case nhaGateway:
			n.via, err = decodeAddr(rpdb.Family(b[0]), as.val)
		}
		if err != nil {
			return nexthopObject{}, fmt.Errorf("nexthop %d: %w", n.id, err)
		}
	}
	if as.err != nil {
		return nexthopObject{}, fmt.Errorf("nexthop %d: %w", n.id, as.err)
	}
	return n, nil
}

func decodeGroup(b []byte) ([]uint32, error) {
	if len(b)%sizeofNexthopGrp != 0 {
		return nil, fmt.Errorf("group of %d bytes", len(b))
	}
	var ids []uint32
	for ; len(b) > 0; b = b[sizeofNexthopGrp:] {
		ids = append(ids, binary.NativeEndian.Uint32(b))
	}
	return ids, nil
}

// bareRoute is a route of which only the number of its nexthop object is known.
type bareRoute struct {
	rpdb.Route
	id uint32
}

// resolve completes the routes by their objects, in order. A route whose object is gone went with it, and there is an event.
func resolve(routes []bareRoute, objects map[uint32]nexthopObject) []rpdb.Route {
	var out []rpdb.Route
	for _, r := range routes {
		n := objects[r.id]
		if n.members == nil {
			out = appendHop(out, r.Route, n)
			continue
		}
		r.Multipath = true
		for _, id := range n.members {
			out = appendHop(out, r.Route, objects[id])
		}
	}
	return out
}

// appendHop adds a route by one nexthop object that is no group: these do not nest (net/ipv4/nexthop.c: valid_group_nh).
func appendHop(out []rpdb.Route, r rpdb.Route, n nexthopObject) []rpdb.Route {
	if n.other || n.members != nil || n.oif == 0 {
		return out
	}
	r.Via, r.OIF, r.Onlink = n.via, n.oif, n.onlink
	return append(out, r)
}

// noteObjects keeps what a look meets of nexthop objects, and puts the routes aside that say no next hops.
func (l *look) noteObjects(kept func(listing) bool) func(listing) bool {
	return func(r listing) bool {
		if !kept(r) {
			return false
		}
		if r.object != 0 {
			l.objects[r.object] = true
		}
		if r.bare {
			l.bare = append(l.bare, bareRoute{r.Route, r.object})
		}
		return !r.bare
	}
}

// resolveObjects adds to a look the routes that were put aside. The objects are listed only where there is such a route: a
// routing daemon may have thousands.
func (k *Kernel) resolveObjects(l *look) error {
	if len(l.bare) == 0 {
		return nil
	}
	objects := make(map[uint32]nexthopObject)
	d, err := k.ask.dump(nexthopRequest(), func(b []byte) error {
		n, err := decodeNexthop(b)
		if err == nil {
			objects[n.id] = n
		}
		return err
	})
	if err != nil {
		return err
	}
	l.torn = l.torn || d.torn
	for _, r := range l.bare {
		for _, id := range objects[r.id].members {
			l.objects[id] = true
		}
	}
	l.Routes = append(l.Routes, resolve(l.bare, objects)...)
	return nil
}

// watchObjects takes a look, and has changes meanwhile of the nexthop objects that it met count as events.
func (k *Kernel) watchObjects(take func() (*look, error)) (*look, error) {
	k.mu.Lock()
	k.watched.objects.begin()
	k.mu.Unlock()
	l, err := take()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.watched.objects.looking = false
		return nil, err
	}
	if k.watched.objects.end(l.objects) {
		k.hint(Event{Routes: true})
	}
	return l, nil
}

// objectEvents tells changes of the nexthop objects that a snapshot met from others: a routing daemon's are many, and each
// hint costs a snapshot. Where an object goes, the kernel flushes its IPv4 routes without an event of theirs, and where one is
// replaced, and nexthop_compat_mode is 0, there is none either.
type objectEvents struct {
	known   map[uint32]bool // what the last snapshot met
	looking bool            // one is being taken
	seen    map[uint32]bool // changed meanwhile
	many    bool            // more than could be noted
}

// matters says whether a change of an object may change what a snapshot holds.
func (o *objectEvents) matters(payload []byte) bool {
	n, err := decodeNexthop(payload)
	if err != nil {
		return true
	}
	if o.looking {
		o.note(n.id)
	}
	return o.known[n.id]
}

func (o *objectEvents) note(id uint32) {
	if len(o.seen) >= maxSeen {
		o.many = true
		return
	}
	if o.seen == nil {
		o.seen = make(map[uint32]bool)
	}
	o.seen[id] = true
}

// begin notes from now on what changes, for it is not known yet what the snapshot will meet.
func (o *objectEvents) begin() { o.looking = true }

// end says whether an object that the snapshot met changed while it was taken.
func (o *objectEvents) end(met map[uint32]bool) (changed bool) {
	changed = o.many && len(met) > 0
	for id := range met {
		changed = changed || o.seen[id]
	}
	*o = objectEvents{known: met}
	return changed
}
