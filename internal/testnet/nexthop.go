package testnet

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The attributes of a nexthop object (linux/nexthop.h), and of a route that names one (linux/rtnetlink.h).
const (
	nhaID        = 1
	nhaGroup     = 2
	nhaBlackhole = 4
	nhaOIF       = 5
	nhaGateway   = 6
	rtaNhID      = 30
)

// Nexthop is "ip nexthop VERB TEXT": verb is add, replace or del, text "id N via ADDR dev DEV", "id N dev DEV" (IPv4), "id N
// group N,N" or "id N blackhole".
func (n *NS) Nexthop(verb, text string) error {
	message, flags := unix.RTM_NEWNEXTHOP, unix.NLM_F_ACK|unix.NLM_F_CREATE
	switch verb {
	case "add":
		flags |= unix.NLM_F_EXCL
	case "replace":
		flags |= unix.NLM_F_REPLACE
	default:
		message, flags = unix.RTM_DELNEXTHOP, unix.NLM_F_ACK
	}
	req := nl.NewNetlinkRequest(message, flags)
	if err := n.nexthopWords(req, &words{left: strings.Fields(text)}); err != nil {
		return fmt.Errorf("nexthop %q: %w", text, err)
	}
	return n.execute(req, "nexthop "+verb+" "+text)
}

// nexthopWords adds a struct nhmsg and the attributes.
func (n *NS) nexthopWords(req *nl.NetlinkRequest, w *words) error {
	header := make(rawHeader, 8)
	var attrs []nl.NetlinkRequestData
	number := func(kind int, v uint32) {
		attrs = append(attrs, nl.NewRtAttr(kind, binary.NativeEndian.AppendUint32(nil, v)))
	}
	for len(w.left) > 0 && w.err == nil {
		switch word := w.next(); word {
		case "id":
			number(nhaID, w.number(32))
		case "via":
			a := w.addr()
			header[0] = byte(rpdb.FamilyOf(a))
			attrs = append(attrs, nl.NewRtAttr(nhaGateway, a.AsSlice()))
		case "dev":
			i, err := n.Index(w.next())
			w.failIf(err)
			number(nhaOIF, uint32(i))
			if header[0] == unix.AF_UNSPEC {
				header[0] = unix.AF_INET
			}
		case "onlink":
			binary.NativeEndian.PutUint32(header[4:], unix.RTNH_F_ONLINK)
		case "blackhole":
			header[0] = unix.AF_INET
			attrs = append(attrs, nl.NewRtAttr(nhaBlackhole, nil))
		case "group":
			attrs = append(attrs, nl.NewRtAttr(nhaGroup, w.group()))
		default:
			w.fail(fmt.Errorf("%q is not understood", word))
		}
	}
	req.AddData(header)
	for _, a := range attrs {
		req.AddData(a)
	}
	return w.err
}

// group reads "N,N" as a list of struct nexthop_grp, each of weight 1.
func (w *words) group() []byte {
	var b []byte
	for text := range strings.SplitSeq(w.next(), ",") {
		id, err := strconv.ParseUint(text, 10, 32)
		w.failIf(err)
		b = append(binary.NativeEndian.AppendUint32(b, uint32(id)), 0, 0, 0, 0)
	}
	return b
}

// RouteByNexthop is "ip route add TEXT nhid ID": text has no next hop and no link.
func (n *NS) RouteByNexthop(text string, id uint32) error {
	r, err := ParseRoute(text, n.Index)
	if err != nil {
		return err
	}
	header := make(rawHeader, unix.SizeofRtMsg)
	header[0], header[1], header[5], header[7] = byte(r.Family()), byte(r.Dst.Bits()), r.Protocol, byte(r.Type)
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(header)
	if r.Dst.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()))
	}
	for kind, v := range map[int]uint32{unix.RTA_TABLE: r.Table, unix.RTA_PRIORITY: r.Metric, rtaNhID: id} {
		req.AddData(nl.NewRtAttr(kind, binary.NativeEndian.AppendUint32(nil, v)))
	}
	return n.execute(req, fmt.Sprintf("route add %s nhid %d", text, id))
}

func (n *NS) execute(req *nl.NetlinkRequest, what string) error {
	return n.Run(func() error {
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("namespace %s: %s: %w", n.Name, what, err)
		}
		return nil
	})
}

// Multipath is "ip route add TEXT nexthop HOP nexthop HOP...": each hop is "via ADDR dev DEV".
func (n *NS) Multipath(text string, hops ...string) error {
	var route *netlink.Route
	for _, hop := range hops {
		r, err := ParseRoute(text+" "+hop, n.Index)
		if err != nil {
			return err
		}
		one := netlinkRoute(r)
		if route == nil {
			route = netlinkRoute(r)
			route.LinkIndex, route.Gw, route.Via = 0, nil, nil
		}
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{LinkIndex: one.LinkIndex, Gw: one.Gw, Via: one.Via})
	}
	if err := n.link.RouteAdd(route); err != nil {
		return fmt.Errorf("namespace %s: add route %q by %q: %w", n.Name, text, hops, err)
	}
	return nil
}
