package wire

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

const (
	hostDev   = "wan0"
	routerDev = "cust0"
)

// bench is a host and a router on one cable, with an observer on the host that runs.
type bench struct {
	*Observer
	t            *testing.T
	host, router *testnet.NS
	log          *observer.ObservedLogs

	mu       sync.Mutex
	events   []lease.Event
	problems map[int]string
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, host: testnet.New(t), router: testnet.New(t)}
	testnet.Must(t, testnet.Veth(b.host, hostDev, b.router, routerDev), b.router.Addr(routerDev, "192.0.2.1/24"))
	core, logs := observer.New(zap.DebugLevel)
	b.log = logs
	cfg := Config{Intake: intake.New(b.handle, zap.New(core)), Complain: b.complain, Log: zap.New(core)}
	if change != nil {
		change(&cfg)
	}
	b.Observer = New(cfg)
	return b
}

// run runs the observer in the host's namespace, where its sockets are to be.
func (b *bench) run() *bench {
	return b.runAs(func() error { return nil }, func() error { return nil })
}

// runAs is run, with calls before and after on the observer's own thread.
func (b *bench) runAs(before, after func() error) *bench {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.host.Run(func() error {
			return errors.Join(before(), b.Run(ctx), after())
		})
	}()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	return b
}

func (b *bench) handle(_ context.Context, ev lease.Event) <-chan error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev)
	done := make(chan error)
	close(done)
	return done
}

func (b *bench) complain(_ context.Context, problems map[int]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = maps.Clone(problems)
}

// link is the host's link as the agent would tell of it.
func (b *bench) link(change func(*uplink.Observed)) uplink.Observed {
	b.t.Helper()
	index, err := b.host.Index(hostDev)
	testnet.Must(b.t, err)
	mac, err := b.host.MAC(hostDev)
	testnet.Must(b.t, err)
	o := uplink.Observed{Index: index, Name: hostDev, MAC: mac.String()}
	if change != nil {
		change(&o)
	}
	return o
}

// watch has the host's link observed, and waits until it is.
func (b *bench) watch() *bench {
	b.t.Helper()
	b.Watch([]uplink.Observed{b.link(nil)})
	select {
	case <-b.Ready():
	case <-time.After(patience):
		b.t.Fatal("never ready")
	}
	b.wantSockets(1)
	return b
}

// wantSockets waits for a number of packet sockets on the host.
func (b *bench) wantSockets(want int) {
	b.t.Helper()
	testnet.Eventually(b.t, patience, func() error {
		if n := b.sockets(); n != want {
			return fmt.Errorf("%d packet sockets, want %d", n, want)
		}
		return nil
	})
}

// sockets is how many packet sockets there are on the host, by the kernel's word.
func (b *bench) sockets() int {
	b.t.Helper()
	var text []byte
	testnet.Must(b.t, b.host.Run(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/packet")
		return err
	}))
	return strings.Count(string(text), "\n") - 1 // the heading
}

func (b *bench) serve() *lab.Server {
	b.t.Helper()
	gw := netip.MustParseAddr("192.0.2.1")
	s, err := lab.NewServer(b.router, routerDev, gw, lab.Params{
		Address: netip.MustParsePrefix("192.0.2.10/24"), Routers: []netip.Addr{gw}, DNS: []netip.Addr{gw}, Lifetime: time.Hour,
	})
	testnet.Must(b.t, err)
	b.t.Cleanup(s.Close)
	return s
}

// client is a DHCP client without any hook, which puts no route anywhere.
func (b *bench) client() *lab.Client {
	b.t.Helper()
	c, err := lab.NewClient(b.host, hostDev, lab.NoRoute)
	testnet.Must(b.t, err)
	b.t.Cleanup(c.Close)
	return c
}

// said is what the observer has told so far.
func (b *bench) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, ev := range b.events {
		out = append(out, text(ev))
	}
	return out
}

// text is an event in short.
func text(ev lease.Event) string {
	switch ev.Verb {
	case lease.Bind:
		l := ev.Lease
		return fmt.Sprintf("bind %s %s/%d by %v for %v", ev.Interface, l.Address, l.Bits, l.Gateways(), l.Lifetime)
	case lease.Remove:
		return fmt.Sprintf("remove %s %s", ev.Interface, ev.Address)
	}
	return fmt.Sprintf("%s %s %v", ev.Verb, ev.Interface, ev.Problems)
}

// eventually waits until the observer has told this, and nothing else.
func (b *bench) eventually(want ...string) {
	b.t.Helper()
	testnet.Eventually(b.t, patience, func() error {
		if got := b.said(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("told %q, want %q", got, want)
		}
		return nil
	})
}

const bound = "bind wan0 192.0.2.10/24 by [192.0.2.1] for 1h0m0s"
