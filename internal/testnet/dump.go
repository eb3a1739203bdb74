package testnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The two rule attributes that x/sys/unix lacks names for are written here with their source, linux/fib_rules.h.
const (
	fraGoto    = 4
	fraSuppLen = 14
)

// Rules lists all rules of both families in the kernel's order. It reads the kernel by itself, without the code under test.
func (n *NS) Rules() ([]rpdb.Rule, error) {
	var rules []rpdb.Rule
	err := n.dump(unix.RTM_GETRULE, func(m []byte, attrs attributes) { rules = append(rules, rule(m, attrs)) })
	return rules, err
}

// Routes lists the routes of both families in all tables but local, each next hop of a multipath route alone.
func (n *NS) Routes() ([]rpdb.Route, error) {
	var routes []rpdb.Route
	err := n.dump(unix.RTM_GETROUTE, func(m []byte, attrs attributes) {
		if binary.NativeEndian.Uint32(m[8:])&unix.RTM_F_CLONED == 0 {
			routes = append(routes, route(m, attrs)...)
		}
	})
	kept := routes[:0]
	for _, r := range routes {
		if r.Table != rpdb.TableLocal {
			kept = append(kept, r)
		}
	}
	return kept, err
}

// dump asks for every entry of a kind, once a family: a request over all families answers with multicast rules as well.
// Both rtmsg and fib_rule_hdr are 12 bytes (linux/rtnetlink.h, linux/fib_rules.h).
func (n *NS) dump(request int, each func(message []byte, attrs attributes)) error {
	return n.Run(func() error {
		for _, family := range rpdb.Families() {
			req := nl.NewNetlinkRequest(request, unix.NLM_F_DUMP)
			header := make(rawHeader, unix.SizeofRtMsg)
			header[0] = byte(family)
			req.AddData(header)
			answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
			if err != nil {
				return fmt.Errorf("dump %v (message %d): %w", family, request, err)
			}
			for _, m := range answers {
				attrs, err := parseAttributes(m[unix.SizeofRtMsg:])
				if err != nil {
					return fmt.Errorf("dump %v (message %d): %w", family, request, err)
				}
				each(m, attrs)
			}
		}
		return nil
	})
}

// rawHeader is a family header ready to be sent.
type rawHeader []byte

// Len and Serialize make it a part of a request (nl.NetlinkRequestData).
func (h rawHeader) Len() int          { return len(h) }
func (h rawHeader) Serialize() []byte { return h }

// attributes are a message's attributes by type; the kernel sends none twice at the top level.
type attributes map[uint16][]byte

func parseAttributes(b []byte) (attributes, error) {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil, fmt.Errorf("parse attributes: %w", err)
	}
	attrs := attributes{}
	for _, a := range list {
		attrs[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
	}
	return attrs, nil
}

func (a attributes) uint32(kind uint16) uint32 {
	if len(a[kind]) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a[kind])
}

func (a attributes) text(kind uint16) string {
	b := a[kind]
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// prefix is an address attribute with its length; the zero Prefix where there is none and the length is 0.
func (a attributes) prefix(kind uint16, bits uint8) netip.Prefix {
	addr, ok := netip.AddrFromSlice(a[kind])
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, int(bits))
}

// rule decodes a fib_rule_hdr and its attributes.
func rule(m []byte, attrs attributes) rpdb.Rule {
	r := rpdb.Rule{
		Family: rpdb.Family(m[0]), Priority: attrs.uint32(unix.FRA_PRIORITY), Action: rpdb.Action(m[7]),
		Dst: attrs.prefix(unix.FRA_DST, m[1]), Src: attrs.prefix(unix.FRA_SRC, m[2]),
		IIF: attrs.text(unix.FRA_IIFNAME), OIF: attrs.text(unix.FRA_OIFNAME),
		Mark: attrs.uint32(unix.FRA_FWMARK), Mask: attrs.uint32(unix.FRA_FWMASK),
		Invert: binary.NativeEndian.Uint32(m[8:])&unix.FIB_RULE_INVERT != 0,
	}
	switch r.Action {
	case rpdb.ActLookup:
		if r.Table = attrs.uint32(unix.FRA_TABLE); r.Table == 0 {
			r.Table = uint32(m[4])
		}
	case rpdb.ActGoto:
		r.Goto = attrs.uint32(fraGoto)
	}
	// The kernel sends -1 for "none".
	if n := attrs.uint32(fraSuppLen); attrs[fraSuppLen] != nil && n <= 128 {
		r.Suppress = rpdb.Suppress(uint8(n))
	}
	if p := attrs[unix.FRA_PROTOCOL]; len(p) == 1 {
		r.Protocol = p[0]
	}
	return r
}

// route decodes an rtmsg and its attributes.
func route(m []byte, attrs attributes) []rpdb.Route {
	family := rpdb.Family(m[0])
	r := rpdb.Route{Protocol: m[5], Scope: rpdb.Scope(m[6]), Type: rpdb.RouteType(m[7])}
	if r.Dst = attrs.prefix(unix.RTA_DST, m[1]); !r.Dst.IsValid() {
		r.Dst = family.Any()
	}
	if r.Table = attrs.uint32(unix.RTA_TABLE); r.Table == 0 {
		r.Table = uint32(m[4])
	}
	r.Metric = attrs.uint32(unix.RTA_PRIORITY)
	r.Src, _ = netip.AddrFromSlice(attrs[unix.RTA_PREFSRC])
	if attrs[unix.RTA_MULTIPATH] == nil {
		r.OIF = int(attrs.uint32(unix.RTA_OIF))
		r.Via = via(attrs)
		r.Onlink = binary.NativeEndian.Uint32(m[8:])&unix.RTNH_F_ONLINK != 0
		return []rpdb.Route{r}
	}
	return nextHops(r, attrs[unix.RTA_MULTIPATH])
}

// nextHops decodes a list of rtnexthop (linux/rtnetlink.h: u16 length, u8 flags, u8 hops, s32 ifindex, attributes).
func nextHops(r rpdb.Route, b []byte) []rpdb.Route {
	r.Multipath = true
	var hops []rpdb.Route
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		hop := r
		hop.Onlink = b[2]&unix.RTNH_F_ONLINK != 0
		hop.OIF = int(binary.NativeEndian.Uint32(b[4:]))
		if attrs, err := parseAttributes(b[unix.SizeofRtNexthop:size]); err == nil {
			hop.Via = via(attrs)
		}
		hops = append(hops, hop)
		b = b[min(len(b), (size+3)&^3):]
	}
	return hops
}

// via is the next hop: RTA_GATEWAY, or RTA_VIA (u16 family, address) where it is of the other family.
func via(attrs attributes) netip.Addr {
	if a, ok := netip.AddrFromSlice(attrs[unix.RTA_GATEWAY]); ok {
		return a
	}
	if v := attrs[unix.RTA_VIA]; len(v) > 2 {
		a, _ := netip.AddrFromSlice(v[2:])
		return a
	}
	return netip.Addr{}
}
