package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The pace. A client's default route comes up to 80 ms after its address, and each step is worth a look.
const (
	gather    = 50 * time.Millisecond  // events this close to a look are taken together in the next
	resync    = time.Minute            // a look without any event, in case one was lost
	retryMin  = 100 * time.Millisecond // after a failure, doubling
	retryMax  = 30 * time.Second
	driftBack = time.Second // one repair of drift a second in the long run
	driftRush = 10          // and so many at once before that
	lineBack  = time.Second // one line about a problem a second in the long run
	lineRush  = 50          // and so many at once before that
)

// Kernel is what the agent needs of the kernel.
type Kernel interface {
	// Snapshot gives one consistent picture.
	Snapshot(ctx context.Context) (rpdb.Snapshot, error)
	// Apply does the operations in order and gives one result each: nil where it is done, or was done already.
	Apply(ctx context.Context, ops []rpdb.Op) []error
	// Events are hints to look again, and never about what Apply did.
	Events() <-chan rpdb.Event
}

// Store keeps what must survive a restart.
type Store interface {
	Save(s state.State) error
}

// Names publishes table names for iproute2. It returns what could not be published, a line each.
type Names interface {
	Write(names map[uint32]string) ([]string, error)
	Remove() error
}

// Options are what New needs. Names, Complete, Announce, Observe and Boottime may be nil.
type Options struct {
	Kernel Kernel
	Store  Store
	Names  Names
	State  state.State // as it was loaded
	Config config.Config
	Log    *zap.Logger
	// Complete is closed when everything that happened before the start has been heard, the spool above all. Until then
	// nothing is removed from the kernel; nil: it is so from the beginning.
	Complete <-chan struct{}
	// Announce is told of the uplinks in a line whenever their number or state changes. It must not block.
	Announce func(text string)
	// Observe is told what is to be read off which links: all of them each time, after the first look and whenever they
	// change. It must not block.
	Observe func(links []uplink.Observed)
	// Boottime is CLOCK_BOOTTIME, for the age of leases; 0: it cannot be read. nil: the wall clock has to do.
	Boottime func() time.Duration
}

// Agent owns the state of the daemon. Its exported methods may be called from any goroutine, but for Learn and Suspend.
type Agent struct {
	kernel Kernel
	store  Store
	names  Names
	log    *zap.Logger
	calls  chan call
	ready  chan struct{}

	announce func(string)
	observer func([]uplink.Observed) // nil: nobody wants to know
	complete <-chan struct{}         // nil once it has been closed
	boottime func() time.Duration

	// All below belongs to the goroutine of Run.
	cfg       config.Config
	owners    []uint8 // our protocol numbers: the configured one, and a former run's until it is replaced
	book      book
	ages      uplink.Ages
	held      []uplink.Held
	settings  []state.Setting // those of links that we wrote
	tables    map[string]uint32
	seq       uint64 // counts what is new
	unseen    uint64 // the age of what the next look sees first: clients set routes before they call their hook
	saved     state.State
	suspended bool

	snap    rpdb.Snapshot
	view    uplink.View
	desired rpdb.State
	hints   rpdb.Event
	pace    pace
	drift   *rate.Limiter
	stats   Stats
	known   map[string]bool      // problems that there are still; true: they have been logged
	lines   *rate.Limiter        // of problems: their texts hold a stranger's addresses, which may be others each time
	unsaid  int                  // the lines that it suppressed since the last
	told    map[string]time.Time // what was logged of problems and errors in the last minute, and when
	news    news
	failing map[string]bool   // errors that have been logged since the last look without any
	named   map[uint32]string // the table names that are published; nil: not known
	pruned  bool              // there was a look that could remove: from then on a difference is somebody's doing
	refused map[rpdb.Op]bool  // what the kernel refused in the last look
	unsaved bool              // the last attempt to keep the state failed
	waiting []call

	unfiltered uint64                    // packets that the reverse path filter had dropped before the first look
	observed   []uplink.Observed         // as the observer was told; nil: not yet
	complaints map[string]map[int]string // see Complain
}

// call is something for the goroutine of Run to do.
type call struct {
	do     func() error
	settle bool // the answer waits until the kernel has been changed
	link   int  // the ifindex that it is about: the answer is about no other; 0: all; noLink: what the kernel refuses is not its fault
	done   chan error
}

const noLink = -1

// New makes an agent. It does nothing until Run or Reconcile.
func New(o Options) *Agent {
	a := &Agent{
		kernel: o.Kernel, store: o.Store, names: o.Names, log: o.Log, cfg: o.Config,
		calls: make(chan call), ready: make(chan struct{}), complete: o.Complete, announce: o.Announce, observer: o.Observe,
		owners: []uint8{o.Config.Protocol},
		tables: maps.Clone(o.State.Tables), saved: o.State,
		drift: newDrift(), boottime: o.Boottime, lines: rate.NewLimiter(rate.Every(lineBack), lineRush),
		known: make(map[string]bool), failing: make(map[string]bool), told: make(map[string]time.Time), news: newNews(), complaints: make(map[string]map[int]string),
	}
	if a.announce == nil {
		a.announce = func(string) {}
	}
	if a.boottime == nil {
		a.boottime = func() time.Duration { return 0 }
	}
	if p := o.State.Protocol; p != 0 && p != o.Config.Protocol {
		a.owners = append(a.owners, p)
	}
	a.book.load(o.State.Leases)
	a.held = loadHeld(o.State.Held)
	a.settings = slices.Clone(o.State.Settings)
	a.restore(o.State)
	return a
}

// String names the task.
func (a *Agent) String() string { return "agent" }

// Ready is closed after the first look that could do all that it wanted, with nothing left over from before. What the kernel
// refused of it is in the status, and tried again.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Learn takes a lease event before Run has begun: what the spool held.
func (a *Agent) Learn(ev lease.Event) error { return a.learn(ev) }

// Suspend has the looks that follow remove all that is ours: what Flush does to a running agent. Before Run only.
func (a *Agent) Suspend() { a.suspended = true }

// Run looks at the kernel now, and again whenever something happens, until the context ends. It leaves the kernel as
// it is.
func (a *Agent) Run(ctx context.Context) error {
	a.pace.now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			a.answer(outcome{}, ctx.Err())
			return nil
		case ev, ok := <-a.kernel.Events():
			if !ok {
				return errors.New("kernel events ended")
			}
			a.hints.Merge(ev)
			a.pace.soon()
		case c := <-a.calls:
			a.take(c)
		case <-a.complete:
			a.complete = nil
			a.pace.now()
		case <-timer.C:
			a.turn(ctx)
		}
		timer.Reset(a.pace.wait())
	}
}

// take does what a call asks; one that is to settle is answered by the next turn.
func (a *Agent) take(c call) {
	err := c.do()
	if err != nil || !c.settle {
		c.done <- err
		return
	}
	a.waiting = append(a.waiting, c)
	a.pace.soon()
}

// turn looks once, decides when to look again, and answers those who waited for it.
func (a *Agent) turn(ctx context.Context) {
	a.pace.begin()
	out, err := a.look(ctx)
	switch {
	case err != nil:
		a.stats.LastError = err.Error()
		a.once(err.Error(), func() { a.log.Error("the kernel is not as planned, trying again", zap.Error(err)) })
		a.pace.retry()
	case out.postponed > 0:
		a.stats.LastError = ""
		a.pace.at(out.postponed)
	case out.changed:
		a.pace.soon() // see that it held
		fallthrough
	default:
		a.stats.LastError = ""
		clear(a.failing)
		a.pace.succeeded()
	}
	a.answer(out, err)
}

// answer tells those who waited for a look what came of it. One who asked about one link hears of no other's trouble.
func (a *Agent) answer(out outcome, err error) {
	for _, c := range a.waiting {
		if c.link != 0 && out.failed != nil {
			c.done <- out.failed[c.link]
		} else {
			c.done <- err
		}
	}
	a.waiting = nil
}

func (a *Agent) markReady() {
	select {
	case <-a.ready:
	default:
		close(a.ready)
	}
}

// Reconcile looks once and returns: for a run without a loop.
func (a *Agent) Reconcile(ctx context.Context) error {
	_, err := a.look(ctx)
	return err
}

// submit hands something to the goroutine of Run, which takes one at a time and in order. The answer comes once.
func (a *Agent) submit(ctx context.Context, settle bool, do func() error) <-chan error {
	return a.hand(ctx, call{do: do, settle: settle})
}

func (a *Agent) hand(ctx context.Context, c call) <-chan error {
	c.done = make(chan error, 1)
	select {
	case a.calls <- c:
	case <-ctx.Done():
		c.done <- ctx.Err()
	}
	return c.done
}

// await waits for an answer. When the context ends first, the work is done all the same.
func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Submit takes a lease event. The answer comes when the kernel follows it, or says what is wrong with the event.
func (a *Agent) Submit(ctx context.Context, ev lease.Event) <-chan error {
	return a.hand(ctx, call{do: func() error { return a.learn(ev) }, settle: true, link: ev.Index})
}

// Hook is Submit, and waits.
func (a *Agent) Hook(ctx context.Context, ev lease.Event) error { return await(ctx, a.Submit(ctx, ev)) }

// Reload takes another configuration, with the place for its table names, and ends a suspension. The protocol number cannot
// change while running.
func (a *Agent) Reload(ctx context.Context, cfg config.Config, names Names) error {
	return await(ctx, a.hand(ctx, call{settle: true, link: noLink, do: func() error {
		if cfg.Protocol != a.cfg.Protocol {
			return errors.New("the protocol number changed: restart uplinkd")
		}
		a.cfg, a.suspended = cfg, false
		return a.publishBy(names)
	}}))
}

// Flush removes all that is ours from the kernel and then leaves it alone until Reload.
func (a *Agent) Flush(ctx context.Context) error {
	return await(ctx, a.submit(ctx, true, func() error {
		a.suspended = true
		return nil
	}))
}

// Alive answers as soon as the goroutine of Run does: what a watchdog asks.
func (a *Agent) Alive(ctx context.Context) error {
	return await(ctx, a.submit(ctx, false, func() error { return nil }))
}
