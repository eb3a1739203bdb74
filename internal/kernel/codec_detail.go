package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The attributes of rules that package unix has no names for yet (linux/fib_rules.h).
const (
	fraFlow          = 11
	fraSuppressGroup = 13
	fraDSCP          = 25
	fraFlowLabel     = 26
	fraFlowLabelMask = 27
	fraSportMask     = 28
	fraDportMask     = 29
	fraDSCPMask      = 30
)

// vrfTable is IFLA_VRF_TABLE (linux/if_link.h).
const vrfTable = 1

// decodeLinkDetail reads an RTM_NEWLINK message.
func decodeLinkDetail(b []byte) (rpdb.LinkDetail, error) {
	link, err := decodeLink(b)
	l := rpdb.LinkDetail{Link: link}
	if err != nil {
		return l, err
	}
	as := attributesAfter(b, unix.SizeofIfInfomsg)
	for as.next() {
		switch {
		case as.typ == unix.IFLA_GROUP:
			l.Group = as.uint32()
		case as.typ == unix.IFLA_LINKINFO && l.Kind == "vrf":
			l.VRFTable = nested(nestedValue(as.val, unix.IFLA_INFO_DATA), vrfTable)
		}
	}
	return l, as.err
}

func nestedValue(b []byte, typ uint16) []byte {
	as := attributes{rest: b}
	for as.next() {
		if as.typ == typ {
			return as.val
		}
	}
	return nil
}

func nested(b []byte, typ uint16) uint32 {
	if v := nestedValue(b, typ); len(v) >= 4 {
		return binary.NativeEndian.Uint32(v)
	}
	return 0
}

// decodeRuleDetail reads an RTM_NEWRULE message, all of it.
func decodeRuleDetail(b []byte) (rpdb.RuleDetail, error) {
	basic, err := decodeRule(b)
	if err != nil {
		return rpdb.RuleDetail{}, err
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	r := rpdb.RuleDetail{
		Family: basic.Family, Priority: basic.Priority, Action: basic.Action, Table: basic.Table, Goto: basic.Goto,
		Invert: basic.Invert, Src: basic.Src, Dst: basic.Dst, IIF: basic.IIF, OIF: basic.OIF, Mark: basic.Mark, Mask: basic.Mask,
		Protocol: basic.Protocol, TOS: b[3], SuppressLen: -1, SuppressGroup: -1,
		Unresolved: flags&unix.FIB_RULE_UNRESOLVED != 0, FindSource: flags&unix.FIB_RULE_FIND_SADDR != 0,
	}
	as := attributesAfter(b, sizeofRuleHdr)
	for as.next() {
		decodeSelector(&r, &as)
	}
	if as.err != nil {
		return rpdb.RuleDetail{}, fmt.Errorf("rule %d: %w", r.Priority, as.err)
	}
	return r, nil
}

func decodeSelector(r *rpdb.RuleDetail, as *attributes) {
	switch as.typ {
	case unix.FRA_UNSPEC, unix.FRA_PAD, unix.FRA_SRC, unix.FRA_DST, unix.FRA_FWMASK, unix.FRA_FWMARK, unix.FRA_IIFNAME, unix.FRA_OIFNAME,
		unix.FRA_GOTO, unix.FRA_PRIORITY, unix.FRA_TABLE, unix.FRA_PROTOCOL, fraFlow: // read already; realms select nothing
	case unix.FRA_SUPPRESS_PREFIXLEN:
		r.SuppressLen = int(int32(as.uint32()))
	case fraSuppressGroup:
		r.SuppressGroup = int64(int32(as.uint32()))
	case unix.FRA_L3MDEV:
		r.L3MDev = as.uint8() != 0
	case unix.FRA_TUN_ID:
		r.TunnelID = as.uint64()
	case unix.FRA_UID_RANGE:
		r.UIDs = rpdb.Range{Set: true, First: as.uint32(), Last: as.second32()}
		if r.UIDs.First == 0 && r.UIDs.Last == ^uint32(0) {
			r.UIDs = rpdb.Range{}
		}
	case unix.FRA_IP_PROTO:
		r.IPProto = as.uint8()
	case unix.FRA_SPORT_RANGE:
		r.SrcPorts = as.ports()
	case unix.FRA_DPORT_RANGE:
		r.DstPorts = as.ports()
	default:
		decodeLaterSelector(r, as)
	}
}

// decodeLaterSelector reads what came with Linux 6.13 to 6.15.
func decodeLaterSelector(r *rpdb.RuleDetail, as *attributes) {
	switch as.typ {
	case fraDSCP:
		r.DSCP.Value = uint32(as.uint8())
		if r.DSCP.Mask == 0 {
			r.DSCP.Mask = 0x3f
		}
	case fraDSCPMask:
		r.DSCP.Mask = uint32(as.uint8())
	case fraFlowLabel:
		r.FlowLabel.Value = as.network32()
	case fraFlowLabelMask:
		r.FlowLabel.Mask = as.network32()
	case fraSportMask:
		r.SrcPort = rpdb.Masked{Value: r.SrcPorts.First, Mask: uint32(as.uint16())}
	case fraDportMask:
		r.DstPort = rpdb.Masked{Value: r.DstPorts.First, Mask: uint32(as.uint16())}
	default:
		r.Unknown = append(r.Unknown, as.typ)
	}
}

// ports is struct fib_rule_port_range: two 16-bit numbers in the host's byte order; 0 to 0 takes all.
func (a *attributes) ports() rpdb.Range {
	if len(a.val) < 4 {
		a.fail()
		return rpdb.Range{}
	}
	r := rpdb.Range{First: uint32(binary.NativeEndian.Uint16(a.val)), Last: uint32(binary.NativeEndian.Uint16(a.val[2:]))}
	r.Set = r != rpdb.Range{}
	return r
}

func (a *attributes) uint16() uint16 {
	if len(a.val) < 2 {
		a.fail()
		return 0
	}
	return binary.NativeEndian.Uint16(a.val)
}

func (a *attributes) uint64() uint64 {
	if len(a.val) < 8 {
		a.fail()
		return 0
	}
	return binary.NativeEndian.Uint64(a.val)
}

// second32 is the second number of a value that holds two.
func (a *attributes) second32() uint32 {
	if len(a.val) < 8 {
		a.fail()
		return 0
	}
	return binary.NativeEndian.Uint32(a.val[4:])
}

// network32 is the value as a number in network byte order.
func (a *attributes) network32() uint32 {
	if len(a.val) < 4 {
		a.fail()
		return 0
	}
	return binary.BigEndian.Uint32(a.val)
}

// decodeRouteDetail reads an RTM_NEWROUTE message, all of it that decides.
func decodeRouteDetail(b []byte) (rpdb.RouteDetail, error) {
	head, as, err := decodeRouteHead(b)
	if err != nil {
		return rpdb.RouteDetail{}, fmt.Errorf("route: %w", err)
	}
	r := rpdb.RouteDetail{
		Table: head.Table, Dst: head.Dst, TOS: b[3], Metric: head.Metric, Type: head.Type, Scope: head.Scope,
		Protocol: head.Protocol, Pref: head.Pref, Src: head.Src, Object: as.object,
	}
	if r.Hops, err = decodeHops(head, as, binary.NativeEndian.Uint32(b[8:])); err != nil {
		return r, fmt.Errorf("route to %s: next hop: %w", r.Dst, err)
	}
	var from []byte
	rest := attributesAfter(b, unix.SizeofRtMsg)
	for rest.next() {
		switch rest.typ {
		case unix.RTA_SRC:
			from = rest.val
		case unix.RTA_CACHEINFO:
			if len(rest.val) >= 12 { // rta_clntref, rta_lastuse, rta_expires
				r.Expires = int32(binary.NativeEndian.Uint32(rest.val[8:]))
			}
		}
	}
	if r.From, err = decodePrefix(head.Family(), from, b[2]); err != nil {
		return r, fmt.Errorf("route to %s: source: %w", r.Dst, err)
	}
	return r, rest.err
}

func decodeHops(head rpdb.Route, as routeAttributes, flags uint32) ([]rpdb.Hop, error) {
	if as.hops != nil {
		return decodeMultipath(head.Family(), as.hops)
	}
	via, err := nextHop(head.Family(), as.gateway, as.via)
	if err != nil || as.oif == 0 && !via.IsValid() {
		return nil, err
	}
	return []rpdb.Hop{hop(rpdb.Hop{Via: via, OIF: as.oif, Weight: 1}, flags)}, nil
}

func hop(h rpdb.Hop, flags uint32) rpdb.Hop {
	h.Onlink = flags&unix.RTNH_F_ONLINK != 0
	h.Dead = flags&unix.RTNH_F_DEAD != 0
	h.Down = flags&unix.RTNH_F_LINKDOWN != 0
	return h
}

// decodeMultipath reads RTA_MULTIPATH: struct rtnexthop (length, flags, hops, ifindex) and attributes, one after another.
func decodeMultipath(f rpdb.Family, b []byte) ([]rpdb.Hop, error) {
	var hops []rpdb.Hop
	for len(b) >= sizeofNextHop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofNextHop || n > len(b) {
			return nil, fmt.Errorf("next hop of %d bytes where %d are left", n, len(b))
		}
		as, err := parseRouteAttributes(attributesAfter(b[:n], sizeofNextHop), 0)
		if err != nil {
			return nil, err
		}
		via, err := nextHop(f, as.gateway, as.via)
		if err != nil {
			return nil, err
		}
		oif := int(int32(binary.NativeEndian.Uint32(b[4:])))
		hops = append(hops, hop(rpdb.Hop{Via: via, OIF: oif, Weight: int(b[3]) + 1}, uint32(b[2])))
		b = b[min(align(n), len(b)):]
	}
	return hops, nil
}
