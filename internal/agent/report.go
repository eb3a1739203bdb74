package agent

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func linkField(name string) zap.Field       { return zap.String("link", rpdb.Printable(name)) }
func sourceField(ev lease.Event) zap.Field  { return zap.String("source", string(ev.Source)) }
func verbField(ev lease.Event) zap.Field    { return zap.Stringer("verb", ev.Verb) }
func problemField(p string) zap.Field       { return zap.String("problem", p) }
func uplinkField(u uplink.Uplink) zap.Field { return zap.String("uplink", u.Name) }
func addressesField(u uplink.Uplink) zap.Field {
	var as []string
	for _, a := range u.Addresses {
		as = append(as, fmt.Sprintf("%s/%d", a.Addr, a.Bits))
	}
	return zap.Strings("addresses", as)
}

func gatewaysField(u uplink.Uplink) zap.Field {
	var gs []string
	for _, g := range u.Gateways {
		gs = append(gs, gatewayText(g))
	}
	return zap.Strings("gateways", gs)
}

// delegatedField is left out where there are none, as nearly everywhere.
func delegatedField(u uplink.Uplink) zap.Field {
	if len(u.Delegated) == 0 {
		return zap.Skip()
	}
	return zap.Stringers("delegated", u.Delegated)
}

// routesField is left out where there are none, as nearly everywhere.
func routesField(u uplink.Uplink) zap.Field {
	if len(u.Routes) == 0 {
		return zap.Skip()
	}
	var rs []string
	for _, r := range u.Routes {
		rs = append(rs, r.Dst.String())
	}
	return zap.Strings("classless_routes", rs)
}

func gatewayText(g uplink.Gateway) string {
	if !g.Via.IsValid() {
		return "by " + g.Source
	}
	return fmt.Sprintf("%s by %s", g.Via, g.Source)
}

// isDrift says whether a difference is somebody else's doing: what we want is what we wanted, and neither links nor
// addresses changed, whose routes the kernel flushes by itself without a word.
func (a *Agent) isDrift(desired rpdb.State, ops []rpdb.Op, hints rpdb.Event) bool {
	fresh := slices.ContainsFunc(ops, func(o rpdb.Op) bool { return !a.refused[o] })
	return fresh && a.pruned && !hints.Links && !hints.Addresses && sameState(a.desired, desired)
}

func sameState(a, b rpdb.State) bool {
	return slices.Equal(a.Rules, b.Rules) && slices.Equal(a.Routes, b.Routes) && slices.Equal(a.Settings, b.Settings)
}

// report logs what changed since the last look, each thing once.
func (a *Agent) report(v uplink.View, hints rpdb.Event, ops []rpdb.Op, drifted bool) {
	if drifted {
		a.stats.Drift++
		a.log.Warn("drift repaired", zap.Strings("ops", sortedOps(ops)), zap.String("by", culprits(hints.By)))
	}
	if hints.Overrun {
		a.stats.Overruns++
		a.log.Info("events were lost, everything is read again")
	}
	a.reportUplinks(v.Uplinks)
	a.reportProblems(v)
}

// census is the uplinks in a line: "2 uplinks, 1 degraded".
func census(us []uplink.Uplink) string {
	count := make(map[uplink.State]int)
	for _, u := range us {
		count[u.State]++
	}
	text := fmt.Sprintf("%d uplinks", len(us))
	if len(us) == 1 {
		text = "1 uplink"
	}
	for _, s := range []uplink.State{uplink.Degraded, uplink.Down} {
		if count[s] > 0 {
			text += fmt.Sprintf(", %d %s", count[s], s)
		}
	}
	return text
}

// summary is what is worth a log line when it changes.
func summary(u uplink.Uplink) string {
	return fmt.Sprint(u.State, u.Table, u.Link.Index, u.Addresses, u.Gateways, u.Delegated, u.Routes)
}

// reportProblems logs each problem and each note when it comes up, as far as the pace lets it, and forgets it when it is gone.
func (a *Agent) reportProblems(v uplink.View) {
	now := make(map[string]bool)
	tell := func(kind, owner string, texts []string, fields ...zap.Field) {
		for _, p := range texts {
			key := owner + ": " + p
			if _, told := now[key]; !told {
				// What was nobody's, for want of an uplink on its link, is no news when there is one.
				now[key] = a.known[key] || a.known[": "+p] || a.logProblem(kind, key, append(slices.Clone(fields), problemField(p)))
			}
		}
	}
	tell("problem", "", v.Problems)
	tell("note", "", v.Notes)
	for _, u := range v.Uplinks {
		tell("problem", u.Name, u.Problems, uplinkField(u))
		tell("note", "", u.Notes, uplinkField(u)) // what two uplinks do together both have, and the log once
	}
	a.known = now
}

// logProblem says whether the pace let a problem's line pass; its key tells it apart. One that it did not is counted once, and
// has another chance with each look for as long as the problem is there. So has one that was logged a moment ago, went and came
// back: a while later, if it is there then.
func (a *Agent) logProblem(kind, key string, fields []zap.Field) bool {
	if a.justTold(key) {
		return false
	}
	if !a.lines.Allow() {
		if _, counted := a.known[key]; !counted {
			a.unsaid++
		}
		return false
	}
	a.tell(key)
	if a.unsaid > 0 {
		fields = append(fields, zap.Int("suppressed", a.unsaid))
		a.unsaid = 0
	}
	a.log.Warn(kind, fields...)
	return true
}

// once logs an error that comes back with every look only the first time, and one that comes and goes once in a while.
func (a *Agent) once(message string, log func()) {
	if !a.failing[message] && !a.justTold(message) {
		a.failing[message] = true
		a.tell(message)
		log()
	}
}

// culprits says who is likely to fight over our rules, and what to do about those that are known for it.
func culprits(by []rpdb.Culprit) string {
	if len(by) == 0 {
		return "unknown"
	}
	var out []string
	ended := false
	for _, c := range by {
		if c.Comm == "" {
			ended = true // or a socket whose port is no pid: ip(8) opens one for each delete of "rule flush"
			continue
		}
		out = append(out, c.String()+mend(c.Comm))
	}
	if ended {
		out = append(out, "a program that has ended")
	}
	return strings.Join(out, ", ")
}

// mend is what stops a program from removing what it did not add.
func mend(comm string) string {
	switch {
	case strings.HasPrefix(comm, "systemd-network"):
		return ": set ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no in networkd.conf(5)"
	case comm == "NetworkManager":
		return ": keep its own ipv4.routing-rules away from our priorities"
	case comm == "ip":
		return ": somebody ran ip(8); uplinkctl flush stops uplinkd from putting rules back"
	}
	return ""
}
