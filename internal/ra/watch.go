package ra

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The kernel tells of a router's announcements only where it takes advertisements itself. Elsewhere, and where the configuration
// wants it (observe_ra), one raw socket reads them off all the links that are wanted.
//
// A router repeats itself after 10 minutes at most as usual, after 30 at most at all (RFC 4861 section 6.2.1), so it is asked. The
// host's own client has waited out the random delay of section 6.3.7 and got its answer long ago; that is no help to us.
const (
	solicitations = 3               // MAX_RTR_SOLICITATIONS: of a link, for as long as it is wanted
	solicitEvery  = 4 * time.Second // RTR_SOLICITATION_INTERVAL
	// A link may come and go, and each time be asked anew: these bound the questions on all links together.
	solicitationsAtOnce = 8
	solicitationEvery   = 2 * time.Second
)

// Watch says which links' advertisements to read from now on: all of them, each time. It does not block.
func (l *Listener) Watch(links []uplink.Observed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want = append([]uplink.Observed{}, links[:min(len(links), maxLinks)]...)
	l.rouse()
}

func (l *Listener) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// watcher reads advertisements off the wire. It belongs to the goroutine of Run.
type watcher struct {
	*Listener
	readers *sync.WaitGroup
	links   []uplink.Observed
	raw     *socket // nil: not open
	end     func()  // its reader
	asked   map[int]*question
	pace    *rate.Limiter
	again   time.Time // when the socket is tried again; zero: it is open, or nobody wants it
	said    bool      // there are problems
}

// question is how often the routers of a link were asked.
type question struct {
	times int
	next  time.Time // not before
}

func newWatcher(l *Listener, readers *sync.WaitGroup) *watcher {
	return &watcher{
		Listener: l, readers: readers, asked: make(map[int]*question), pace: rate.NewLimiter(rate.Every(solicitationEvery), solicitationsAtOnce),
	}
}

// watch works until the context ends.
func (l *Listener) watch(ctx context.Context, readers *sync.WaitGroup) {
	w := newWatcher(l, readers)
	defer w.close()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-alarm(next):
		}
		w.mail()
		w.follow(ctx)
		next = w.solicit(time.Now())
		if !w.again.IsZero() && (next.IsZero() || w.again.Before(next)) {
			next = w.again
		}
	}
}

// alarm is a channel for a point of time; zero: never.
func alarm(t time.Time) <-chan time.Time {
	if t.IsZero() {
		return nil
	}
	return time.After(time.Until(t))
}

// mail takes what is in the mailbox.
func (w *watcher) mail() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended && w.raw != nil {
		w.end()
		w.raw, w.again = nil, time.Now().Add(w.cfg.Retry)
	}
	w.ended = false
	if w.want == nil {
		return
	}
	w.links, w.want, w.again = w.want, nil, time.Time{}
	heard := make(map[int]bool)
	for _, l := range w.links {
		heard[l.Index] = w.heard[l.Index]
	}
	w.heard = heard
	for index := range w.asked {
		if _, ok := heard[index]; !ok {
			delete(w.asked, index)
		}
	}
}

// follow opens the socket, or closes it, or tells it of which links it is to read.
func (w *watcher) follow(ctx context.Context) {
	if len(w.links) == 0 {
		w.close()
		w.again = time.Time{}
		w.complain(ctx, nil)
		return
	}
	if time.Now().Before(w.again) {
		return
	}
	w.again = time.Time{}
	err := w.open(ctx)
	if err == nil {
		indexes := make([]int, len(w.links))
		for i, l := range w.links {
			indexes[i] = l.Index
		}
		err = w.raw.follow(indexes)
	}
	if err != nil {
		w.again = time.Now().Add(w.cfg.Retry)
	}
	w.complain(ctx, err)
}

// open opens the socket where it is not open, and has it read.
func (w *watcher) open(ctx context.Context) error {
	if w.raw != nil {
		return nil
	}
	s, err := openRaw()
	if err != nil {
		return err
	}
	own, cancel := context.WithCancel(ctx)
	w.raw, w.end = s, cancel
	clear(w.asked)
	w.readers.Go(func() {
		err := w.read(own, s, func(buf []byte) ([]announcement, error) { return w.advertised(s, buf) })
		if own.Err() != nil {
			return
		}
		w.cfg.Intake.Warn("router advertisements are not read for the moment", zap.Error(err))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = true
		w.rouse()
	})
	return nil
}

func (w *watcher) close() {
	if w.raw != nil {
		w.end()
	}
	w.raw = nil
	clear(w.asked)
}

// advertised reads one advertisement. Of a link that is not wanted it is none.
func (l *Listener) advertised(s *socket, buf []byte) ([]announcement, error) {
	p, err := s.advertisement(buf)
	if err != nil || !l.wants(p.link) {
		return nil, err
	}
	as, err := decodeAdvertisement(p)
	if err != nil {
		err = &malformed{err}
	}
	if err == nil || len(as) > 0 {
		l.note(p.link)
	}
	return as, err
}

func (l *Listener) wants(link int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.heard[link]
	return ok
}

// note says that a router of a link has answered, or spoken by itself.
func (l *Listener) note(link int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.heard[link]; ok {
		l.heard[link] = true
	}
}

// solicit asks where that is due, and says when it is next; zero: not by itself.
func (w *watcher) solicit(now time.Time) (next time.Time) {
	for _, l := range w.links {
		if w.raw == nil || !l.Solicit {
			continue
		}
		q := w.asked[l.Index]
		if q == nil {
			q = &question{}
			w.asked[l.Index] = q
		}
		if q.times >= solicitations || w.answered(l.Index) {
			continue
		}
		if !now.Before(q.next) {
			w.ask(q, l, now)
		}
		if next.IsZero() || q.next.Before(next) {
			next = q.next
		}
	}
	return next
}

func (w *watcher) ask(q *question, l uplink.Observed, now time.Time) {
	q.next = now.Add(solicitEvery)
	if !w.pace.AllowN(now, 1) {
		return
	}
	q.times++
	if err := w.raw.solicit(l.Index, l.MAC); err != nil {
		w.cfg.Log.Debug("the routers of a link are not asked", zap.String("link", rpdb.Printable(l.Name)), zap.Error(err))
	}
}

func (w *watcher) answered(link int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard[link]
}

// complain says what cannot be done, or that there is nothing any more.
func (w *watcher) complain(ctx context.Context, err error) {
	problems := make(map[int]string)
	for _, l := range w.links {
		if err != nil {
			problems[l.Index] = problem(l, err)
		}
	}
	if len(problems) > 0 || w.said {
		w.said = len(problems) > 0
		w.cfg.Complain(ctx, problems)
	}
}

// problem is the line for the status.
func problem(l uplink.Observed, err error) string {
	name := rpdb.Printable(l.Name)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Sprintf("observe_ra of %s needs CAP_NET_RAW: let uplinkd keep it (CapabilityBoundingSet= of its unit, "+
			"systemd.exec(5)), or set observe_ra = false", name)
	}
	return fmt.Sprintf("observe_ra of %s does not work: %v", name, err)
}
