package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Reader asks the kernel of one network namespace and changes nothing in it: it has no way to. It needs no privilege.
type Reader struct {
	ask *requests
	dir *os.Root // /proc/sys/net of the namespace; nil where there is none
}

// OpenReader opens a Reader for the calling thread's network namespace; it stays there, whatever thread uses it. It is not
// safe for concurrent use.
func OpenReader() (*Reader, error) {
	ask, err := openRequests()
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot("/proc/sys/net") // without: what it holds is taken for off
	if err != nil {
		dir = nil
	}
	return &Reader{ask: ask, dir: dir}, nil
}

// Close closes the socket.
func (r *Reader) Close() error {
	var err error
	if r.dir != nil {
		err = r.dir.Close()
	}
	if err := errors.Join(err, r.ask.close()); err != nil {
		return fmt.Errorf("close the netlink socket: %w", err)
	}
	return nil
}

// Links lists all links.
func (r *Reader) Links() ([]rpdb.LinkDetail, error) {
	var links []rpdb.LinkDetail
	if err := dumpAll(r.ask, linkRequest(), &links, decodeLinkDetail); err != nil {
		return nil, fmt.Errorf("list the links: %w", err)
	}
	return links, nil
}

// Database lists all rules of the flow's family and the routes that cover its destination or its source. Dumps of rules and of
// IPv6 routes lose stable entries while others write, and say nothing of it: what does not come out the same twice is
// listed again, a few times.
func (r *Reader) Database(ctx context.Context, flow rpdb.Flow) (rpdb.Database, error) {
	last, err := r.database(flow)
	for range maxLooks {
		if err != nil {
			break
		}
		if err := ctx.Err(); err != nil {
			return rpdb.Database{}, fmt.Errorf("read the routing policy database: %w", err)
		}
		var now rpdb.Database
		if now, err = r.database(flow); err == nil && reflect.DeepEqual(quiet(now), quiet(last)) {
			return now, nil
		}
		last = now
	}
	if err != nil {
		return rpdb.Database{}, fmt.Errorf("read the routing policy database: %w", err)
	}
	return last, nil
}

// quiet leaves out what changes all the time: the time left of routes.
func quiet(d rpdb.Database) rpdb.Database {
	d.Routes = append([]rpdb.RouteDetail(nil), d.Routes...)
	for i := range d.Routes {
		d.Routes[i].Expires = 0
	}
	return d
}

// database is one round of dumps.
func (r *Reader) database(flow rpdb.Flow) (rpdb.Database, error) {
	var d rpdb.Database
	f := flow.Family()
	err := errors.Join(
		dumpAll(r.ask, linkRequest(), &d.Links, decodeLinkDetail),
		dumpAll(r.ask, addressRequest(f), &d.Addresses, decodeAddress),
		dumpAll(r.ask, ruleRequest(f), &d.Rules, decodeRuleDetail),
	)
	if err != nil {
		return d, err
	}
	if d.Routes, err = r.covering(flow); err != nil {
		return d, err
	}
	if f == rpdb.IPv6 {
		d.Forwarding = r.on("ipv6/conf/all/forwarding")
		d.Failed, err = r.failed()
		return d, err
	}
	if l, ok := d.Link(flow.IIF); ok && flow.IIF != 0 {
		d.Forwarding = r.on("ipv4/conf/" + l.Name + "/forwarding")
	}
	return d, nil
}

// covering lists the routes that could decide about the flow, in the kernel's order.
func (r *Reader) covering(flow rpdb.Flow) ([]rpdb.RouteDetail, error) {
	var routes []rpdb.RouteDetail
	objects := false
	_, err := r.ask.dump(routeRequest(flow.Family(), 0), func(b []byte) error {
		if !reaches(b, flow.Dst) && (!flow.Src.IsValid() || !reaches(b, flow.Src)) {
			return nil
		}
		route, err := decodeRouteDetail(b)
		if err != nil {
			return err
		}
		objects = objects || route.Object != 0
		routes = append(routes, route)
		return nil
	})
	if err != nil || !objects {
		return routes, err
	}
	return routes, r.resolveHops(routes)
}

// reaches says whether a route message's destination holds an address, without decoding the rest: a table may have a million
// routes. What cannot be read is left to the decoder's complaint.
func reaches(b []byte, a netip.Addr) bool {
	if len(b) < unix.SizeofRtMsg || binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 || rpdb.Family(b[0]) != rpdb.FamilyOf(a) {
		return false
	}
	if b[1] == 0 {
		return true
	}
	as := attributesAfter(b, unix.SizeofRtMsg)
	for as.next() {
		if as.typ == unix.RTA_DST {
			p, err := decodePrefix(rpdb.Family(b[0]), as.val, b[1])
			return err != nil || p.Contains(a)
		}
	}
	return true
}

// resolveHops fills in the next hops of routes that name an object and list none (net.ipv4.nexthop_compat_mode = 0).
func (r *Reader) resolveHops(routes []rpdb.RouteDetail) error {
	objects := make(map[uint32]hopObject)
	_, err := r.ask.dump(nexthopRequest(), func(b []byte) error {
		n, err := decodeNexthop(b)
		if err == nil {
			objects[n.id] = hopObject{n, hopFlags(n, binary.NativeEndian.Uint32(b[4:]))}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list the nexthop objects: %w", err)
	}
	for i := range routes {
		if o := objects[routes[i].Object]; routes[i].Object != 0 {
			fillHops(&routes[i], o, objects)
		}
	}
	return nil
}

// hopObject is a nexthop object and the next hop that it is.
type hopObject struct {
	nexthopObject
	hop rpdb.Hop
}

func hopFlags(n nexthopObject, flags uint32) rpdb.Hop {
	return rpdb.Hop{
		Via: n.via, OIF: n.oif, Weight: 1, Onlink: n.onlink,
		Dead: flags&unix.RTNH_F_DEAD != 0, Down: flags&unix.RTNH_F_LINKDOWN != 0,
	}
}

func fillHops(route *rpdb.RouteDetail, o hopObject, objects map[uint32]hopObject) {
	if o.blackhole || len(o.members) == 1 && objects[o.members[0]].blackhole {
		route.Type = rpdb.Blackhole
		return
	}
	if len(route.Hops) > 0 && route.Hops[0].OIF != 0 {
		return
	}
	route.Hops = nil
	if o.members == nil {
		route.Hops = []rpdb.Hop{o.hop}
	}
	for _, id := range o.members {
		route.Hops = append(route.Hops, objects[id].hop)
	}
}

// failed lists the IPv6 neighbors that do not answer.
func (r *Reader) failed() ([]rpdb.Hop, error) {
	body := make([]byte, unix.SizeofNdMsg)
	body[0] = unix.AF_INET6
	var hops []rpdb.Hop
	_, err := r.ask.dump(request{typ: unix.RTM_GETNEIGH, body: body}, func(b []byte) error {
		if len(b) < unix.SizeofNdMsg {
			return fmt.Errorf("neighbor: %w", errShort)
		}
		if binary.NativeEndian.Uint16(b[8:])&unix.NUD_FAILED == 0 {
			return nil
		}
		as := attributesAfter(b, unix.SizeofNdMsg)
		for as.next() {
			if as.typ == unix.NDA_DST {
				a, err := decodeAddr(rpdb.IPv6, as.val)
				if err != nil {
					return fmt.Errorf("neighbor: %w", err)
				}
				hops = append(hops, rpdb.Hop{Via: a, OIF: int(int32(binary.NativeEndian.Uint32(b[4:])))})
			}
		}
		return as.err
	})
	return hops, err
}

// on says whether a sysctl of the namespace is not 0; one that cannot be read is off.
func (r *Reader) on(path string) bool {
	if r.dir == nil {
		return false
	}
	b, err := r.dir.ReadFile(path)
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// dumpAll lists all messages of a dump.
func dumpAll[T any](c *requests, ask request, to *[]T, decode func([]byte) (T, error)) error {
	_, err := c.dump(ask, func(b []byte) error {
		v, err := decode(b)
		if err == nil {
			*to = append(*to, v)
		}
		return err
	})
	return err
}
