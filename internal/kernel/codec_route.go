package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

const (
	// ip6DefaultMetric is what the kernel makes of an IPv6 metric of 0 (IP6_RT_PRIO_USER in linux/ipv6_route.h).
	ip6DefaultMetric = 1024
	// sizeofNextHop is the size of struct rtnexthop: length, flags, hops, ifindex (linux/rtnetlink.h).
	sizeofNextHop = 8
	// rtaNextHopID is RTA_NH_ID: the route's hops are a nexthop object.
	rtaNextHopID = 30
)

// routeRequest asks for a family's routes; table 0 asks for all tables.
func routeRequest(f rpdb.Family, table uint32) request {
	body := make([]byte, unix.SizeofRtMsg)
	body[0] = byte(f)
	if table != 0 {
		body[4] = tableByte(table)
		body = appendUint32(body, unix.RTA_TABLE, table)
	}
	return request{typ: unix.RTM_GETROUTE, body: body}
}

// routeAttributes are the attributes of a route that say who it is and where it leads.
type routeAttributes struct {
	table, metric          uint32
	dst, gateway, via, src []byte
	oif                    int
	hops                   []byte // RTA_MULTIPATH
	object                 uint32 // RTA_NH_ID; 0: none
	pref                   uint8  // RTA_PREF
	metrics                []byte // RTA_METRICS
}

func parseRouteAttributes(as attributes, table uint8) (routeAttributes, error) {
	r := routeAttributes{table: uint32(table)}
	for as.next() {
		switch as.typ {
		case unix.RTA_TABLE:
			r.table = as.uint32()
		case unix.RTA_DST:
			r.dst = as.val
		case unix.RTA_GATEWAY:
			r.gateway = as.val
		case unix.RTA_VIA:
			r.via = as.val
		case unix.RTA_PREFSRC:
			r.src = as.val
		case unix.RTA_OIF:
			r.oif = int(as.uint32())
		case unix.RTA_PRIORITY:
			r.metric = as.uint32()
		case unix.RTA_MULTIPATH:
			r.hops = as.val
		case rtaNextHopID:
			r.object = as.uint32()
		case unix.RTA_PREF:
			r.pref = as.uint8()
		case unix.RTA_METRICS:
			r.metrics = as.val
		}
	}
	return r, as.err
}

// decodeRoute reads an RTM_NEWROUTE or RTM_DELROUTE message: one Route, or one for every hop of a multipath route.
func decodeRoute(b []byte) ([]rpdb.Route, error) {
	return appendRoutes(nil, b, func(listing) bool { return true })
}

// listing is what a snapshot's choice of routes goes by.
type listing struct {
	rpdb.Route
	connected bool   // unicast without any next hop
	object    uint32 // its nexthop object; 0: none
	bare      bool   // it does not say the next hops of its object
}

// appendRoutes decodes a message and adds its routes to out where want says so.
func appendRoutes(out []rpdb.Route, b []byte, want func(listing) bool) ([]rpdb.Route, error) {
	r, as, err := decodeRouteHead(b)
	if err != nil {
		return out, fmt.Errorf("route: %w", err)
	}
	hops, err := nextHops(r, as, binary.NativeEndian.Uint32(b[8:]))
	if err != nil {
		return out, fmt.Errorf("route to %s: next hop: %w", r.Dst, err)
	}
	connected := r.Type == rpdb.Unicast && len(hops) == 1 && !hops[0].Via.IsValid() && as.object == 0
	bare := r.Type == rpdb.Unicast && as.object != 0 && hops[0].OIF == 0
	for _, r := range hops {
		if want(listing{Route: r, connected: connected, object: as.object, bare: bare}) {
			out = append(out, r)
		}
	}
	return out, nil
}

// decodeRouteHead reads all of a route but its next hops.
func decodeRouteHead(b []byte) (r rpdb.Route, as routeAttributes, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, as, errShort
	}
	f, err := family(b[0])
	if err != nil {
		return r, as, err
	}
	if as, err = parseRouteAttributes(attributesAfter(b, unix.SizeofRtMsg), b[4]); err != nil {
		return r, as, err
	}
	r.Table, r.Metric = as.table, as.metric
	r.Protocol, r.Scope, r.Type = b[5], rpdb.Scope(b[6]), rpdb.RouteType(b[7])
	if r.Dst, err = decodePrefix(f, as.dst, b[1]); err != nil {
		return r, as, fmt.Errorf("destination: %w", err)
	}
	r.Dst = r.Dst.Masked()
	if as.src != nil {
		if r.Src, err = decodeAddr(f, as.src); err != nil {
			return r, as, fmt.Errorf("preferred source: %w", err)
		}
	}
	if f == rpdb.IPv6 {
		r.Pref = decodePref(as.pref)
	}
	r.Metrics = knownMetrics(as.metrics) // of the whole route, however many next hops it has
	return r, as, nil
}

// nextHops completes a route by its one next hop, or makes as many as it has.
func nextHops(r rpdb.Route, as routeAttributes, flags uint32) ([]rpdb.Route, error) {
	if as.hops != nil {
		return multipath(r, as.hops)
	}
	var err error
	r.OIF = as.oif
	r.Onlink = flags&unix.RTNH_F_ONLINK != 0
	r.Via, err = nextHop(r.Family(), as.gateway, as.via)
	if r.Type != rpdb.Unicast {
		r.OIF = 0 // IPv6 lists lo here, which nobody asked for (net/ipv6/route.c: fib6_nh_init)
	}
	return []rpdb.Route{r}, err
}

func multipath(r rpdb.Route, b []byte) ([]rpdb.Route, error) {
	var out []rpdb.Route
	r.Multipath = true
	for len(b) >= sizeofNextHop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofNextHop || n > len(b) {
			return nil, fmt.Errorf("next hop of %d bytes where %d are left", n, len(b))
		}
		as, err := parseRouteAttributes(attributesAfter(b[:n], sizeofNextHop), 0)
		if err != nil {
			return nil, err
		}
		if r.Via, err = nextHop(r.Family(), as.gateway, as.via); err != nil {
			return nil, err
		}
		r.OIF = int(int32(binary.NativeEndian.Uint32(b[4:])))
		r.Onlink = b[2]&unix.RTNH_F_ONLINK != 0
		out = append(out, r)
		b = b[min(align(n), len(b)):]
	}
	if len(out) == 0 {
		return nil, errShort
	}
	return out, nil
}

// nextHop is the gateway, from RTA_GATEWAY, or from RTA_VIA (struct rtvia: family, address) where it is of the other family.
func nextHop(f rpdb.Family, gateway, via []byte) (netip.Addr, error) {
	switch {
	case gateway != nil:
		return decodeAddr(f, gateway)
	case via == nil:
		return netip.Addr{}, nil
	case len(via) < 2:
		return netip.Addr{}, errShort
	}
	f = rpdb.Family(binary.NativeEndian.Uint16(via))
	return decodeAddr(f, via[2:])
}

// normalRoute is the route as the kernel will list it.
func normalRoute(r rpdb.Route) rpdb.Route {
	r.Dst = r.Dst.Masked()
	r.Via, r.Src = r.Via.WithZone(""), r.Src.WithZone("")
	if r.Type != rpdb.Unicast {
		r.OIF, r.Pref = 0, rpdb.PrefMedium // IPv6 keeps only RTF_REJECT of its flags (net/ipv6/route.c)
	}
	r.Metrics = knownMetrics([]byte(r.Metrics))
	if r.Family() != rpdb.IPv6 {
		r.Pref = rpdb.PrefMedium
		return r
	}
	r.Scope = rpdb.ScopeUniverse
	r.Pref = min(max(r.Pref, rpdb.PrefLow), rpdb.PrefHigh)
	if r.Metric == 0 {
		r.Metric = ip6DefaultMetric
	}
	return r
}

// encodeRoute writes a route as RTM_NEWROUTE wants it.
func encodeRoute(r rpdb.Route) ([]byte, error) {
	if err := checkRoute(r); err != nil {
		return nil, err
	}
	if r.Type == 0 || r.Multipath {
		return nil, errors.New("it has no type, or several next hops")
	}
	if _, err := normalMetrics([]byte(r.Metrics)); err != nil {
		return nil, err
	}
	r = normalRoute(r)
	b := encodeRouteKey(r)
	b[6], b[7] = byte(r.Scope), byte(r.Type)
	if r.Onlink {
		binary.NativeEndian.PutUint32(b[8:], unix.RTNH_F_ONLINK)
	}
	b = appendNextHop(b, r)
	if r.Src.IsValid() {
		b = appendAttr(b, unix.RTA_PREFSRC, r.Src.AsSlice())
	}
	if r.Metrics != "" {
		b = appendAttr(b, unix.RTA_METRICS, []byte(r.Metrics))
	}
	return appendPref(b, r.Pref), nil
}

func appendNextHop(b []byte, r rpdb.Route) []byte {
	switch {
	case !r.Via.IsValid():
	case rpdb.FamilyOf(r.Via) == r.Family():
		b = appendAttr(b, unix.RTA_GATEWAY, r.Via.AsSlice())
	default:
		via := binary.NativeEndian.AppendUint16(nil, uint16(rpdb.FamilyOf(r.Via)))
		b = appendAttr(b, unix.RTA_VIA, append(via, r.Via.AsSlice()...))
	}
	if r.OIF != 0 {
		b = appendUint32(b, unix.RTA_OIF, uint32(r.OIF))
	}
	return b
}

// encodeDelRoute writes what RTM_DELROUTE needs to find the route and nothing else: every further attribute (an MTU, a
// gateway that changed meanwhile) can only make the kernel miss it.
func encodeDelRoute(r rpdb.Route) ([]byte, error) {
	if err := checkRoute(r); err != nil {
		return nil, err
	}
	b := encodeRouteKey(normalRoute(r))
	b[6] = unix.RT_SCOPE_NOWHERE // any (net/ipv4/fib_trie.c: fib_table_delete); type 0 is any too
	return b, nil
}

// encodeRouteKey writes a route's identity and its protocol.
func encodeRouteKey(r rpdb.Route) []byte {
	b := make([]byte, unix.SizeofRtMsg, 96)
	b[0], b[1] = byte(r.Family()), byte(r.Dst.Bits())
	b[4], b[5] = tableByte(r.Table), r.Protocol
	b = appendUint32(b, unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		b = appendAttr(b, unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Metric != 0 {
		b = appendUint32(b, unix.RTA_PRIORITY, r.Metric)
	}
	return b
}

// checkRoute refuses what the kernel would take for another route, or for anybody's.
func checkRoute(r rpdb.Route) error {
	switch {
	case !r.Dst.IsValid():
		return errors.New("it has no destination")
	case r.Protocol == 0:
		return errors.New("it carries no protocol number: it would be nobody's, and deleting it would delete anybody's")
	case r.Table == 0:
		return errors.New("it has no table")
	case r.Src.IsValid() && rpdb.FamilyOf(r.Src) != r.Family():
		return errors.New("it mixes address families")
	case r.OIF < 0:
		return fmt.Errorf("it has the interface index %d", r.OIF)
	}
	return nil
}
