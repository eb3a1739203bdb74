// Package wire reads the DHCPv4 messages of this host's own clients off the links where the configuration wants it, so that
// clients without any hook give a gateway too. It listens only, but for one question: see question.
package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The defaults of Config.
const (
	// DefaultAskAfter leaves time for a client's hook and for an administrator's second command.
	DefaultAskAfter = 2 * time.Second
	DefaultAskAgain = 3 * time.Second
	DefaultRetry    = time.Minute
)

// reappear is when a link that was not there is looked for again.
const reappear = time.Second

// Config is what an Observer needs.
type Config struct {
	Intake *intake.Intake // takes what the messages say
	// Complain is told what cannot be done, a line for each link by its ifindex, in place of what it was told before.
	Complain func(ctx context.Context, problems map[int]string)
	Log      *zap.Logger

	AskAfter time.Duration // from an address without a gateway to the first question
	AskAgain time.Duration // from there to the second, where there was no answer
	Retry    time.Duration // until a socket that could not be opened is tried again, if nothing changes before
}

// Observer watches links; it has the shape of a task.
type Observer struct {
	cfg   Config
	ready chan struct{}
	wake  chan struct{} // there is something new in the mailbox

	mu   sync.Mutex // the mailbox
	want []uplink.Observed
	dead []*station // their reader has ended

	// All below belongs to the goroutine of Run.
	stations map[int]*station // by ifindex
	problems map[int]string
	again    time.Time // when what failed is tried again; zero: nothing failed
	readers  sync.WaitGroup
}

// New makes an observer. It does nothing before Run.
func New(cfg Config) *Observer {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Complain == nil {
		cfg.Complain = func(context.Context, map[int]string) {}
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&cfg.AskAfter, DefaultAskAfter}, {&cfg.AskAgain, DefaultAskAgain}, {&cfg.Retry, DefaultRetry}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	return &Observer{
		cfg: cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		stations: make(map[int]*station), problems: make(map[int]string),
	}
}

// String names the task.
func (o *Observer) String() string { return "DHCP observer" }

// Ready is closed when the first links that Watch was told are observed, as far as that is possible.
func (o *Observer) Ready() <-chan struct{} { return o.ready }

// Watch says which links to observe from now on: all of them, each time. It does not block.
func (o *Observer) Watch(links []uplink.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if links == nil {
		links = []uplink.Observed{}
	}
	o.want = links
	o.rouse()
}

func (o *Observer) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// mail takes what is in the mailbox; want is nil where that is as before.
func (o *Observer) mail() (want []uplink.Observed, dead []*station) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want, dead = o.want, o.dead
	o.want, o.dead = nil, nil
	return want, dead
}

// Run observes until the context ends; that is no error.
func (o *Observer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, s := range o.stations {
			s.close()
		}
		o.readers.Wait()
	}()
	var links []uplink.Observed
	for {
		alarm := o.alarm(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		case <-alarm:
		}
		want, dead := o.mail()
		o.bury(dead)
		if want != nil {
			links = want
		}
		if want != nil || len(dead) > 0 || o.failedDue(time.Now()) {
			o.follow(ctx, links)
		}
		o.ask(time.Now())
		if want != nil {
			o.markReady()
		}
	}
}

func (o *Observer) markReady() {
	select {
	case <-o.ready:
	default:
		close(o.ready)
	}
}

// alarm is when there is something to do without anything happening; nil: never.
func (o *Observer) alarm(now time.Time) <-chan time.Time {
	next := o.again
	for _, s := range o.stations {
		if due := s.due(); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(next.Sub(now))
}

func (o *Observer) failedDue(now time.Time) bool { return !o.again.IsZero() && !now.Before(o.again) }

// bury forgets the stations whose readers have ended: their links are gone, or were for a moment.
func (o *Observer) bury(dead []*station) {
	for _, s := range dead {
		s.close()
		if o.stations[s.index] == s {
			delete(o.stations, s.index)
		}
	}
}

// follow makes the stations those of the links, and tries again what failed.
func (o *Observer) follow(ctx context.Context, links []uplink.Observed) {
	now := time.Now()
	wanted := make(map[int]bool)
	problems := make(map[int]string)
	o.again = time.Time{}
	for _, l := range links {
		wanted[l.Index] = true
		switch err := o.observe(ctx, l, now); {
		case errors.Is(err, unix.ENODEV):
			// That is no problem: who told us of the link will say that it is gone, or it comes back at once.
			o.tryAgain(now.Add(reappear))
		case err != nil:
			problems[l.Index] = problem(l, err)
			o.tryAgain(now.Add(o.cfg.Retry))
		}
	}
	for index, s := range o.stations {
		if !wanted[index] {
			s.close()
			delete(o.stations, index)
		}
	}
	if len(problems) > 0 || len(o.problems) > 0 {
		o.problems = problems
		o.cfg.Complain(ctx, problems)
	}
}

// tryAgain wants another try by then at the latest.
func (o *Observer) tryAgain(at time.Time) {
	if o.again.IsZero() || at.Before(o.again) {
		o.again = at
	}
}

// observe opens a station on a link, or tells the one that is there what is new.
func (o *Observer) observe(ctx context.Context, l uplink.Observed, now time.Time) error {
	mac, _ := canAsk(l.MAC)
	s, ok := o.stations[l.Index]
	if ok {
		if err := s.sock.follow(mac); err != nil {
			return err
		}
	} else {
		sock, err := openSocket(l.Index, mac)
		if err != nil {
			return err
		}
		s = newStation(l, sock)
		o.stations[l.Index] = s
		o.readers.Go(func() { o.read(ctx, s) })
	}
	for _, gone := range s.follow(l, now.Add(o.cfg.AskAfter)) {
		// What was said of an address that nobody leases is over with it: the next time it may be in another network.
		o.take(ctx, lease.Event{
			Verb: lease.Remove, Source: lease.SourceWire, Interface: l.Name, Index: l.Index, Reason: "address gone", Address: gone,
		})
	}
	return nil
}

// problem is the line for the status.
func problem(l uplink.Observed, err error) string {
	name := rpdb.Printable(l.Name)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Sprintf("observe_dhcp of %s needs CAP_NET_RAW: let uplinkd keep it (CapabilityBoundingSet= of its unit, "+
			"systemd.exec(5)), or set observe_dhcp = false", name)
	}
	return fmt.Sprintf("observe_dhcp of %s does not work: %v", name, err)
}

// ask sends the questions that are due.
func (o *Observer) ask(now time.Time) {
	for _, s := range o.stations {
		for _, a := range s.dueNow(now) {
			first, err := s.ask(a, now, now.Add(o.cfg.AskAgain))
			about := []zap.Field{zap.String("link", rpdb.Printable(s.link.Name)), zap.Stringer("address", a)}
			switch {
			case err != nil:
				o.cfg.Intake.Warn("cannot ask the DHCP server for a gateway", append(about, zap.Error(err))...)
			case first:
				o.cfg.Log.Info("asking the DHCP server for the gateway of an address (DHCPINFORM)", about...)
			}
		}
	}
}

// read takes what comes to a station until its socket ends.
func (o *Observer) read(ctx context.Context, s *station) {
	err := s.listen(func(ev lease.Event) { o.take(ctx, ev) })
	if ctx.Err() != nil || s.ended.Load() {
		return
	}
	if !errors.Is(err, errGone) {
		o.cfg.Intake.Warn("a DHCP observer ended, and begins anew", zap.Error(err))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = append(o.dead, s)
	o.rouse()
}

// take hands an event on. What comes of it is in the agent's own log and status.
func (o *Observer) take(ctx context.Context, ev lease.Event) {
	_ = o.cfg.Intake.Take(ctx, []lease.Event{ev}, intake.Now())
}
