package main

import (
	"fmt"
	"strings"

	"github.com/uplinkd/uplinkd/internal/explain"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// explainText is an answer for people: 80 columns, the end last, where the eye is when the output has scrolled by.
func explainText(a *explain.Answer) string {
	var b strings.Builder
	if a.Differs != "" {
		wrap(&b, "!! ", "THE WALK AND THE KERNEL DISAGREE: "+a.Differs+". Believe the kernel, and please report this with the output of "+
			"\"ip rule\" and \"ip route show table all\" (IPv6: \"ip -6\").")
	}
	wrap(&b, "", packetText(a.Packet))
	if a.Before != "" {
		wrap(&b, "  ", "Before any rule: "+a.Before+".")
	}
	for i := range a.Rules {
		writeRule(&b, &a.Rules[i])
	}
	if a.After != "" {
		wrap(&b, "  ", "Then: "+a.After+".")
	}
	writeEnds(&b, a)
	for _, u := range a.Unjudged {
		wrap(&b, "? ", "This walk may be wrong: "+u+".")
	}
	writeKernel(&b, a)
	return b.String()
}

func packetText(p explain.Packet) string {
	s := "To " + p.Dst
	if p.From != "" {
		s += " from " + p.From
	}
	if p.OIF != "" {
		s += ", bound to " + word(p.OIF)
	}
	if p.IIF != "" {
		s += ", come in on " + word(p.IIF)
	}
	s += ", " + p.IPProto
	if p.SrcPort != 0 {
		s += fmt.Sprintf(" from port %d", p.SrcPort)
	}
	if p.DstPort != 0 {
		s += fmt.Sprintf(" to port %d", p.DstPort)
	}
	if p.IIF == "" {
		s += fmt.Sprintf(", user %d", p.UID)
	}
	if p.Mark != 0 {
		s += fmt.Sprintf(", mark %#x", p.Mark)
	}
	if p.TOS != 0 {
		s += fmt.Sprintf(", tos %#x", p.TOS)
	}
	return s + ":"
}

// writeRule writes a rule with a mark at its left: "-" does not match, "+" matches, ">" decides.
func writeRule(b *strings.Builder, r *explain.RuleRow) {
	mark := "-"
	switch {
	case r.Decides:
		mark = ">"
	case r.Matches:
		mark = "+"
	}
	wrap(b, fmt.Sprintf("%s %5d: ", mark, r.Priority), r.Rule)
	const indent = "         "
	if !r.Matches {
		wrap(b, indent, "no match: "+r.Why)
		return
	}
	for _, route := range r.Routes {
		mark := "- "
		if route.Wins {
			mark = "> "
		}
		wrap(b, indent+mark, route.Route+" ("+route.Why+")")
	}
	wrap(b, indent, r.Result)
}

func writeEnds(b *strings.Builder, a *explain.Answer) {
	for i := range a.Ends {
		lead := "=> "
		if i > 0 {
			lead = "or "
		}
		wrap(b, lead, endText(a, &a.Ends[i]))
	}
}

func endText(a *explain.Answer, e *explain.End) string {
	if e.Error != "" {
		return e.Text + ": " + e.Reason + "."
	}
	var s string
	switch e.Type {
	case "local", "anycast":
		s = a.Packet.Dst + " is this host's own"
	case "broadcast", "multicast":
		s = e.Type + " on " + hopsText(e.Hops)
	default:
		s = hopsText(e.Hops)
	}
	if e.Src != "" {
		s += ", source " + e.Src + map[string]string{"packet": "", "route": " (the route's)", "kernel": " (the kernel's choice)"}[e.SrcBy]
	}
	if e.Table != "" {
		s += ", by table " + e.Table
	}
	if e.Reason != "" {
		s += "; " + e.Reason
	}
	return s + "."
}

func hopsText(hops []explain.HopRow) string {
	var all []string
	for _, h := range hops {
		s := "dev " + rpdb.Printable(h.Dev)
		if h.Via != "" {
			s = "via " + h.Via + " " + s
		}
		all = append(all, s)
	}
	return strings.Join(all, " or ")
}

func writeKernel(b *strings.Builder, a *explain.Answer) {
	k := a.Kernel
	switch {
	case !k.Asked:
		wrap(b, "   ", "Not checked, for the kernel could not be asked: "+k.Why)
	case k.Why != "":
		wrap(b, "!  ", k.Why)
	case a.Agrees && len(a.Ends) == 1 && (len(a.Ends[0].Hops) < 2 || k.Dev == ""):
		wrap(b, "   ", "The kernel says the same.")
	case k.Error != "":
		wrap(b, "   ", "The kernel says: "+k.Text+".")
	default:
		wrap(b, "   ", "The kernel takes "+hopsText([]explain.HopRow{{Via: k.Via, Dev: k.Dev}})+" this time.")
	}
}
