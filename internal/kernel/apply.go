package kernel

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Apply carries out operations in their order. The result at i is that of ops[i]: nil where it is done, or was done
// already. One that fails does not stop the others; the end of ctx does.
//
// What is there and not ours is never overwritten, and a delete hits what it names and nothing else.
func (k *Kernel) Apply(ctx context.Context, ops []rpdb.Op) []error {
	k.asking.Lock()
	defer k.asking.Unlock()
	a := &applier{k: k, ops: ops, results: make([]error, len(ops))}
	for i := range ops {
		if err := ctx.Err(); err != nil {
			a.flush()
			for ; i < len(ops); i++ {
				a.results[i] = opError(ops[i], k.linkName, err)
			}
			break
		}
		if err := a.add(i); err != nil {
			a.results[i] = opError(ops[i], k.linkName, err)
		}
	}
	a.flush()
	return a.results
}

// applier is one Apply under way.
type applier struct {
	k       *Kernel
	ops     []rpdb.Op
	results []error
	queue   []request
	queued  []int // the operations of queue
	rules   ruleBook
}

// add queues an operation, or carries it out at once where it needs a look first. The error is its result.
func (a *applier) add(i int) error {
	switch op := a.ops[i]; op.Verb {
	case rpdb.AddRoute:
		return a.enqueue(i, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, encodeRoute, op.Route)
	case rpdb.ReplaceRoute:
		a.flush()
		return a.replaceRoute(op.Route)
	case rpdb.DelRoute:
		return a.delRoute(i, op.Route)
	case rpdb.AddRule:
		delete(a.rules, op.Rule.Family)
		body, err := encodeRule(op.Rule)
		return a.push(i, request{unix.RTM_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_EXCL, body}, err)
	case rpdb.DelRule:
		return a.delRule(i, op.Rule)
	case rpdb.SetSetting:
		a.flush()
		return a.k.setSetting(op.Setting)
	case rpdb.PutBack:
		a.flush() // what is queued is to come before
		return a.k.putBack(op.Setting, op.Ours)
	}
	return fmt.Errorf("no such operation: %d", a.ops[i].Verb)
}

func (a *applier) enqueue(i int, typ, flags uint16, encode func(rpdb.Route) ([]byte, error), r rpdb.Route) error {
	body, err := encode(r)
	return a.push(i, request{typ, flags, body}, err)
}

func (a *applier) push(i int, r request, err error) error {
	if err != nil {
		return err
	}
	a.queue, a.queued = append(a.queue, r), append(a.queued, i)
	if len(a.queue) == batchSize {
		a.flush()
	}
	return nil
}

// flush sends what is queued and settles the answers.
func (a *applier) flush() {
	if len(a.queue) == 0 {
		return
	}
	answers := a.k.ask.execute(a.queue...)
	queued := a.queued
	a.queue, a.queued = a.queue[:0], a.queued[:0]
	for n, err := range answers {
		i := queued[n]
		if err = a.settle(a.ops[i], err); err != nil {
			a.results[i] = opError(a.ops[i], a.k.linkName, err)
		}
	}
}

// settle makes of the kernel's answer the operation's result.
func (a *applier) settle(op rpdb.Op, err error) error {
	switch {
	case err == nil:
		return nil
	case op.Verb == rpdb.DelRoute || op.Verb == rpdb.DelRule:
		if gone(err) {
			return nil
		}
	case isAny(err, unix.EEXIST) && op.Verb == rpdb.AddRoute:
		return a.routeExists(op.Route, err)
	case isAny(err, unix.EEXIST) && op.Verb == rpdb.AddRule:
		return a.ruleExists(op.Rule, err)
	}
	return err
}

// routeExists tells the route that was wanted from another at its key.
func (a *applier) routeExists(want rpdb.Route, err error) error {
	want = normalRoute(want)
	there, readErr := a.k.readRoutes(want.RouteKey)
	if readErr != nil {
		return readErr
	}
	if len(there) == 1 && there[0] == want {
		return nil
	}
	for _, r := range there {
		return fmt.Errorf("%w: %s proto %d is there", err, r.Text(a.k.linkName), r.Protocol)
	}
	return err
}

// replaceRoute changes what is at a route's key in place, unless it is somebody else's: NLM_F_REPLACE would take that
// as well. Where several routes share the key, the kernel replaces one; the others go after it.
func (a *applier) replaceRoute(want rpdb.Route) error {
	body, err := encodeRoute(want)
	if err != nil {
		return err
	}
	want = normalRoute(want)
	there, err := a.k.readRoutes(want.RouteKey)
	if err != nil {
		return err
	}
	for _, r := range there {
		if !a.k.watched.ours(r.Protocol) && r.Protocol != want.Protocol {
			return fmt.Errorf("somebody else's is there: %s proto %d: %w", r.Text(a.k.linkName), r.Protocol, unix.EEXIST)
		}
	}
	replace := request{unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_REPLACE, body}
	answer := a.k.ask.execute(replace)[0]
	if len(there) < 2 || answer != nil && !isAny(answer, unix.EEXIST) {
		return answer
	}
	if err := a.removeOthers(want); err != nil {
		return err
	}
	// A delete does not tell apart what has the same next hop and other metrics or another source, and may have taken the
	// wanted one instead of its neighbour. As many are left as should be: where it is the neighbour, it becomes the wanted.
	if there, err = a.k.readRoutes(want.RouteKey); err != nil || slices.Contains(there, want) {
		return err
	}
	return a.k.ask.execute(replace)[0]
}

// removeOthers deletes what shares a route's key and is not the route, each by its next hop.
func (a *applier) removeOthers(want rpdb.Route) error {
	there, err := a.k.readRoutes(want.RouteKey)
	if err != nil {
		return err
	}
	for _, r := range there {
		if r == want || !a.k.watched.ours(r.Protocol) {
			continue
		}
		b, err := encodeDelRoute(r)
		if err != nil {
			return err
		}
		// Its next hop is named here: nothing else tells it from the route that is to stay.
		answer := a.k.ask.execute(request{typ: unix.RTM_DELROUTE, body: appendNextHop(b, r)})[0]
		if answer != nil && !gone(answer) {
			return fmt.Errorf("remove %s beside it: %w", r.Text(a.k.linkName), answer)
		}
	}
	return nil
}

// delRoute deletes by identity and protocol. IPv4 takes metric 0 for any metric (net/ipv4/fib_semantics.c: fib_nh_match),
// and its routes go without a word when a link does: whether this one is there has to be read first, or the delete
// would take another one of ours.
func (a *applier) delRoute(i int, r rpdb.Route) error {
	if err := checkRoute(r); err != nil {
		return err
	}
	if r.Family() == rpdb.IPv4 && r.Metric == 0 {
		a.flush()
		there, err := a.k.readRoutes(normalRoute(r).RouteKey)
		if err != nil || len(there) == 0 {
			return err
		}
	}
	return a.enqueue(i, unix.RTM_DELROUTE, 0, encodeDelRoute, r)
}
