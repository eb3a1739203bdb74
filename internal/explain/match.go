package explain

import (
	"fmt"
	"net/netip"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// matches is fib_rule_match (net/core/fib_rules.c). why is the first selector that fails.
func (w *walker) matches(r *rpdb.RuleDetail) (ok bool, why string) {
	why = w.mismatch(r)
	switch {
	case !r.Invert:
		return why == "", why
	case why == "":
		return false, `all that follows "not" fits`
	}
	return true, why
}

// mismatch is the first selector that does not fit, with both values, or nothing.
func (w *walker) mismatch(r *rpdb.RuleDetail) string {
	f := &w.flow
	for _, check := range []func(*rpdb.RuleDetail) string{w.links, f.marks, w.vrfs, f.users, f.prefixes, f.classes, f.ports} {
		if why := check(r); why != "" {
			return why
		}
	}
	return ""
}

// links is fib_rule_iif_match and fib_rule_oif_match: a VRF device stands for all that is in it.
func (w *walker) links(r *rpdb.RuleDetail) string {
	f := &w.flow
	if r.IIF != "" && !w.link(r.IIF, f.iif, !f.vrfByOIF) {
		return fmt.Sprintf("iif is %s, not %s", w.nameOf(f.iif), rpdb.Printable(r.IIF))
	}
	if r.OIF != "" && !w.link(r.OIF, f.oif, f.vrfByOIF) {
		if f.OIF == 0 {
			return fmt.Sprintf("the socket is bound to no device, not to %s", rpdb.Printable(r.OIF))
		}
		return fmt.Sprintf("oif is %s, not %s", w.nameOf(f.OIF), rpdb.Printable(r.OIF))
	}
	return ""
}

func (w *walker) link(name string, index int, inVRF bool) bool {
	for _, l := range w.db.Links {
		if l.Name != name {
			continue
		}
		if l.VRFTable != 0 {
			return inVRF && w.flow.vrf == l.Index
		}
		return l.Index == index
	}
	return false
}

// nameOf is a link's name, fit for a terminal.
func (w *walker) nameOf(index int) string {
	if l, ok := w.db.Link(index); ok {
		return rpdb.Printable(l.Name)
	}
	return fmt.Sprintf("if%d", index)
}

func (f *flow) marks(r *rpdb.RuleDetail) string {
	if (r.Mark^f.Mark)&r.Mask == 0 {
		return ""
	}
	if r.Mask == ^uint32(0) {
		return fmt.Sprintf("the mark is %#x, not %#x", f.Mark, r.Mark)
	}
	return fmt.Sprintf("the mark is %#x, which is %#x under the mask %#x, not %#x", f.Mark, f.Mark&r.Mask, r.Mask, r.Mark&r.Mask)
}

// vrfs is l3mdev_fib_rule_match, and the tunnel's number, which only what a tunnel sends has.
func (w *walker) vrfs(r *rpdb.RuleDetail) string {
	if r.TunnelID != 0 {
		return "the packet has no tunnel id"
	}
	if r.L3MDev && w.flow.vrf == 0 {
		return "the packet is in no VRF"
	}
	return ""
}

func (f *flow) users(r *rpdb.RuleDetail) string {
	if r.UIDs.Set && (f.UID < r.UIDs.First || f.UID > r.UIDs.Last) {
		return fmt.Sprintf("the user is %d, not %s", f.UID, r.UIDs.Text())
	}
	return ""
}

func (f *flow) prefixes(r *rpdb.RuleDetail) string {
	switch {
	case r.Src.IsValid() && !f.Src.IsValid():
		if f.Family() == rpdb.IPv6 && r.FindSource {
			return ""
		}
		if f.Family() == rpdb.IPv4 && r.Src.Contains(netip.IPv4Unspecified()) {
			break // the kernel compares 0.0.0.0
		}
		return fmt.Sprintf("no source is chosen yet, so it is not in %s", r.Src)
	case r.Src.IsValid() && !r.Src.Contains(f.Src):
		return fmt.Sprintf("the source %s is not in %s", f.Src, r.Src)
	}
	if r.Dst.IsValid() && !r.Dst.Contains(f.Dst) {
		return fmt.Sprintf("the destination is not in %s", r.Dst)
	}
	return ""
}

// legacyTOS are the bits of the TOS octet that IPv4 compares with the old selector (IPTOS_RT_MASK of include/net/route.h).
const legacyTOS = 0x1c

// classes compares the TOS and what else the IP header says of the class of the packet.
func (f *flow) classes(r *rpdb.RuleDetail) string {
	if r.TOS != 0 && !f.tosFits(r.TOS) {
		return fmt.Sprintf("the TOS is %#x, not %#x", f.TOS, r.TOS)
	}
	if dscp := uint32(f.TOS) >> 2; (dscp^r.DSCP.Value)&r.DSCP.Mask != 0 {
		return fmt.Sprintf("the DSCP is %#x, not %#x", dscp, r.DSCP.Value)
	}
	if r.FlowLabel.Value&r.FlowLabel.Mask != 0 {
		return fmt.Sprintf("the flow label is 0, not %#x", r.FlowLabel.Value)
	}
	return ""
}

// tosFits compares as fib_dscp_masked_match does in IPv4, and fib6_rule_match in IPv6.
func (f *flow) tosFits(tos uint8) bool {
	if f.Family() == rpdb.IPv4 {
		return f.TOS&legacyTOS == tos
	}
	return f.TOS == tos
}

func (f *flow) ports(r *rpdb.RuleDetail) string {
	if r.IPProto != 0 && r.IPProto != f.Proto {
		return fmt.Sprintf("the protocol is %s, not %s", protoText(f.Proto), rpdb.IPProtoText(r.IPProto))
	}
	if why := portMismatch("source", f.SrcPort, r.SrcPorts, r.SrcPort); why != "" {
		return why
	}
	return portMismatch("destination", f.DstPort, r.DstPorts, r.DstPort)
}

func protoText(p uint8) string {
	if p == 0 {
		return "not given"
	}
	return rpdb.IPProtoText(p)
}

// portMismatch is fib_rule_port_match (include/net/fib_rules.h).
func portMismatch(which string, port uint16, ports rpdb.Range, masked rpdb.Masked) string {
	p := uint32(port)
	if (p^masked.Value)&masked.Mask != 0 {
		return fmt.Sprintf("the %s port is %d, not %#x/%#x", which, port, masked.Value, masked.Mask)
	}
	if masked.Mask == 0 && ports.Set && (p < ports.First || p > ports.Last) {
		return fmt.Sprintf("the %s port is %d, not %s", which, port, ports.Text())
	}
	return ""
}
