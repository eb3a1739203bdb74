// Package dhcpcd listens to dhcpcd on its control socket, where it tells what it tells its hooks, and hands that on as lease
// events. No hook need be installed.
package dhcpcd

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/dirwatch"
	"github.com/uplinkd/uplinkd/internal/intake"
)

// DefaultDir is where dhcpcd 9 and later make their sockets.
const DefaultDir = "/run/dhcpcd"

// client is dhcpcd's name in the tables of hooks: its messages hold what its hooks are given.
const client = "dhcpcd"

// readyWithin is how long the dhcpcds that run already are waited for: one that hangs must not hold up the daemon.
const readyWithin = time.Second

// settle is the age that a dhcpcd must have before it is asked for its leases. 9.4.1 ends when it is asked before it has come
// to its main loop ("main: eloop_start: Invalid argument"): measured, one asked within 5 milliseconds after it had made its
// socket died more often than not, and none after 10. What it learns while it is young it tells those who listen, which
// harms it at no age.
const settle = 10 * time.Second

// Config is what a Watcher needs.
type Config struct {
	Dir    string         // empty: DefaultDir
	Intake *intake.Intake // takes what dhcpcd says
	Log    *zap.Logger

	Link func(name string) (index int) // 0: there is no such link; nil: ask the kernel
}

// Watcher follows all dhcpcds that come and go; it has the shape of a task.
type Watcher struct {
	cfg    Config
	ready  chan struct{}
	group  sync.WaitGroup
	settle time.Duration
	retry  time.Duration // the first wait for another try of a connection
	talk   time.Duration // see talkWithin
	pace   rate.Limit    // see messagesPerSecond

	mu      sync.Mutex
	running map[string]*instance
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
		cfg.Link = linkIndex
	}
	return &Watcher{
		cfg: cfg, ready: make(chan struct{}), running: make(map[string]*instance),
		settle: settle, retry: retryMin, talk: talkWithin, pace: messagesPerSecond,
	}
}

func linkIndex(name string) int {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return l.Index
}

// String names the task.
func (w *Watcher) String() string { return "dhcpcd" }

// Ready is closed when all dhcpcds that ran at the start and are old enough to be asked have said what they have, and after
// readyWithin in any case.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Run listens to every dhcpcd until ctx ends; that is no error.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.group.Wait()
	changes := dirwatch.Start(ctx, w.cfg.Dir, unix.IN_CREATE|unix.IN_MOVED_TO, func(err error) {
		w.cfg.Log.Warn("cannot watch for dhcpcd: looking once a minute", zap.Error(err))
	})
	w.awaitHeard(ctx, w.attend(ctx))
	close(w.ready)
	for {
		select {
		case <-changes:
			w.attend(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// awaitHeard waits for the first word of each of some dhcpcds.
func (w *Watcher) awaitHeard(ctx context.Context, all []*instance) {
	limit := time.NewTimer(readyWithin)
	defer limit.Stop()
	for _, i := range all {
		select {
		case <-i.heard:
		case <-limit.C:
			w.cfg.Log.Warn("dhcpcd does not say what leases it has: going on without")
			return
		case <-ctx.Done():
			return
		}
	}
}

// attend starts to listen to the dhcpcds that are new, which it returns, and wakes those that wait for another try.
func (w *Watcher) attend(ctx context.Context) []*instance {
	names, err := list(w.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.cfg.Intake.Warn("dhcpcd's sockets cannot be used", zap.Error(err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var started []*instance
	for _, name := range names {
		if i, ok := w.running[name]; ok {
			i.wake()
			continue
		}
		if len(w.running) == MaxInstances {
			w.cfg.Intake.Warn("too many dhcpcds: not all are listened to", zap.Int("most", MaxInstances))
			break
		}
		i := newInstance(w, name)
		w.running[name] = i
		started = append(started, i)
		w.group.Go(func() { i.run(ctx) })
	}
	return started
}

// leave ends the attention to a dhcpcd whose socket is gone, and says whether it is. A socket that comes after that is
// found by attend, which waits for the lock.
func (w *Watcher) leave(i *instance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := socketOf(w.cfg.Dir, i.name); err == nil {
		return false
	}
	delete(w.running, i.name)
	return true
}

// Look asks every dhcpcd once what leases it has, for a run without a loop.
func (w *Watcher) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	names, err := list(w.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.cfg.Intake.Warn("dhcpcd's sockets cannot be used", zap.Error(err))
	}
	for _, name := range names[:min(len(names), MaxInstances)] {
		if w.settled(name).After(time.Now()) {
			continue
		}
		if err := w.dump(ctx, name, dumpCommands()[0]); err != nil {
			w.cfg.Log.Warn("dhcpcd does not say what leases it has", zap.Error(err))
		}
	}
}
