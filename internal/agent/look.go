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
	failed    map[int]error // what the kernel refused, by the ifindex of its uplink; not nil after a whole look
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
	a.recall()
	view := a.derive()
	planned := a.plan(view)
	desired := planned.State()
	ops, conflicts := rpdb.Diff(desired, &a.snap, a.owners...)
	view.Problems = append(view.Problems, a.strangers(view.Uplinks, conflicts)...)
	if a.complete != nil {
		ops = slices.DeleteFunc(ops, func(o rpdb.Op) bool { return o.Verb.Removes() })
	}
	drifted := a.isDrift(desired, ops, hints)
	if drifted && !a.drift.Allow() {
		a.hints.Merge(hints)
		return outcome{postponed: driftBack}, nil
	}
	a.desired = desired
	a.note(ops, desired)
	a.persist()
	failed := a.carryOut(ctx, ops)
	done := len(ops) - len(failed)
	byLink := a.blame(&view, planned, ops, failed)
	a.settle(&view, ops, failed)
	a.complain(&view)
	a.report(view, hints, ops, drifted)
	a.view = view
	a.publish()
	a.observe(view)
	a.finish(len(failed) == 0)
	return outcome{changed: done > 0, failed: byLink}, errors.Join(slices.Collect(maps.Values(failed))...)
}

// finish notes that a look came to its end, and whether the kernel refused nothing.
func (a *Agent) finish(whole bool) {
	a.stats.Looks++
	a.stats.LastLook = time.Now()
	if a.complete != nil {
		return
	}
	a.pruned = true
	a.markReady()
	if whole {
		a.owners = a.owners[:1] // nothing carries a former number any more
	}
}

// derive finds the uplinks of the present snapshot and remembers what the next look needs.
func (a *Agent) derive() uplink.View {
	a.book.follow(&a.snap, a.now())
	a.forget(a.book.superseded(&a.snap))
	a.ages = a.ages.Observe(&a.snap, a.unseen)
	a.seq++
	a.unseen = a.seq
	in := uplink.Input{
		Snapshot: &a.snap, Leases: a.book.words(), Ages: a.ages, Held: a.held, Config: a.cfg, Tables: a.tables,
		CatchAlls: a.view.CatchAlls, Filtered: a.filtered(),
	}
	view := uplink.Derive(in)
	a.tables = uplink.Assign(view.Uplinks, a.tables, in)
	a.held = view.Held
	if a.suspended {
		a.held = slices.DeleteFunc(a.held, a.idle)
	}
	return view
}

// idle says that a memory is only that of a static default route that is there now. Without routes of ours in the kernel
// nothing would tell later whether that route went with its link or was deleted.
func (a *Agent) idle(h uplink.Held) bool {
	l, ok := a.snap.Link(h.Link)
	return ok && l.Up && h.Class == uplink.ClassStatic && !h.Fell
}

func (a *Agent) plan(v uplink.View) plan.Plan {
	if a.suspended {
		return plan.Plan{}
	}
	return plan.Make(v.Uplinks, v.Others, a.cfg)
}

// strangers names the routes of others that are in our tables, a line a table: they are left alone, and may mislead
// packets.
func (a *Agent) strangers(us []uplink.Uplink, conflicts []rpdb.Conflict) []string {
	tables := make(map[uint32]bool)
	for _, n := range a.tables {
		tables[n] = true
	}
	for _, u := range us {
		tables[u.Table] = true
	}
	inTheWay := make(map[rpdb.Route]bool)
	var ps []string
	for _, c := range conflicts {
		inTheWay[c.Foreign] = true
		ps = append(ps, fmt.Sprintf("route %q cannot be added: %q of protocol %d has its place",
			c.Want.Text(a.snap.LinkName), c.Foreign.Text(a.snap.LinkName), c.Foreign.Protocol))
	}
	found := make(map[uint32][]rpdb.Route)
	for _, r := range a.snap.Routes {
		if tables[r.Table] && !slices.Contains(a.owners, r.Protocol) && !inTheWay[r] {
			found[r.Table] = append(found[r.Table], r)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(found)) {
		ps = append(ps, fmt.Sprintf("table %d has routes that are not ours (%d, as %q of protocol %d): remove them, or set another table_range",
			t, len(found[t]), found[t][0].Text(a.snap.LinkName), found[t][0].Protocol))
	}
	return ps
}

// apply does the operations. It returns the errors of those that failed, by their place.
func (a *Agent) apply(ctx context.Context, ops []rpdb.Op) map[int]error {
	if len(ops) == 0 {
		return nil
	}
	failed := make(map[int]error)
	for i, err := range a.kernel.Apply(ctx, ops) {
		a.stats.Ops++
		if err != nil {
			failed[i] = err
		}
		a.log.Debug("kernel", zap.Stringer("verb", ops[i].Verb), zap.String("what", a.opText(ops[i])), zap.Error(err))
	}
	return failed
}

// blame marks the uplinks whose rules or routes the kernel refused as degraded, and says which links these are. It remembers
// what was refused, so that trying again is not taken for somebody's interference.
func (a *Agent) blame(v *uplink.View, planned plan.Plan, ops []rpdb.Op, failed map[int]error) map[int]error {
	a.refused = make(map[rpdb.Op]bool, len(failed))
	byLink := make(map[int]error)
	for _, i := range slices.Sorted(maps.Keys(failed)) {
		a.refused[ops[i]] = true
		name := planned.Owner(ops[i])
		for j := range v.Uplinks {
			if u := &v.Uplinks[j]; u.Name == name {
				u.State = uplink.Degraded
				u.Problems = append(u.Problems, failed[i].Error())
				if !ops[i].Verb.Sets() {
					byLink[u.Link.Index] = failed[i]
				}
			}
		}
	}
	return byLink
}

func (a *Agent) opText(o rpdb.Op) string {
	switch o.Verb {
	case rpdb.AddRule, rpdb.DelRule:
		return o.Rule.String()
	case rpdb.SetSetting, rpdb.PutBack:
		return o.Setting.Text(a.snap.LinkName)
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
	s.Routes = storeAges(a.ages)
	s.Settings = slices.Clone(a.settings)
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
			Index: h.Link, Interface: s.LinkName(h.Link), Address: h.Addr, Bits: h.Bits, Class: h.Class.String(), Gateway: h.Gateway, Onlink: h.Onlink,
			Source: h.Source, Fell: h.Fell, Lent: h.Lent,
		}
	}
	return out
}

func loadHeld(hs []state.Held) []uplink.Held {
	out := make([]uplink.Held, len(hs))
	for i, h := range hs {
		out[i] = uplink.Held{Link: h.Index, Addr: h.Address, Bits: h.Bits, Class: uplink.ParseClass(h.Class), Gateway: h.Gateway, Onlink: h.Onlink, Source: h.Source, Fell: h.Fell, Lent: h.Lent}
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

// publishBy changes the place where table names are published; nil: nowhere. Those in the old place go.
func (a *Agent) publishBy(names Names) error {
	old := a.names
	if names == old {
		return nil
	}
	a.names, a.named = names, nil
	if old == nil {
		return nil
	}
	return old.Remove()
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
