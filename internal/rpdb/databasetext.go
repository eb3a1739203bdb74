package rpdb

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Text is the rule as ip-rule(8) prints it, less its protocol; table gives a table's name by its number.
func (r *RuleDetail) Text(table func(uint32) string) string {
	return fmt.Sprintf("%d: %s", r.Priority, r.Body(table))
}

// Body is Text less the priority.
func (r *RuleDetail) Body(table func(uint32) string) string {
	var b strings.Builder
	if r.Invert {
		b.WriteString("not ")
	}
	b.WriteString("from " + prefixText(r.Src, "all"))
	if r.Dst.IsValid() {
		b.WriteString(" to " + prefixText(r.Dst, "all"))
	}
	r.writeHeaderSelectors(&b)
	r.writeFlowSelectors(&b)
	b.WriteString(r.actionText(table))
	return b.String()
}

func (r *RuleDetail) writeHeaderSelectors(b *strings.Builder) {
	if r.TOS != 0 {
		fmt.Fprintf(b, " tos %#x", r.TOS)
	}
	if r.DSCP.Mask != 0 {
		b.WriteString(" dscp " + r.DSCP.text(0x3f))
	}
	if r.FlowLabel.Mask != 0 {
		b.WriteString(" flowlabel " + r.FlowLabel.text(0xfffff))
	}
	if r.Mask != 0 {
		b.WriteString(" fwmark " + Masked{r.Mark, r.Mask}.text(^uint32(0)))
	}
	if r.IIF != "" {
		b.WriteString(" iif " + Printable(r.IIF))
	}
	if r.OIF != "" {
		b.WriteString(" oif " + Printable(r.OIF))
	}
	if r.L3MDev {
		b.WriteString(" l3mdev")
	}
}

func (r *RuleDetail) writeFlowSelectors(b *strings.Builder) {
	if r.UIDs.Set {
		fmt.Fprintf(b, " uidrange %d-%d", r.UIDs.First, r.UIDs.Last)
	}
	if r.IPProto != 0 {
		b.WriteString(" ipproto " + IPProtoText(r.IPProto))
	}
	for _, p := range []struct {
		name  string
		ports Range
		one   Masked
	}{{"sport", r.SrcPorts, r.SrcPort}, {"dport", r.DstPorts, r.DstPort}} {
		switch {
		case p.one.Mask != 0 && p.one.Mask != 0xffff:
			b.WriteString(" " + p.name + " " + p.one.text(0xffff))
		case p.ports.Set:
			b.WriteString(" " + p.name + " " + p.ports.Text())
		}
	}
	if r.TunnelID != 0 {
		fmt.Fprintf(b, " tun_id %d", hostOrder(r.TunnelID))
	}
}

func hostOrder(v uint64) uint64 {
	return binary.BigEndian.Uint64(binary.NativeEndian.AppendUint64(nil, v))
}

// Text is "5" or "5-9".
func (r Range) Text() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (m Masked) text(full uint32) string {
	if m.Mask == full {
		return fmt.Sprintf("%#x", m.Value)
	}
	return fmt.Sprintf("%#x/%#x", m.Value, m.Mask)
}

func (r *RuleDetail) actionText(table func(uint32) string) string {
	if r.Action != ActLookup {
		s := Rule{Action: r.Action, Goto: r.Goto}.actionText()
		if r.Unresolved {
			s += " [unresolved]"
		}
		return s
	}
	s := " lookup " + table(r.Table)
	if r.L3MDev {
		s = " lookup [l3mdev-table]"
	}
	if r.SuppressLen >= 0 {
		s += fmt.Sprintf(" suppress_prefixlength %d", r.SuppressLen)
	}
	if r.SuppressGroup >= 0 {
		s += fmt.Sprintf(" suppress_ifgroup %d", r.SuppressGroup)
	}
	return s
}

// IPProtoText is a protocol's name where rules have one for it (IANA protocol numbers), else its number.
func IPProtoText(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "ipv6-icmp"
	}
	return fmt.Sprint(p)
}

// Text is the route as ip-route(8) prints it, on one line and less its table and protocol; link gives a link's name by its index.
func (r *RouteDetail) Text(link func(int) string) string {
	var b strings.Builder
	if r.Type != Unicast {
		b.WriteString(r.Type.String() + " ")
	}
	if r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(prefixText(r.Dst, "default"))
	}
	if r.From.Bits() > 0 {
		b.WriteString(" from " + prefixText(r.From, "all"))
	}
	if r.TOS != 0 {
		fmt.Fprintf(&b, " tos %#x", r.TOS)
	}
	if len(r.Hops) == 1 {
		b.WriteString(r.Hops[0].Text(r.Family(), link))
	}
	if r.Object != 0 {
		fmt.Fprintf(&b, " nhid %d", r.Object)
	}
	if r.Src.IsValid() {
		b.WriteString(" src " + r.Src.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.Pref != PrefMedium {
		fmt.Fprintf(&b, " pref %s", map[Preference]string{PrefLow: "low", PrefHigh: "high"}[r.Pref])
	}
	for _, h := range r.Hops {
		if len(r.Hops) > 1 {
			b.WriteString(" nexthop" + h.Text(r.Family(), link))
		}
	}
	return b.String()
}

// Family is the family of the destination.
func (r *RouteDetail) Family() Family { return FamilyOf(r.Dst.Addr()) }

// Text is " via 192.0.2.1 dev eth0", with what keeps it from being taken; family is the route's.
func (h Hop) Text(family Family, link func(int) string) string {
	var b strings.Builder
	if h.Via.IsValid() {
		b.WriteString(" via ")
		if FamilyOf(h.Via) != family {
			b.WriteString(FamilyOf(h.Via).String() + " ")
		}
		b.WriteString(h.Via.String())
	}
	if h.OIF != 0 {
		b.WriteString(" dev " + Printable(link(h.OIF)))
	}
	for _, f := range []struct {
		set  bool
		word string
	}{{h.Onlink, " onlink"}, {h.Dead, " dead"}, {h.Down, " linkdown"}} {
		if f.set {
			b.WriteString(f.word)
		}
	}
	return b.String()
}

// String is the type as ip-route(8) calls it.
func (t RouteType) String() string {
	switch t {
	case Unicast:
		return "unicast"
	case Local:
		return "local"
	case Broadcast:
		return "broadcast"
	case Anycast:
		return "anycast"
	case Multicast:
		return "multicast"
	}
	return routeTypeText(t)
}
