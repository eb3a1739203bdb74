package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/plan"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// outcome is what a look came to.
type outcome struct {
	changed   bool          // the kernel was changed
	postponed time.Duration // the repair of drift waits for so long
}

// look is the straight line: snapshot, uplinks, plan, diff, kernel.
func (a *Agent) look(ctx context.Context) (outcome, error) {
	hints := a.hints
	a.hints = rpdb.Event{}
	snap, err := a.kernel.Snapshot(ctx)
	if err != nil {
		a.hints.Merge(hints)
		return outcome{}, fmt.Errorf("read the kernel's state: %w", err)
	}
	a.snap = snap
	view := a.derive()
	desired := a.plan(view).State()
	ops, conflicts := rpdb.Diff(desired, &snap, a.owners...)
	view.Problems = append(view.Problems, a.strangers(view.Uplinks, conflicts)...)
	if a.complete != nil {
		ops = slices.DeleteFunc(ops, func(o rpdb.Op) bool { return o.Verb == rpdb.DelRule || o.Verb == rpdb.DelRoute })
	}
	drifted := len(ops) > 0 && a.isDrift(desired, hints)
	if drifted && !a.drift.Allow() {
		a.hints.Merge(hints)
		return outcome{postponed: driftBack}, nil
	}
	a.report(view, hints, ops, drifted)
	a.view, a.desired = view, desired
	a.persist()
	if err := a.apply(ctx, ops); err != nil {
		return outcome{}, err
	}
	a.publish()
	a.owners = a.owners[:1]
	a.stats.Looks++
	a.stats.LastLook = time.Now()
	return outcome{changed: len(ops) > 0}, nil
}

// derive finds the uplinks of the present snapshot and remembers what the next look needs.
func (a *Agent) derive() uplink.View {
	a.book.follow(&a.snap, time.Now())
	a.ages = a.ages.Observe(&a.snap, a.unseen)
	a.seq++
	a.unseen = a.seq
	in := uplink.Input{
		Snapshot: &a.snap, Leases: a.book.words(), Ages: a.ages, Held: a.held, Config: a.cfg, Tables: a.tables,
	}
	view := uplink.Derive(in)
	a.tables = uplink.Assign(view.Uplinks, a.tables, in)
	a.held = view.Held
	return view
}

func (a *Agent) plan(v uplink.View) plan.Plan {
	if a.suspended {
		return plan.Plan{}
	}
	return plan.Make(v.Uplinks, a.cfg)
}

// strangers names the routes of others that are in our tables: they are left alone, and may mislead packets.
func (a *Agent) strangers(us []uplink.Uplink, conflicts []rpdb.Conflict) []string {
	tables := make(map[uint32]bool)
	for _, n := range a.tables {
		tables[n] = true
	}
	for _, u := range us {
		tables[u.Table] = true
	}
	inTheWay := func(r rpdb.Route) bool {
		return slices.ContainsFunc(conflicts, func(c rpdb.Conflict) bool { return c.Foreign == r })
	}
	var ps []string
	for _, r := range a.snap.Routes {
		if tables[r.Table] && !slices.Contains(a.owners, r.Protocol) && !inTheWay(r) {
			ps = append(ps, fmt.Sprintf("route %q in our table is not ours (protocol %d): remove it, or set another table_range",
				r.Text(a.snap.LinkName), r.Protocol))
		}
	}
	for _, c := range conflicts {
		ps = append(ps, fmt.Sprintf("route %q cannot be added: %q of protocol %d has its place",
			c.Want.Text(a.snap.LinkName), c.Foreign.Text(a.snap.LinkName), c.Foreign.Protocol))
	}
	return ps
}

// apply does the operations and joins what failed.
func (a *Agent) apply(ctx context.Context, ops []rpdb.Op) error {
	if len(ops) == 0 {
		return nil
	}
	var errs []error
	for i, err := range a.kernel.Apply(ctx, ops) {
		a.stats.Ops++
		if err != nil {
			errs = append(errs, err)
		}
		a.log.Debug("kernel", zap.Stringer("verb", ops[i].Verb), zap.String("what", a.opText(ops[i])), zap.Error(err))
	}
	return errors.Join(errs...)
}

func (a *Agent) opText(o rpdb.Op) string {
	switch o.Verb {
	case rpdb.AddRule, rpdb.DelRule:
		return o.Rule.String()
	}
	return o.Route.Text(a.snap.LinkName)
}

// persist keeps what changed before the kernel is changed: a crash in between must not lose a number or a lease.
func (a *Agent) persist() {
	s := a.saved
	s.Protocol = a.owners[len(a.owners)-1] // the old one as long as something may carry it
	s.Tables = maps.Clone(a.tables)
	s.Leases = slices.Clone(a.book.leases)
	s.Held = storeHeld(a.held, &a.snap)
	err := a.store.Save(s)
	if err != nil && !a.unsaved {
		a.log.Error("the state is not kept: a restart now would forget leases", zap.Error(err))
	}
	a.unsaved = err != nil
	a.saved = s
}

func storeHeld(hs []uplink.Held, s *rpdb.Snapshot) []state.Held {
	out := make([]state.Held, len(hs))
	for i, h := range hs {
		out[i] = state.Held{
			Index: h.Link, Interface: s.LinkName(h.Link), Address: h.Addr, Class: h.Class.String(), Gateway: h.Gateway, Onlink: h.Onlink,
		}
	}
	return out
}

func loadHeld(hs []state.Held) []uplink.Held {
	out := make([]uplink.Held, len(hs))
	for i, h := range hs {
		out[i] = uplink.Held{Link: h.Index, Addr: h.Address, Class: uplink.ParseClass(h.Class), Gateway: h.Gateway, Onlink: h.Onlink}
	}
	return out
}

// publish gives iproute2 the names of the tables, when they change.
func (a *Agent) publish() {
	if a.names == nil {
		return
	}
	names := map[uint32]string{}
	if !a.suspended {
		names = a.tableNames()
	}
	if a.named != nil && maps.Equal(names, a.named) {
		return
	}
	a.named = names
	var problems []string
	var err error
	if a.suspended {
		err = a.names.Remove()
	} else {
		problems, err = a.names.Write(names)
	}
	if err != nil {
		problems = append(problems, err.Error())
	}
	for _, p := range problems {
		a.log.Warn("a table name is not published", problemField(p))
	}
}

// tableNames are the names of all known tables, of absent uplinks too: a number belongs to a name for good.
func (a *Agent) tableNames() map[uint32]string {
	names := make(map[uint32]string, len(a.tables))
	for name, n := range a.tables {
		names[n] = name
	}
	for _, u := range a.view.Uplinks {
		if u.Table != 0 {
			names[u.Table] = u.Name
		}
	}
	return names
}

// sortedOps counts operations by verb for a log line, in the verbs' order.
func sortedOps(ops []rpdb.Op) []string {
	count := make(map[rpdb.Verb]int)
	for _, o := range ops {
		count[o.Verb]++
	}
	var out []string
	for _, v := range slices.SortedFunc(maps.Keys(count), func(x, y rpdb.Verb) int { return cmp.Compare(x, y) }) {
		out = append(out, fmt.Sprintf("%s: %d", v, count[v]))
	}
	return out
}
