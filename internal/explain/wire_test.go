package explain

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// body is a message's fixed header.
type body []byte

func (b body) Len() int          { return len(b) }
func (b body) Serialize() []byte { return b }

// message builds a netlink message apart from internal/kernel: the test must not believe the code that it tests.
type message struct {
	body  body
	attrs []nl.NetlinkRequestData
}

func (m *message) add(typ int, v []byte) { m.attrs = append(m.attrs, nl.NewRtAttr(typ, v)) }

func (m *message) add32(typ int, v uint32) { m.add(typ, binary.NativeEndian.AppendUint32(nil, v)) }

func (m *message) send(typ, flags int) error {
	req := nl.NewNetlinkRequest(typ, flags|unix.NLM_F_ACK)
	req.AddData(m.body)
	for _, a := range m.attrs {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// ruleMessage is a rule for the kernel.
func ruleMessage(r *rpdb.RuleDetail) *message {
	m := &message{body: make(body, 12)}
	m.body[0], m.body[3], m.body[7] = byte(r.Family), r.TOS, byte(r.Action)
	flags := uint32(0)
	if r.Invert {
		flags = unix.FIB_RULE_INVERT
	}
	binary.NativeEndian.PutUint32(m.body[8:], flags)
	if r.Dst.IsValid() {
		m.body[1] = byte(r.Dst.Bits())
		m.add(unix.FRA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Src.IsValid() {
		m.body[2] = byte(r.Src.Bits())
		m.add(unix.FRA_SRC, r.Src.Addr().AsSlice())
	}
	m.add32(unix.FRA_PRIORITY, r.Priority)
	if r.Action == rpdb.ActLookup {
		m.add32(unix.FRA_TABLE, r.Table)
	}
	if r.Action == rpdb.ActGoto {
		m.add32(unix.FRA_GOTO, r.Goto)
	}
	if r.IIF != "" {
		m.add(unix.FRA_IIFNAME, nl.ZeroTerminated(r.IIF))
	}
	if r.OIF != "" {
		m.add(unix.FRA_OIFNAME, nl.ZeroTerminated(r.OIF))
	}
	if r.Mask != 0 {
		m.add32(unix.FRA_FWMARK, r.Mark)
		m.add32(unix.FRA_FWMASK, r.Mask)
	}
	if r.SuppressLen >= 0 {
		m.add32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.SuppressLen))
	}
	if r.SuppressGroup >= 0 {
		m.add32(13, uint32(r.SuppressGroup)) // FRA_SUPPRESS_IFGROUP
	}
	m.addFlow(r)
	return m
}

func (m *message) addFlow(r *rpdb.RuleDetail) {
	if r.UIDs.Set {
		m.add(unix.FRA_UID_RANGE, binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, r.UIDs.First), r.UIDs.Last))
	}
	if r.IPProto != 0 {
		m.add(unix.FRA_IP_PROTO, []byte{r.IPProto})
	}
	for _, p := range []struct {
		typ, maskTyp int
		ports        rpdb.Range
		one          rpdb.Masked
	}{{unix.FRA_SPORT_RANGE, 28, r.SrcPorts, r.SrcPort}, {unix.FRA_DPORT_RANGE, 29, r.DstPorts, r.DstPort}} {
		if p.ports.Set {
			b := binary.NativeEndian.AppendUint16(nil, uint16(p.ports.First))
			m.add(p.typ, binary.NativeEndian.AppendUint16(b, uint16(p.ports.Last)))
		}
		if p.one.Mask != 0 {
			m.add(p.maskTyp, binary.NativeEndian.AppendUint16(nil, uint16(p.one.Mask)))
		}
	}
	if r.DSCP.Mask != 0 {
		m.add(25, []byte{byte(r.DSCP.Value)}) // FRA_DSCP
		if r.DSCP.Mask != 0x3f {
			m.add(30, []byte{byte(r.DSCP.Mask)}) // FRA_DSCP_MASK
		}
	}
	if r.TunnelID != 0 {
		m.add(unix.FRA_TUN_ID, binary.NativeEndian.AppendUint64(nil, r.TunnelID))
	}
	if r.L3MDev {
		m.add(unix.FRA_L3MDEV, []byte{1})
	}
}

// routeMessage is a route for the kernel.
func routeMessage(r *rpdb.RouteDetail) *message {
	m := &message{body: make(body, unix.SizeofRtMsg)}
	m.body[0], m.body[1], m.body[3] = byte(r.Family()), byte(r.Dst.Bits()), r.TOS
	m.body[5], m.body[6], m.body[7] = unix.RTPROT_STATIC, byte(r.Scope), byte(r.Type)
	m.add(unix.RTA_DST, r.Dst.Addr().AsSlice())
	if r.From.Bits() > 0 {
		m.body[2] = byte(r.From.Bits())
		m.add(unix.RTA_SRC, r.From.Addr().AsSlice())
	}
	m.add32(unix.RTA_TABLE, r.Table)
	if r.Metric != 0 {
		m.add32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.Src.IsValid() {
		m.add(unix.RTA_PREFSRC, r.Src.AsSlice())
	}
	if r.Pref != rpdb.PrefMedium {
		m.add(unix.RTA_PREF, []byte{map[rpdb.Preference]byte{rpdb.PrefLow: 3, rpdb.PrefHigh: 1}[r.Pref]})
	}
	switch {
	case r.Object != 0:
		m.add32(30, r.Object) // RTA_NH_ID
	case len(r.Hops) == 1:
		m.attrs = append(m.attrs, hopAttrs(r, r.Hops[0])...)
		if r.Hops[0].OIF != 0 {
			m.add32(unix.RTA_OIF, uint32(r.Hops[0].OIF))
		}
	case len(r.Hops) > 1:
		m.add(unix.RTA_MULTIPATH, multipath(r))
	}
	return m
}

func hopAttrs(r *rpdb.RouteDetail, h rpdb.Hop) []nl.NetlinkRequestData {
	switch {
	case !h.Via.IsValid():
		return nil
	case rpdb.FamilyOf(h.Via) == r.Family():
		return []nl.NetlinkRequestData{nl.NewRtAttr(unix.RTA_GATEWAY, h.Via.AsSlice())}
	}
	via := append(binary.NativeEndian.AppendUint16(nil, uint16(rpdb.FamilyOf(h.Via))), h.Via.AsSlice()...)
	return []nl.NetlinkRequestData{nl.NewRtAttr(unix.RTA_VIA, via)}
}

func multipath(r *rpdb.RouteDetail) []byte {
	var out []byte
	for _, h := range r.Hops {
		var attrs []byte
		for _, a := range hopAttrs(r, h) {
			attrs = append(attrs, a.Serialize()...)
		}
		out = binary.NativeEndian.AppendUint16(out, uint16(8+len(attrs)))
		out = append(out, 0, byte(max(h.Weight, 1)-1))
		out = append(binary.NativeEndian.AppendUint32(out, uint32(h.OIF)), attrs...)
	}
	return out
}
