// Package networkd reads the lease files of systemd-networkd, which calls no hooks, and hands on what they say as lease events.
package networkd

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/dirwatch"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// DefaultDir is where networkd keeps a file for each link that has a DHCPv4 lease, named by the ifindex. There are none for
// DHCPv6 and router advertisements: of these the kernel's routes tell.
const DefaultDir = "/run/systemd/netif/leases"

// Config is what a Watcher needs.
type Config struct {
	Dir    string         // empty: DefaultDir
	Intake *intake.Intake // takes what the files say
	Log    *zap.Logger

	Link func(index int) (name string) // empty: there is no such link; nil: ask the kernel
}

// Watcher follows the lease files; it has the shape of a task.
type Watcher struct {
	cfg   Config
	ready chan struct{}
	now   func() clocks
	known map[int]known // by ifindex; belongs to the goroutine that looks
}

// known is what has been told of one file.
type known struct {
	text    string
	written time.Time
	event   lease.Event
	told    time.Duration // by the boot's clock: networkd's own timers follow it (sd_event, CLOCK_BOOTTIME)
	life    time.Duration // what networkd said, counted from its writing
}

// New makes a watcher. It does nothing until Run or Look.
func New(cfg Config) *Watcher {
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Link == nil {
		cfg.Link = linkName
	}
	return &Watcher{cfg: cfg, ready: make(chan struct{}), now: clocksNow, known: make(map[int]known)}
}

func linkName(index int) string {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	return l.Name
}

// String names the task.
func (w *Watcher) String() string { return "networkd" }

// Ready is closed when all files that were there at the start have been taken in, or cannot be read.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Run reads all files, and again whenever something happens in their directory, until ctx ends; that is no error.
//
// networkd writes a temporary file and moves it into place, or deletes it where the lease is the same as before: so a moved
// file is news, a deleted one may mean a renewal, and a created one means nothing.
func (w *Watcher) Run(ctx context.Context) error {
	changes := dirwatch.Start(ctx, w.cfg.Dir, unix.IN_MOVED_TO|unix.IN_DELETE, func(err error) {
		w.cfg.Log.Warn("cannot watch networkd's leases: looking once a minute", zap.Error(err))
	})
	w.Look(ctx)
	close(w.ready)
	for {
		select {
		case <-changes:
			w.Look(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Look reads all files once and hands on what is new. It is for one goroutine at a time.
func (w *Watcher) Look(ctx context.Context) {
	files, cut, err := list(w.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.cfg.Intake.Warn("networkd's leases cannot be used", zap.Error(err))
		return // what cannot be read has not ended
	}
	if cut {
		w.cfg.Intake.Warn("too many lease files of networkd: not all are read", zap.String("directory", w.cfg.Dir), zap.Int("most", MaxFiles))
		// What is not in a list that was cut may be there all the same.
		files = slices.AppendSeq(files, maps.Keys(w.known))
		slices.Sort(files)
		files = slices.Compact(files)
	}
	there := make(map[int]bool)
	for _, index := range files {
		f, err := read(w.cfg.Dir, index)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		there[index] = true
		if err != nil {
			w.cfg.Intake.Warn("a lease file of networkd cannot be used", zap.Int("ifindex", index), zap.Error(err))
			continue
		}
		w.see(ctx, index, f)
	}
	for index := range w.known {
		if !there[index] {
			w.end(ctx, index)
		}
	}
}

// see hands on a file's lease where it is news: another text, or written anew, or the same for so long that the client must
// have renewed it, for else networkd would have deleted the file.
func (w *Watcher) see(ctx context.Context, index int, f file) {
	name := w.cfg.Link(index)
	if name == "" {
		return // left over from a link that is gone
	}
	k, had := w.known[index]
	same := had && k.text == f.text && k.written.Equal(f.written)
	now := w.now()
	if same && (k.life <= 0 || now.boot-k.told < k.life/2) {
		return
	}
	k = known{text: f.text, written: f.written, told: now.boot, event: lease.ParseNetworkd(index, name, []byte(f.text))}
	if len(k.event.Leases) > 0 {
		l := &k.event.Leases[0]
		k.life = l.Lifetime
		if !same && l.Lifetime > 0 {
			l.Lifetime = max(l.Lifetime-now.age(f.written), afterlife)
		}
	}
	w.known[index] = k
	w.cfg.Intake.Take(ctx, []lease.Event{k.event}, intake.Now())
}

// afterlife is the lifetime of a lease whose file is gone. The agent keeps a lease that is over for as long as its address
// is on the link, and drops it when that goes.
const afterlife = time.Second

// end handles the deletion of a lease file. networkd deletes it at once when the carrier goes, 5 seconds before it takes
// away address and routes, and when it stops, with the address left where KeepConfiguration= says so. So the deletion takes
// back nothing while the address is there. But the lease must not come to life again with an old gateway when somebody
// else brings the address later: it is told once more, as one that is about to end.
func (w *Watcher) end(ctx context.Context, index int) {
	ev := w.known[index].event
	delete(w.known, index)
	if len(ev.Leases) == 0 {
		return
	}
	l := ev.Leases[0]
	l.Lifetime = afterlife
	ev.Leases, ev.Problems, ev.Reason = []lease.Lease{l}, nil, "lease file deleted"
	w.cfg.Intake.Take(ctx, []lease.Event{ev}, intake.Now())
}
