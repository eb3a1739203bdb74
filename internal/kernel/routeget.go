package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// fibMatch is RTM_F_FIB_MATCH (linux/rtnetlink.h): answer with the entry of the table, not with what was made of it.
// lookupTable is RTM_F_LOOKUP_TABLE: name the table that it is in; without it IPv4 says main.
const (
	fibMatch    = 0x2000
	lookupTable = 0x1000
)

// RouteGet is "ip route get": where the kernel itself would send the packet. A packet that it would not send is no error; an
// error says that the kernel cannot be asked.
func (r *Reader) RouteGet(flow rpdb.Flow) (rpdb.Found, error) {
	found, err := r.get(flow, 0)
	if err != nil || found.Errno != 0 {
		return found, err
	}
	// A route that the kernel made up, and an answer that an old kernel does not know, have no entry.
	if match, err := r.get(flow, fibMatch|lookupTable); err == nil {
		found.Entry = match.Entry
	}
	return found, nil
}

func (r *Reader) get(flow rpdb.Flow, flags uint32) (rpdb.Found, error) {
	// Strict checking refuses flags and the TOS with some of the kernels that have it.
	_ = unix.SetsockoptInt(r.ask.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 0)
	defer func() { _ = unix.SetsockoptInt(r.ask.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) }()
	b, err := r.ask.one(request{typ: unix.RTM_GETROUTE, body: encodeFlow(flow, flags)})
	var no *refusal
	switch {
	case errors.As(err, &no):
		if isAny(err, unix.EOPNOTSUPP, unix.ENODEV) {
			return rpdb.Found{}, fmt.Errorf("ask the kernel for the route to %s: %w", flow.Dst, err)
		}
		return rpdb.Found{Errno: no.errno, Words: no.words}, nil
	case err != nil:
		return rpdb.Found{}, fmt.Errorf("ask the kernel for the route to %s: %w", flow.Dst, err)
	}
	route, err := decodeRouteDetail(b)
	if err != nil {
		return rpdb.Found{}, fmt.Errorf("read the kernel's route to %s: %w", flow.Dst, err)
	}
	if flags != 0 {
		return rpdb.Found{Entry: &route}, nil
	}
	found := rpdb.Found{Type: route.Type, Src: route.Src}
	if len(route.Hops) > 0 {
		found.Via, found.OIF = route.Hops[0].Via, route.Hops[0].OIF
	}
	return found, nil
}

// encodeFlow writes a flow as RTM_GETROUTE wants it (net/ipv4/route.c: inet_rtm_getroute, net/ipv6/route.c: inet6_rtm_getroute).
func encodeFlow(flow rpdb.Flow, flags uint32) []byte {
	b := make([]byte, unix.SizeofRtMsg, 128)
	b[0], b[1], b[3] = byte(flow.Family()), byte(flow.Dst.BitLen()), flow.TOS
	binary.NativeEndian.PutUint32(b[8:], flags)
	b = appendAttr(b, unix.RTA_DST, flow.Dst.AsSlice())
	if flow.Src.IsValid() {
		b[2] = byte(flow.Src.BitLen())
		b = appendAttr(b, unix.RTA_SRC, flow.Src.AsSlice())
	}
	for _, a := range []struct {
		typ   uint16
		value uint32
		set   bool
	}{
		{unix.RTA_OIF, uint32(flow.OIF), flow.OIF != 0}, {unix.RTA_IIF, uint32(flow.IIF), flow.IIF != 0},
		{unix.RTA_MARK, flow.Mark, flow.Mark != 0}, {unix.RTA_UID, flow.UID, true},
	} {
		if a.set {
			b = appendUint32(b, a.typ, a.value)
		}
	}
	if flow.Proto != 0 {
		b = appendAttr(b, unix.RTA_IP_PROTO, []byte{flow.Proto})
	}
	for _, p := range []struct{ typ, port uint16 }{{unix.RTA_SPORT, flow.SrcPort}, {unix.RTA_DPORT, flow.DstPort}} {
		if p.port != 0 {
			b = appendAttr(b, p.typ, binary.BigEndian.AppendUint16(nil, p.port))
		}
	}
	return b
}

// one asks for a single message; the kernel's refusal is a *refusal.
func (c *requests) one(r request) ([]byte, error) {
	c.seq++
	c.out = appendMessage(c.out[:0], r, unix.NLM_F_REQUEST, c.seq)
	if err := c.send(); err != nil {
		return nil, err
	}
	for {
		b, _, err := receive(c.fd, c.in, 0)
		if err != nil {
			return nil, fmt.Errorf("receive the kernel's answer: %w", err)
		}
		h, payload, _, ok := nextMessage(b)
		if !ok || h.Seq != c.seq {
			continue
		}
		if h.Type != unix.NLMSG_ERROR {
			return payload, nil
		}
		if err := decodeAck(h, payload); err != nil {
			return nil, err
		}
	}
}
