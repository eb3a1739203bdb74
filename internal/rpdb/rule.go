package rpdb

import (
	"fmt"
	"net/netip"
	"strings"
)

// Action says what a rule does with a packet that it matches (FR_ACT_* in linux/fib_rules.h).
type Action uint8

// The actions that a rule may have.
const (
	ActLookup      Action = 1 // FR_ACT_TO_TBL
	ActGoto        Action = 2 // FR_ACT_GOTO
	ActNop         Action = 3 // FR_ACT_NOP
	ActBlackhole   Action = 6 // FR_ACT_BLACKHOLE
	ActUnreachable Action = 7 // FR_ACT_UNREACHABLE
	ActProhibit    Action = 8 // FR_ACT_PROHIBIT
)

// The tables that the kernel itself knows (linux/rtnetlink.h).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// Loopback is the IIF of a rule that is for packets which the host itself sends: the kernel gives those LOOPBACK_IFINDEX as the
// interface that they came in on (net/ipv4/route.c: ip_route_output_key_hash, net/ipv6/route.c: ip6_route_output_flags).
const Loopback = "lo"

// Limit is suppress_prefixlength: a route whose prefix has this length or less does not count. Off by default.
type Limit struct {
	Set bool
	Len uint8
}

// Suppress is a Limit of n bits.
func Suppress(n uint8) Limit { return Limit{Set: true, Len: n} }

// Rule is one entry of the RPDB. It is comparable, and a rule has no attributes besides its identity: two rules that
// differ in anything are two rules, and the kernel can hold both (fib_rules.c: rule_exists).
type Rule struct {
	Family   Family
	Priority uint32
	Src, Dst netip.Prefix // the zero Prefix: any
	IIF, OIF string
	Mark     uint32 // with Mask 0: any
	Mask     uint32
	Action   Action
	Table    uint32 // ActLookup only
	Goto     uint32 // ActGoto only: the priority to go on at
	Suppress Limit
	Invert   bool  // FIB_RULE_INVERT: "not"
	Protocol uint8 // FRA_PROTOCOL: who put it there
	// Opaque says that the rule has selectors that uplinkd does not know (ports, uids, tunnel ids); such a rule is
	// never one of ours.
	Opaque bool
}

// String is the rule as ip-rule(8) prints it, less its protocol.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.Priority)
	if r.Invert {
		b.WriteString(" not")
	}
	b.WriteString(" from " + prefixText(r.Src, "all"))
	if r.Dst.IsValid() {
		b.WriteString(" to " + prefixText(r.Dst, "all"))
	}
	if r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
		if r.Mask != ^uint32(0) {
			fmt.Fprintf(&b, "/%#x", r.Mask)
		}
	}
	if r.IIF != "" {
		fmt.Fprintf(&b, " iif %s", Printable(r.IIF))
	}
	if r.OIF != "" {
		fmt.Fprintf(&b, " oif %s", Printable(r.OIF))
	}
	b.WriteString(r.actionText())
	return b.String()
}

func (r Rule) actionText() string {
	switch r.Action {
	case ActLookup:
		s := " lookup " + TableText(r.Table)
		if r.Suppress.Set {
			s += fmt.Sprintf(" suppress_prefixlength %d", r.Suppress.Len)
		}
		return s
	case ActGoto:
		return fmt.Sprintf(" goto %d", r.Goto)
	case ActNop:
		return " nop"
	case ActBlackhole:
		return " blackhole"
	case ActUnreachable:
		return " unreachable"
	case ActProhibit:
		return " prohibit"
	}
	return fmt.Sprintf(" action %d", r.Action)
}

// TableText is the table's name where the kernel gives it one, else its number.
func TableText(t uint32) string {
	switch t {
	case TableDefault:
		return "default"
	case TableMain:
		return "main"
	case TableLocal:
		return "local"
	}
	return fmt.Sprint(t)
}

// prefixText is a prefix as iproute2 prints it: a host prefix without its length, an invalid one as none.
func prefixText(p netip.Prefix, none string) string {
	switch {
	case !p.IsValid():
		return none
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// Printable is an interface name made fit for a log line or a terminal: bytes outside printable ASCII, and the
// backslash, as \xNN. The kernel takes any byte but '/', ':' and white space (net/core/dev.c: dev_valid_name).
func Printable(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x21 || c > 0x7e || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
