package testnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Lookup is a question to the kernel's routing: where would this packet go?
type Lookup struct {
	Dst  netip.Addr
	Src  netip.Addr // invalid: not bound
	OIF  string     // the device that the socket is bound to; empty: none
	IIF  string     // the device that the packet came in on, to be forwarded; empty: this host sends it
	Mark uint32
}

// RouteGet is "ip route get": the route that a packet from this host would take, with the table that it is in. Src is
// the source address that the kernel would choose. A lookup that ends at no route fails with the error that a program
// would see: ENETUNREACH (no route, or a rule "unreachable"), EHOSTUNREACH (a route "unreachable"), EACCES ("prohibit").
func (n *NS) RouteGet(q Lookup) (rpdb.Route, error) {
	header := make(rawHeader, unix.SizeofRtMsg)
	header[0], header[1] = byte(rpdb.FamilyOf(q.Dst)), byte(q.Dst.BitLen())
	binary.NativeEndian.PutUint32(header[8:], unix.RTM_F_LOOKUP_TABLE)
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, q.Dst.AsSlice()))
	if q.Src.IsValid() {
		header[2] = byte(q.Src.BitLen())
		req.AddData(nl.NewRtAttr(unix.RTA_SRC, q.Src.AsSlice()))
	}
	for attr, dev := range map[int]string{unix.RTA_OIF: q.OIF, unix.RTA_IIF: q.IIF} {
		if dev == "" {
			continue
		}
		index, err := n.Index(dev)
		if err != nil {
			return rpdb.Route{}, err
		}
		req.AddData(nl.NewRtAttr(attr, binary.NativeEndian.AppendUint32(nil, uint32(index))))
	}
	if q.Mark != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_MARK, binary.NativeEndian.AppendUint32(nil, q.Mark)))
	}
	return n.routeGet(req, q)
}

func (n *NS) routeGet(req *nl.NetlinkRequest, q Lookup) (rpdb.Route, error) {
	var found rpdb.Route
	err := n.Run(func() error {
		answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
		if err != nil {
			return fmt.Errorf("route get %+v: %w", q, err)
		}
		if len(answers) != 1 {
			return fmt.Errorf("route get %+v: %d answers", q, len(answers))
		}
		attrs, err := parseAttributes(answers[0][unix.SizeofRtMsg:])
		if err != nil {
			return err
		}
		found = route(answers[0], attrs)[0]
		return nil
	})
	return found, err
}
