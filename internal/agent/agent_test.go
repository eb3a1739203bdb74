package agent_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/fakekernel"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
)

// watched is a kernel that counts what it is asked, and when.
type watched struct {
	*fakekernel.Kernel
	mu    sync.Mutex
	looks []time.Time
	ops   []rpdb.Op
	blind error // what Snapshot ends with
}

// looked is how often it was asked.
func (w *watched) looked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.looks)
}

func (w *watched) Snapshot(ctx context.Context) (rpdb.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks = append(w.looks, time.Now())
	if w.blind != nil {
		return rpdb.Snapshot{}, w.blind
	}
	return w.Kernel.Snapshot(ctx)
}

func (w *watched) Apply(ctx context.Context, ops []rpdb.Op) []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, ops...)
	return w.Kernel.Apply(ctx, ops)
}

func (w *watched) asked() (looks, ops int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.looks), len(w.ops)
}

func (w *watched) setBlind(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind = err
}

// rules of ours that the kernel has.
func (w *watched) rules() []rpdb.Rule {
	s, _ := w.Kernel.Snapshot(context.Background())
	return slices.DeleteFunc(s.Rules, func(r rpdb.Rule) bool { return r.Protocol != config.DefaultProtocol })
}

// disk is a store in memory; fail makes it unwritable.
type disk struct {
	mu   sync.Mutex
	s    state.State
	fail error
}

func (d *disk) Save(s state.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		d.s = s
	}
	return d.fail
}

func (d *disk) load() state.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.s
}

// bench is an agent under test.
type bench struct {
	t      *testing.T
	kernel *watched
	disk   *disk
	logs   *observer.ObservedLogs
	agent  *agent.Agent
	stop   func()

	boottime func() time.Duration // nil: there is none
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, kernel: &watched{Kernel: fakekernel.New()}, disk: &disk{}}
	b.kernel.AddLink(rpdb.Link{Name: "eth0"})
	return b
}

func (b *bench) make() *bench {
	core, logs := observer.New(zap.InfoLevel)
	b.logs = logs
	b.agent = agent.New(agent.Options{
		Kernel: b.kernel, Store: b.disk, State: b.disk.load(), Config: config.Default(), Log: zap.New(core), Boottime: b.boottime,
	})
	return b
}

func (b *bench) start() *bench {
	b.make()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.agent.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}
	return b
}

func (b *bench) must(errs ...error) {
	b.t.Helper()
	for _, err := range errs {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// hook tells the agent of a lease on eth0.
func (b *bench) hook(ip, gateway string) error {
	i, err := b.kernel.Index("eth0")
	b.must(err)
	return b.agent.Hook(context.Background(), bind("eth0", i, ip, gateway))
}

func bind(link string, index int, ip, gateway string) lease.Event {
	a := netip.MustParseAddr(ip)
	return lease.Event{
		Verb: lease.Bind, Source: "dhclient", Interface: link, Index: index, Sole: true,
		Lease: lease.Lease{Source: "dhclient", Address: a, Bits: 24, Routers: []netip.Addr{netip.MustParseAddr(gateway)}, Lifetime: time.Hour},
	}
}

func (b *bench) wantRules(n int) {
	b.t.Helper()
	if got := b.kernel.rules(); len(got) != n {
		b.t.Errorf("%d rules of ours, want %d: %v", len(got), n, got)
	}
}

// uplinkRules is how many rules an uplink of one address has.
const uplinkRules = 7

func TestHookWaitsForTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.wantRules(uplinkRules)
		if got := b.disk.load().Leases; len(got) != 1 || !got[0].Seen {
			t.Errorf("on disk: %+v", got)
		}
	})
}

// TestPace: the first event is looked at without any wait, those that follow closely together once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		time.Sleep(time.Second)
		before, _ := b.kernel.asked()
		at := time.Now()
		for i := range 40 {
			b.must(b.kernel.Carrier("eth0", i%2 == 1))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		b.kernel.mu.Lock()
		looks := b.kernel.looks[before:]
		b.kernel.mu.Unlock()
		if len(looks) != 2 || looks[0].Sub(at) != 0 || looks[1].Sub(at) != 50*time.Millisecond {
			t.Errorf("40 events in 40 ms: %d looks, at %v", len(looks), looks)
		}
	})
}

// TestDrift: what somebody flushes is back at once; against somebody who does it again and again the repairs are bounded.
func TestDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(time.Second)
		flush := func() { b.kernel.DelRules(func(r rpdb.Rule) bool { return r.Protocol == config.DefaultProtocol }) }
		flush()
		time.Sleep(60 * time.Millisecond)
		b.wantRules(uplinkRules)
		drift := b.logs.FilterMessage("drift repaired").All()
		if len(drift) != 1 || !strings.Contains(drift[0].ContextMap()["by"].(string), "ip (pid 4711, rule)") {
			t.Errorf("logged %v", drift)
		}

		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			if len(b.kernel.rules()) > 0 {
				flush()
			}
			time.Sleep(5 * time.Millisecond)
		}
		st, err := b.agent.Status(t.Context())
		if b.must(err); st.Stats.Drift < 60 || st.Stats.Drift > 75 {
			t.Errorf("%d repairs in a minute of fighting, want about one a second", st.Stats.Drift)
		}
		time.Sleep(2 * time.Second)
		b.wantRules(uplinkRules)
	})
}

// TestRestartTouchesNothing: a new run finds everything as it should be, and no operation is done.
func TestRestartTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.must(b.kernel.Addr("eth0", "2001:db8::1/64"))
		time.Sleep(time.Second)
		b.stop()
		_, before := b.kernel.asked()
		b.start()
		defer func() { b.stop() }()
		<-b.agent.Ready()
		time.Sleep(time.Second)
		if _, after := b.kernel.asked(); after != before {
			t.Errorf("a restart did %v", b.kernel.ops[before:])
		}
	})
}

// TestSpooledBeforeRun: what the spool held counts in the very first look.
func TestSpooledBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		i, err := b.kernel.Index("eth0")
		b.must(err)
		b.make()
		b.must(b.agent.Learn(bind("eth0", i, "192.0.2.10", "192.0.2.1")), b.agent.Reconcile(t.Context()))
		b.wantRules(uplinkRules)
	})
}

// TestKernelFails: an operation that fails is tried again, later each time, and logged once; the hook is told.
func TestKernelFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.kernel.Fail(errors.New("no buffer space available"))
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		if err := b.hook("192.0.2.10", "192.0.2.1"); err == nil || !strings.Contains(err.Error(), "no buffer space") {
			t.Errorf("hook: %v", err)
		}
		time.Sleep(time.Minute)
		looks, _ := b.kernel.asked()
		if logged := b.logs.FilterMessageSnippet("not as planned").Len(); logged != 1 || looks > 20 {
			t.Errorf("in a minute: logged %d times, looked %d times", logged, looks)
		}
		st, err := b.agent.Status(t.Context())
		if b.must(err); st.Stats.LastError == "" {
			t.Error("status has no error")
		}
		b.kernel.Fail(nil)
		time.Sleep(31 * time.Second)
		b.wantRules(uplinkRules)
	})
}

// TestOneRefused: one route that the kernel refuses marks its uplink, and holds up neither READY nor the others; trying again
// is no drift, and what somebody else does meanwhile still is.
func TestOneRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.kernel.AddLink(rpdb.Link{Name: "eth1"})
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth1", "198.51.100.20/24"))
		b.kernel.Refuse(func(o rpdb.Op) error {
			if o.Route.Via == netip.MustParseAddr("192.0.2.1") {
				return errors.New("nexthop has invalid gateway")
			}
			return nil
		})
		for link, gw := range map[string]string{"eth0": "192.0.2.1", "eth1": "198.51.100.1"} {
			i, err := b.kernel.Index(link)
			b.must(err)
			r := rpdb.Route{Type: rpdb.Unicast, OIF: i, Via: netip.MustParseAddr(gw), Protocol: rpdb.ProtoDHCP}
			r.Table, r.Dst, r.Metric = rpdb.TableMain, rpdb.IPv4.Any(), uint32(i)
			b.must(b.kernel.PutRoute(r, false))
		}
		b.start()
		defer func() { b.stop() }()
		<-b.agent.Ready()
		time.Sleep(10 * time.Minute)
		st, err := b.agent.Status(t.Context())
		b.must(err)
		if st.Uplinks[0].State != "degraded" || !strings.Contains(strings.Join(st.Uplinks[0].Problems, "\n"), "invalid gateway") {
			t.Errorf("eth0 is %s: %q", st.Uplinks[0].State, st.Uplinks[0].Problems)
		}
		if st.Uplinks[1].State != "up" || st.Stats.Drift != 0 || st.Stats.LastError == "" {
			t.Errorf("eth1 is %s, %d repairs of drift, last error %q", st.Uplinks[1].State, st.Stats.Drift, st.Stats.LastError)
		}
		if n := b.logs.FilterMessageSnippet("uplink ").Len(); n != 2 {
			t.Errorf("%d lines about the state of uplinks, want one for each", n)
		}
		i, err := b.kernel.Index("eth1")
		b.must(err, b.agent.Hook(t.Context(), bind("eth1", i, "198.51.100.20", "198.51.100.1"))) // not its trouble
		if err := b.hook("192.0.2.10", "192.0.2.1"); err == nil || !strings.Contains(err.Error(), "invalid gateway") {
			t.Errorf("the hook of eth0 is told %v", err)
		}
		b.must(b.agent.Reload(t.Context(), config.Default(), nil)) // nor the configuration's
		b.kernel.DelRules(func(r rpdb.Rule) bool { return r.Protocol == config.DefaultProtocol })
		time.Sleep(time.Second)
		b.wantRules(2 * uplinkRules)
		if st, err = b.agent.Status(t.Context()); err != nil || st.Stats.Drift != 1 {
			t.Errorf("%v: %d repairs of drift, want 1", err, st.Stats.Drift)
		}
	})
}

// TestPruneIsNoDrift: what a former run left over goes at the start, and nobody is blamed for it.
func TestPruneIsNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.stop()
		b.disk.s.Tables = map[string]uint32{"eth0": 7001}
		b.start()
		defer func() { b.stop() }()
		time.Sleep(time.Second)
		if n := b.logs.FilterMessage("drift repaired").Len(); n != 0 {
			t.Errorf("drift was logged %d times", n)
		}
	})
}

// TestRetryIsNotPutOff: looks that other events cause meanwhile do not make the next try later.
func TestRetryIsNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.kernel.Fail(errors.New("no buffer space available"))
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		_ = b.hook("192.0.2.10", "192.0.2.1") // it fails, see TestKernelFails
		for i := range 20 {
			b.must(b.kernel.Carrier("eth0", i%2 == 1))
			time.Sleep(60 * time.Millisecond)
		}
		b.kernel.Fail(nil)
		time.Sleep(2 * time.Second)
		b.wantRules(uplinkRules)
	})
}

// TestBlind: while the kernel cannot be read, nothing is changed, above all nothing removed.
func TestBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.kernel.setBlind(errors.New("interrupted"))
		b.must(b.kernel.DelAddr("eth0", "192.0.2.10/24"))
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
		b.kernel.setBlind(nil)
		time.Sleep(30 * time.Second)
		b.wantRules(0)
	})
}

// TestFlushedByTheKernel: what the kernel itself flushes with a link is put back, and is nobody's fault, also when the
// first look after it could not see.
func TestFlushedByTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		flap := func() { b.must(b.kernel.Down("eth0"), b.kernel.Up("eth0")) }
		time.Sleep(time.Second)
		flap()
		time.Sleep(time.Second)
		b.kernel.setBlind(errors.New("interrupted"))
		flap()
		time.Sleep(time.Millisecond)
		b.kernel.setBlind(nil)
		time.Sleep(time.Second)
		s, _ := b.kernel.Kernel.Snapshot(t.Context())
		n := 0
		for _, r := range s.Routes {
			if r.Protocol == config.DefaultProtocol {
				n++
			}
		}
		if st, err := b.agent.Status(t.Context()); err != nil || st.Stats.Drift != 0 || n != 2 {
			t.Errorf("%v: %d routes of ours, want 2; %d repairs of drift, want none", err, n, st.Stats.Drift)
		}
	})
}

// TestNothingGoesBeforeAllIsHeard: until the spool has been read nothing is removed, and the agent is not ready.
func TestNothingGoesBeforeAllIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.stop()
		b.disk.s.Leases, b.disk.s.Held = nil, nil // the memory is lost, and the lease is in the spool once more
		heard := make(chan struct{})
		a := agent.New(agent.Options{
			Kernel: b.kernel, Store: b.disk, State: b.disk.load(), Config: config.Default(), Log: zap.NewNop(), Complete: heard,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
		select {
		case <-a.Ready():
			t.Error("ready before all is heard")
		default:
		}
		close(heard)
		<-a.Ready()
		b.wantRules(0)
		cancel()
		b.must(<-done)
	})
}

// TestDiskFails: a state that cannot be kept is logged once, and does not keep the network waiting.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.disk.fail = errors.New("no space left on device")
		b.start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(10 * time.Minute)
		b.wantRules(uplinkRules)
		if n := b.logs.FilterMessageSnippet("is not kept").Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// TestUnknownLink: a lease for a link that is not there is refused, and says so; with an index it may come first.
func TestUnknownLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		<-b.agent.Ready()
		err := b.agent.Hook(t.Context(), bind("eth\x1b9", 0, "192.0.2.10", "192.0.2.1"))
		if want := `lease of 192.0.2.10 by dhclient: there is no link "eth\x1b9"`; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		b.must(b.agent.Hook(t.Context(), bind("eth0", 0, "192.0.2.10", "192.0.2.1")), b.kernel.Addr("eth0", "192.0.2.10/24"))
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
	})
}

// TestFlood: a thousand leases of addresses that never come leave a bounded number, and the uplink that was there before.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		i, err := b.kernel.Index("eth0")
		b.must(err)
		for n := range 1000 {
			ev := bind("eth0", i, netip.AddrFrom4([4]byte{10, 1, byte(n / 256), byte(n % 256)}).String(), "10.1.255.1")
			ev.Sole = false
			b.must(b.agent.Hook(t.Context(), ev))
		}
		b.wantRules(uplinkRules)
		leases := b.disk.load().Leases
		if n := len(leases); n > 64 {
			t.Errorf("%d leases are kept", n)
		}
		if !slices.ContainsFunc(leases, func(l state.StoredLease) bool { return l.Lease.Address == netip.MustParseAddr("192.0.2.10") }) {
			t.Error("the lease that worked is not among them")
		}
	})
}

// TestLeaseRunsOut: a lease whose address never came, and whose time is over, is forgotten; one whose address is there
// is not, whatever the clock says.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.hook("192.0.2.99", "192.0.2.1"))
		time.Sleep(2 * time.Hour)
		if n := len(b.disk.load().Leases); n != 0 {
			t.Errorf("%d leases are kept", n)
		}
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(2 * time.Hour)
		b.wantRules(uplinkRules)
	})
}

// TestLinkGone: with its link a lease is forgotten: another link may get the number.
func TestLinkGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"), b.kernel.Delete("eth0"))
		time.Sleep(100 * time.Millisecond)
		b.wantRules(0)
		if s := b.disk.load(); len(s.Leases) != 0 || len(s.Held) != 0 || len(s.Tables) != 1 {
			t.Errorf("on disk: %+v", s)
		}
	})
}

// TestCancelled: a caller that gives up is not waited for, and the work is done all the same.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		time.Sleep(time.Second)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // the next look is 50 ms away
		defer cancel()
		i, err := b.kernel.Index("eth0")
		b.must(err)
		if err := b.agent.Hook(ctx, bind("eth0", i, "192.0.2.10", "192.0.2.1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
	})
}

// TestOldProtocol: a configuration with another protocol number takes over what a former run left under the old one.
func TestOldProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(time.Second)
		b.stop()
		cfg := config.Default()
		cfg.Protocol = 118
		heard := make(chan struct{})
		a := agent.New(agent.Options{
			Kernel: b.kernel, Store: b.disk, State: b.disk.load(), Config: cfg, Log: zap.NewNop(), Complete: heard,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		b.kernel.Refuse(func(o rpdb.Op) error {
			if o.Verb == rpdb.DelRule {
				return errors.New("busy")
			}
			return nil
		})
		time.Sleep(time.Second)
		if p := b.disk.load().Protocol; p != config.DefaultProtocol {
			t.Errorf("protocol %d is remembered while rules of %d are there", p, config.DefaultProtocol)
		}
		close(heard)
		<-a.Ready()
		b.wantRules(uplinkRules) // the kernel would not let them go
		b.kernel.Refuse(nil)
		time.Sleep(time.Minute)
		b.wantRules(0)
		if p := b.disk.load().Protocol; p != 118 {
			t.Errorf("protocol %d is remembered", p)
		}
		cancel()
		b.must(<-done)
		s, _ := b.kernel.Kernel.Snapshot(t.Context())
		n := 0
		for _, r := range s.Rules {
			if r.Protocol == 118 {
				n++
			}
		}
		if n != uplinkRules {
			t.Errorf("%d rules of the new protocol", n)
		}
	})
}

// TestManyLeasesOfOneClient: a client that holds several leases on a link, as dhclient -6 does, keeps them all.
func TestManyLeasesOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		i, err := b.kernel.Index("eth0")
		b.must(err)
		for _, ip := range []string{"2001:db8::1", "2001:db8::2"} {
			ev := bind("eth0", i, ip, "2001:db8::ff")
			ev.Sole = false
			b.must(b.kernel.Addr("eth0", ip+"/64"), b.agent.Hook(t.Context(), ev))
		}
		if n := len(b.disk.load().Leases); n != 2 {
			t.Errorf("%d leases are kept, want 2", n)
		}
	})
}

// TestReloadRefuses: the protocol number marks what is ours, and cannot change under way.
func TestReloadRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		cfg := config.Default()
		cfg.Protocol = 118
		if err := b.agent.Reload(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "restart uplinkd") {
			t.Errorf("got %v", err)
		}
		b.must(b.agent.Alive(t.Context()))
	})
}

// names is where table names would be published.
type names struct {
	now     map[uint32]string
	writes  int
	removed int
}

func (n *names) Write(m map[uint32]string) ([]string, error) {
	n.now, n.writes = m, n.writes+1
	return nil, nil
}

func (n *names) Remove() error {
	n.now, n.removed = nil, n.removed+1
	return nil
}

// TestNames: table names are published when they change, and removed by a flush.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		n := &names{}
		core, logs := observer.New(zap.InfoLevel)
		b.logs = logs
		b.agent = agent.New(agent.Options{Kernel: b.kernel, Store: b.disk, Names: n, Config: config.Default(), Log: zap.New(core)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.agent.Run(ctx) }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(10 * time.Minute)
		b.must(b.agent.Alive(t.Context()))
		if len(n.now) != 1 || n.now[b.disk.load().Tables["eth0"]] != "eth0" || n.writes > 2 {
			t.Errorf("published %v in %d writes", n.now, n.writes)
		}
		elsewhere := &names{}
		b.must(b.agent.Reload(t.Context(), config.Default(), elsewhere))
		if n.now != nil || len(elsewhere.now) != 1 {
			t.Errorf("after the move: published %v in the old place, %v in the new", n.now, elsewhere.now)
		}
		b.must(b.agent.Flush(t.Context()))
		b.wantRules(0)
		if elsewhere.now != nil || elsewhere.removed == 0 {
			t.Errorf("still published: %v", elsewhere.now)
		}
		b.must(b.agent.Reload(t.Context(), config.Default(), nil))
		cancel()
		b.must(<-done)
	})
}
