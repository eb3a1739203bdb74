package explain

import (
	"fmt"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Walk is what the kernel does with a packet, step by step.
type Walk struct {
	// Before says what is decided before any rule is asked; empty: nothing.
	Before string
	Steps  []Step // one a rule, in the order in which they are met; none where Before decided
	// After says what is done with what the rules and routes gave; empty: nothing.
	After string
	// Outcomes are the possible ends: several only where a hash of the packet or the state of a neighbor decides.
	Outcomes []Outcome
	// Unjudged are the reasons why the walk may be wrong: what it met and does not know.
	Unjudged []string
}

// Step is one rule of the walk.
type Step struct {
	Rule    rpdb.RuleDetail
	Matches bool
	// Why is the first selector that fails, with both values; or, of a rule that matches, what keeps it from deciding.
	Why    string
	Table  uint32 // the table that was asked; 0: none
	Routes []Considered
	// Result is what came of a rule that matches.
	Result  string
	Decides bool
}

// Considered is a route that covers the destination.
type Considered struct {
	Route rpdb.RouteDetail
	Wins  bool
	Why   string // why it wins or does not
}

// Outcome is an end of a walk: an error, or a route with the next hops of which one is taken.
type Outcome struct {
	Errno  syscall.Errno // 0: the packet goes out
	Reason string        // what decided
	Route  *rpdb.RouteDetail
	Hops   []rpdb.Hop // the one of them that a hash chooses; a local destination has one by "lo"
}

// flow is a question with what the kernel makes of it before it asks the rules (l3mdev_update_flow).
type flow struct {
	rpdb.Flow
	iif        int // 1 (lo) for what this host sends
	oif        int // 0 where it is a VRF device
	vrf        int // the VRF that the packet is in; 0: none
	vrfByOIF   bool
	strict     bool // IPv6: only routes by oif count (RT6_LOOKUP_F_IFACE)
	reachable  bool // IPv6: routers that do not answer are passed over (RT6_LOOKUP_F_REACHABLE)
	preferable int  // IPv6: the link whose routes score higher
}

// walker is a walk under way.
type walker struct {
	db   *rpdb.Database
	flow flow
	walk Walk
}

// Do walks the database for a packet.
func Do(db *rpdb.Database, question rpdb.Flow) Walk {
	w := walker{db: db, flow: newFlow(db, question)}
	if question.Family() == rpdb.IPv4 && w.before4() {
		return w.walk
	}
	w.rules()
	if question.Family() == rpdb.IPv4 {
		w.after4()
	}
	return w.walk
}

// newFlow is l3mdev_update_flow (net/l3mdev/l3mdev.c) and the beginning of both families' lookups.
func newFlow(db *rpdb.Database, q rpdb.Flow) flow {
	f := flow{Flow: q, iif: q.IIF, oif: q.OIF}
	if q.IIF == 0 {
		f.iif = 1 // LOOPBACK_IFINDEX
	}
	f.preferable = f.oif
	if q.IIF != 0 {
		f.preferable = q.IIF
	}
	special := q.Dst.IsMulticast() || q.Dst.IsLinkLocalUnicast() || q.Dst.IsLoopback()
	f.strict = q.Family() == rpdb.IPv6 && (special || q.IIF == 0 && q.OIF != 0 && !q.Src.IsValid())
	f.reachable = !db.Forwarding
	if l, ok := db.Link(q.OIF); ok && q.OIF != 0 {
		f.vrf = vrfOf(db, l)
		f.vrfByOIF = f.vrf != 0
		if l.VRFTable != 0 {
			f.oif, f.preferable = 0, 0
		}
	} else if l, ok := db.Link(q.IIF); ok && q.IIF > 1 {
		f.vrf = vrfOf(db, l)
	}
	return f
}

// vrfOf is the VRF device that a link is or is in, or 0.
func vrfOf(db *rpdb.Database, l rpdb.LinkDetail) int {
	if l.VRFTable != 0 {
		return l.Index
	}
	if m, ok := db.Link(l.Master); ok && l.Master != 0 && m.VRFTable != 0 {
		return m.Index
	}
	return 0
}

// maxJumps bounds the rules that are walked; the kernel's gotos only go forward, so that it ends by itself.
const maxJumps = 1 << 20

// rules is fib_rules_lookup.
func (w *walker) rules() {
	rules := w.db.Rules
	for i := 0; i < len(rules) && len(w.walk.Steps) < maxJumps; {
		next, done := w.rule(i)
		if done {
			return
		}
		i = next
	}
	w.end(Outcome{Errno: syscall.ENETUNREACH, Reason: "no rule decided: there is no route"})
}

// rule walks one rule, and says at which to go on.
func (w *walker) rule(i int) (next int, done bool) {
	r := w.db.Rules[i]
	step := Step{Rule: r}
	step.Matches, step.Why = w.matches(&r)
	defer func() { w.walk.Steps = append(w.walk.Steps, step) }()
	if len(r.Unknown) > 0 {
		w.unjudged("rule %d has selectors that this program does not know (attributes %v of linux/fib_rules.h)", r.Priority, r.Unknown)
	}
	if r.FindSource && r.Src.IsValid() && !w.flow.Src.IsValid() {
		w.unjudged("rule %d selects by the source address that is yet to be chosen (FIB_RULE_FIND_SADDR): give one with \"from\"", r.Priority)
	}
	switch {
	case !step.Matches:
	case r.Action == rpdb.ActGoto:
		if to, ok := w.target(i); ok && !r.Unresolved {
			step.Result = fmt.Sprintf("go on at %d", r.Goto)
			return to, false
		}
		step.Result = fmt.Sprintf("there is no rule %d to go to: go on with the next", r.Goto)
	case r.Action == rpdb.ActNop:
		step.Result = "nop: go on with the next"
	case r.Action == rpdb.ActLookup:
		return i + 1, w.table(&r, &step)
	default:
		w.act(&r, &step)
		return i + 1, true
	}
	return i + 1, false
}

// target is the first rule of the priority that a goto names.
func (w *walker) target(from int) (int, bool) {
	for i := from + 1; i < len(w.db.Rules); i++ {
		if w.db.Rules[i].Priority == w.db.Rules[from].Goto {
			return i, true
		}
	}
	return 0, false
}

// act ends the walk at a rule that is no lookup (fib4_rule_action, fib6_rule_action).
func (w *walker) act(r *rpdb.RuleDetail, step *Step) {
	out := Outcome{Errno: syscall.EINVAL, Reason: fmt.Sprintf("rule %d says blackhole", r.Priority)}
	switch r.Action {
	case rpdb.ActUnreachable:
		out = Outcome{Errno: syscall.ENETUNREACH, Reason: fmt.Sprintf("rule %d says unreachable", r.Priority)}
	case rpdb.ActProhibit:
		out = Outcome{Errno: syscall.EACCES, Reason: fmt.Sprintf("rule %d says prohibit", r.Priority)}
	}
	step.Result, step.Decides = "ends here: "+errnoText(out.Errno), true
	w.end(out)
}

// table asks the rule's table, and says whether that decides.
func (w *walker) table(r *rpdb.RuleDetail, step *Step) (done bool) {
	step.Table = r.Table
	if r.L3MDev {
		step.Table = rpdb.TableMain // "not l3mdev": table 0 is main (fib_get_table)
		if vrf, ok := w.db.Link(w.flow.vrf); ok && w.flow.vrf != 0 {
			step.Table = vrf.VRFTable
		}
	}
	f := w.lookup(step)
	switch {
	case f.none:
		step.Result = cmpText(f.why, "no route: go on with the next rule")
		return false
	case f.errno != 0:
		step.Result, step.Decides = "ends here: "+errnoText(f.errno), true
		w.end(Outcome{Errno: f.errno, Route: f.route, Reason: "the route is of type " + f.route.Type.String()})
		return true
	}
	why, sure := w.suppressed(r, &f)
	if why != "" {
		step.Result = "suppressed: " + why + "; go on with the next rule"
		if !sure {
			step.Result = "suppressed or not: " + why
			w.unjudged("rule %d suppresses the route or not: %s", r.Priority, why)
			w.end(Outcome{Route: f.route, Hops: f.hops, Reason: f.why})
		}
		return false
	}
	step.Result, step.Decides = "taken", true
	w.end(Outcome{Route: f.route, Hops: f.hops, Reason: f.why})
	return true
}

func (w *walker) lookup(step *Step) found {
	if w.flow.Family() == rpdb.IPv4 {
		return w.lookup4(step)
	}
	return w.lookup6(step)
}

// suppressed is fib4_rule_suppress and fib6_rule_suppress; sure is false where it hangs on the next hop that is chosen.
func (w *walker) suppressed(r *rpdb.RuleDetail, f *found) (why string, sure bool) {
	bits := f.route.Dst.Bits()
	if r.Family == rpdb.IPv6 && r.SuppressLen >= 0 && f.route.Object != 0 {
		return fmt.Sprintf("its prefix has %d bits, but IPv6 compares the prefix of the first route that was asked by its nexthop "+
			"object with %d", bits, r.SuppressLen), false
	}
	if bits <= r.SuppressLen {
		return fmt.Sprintf("its prefix has %d bits, not more than %d", bits, r.SuppressLen), true
	}
	if r.SuppressGroup < 0 {
		return "", true
	}
	hops := f.hops
	if r.Family == rpdb.IPv4 { // the first next hop, whichever is taken
		hops = f.route.Hops[:min(1, len(f.route.Hops))]
	}
	in, name := 0, ""
	for _, h := range hops {
		if l, ok := w.db.Link(h.OIF); ok && int64(l.Group) == r.SuppressGroup {
			in++
			name = l.Name
		}
	}
	if in == 0 {
		return "", true
	}
	return fmt.Sprintf("%s is in the interface group %d", rpdb.Printable(name), r.SuppressGroup), in == len(hops)
}

func (w *walker) end(o Outcome) { w.walk.Outcomes = append(w.walk.Outcomes, o) }

func (w *walker) unjudged(format string, args ...any) {
	w.walk.Unjudged = append(w.walk.Unjudged, fmt.Sprintf(format, args...))
}

func cmpText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// errnoText is an error as a program sees it, and its name.
func errnoText(e syscall.Errno) string {
	switch e {
	case syscall.ENETUNREACH:
		return "network is unreachable (ENETUNREACH)"
	case syscall.EHOSTUNREACH:
		return "no route to host (EHOSTUNREACH)"
	case syscall.EACCES:
		return "prohibited (EACCES)"
	case syscall.EINVAL:
		return "dropped without a word (EINVAL)"
	}
	return e.Error()
}
