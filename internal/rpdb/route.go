package rpdb

import (
	"fmt"
	"net/netip"
	"strings"
)

// RouteType is the kernel's route type (RTN_* in linux/rtnetlink.h).
type RouteType uint8

// The route types that matter here.
const (
	Unicast     RouteType = 1
	Blackhole   RouteType = 6
	Unreachable RouteType = 7
	Prohibit    RouteType = 8
	Throw       RouteType = 9
)

// Scope is the distance to the destination (RT_SCOPE_*). IPv6 has none: always ScopeUniverse there.
type Scope uint8

// The scopes that matter here.
const (
	ScopeUniverse Scope = 0
	ScopeSite     Scope = 200
	ScopeLink     Scope = 253
	ScopeHost     Scope = 254
)

// Preference is a router's preference (RFC 4191 section 2.1), so that the greater one is preferred.
type Preference int8

// The preferences; all but those of router advertisements are medium.
const (
	PrefLow    Preference = -1
	PrefMedium Preference = 0
	PrefHigh   Preference = 1
)

// The routing protocols (rtm_protocol) that say who put a route there.
const (
	ProtoRedirect uint8 = 1
	ProtoKernel   uint8 = 2
	ProtoBoot     uint8 = 3
	ProtoStatic   uint8 = 4
	ProtoRA       uint8 = 9
	ProtoDHCP     uint8 = 16
)

// RouteKey is a route's identity: what a delete has to name, and nothing else.
type RouteKey struct {
	Table  uint32
	Dst    netip.Prefix // masked; its family is the route's
	Metric uint32       // IPv6: 1024 where none was given, as the kernel lists it
}

// Route is one entry of a routing table. It is comparable. A multipath route is listed once a next hop.
type Route struct {
	RouteKey
	Type     RouteType
	Scope    Scope
	Via      netip.Addr // the next hop, of either family (RTA_VIA); invalid on a link without one
	OIF      int        // the ifindex of the outgoing link
	Src      netip.Addr // the preferred source address (RTA_PREFSRC); invalid: none
	Onlink   bool       // RTNH_F_ONLINK: the next hop is on the link although no subnet says so
	Protocol uint8      // rtm_protocol: who put it there
	Pref     Preference // what an IPv6 router said of itself (RTA_PREF)
	// Metrics are the route's MTU, MSS, window and the like: the octets of RTA_METRICS as the kernel gave them, to be given
	// back to it. They are not Metric, which the kernel calls priority.
	Metrics   string
	Multipath bool // one of several next hops of a foreign route
}

// Family is the family of the destination.
func (r Route) Family() Family { return FamilyOf(r.Dst.Addr()) }

// IsDefault says whether the route leads everywhere: a unicast route to a prefix of length 0.
func (r Route) IsDefault() bool { return r.Dst.Bits() == 0 && r.Type == Unicast }

// Text is the route as ip-route(8) prints it, less its protocol; name gives a link's name by its index.
func (r Route) Text(name func(ifindex int) string) string {
	var b strings.Builder
	if r.Type != Unicast {
		fmt.Fprintf(&b, "%s ", routeTypeText(r.Type))
	}
	if r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(prefixText(r.Dst, "default"))
	}
	if r.Via.IsValid() {
		b.WriteString(" via ")
		if FamilyOf(r.Via) != r.Family() {
			b.WriteString(FamilyOf(r.Via).String() + " ")
		}
		b.WriteString(r.Via.String())
	}
	if r.OIF != 0 {
		b.WriteString(" dev " + Printable(name(r.OIF)))
	}
	b.WriteString(" table " + TableText(r.Table))
	if r.Scope == ScopeLink && r.Family() == IPv4 {
		b.WriteString(" scope link")
	}
	if r.Src.IsValid() {
		b.WriteString(" src " + r.Src.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

func routeTypeText(t RouteType) string {
	switch t {
	case Blackhole:
		return "blackhole"
	case Unreachable:
		return "unreachable"
	case Prohibit:
		return "prohibit"
	case Throw:
		return "throw"
	}
	return fmt.Sprintf("type %d", t)
}
