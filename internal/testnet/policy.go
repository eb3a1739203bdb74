package testnet

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Route adds a route, written as after "ip route add": "default via 192.0.2.1 dev eth0 table 100 proto dhcp metric 5".
// An IPv6 default without a gateway is written "default6".
func (n *NS) Route(text string) error { return n.route(text, "add", n.link.RouteAdd) }

// ReplaceRoute is "ip route replace".
func (n *NS) ReplaceRoute(text string) error { return n.route(text, "replace", n.link.RouteReplace) }

// DelRoute is "ip route del", with every word of text compared by the kernel, except that a protocol not given is any.
func (n *NS) DelRoute(text string) error { return n.route(text, "delete", n.link.RouteDel) }

func (n *NS) route(text, verb string, do func(*netlink.Route) error) error {
	r, err := ParseRoute(text, n.Index)
	if err != nil {
		return err
	}
	if err := do(netlinkRoute(r)); err != nil {
		return fmt.Errorf("namespace %s: %s route %q: %w", n.Name, verb, text, err)
	}
	return nil
}

func netlinkRoute(r rpdb.Route) *netlink.Route {
	nr := &netlink.Route{
		LinkIndex: r.OIF, Dst: toIPNet(r.Dst), Table: int(r.Table), Priority: int(r.Metric), Type: int(r.Type),
		Scope: netlink.Scope(r.Scope), Protocol: netlink.RouteProtocol(r.Protocol), Src: net.IP(r.Src.AsSlice()),
		Family: int(r.Family()),
	}
	switch {
	case r.Via.IsValid() && rpdb.FamilyOf(r.Via) != r.Family():
		nr.Via = &netlink.Via{AddrFamily: int(rpdb.FamilyOf(r.Via)), Addr: net.IP(r.Via.AsSlice())}
	case r.Via.IsValid():
		nr.Gw = net.IP(r.Via.AsSlice())
	}
	if r.Onlink {
		nr.Flags = int(netlink.FLAG_ONLINK)
	}
	return nr
}

// Rule adds a rule of a family, written as after "ip rule add": "from 192.0.2.2 lookup 100 priority 10 proto 117".
// The family counts only where text has no address. Without a priority the kernel chooses one.
func (n *NS) Rule(family rpdb.Family, text string) error {
	return n.rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, family, text)
}

// DelRule is "ip rule del"; a protocol that is not in text is boot.
func (n *NS) DelRule(family rpdb.Family, text string) error {
	return n.rule(unix.RTM_DELRULE, unix.NLM_F_ACK, family, text)
}

func (n *NS) rule(message, flags int, family rpdb.Family, text string) error {
	r, err := ParseRule(text, family)
	if err != nil {
		return err
	}
	return n.Run(func() error {
		req := nl.NewNetlinkRequest(message, flags)
		addRule(req, r, HasPriority(text))
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("rule %q: %w", text, err)
		}
		return nil
	})
}

// addRule writes a fib_rule_hdr (linux/fib_rules.h) and the attributes.
func addRule(req *nl.NetlinkRequest, r rpdb.Rule, prioritized bool) {
	h := make(rawHeader, unix.SizeofRtMsg)
	h[0], h[7] = byte(r.Family), byte(r.Action)
	if r.Invert {
		binary.NativeEndian.PutUint32(h[8:], unix.FIB_RULE_INVERT)
	}
	var attrs []nl.NetlinkRequestData
	add := func(kind int, value []byte) { attrs = append(attrs, nl.NewRtAttr(kind, value)) }
	if r.Src.IsValid() {
		h[2] = byte(r.Src.Bits())
		add(unix.FRA_SRC, r.Src.Addr().AsSlice())
	}
	if r.Dst.IsValid() {
		h[1] = byte(r.Dst.Bits())
		add(unix.FRA_DST, r.Dst.Addr().AsSlice())
	}
	if r.IIF != "" {
		add(unix.FRA_IIFNAME, nl.ZeroTerminated(r.IIF))
	}
	if r.OIF != "" {
		add(unix.FRA_OIFNAME, nl.ZeroTerminated(r.OIF))
	}
	for _, u := range []struct {
		kind  int
		value uint32
		set   bool
	}{
		{unix.FRA_PRIORITY, r.Priority, prioritized}, {unix.FRA_TABLE, r.Table, r.Action == rpdb.ActLookup},
		{fraGoto, r.Goto, r.Action == rpdb.ActGoto}, {unix.FRA_FWMARK, r.Mark, r.Mask != 0},
		{unix.FRA_FWMASK, r.Mask, r.Mask != 0}, {fraSuppLen, uint32(r.Suppress.Len), r.Suppress.Set},
	} {
		if u.set {
			add(u.kind, binary.NativeEndian.AppendUint32(nil, u.value))
		}
	}
	add(unix.FRA_PROTOCOL, []byte{r.Protocol})
	req.AddData(h)
	for _, a := range attrs {
		req.AddData(a)
	}
}
