// Package daemon puts the parts of uplinkd together and runs them as one group of tasks.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/dhcpcd"
	"github.com/uplinkd/uplinkd/internal/hookserver"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/networkd"
	"github.com/uplinkd/uplinkd/internal/ra"
	"github.com/uplinkd/uplinkd/internal/resume"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/systemd"
	"github.com/uplinkd/uplinkd/internal/uplink"
	"github.com/uplinkd/uplinkd/internal/wire"
)

// task is a long-lived part of the daemon.
type task interface {
	// Run works until the context ends; that is no error.
	Run(ctx context.Context) error
	// Ready is closed when it works.
	Ready() <-chan struct{}
	// String names it.
	String() string
}

// Options say where the daemon lives and what it is to do.
type Options struct {
	ConfigFile string // read again at every SIGHUP
	RuntimeDir string // the sockets and the spool
	StateDir   string // what must survive a restart
	Version    string
	Looping    bool // false: a single look, for Once and Flush
}

// Daemon is everything, constructed and not yet running.
type Daemon struct {
	options  Options
	log      *zap.Logger
	lock     io.Closer
	kernel   *kernel.Kernel
	agent    *agent.Agent
	intake   *intake.Intake
	hooks    *hookserver.Server
	networkd *networkd.Watcher
	dhcpcd   *dhcpcd.Watcher
	wire     *wire.Observer
	routers  *ra.Listener
	resume   *resume.Watcher
	control  *control.Server
	notifier *systemd.Notifier
	watchdog *systemd.Watchdog
	heard    chan struct{} // closed when all that was said before the start has been taken in
}

// New opens what the daemon needs; the error says what to do about it. What it returns wants Close.
func New(o Options, cfg config.Config, log *zap.Logger) (_ *Daemon, err error) {
	d := &Daemon{options: o, log: log, heard: make(chan struct{})}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	access, err := accessOf(o.ConfigFile, cfg)
	if err != nil {
		return nil, err
	}
	store, err := state.Open(o.StateDir)
	if err != nil {
		return nil, err
	}
	if d.lock, err = state.Lock(o.StateDir); err != nil {
		return nil, err
	}
	saved, err := store.Load()
	if err != nil {
		log.Warn("state is not whole", zap.Error(err)) // what could be read is good
	}
	if d.kernel, err = kernel.Open(cfg.Protocol, log, saved.Protocol); err != nil {
		return nil, err
	}
	if err := d.kernel.Check(); err != nil {
		return nil, err
	}
	if d.notifier, err = systemd.NewNotifier(); err != nil {
		log.Warn("no watchdog", zap.Error(err))
	}
	d.agent = agent.New(agent.Options{
		Kernel: d.kernel, Store: store, Names: namesOf(cfg), State: saved, Config: cfg, Log: log,
		Complete: d.complete(), Announce: d.announce, Observe: d.observe, Boottime: resume.Boottime,
	})
	d.intake = intake.New(d.handle, log)
	d.networkd = networkd.New(networkd.Config{Intake: d.intake, Log: log})
	d.dhcpcd = dhcpcd.New(dhcpcd.Config{Intake: d.intake, Log: log})
	d.wire = wire.New(wire.Config{Intake: d.intake, Complain: d.complain("DHCP observer"), Log: log})
	d.resume = resume.New(resume.Config{Wake: d.wake, Log: log})
	d.routers = ra.New(ra.Config{Intake: d.intake, Complain: d.complain("router advertisements"), Log: log, Known: announced(saved)})
	d.hooks, err = hookserver.New(hookserver.Config{RuntimeDir: o.RuntimeDir, Intake: d.intake, Log: log, Access: access})
	if err != nil {
		return nil, err
	}
	d.control = control.NewServer(o.RuntimeDir, operator{d.agent, o.Version}, log)
	d.watchdog = systemd.NewWatchdog(d.notifier, d.agent.Alive, log)
	return d, nil
}

// announced is what routers said before this run: the kernel does not tell it again.
func announced(saved state.State) (known []ra.Known) {
	for _, l := range saved.Leases {
		if l.Lease.Source == lease.SourceRA {
			if age := resume.Boottime() - l.Boottime; l.Boottime > 0 && l.Lease.Lifetime > 0 {
				l.Lease.Lifetime = max(l.Lease.Lifetime-age, time.Second) // as much as is left of it
			}
			known = append(known, ra.Known{Link: l.Index, Lease: l.Lease})
		}
	}
	return known
}

// complete is what the agent waits for before it removes anything; a single look has nothing to wait for.
func (d *Daemon) complete() <-chan struct{} {
	if !d.options.Looping {
		return nil
	}
	return d.heard
}

// handle takes a hook's event: in a single look there is no goroutine of the agent's that could.
func (d *Daemon) handle(ctx context.Context, ev lease.Event) <-chan error {
	if d.options.Looping {
		return d.agent.Submit(ctx, ev)
	}
	done := make(chan error, 1)
	done <- d.agent.Learn(ev)
	return done
}

func (d *Daemon) announce(text string) {
	if err := d.notifier.Status(text); err != nil {
		d.log.Warn("cannot tell systemd", zap.Error(err))
	}
}

// observe passes on what the agent wants to be read off which links, to each observer its own.
func (d *Daemon) observe(links []uplink.Observed) {
	only := func(wanted func(uplink.Observed) bool) []uplink.Observed {
		return slices.DeleteFunc(slices.Clone(links), func(l uplink.Observed) bool { return !wanted(l) })
	}
	d.wire.Watch(only(func(l uplink.Observed) bool { return l.DHCP }))
	d.routers.Watch(only(func(l uplink.Observed) bool { return l.RA }))
}

// complain passes on what an observer cannot do. It fails at the daemon's end only, when nobody wants to know.
func (d *Daemon) complain(observer string) func(context.Context, map[int]string) {
	return func(ctx context.Context, problems map[int]string) { _ = d.agent.Complain(ctx, observer, problems) }
}

// wake passes on that the machine slept, or that its clock was set. It fails at the daemon's end only.
func (d *Daemon) wake(ctx context.Context, slept time.Duration) { _ = d.agent.Resumed(ctx, slept) }

// Close gives everything back, and leaves the kernel's state as it is.
func (d *Daemon) Close() {
	if d.hooks != nil {
		d.hooks.Close()
	}
	var errs []error
	if d.kernel != nil {
		errs = append(errs, d.kernel.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		d.log.Warn("close", zap.Error(err))
	}
}

// Once takes in the spool and what networkd and dhcpcd have, and looks a single time.
func (d *Daemon) Once(ctx context.Context) error {
	if err := d.hooks.Drain(ctx); err != nil {
		return err
	}
	d.networkd.Look(ctx)
	d.dhcpcd.Look(ctx)
	return d.agent.Reconcile(ctx)
}

// Flush removes all that is ours.
func (d *Daemon) Flush(ctx context.Context) error {
	d.agent.Suspend()
	return d.agent.Reconcile(ctx)
}

// Serve runs until the context ends. It leaves the kernel's state as it is.
func (d *Daemon) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	tasks := []task{d.agent, d.hooks, d.networkd, d.dhcpcd, d.wire, d.routers, d.resume, d.control, d.watchdog}
	for _, t := range tasks {
		g.Go(func() error { return named(t.String(), t.Run(ctx)) })
	}
	g.Go(func() error { return named("kernel events", d.kernel.Run(ctx)) })
	g.Go(func() error { return d.greet(ctx, tasks) })
	g.Go(func() error { return d.reload(ctx) })
	err := g.Wait()
	d.tell("stopping", d.notifier.Stopping)
	d.log.Info("stopped; rules and routes stay as they are")
	return err
}

func named(task string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", task, err)
	}
	return nil
}

// greet passes on that the spool, networkd and dhcpcd have been heard, and says READY when every task is.
func (d *Daemon) greet(ctx context.Context, tasks []task) error {
	if !await(ctx, d.hooks, d.networkd, d.dhcpcd) {
		return nil
	}
	close(d.heard)
	if !await(ctx, tasks...) {
		return nil
	}
	d.tell("ready", d.notifier.Ready)
	d.log.Info("ready", zap.String("version", d.options.Version))
	return nil
}

// await waits until tasks are ready; false: the context ended before.
func await(ctx context.Context, tasks ...task) bool {
	for _, t := range tasks {
		select {
		case <-t.Ready():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// reload takes the configuration anew at every SIGHUP. One that is not good changes nothing.
func (d *Daemon) reload(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		d.tell("reloading", d.notifier.Reloading)
		if err := d.reconfigure(ctx); err != nil {
			d.log.Error("the configuration stays as it was", zap.Error(err))
		} else {
			d.log.Info("configuration reloaded", zap.String("file", d.options.ConfigFile))
		}
		d.tell("ready", d.notifier.Ready)
	}
}

// reconfigure takes the file as it is now: all of it, or where anything in it is wrong nothing.
func (d *Daemon) reconfigure(ctx context.Context) error {
	cfg, err := config.Load(d.options.ConfigFile)
	if err != nil {
		return err
	}
	access, err := accessOf(d.options.ConfigFile, cfg)
	if err != nil {
		return err
	}
	if err := d.agent.Reload(ctx, cfg, namesOf(cfg)); err != nil {
		return err
	}
	if err := d.hooks.SetAccess(access); err != nil {
		d.log.Error("the list of who may send hook messages counts, but not all of them can connect", zap.Error(err))
	}
	return nil
}

func (d *Daemon) tell(what string, send func() error) {
	if err := send(); err != nil {
		d.log.Warn("cannot tell systemd", zap.String("what", what), zap.Error(err))
	}
}
