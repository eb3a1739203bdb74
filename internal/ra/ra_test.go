package ra

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// ears is a listener in a namespace, with a router on the other end of its cable.
type ears struct {
	t            *testing.T
	host, router *testnet.NS
	l            *Listener
	logs         *observer.ObservedLogs
	end          func()

	mu       sync.Mutex
	events   []lease.Event
	problems []map[int]string // as they were told
}

// listen has the kernel take advertisements, but make no addresses of them.
func listen(t *testing.T) *ears { return listenAs(t, "accept_ra_pinfo", func() error { return nil }) }

// listenAs is listen with something else switched off on the link, and a call before on the listener's own thread.
func listenAs(t *testing.T, off string, before func() error) *ears {
	t.Helper()
	e := &ears{t: t, host: testnet.New(t), router: testnet.New(t)}
	testnet.Must(t, testnet.Veth(e.host, "eth0", e.router, "cust"), e.host.Sysctl("net/ipv6/conf/eth0/"+off, "0"))
	core, logs := observer.New(zapcore.InfoLevel)
	e.logs = logs
	log := zap.New(core)
	e.l = New(Config{Log: log, Complain: e.complain, Retry: 10 * time.Millisecond, Intake: intake.New(func(_ context.Context, ev lease.Event) <-chan error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.events = append(e.events, ev)
		done := make(chan error)
		close(done)
		return done
	}, log)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.host.Run(func() error { return errors.Join(before(), e.l.Run(ctx), withRaw()) }) }()
	e.end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			testnet.Must(t, err)
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
	t.Cleanup(e.end)
	<-e.l.Ready()
	return e
}

func (e *ears) complain(_ context.Context, problems map[int]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.problems = append(e.problems, problems)
}

func (e *ears) heard() []lease.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]lease.Event{}, e.events...)
}

// advertisement is a router advertisement (RFC 4861 section 4.2) with one prefix.
func advertisement(prefix netip.Prefix, valid uint32) []byte {
	b := []byte{typeRA, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	b = append(b, typePrefixInfo, 4, byte(prefix.Bits()), 0xc0)
	b = binary.BigEndian.AppendUint32(b, valid)
	b = binary.BigEndian.AppendUint32(b, valid)
	b = append(b, 0, 0, 0, 0)
	a := prefix.Addr().As16()
	return append(b, a[:]...)
}

// advertise sends advertisements to all nodes of the link; the kernel fills in checksum and source.
func (e *ears) advertise(packets func(yield func([]byte) bool)) {
	e.t.Helper()
	index, err := e.router.Index("cust")
	testnet.Must(e.t, err, e.router.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(index)}
		for p := range packets {
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return fmt.Errorf("send an advertisement: %w", err)
			}
		}
		return nil
	}))
}

func one(p []byte) func(func([]byte) bool) { return func(yield func([]byte) bool) { yield(p) } }

// TestListener: what a router announces on a real link is told as a lease about the prefix, with the router.
func TestListener(t *testing.T) {
	e := listen(t)
	prefix := netip.MustParsePrefix("2001:db8:a::/64")
	e.advertise(one(advertisement(prefix, 600)))
	testnet.Eventually(t, patience, func() error {
		if n := len(e.heard()); n != 1 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	index, err := e.host.Index("eth0")
	testnet.Must(t, err)
	ev := e.heard()[0]
	l := ev.Lease
	if ev.Verb != lease.Bind || ev.Source != lease.SourceRA || ev.Interface != "eth0" || ev.Index != index || ev.Sole {
		t.Errorf("%+v", ev)
	}
	if l.Source != lease.SourceRA || l.Prefix != prefix || l.Address != prefix.Addr() || l.Bits != 64 || l.Lifetime != 600*time.Second ||
		len(l.Routers) != 1 || !l.Routers[0].IsLinkLocalUnicast() || l.Delegated {
		t.Errorf("%+v", l)
	}
}

// TestListenerUnderFlood: a flood of advertisements costs a bounded number of words and lines, the listener hears on after it,
// and ends at once.
func TestListenerUnderFlood(t *testing.T) {
	e := listen(t)
	good := netip.MustParsePrefix("2001:db8:a::/64")
	e.advertise(one(advertisement(good, 600)))
	testnet.Eventually(t, patience, func() error {
		if len(e.heard()) == 0 {
			return fmt.Errorf("nothing heard")
		}
		return nil
	})
	before := cpu(t)
	const n = 50000
	start := time.Now()
	e.advertise(func(yield func([]byte) bool) {
		for i := range n {
			b := good.Addr().As16()
			b[0], b[5], b[6], b[7] = 0x20|byte(i%2)<<1, byte(i>>16), byte(i>>8), byte(i)
			if i%5 == 0 {
				b[0] = 0xff // what is refused
			}
			if !yield(advertisement(netip.PrefixFrom(netip.AddrFrom16(b), 64), uint32(i))) {
				return
			}
		}
	})
	t.Logf("%d advertisements in %v: %v of CPU in this process, sending included, %d words, %d lines", n, time.Since(start), cpu(t)-before, len(e.heard()), e.logs.Len())
	if words := len(e.heard()); words > newcomersAtOnce+5 {
		t.Errorf("%d words", words)
	}
	if e.logs.Len() != 1 {
		t.Errorf("%d lines of what is refused", e.logs.Len())
	}
	flood := time.Now()
	testnet.Eventually(t, patience, func() error {
		e.advertise(one(advertisement(good, 600)))
		e.l.mu.Lock()
		defer e.l.mu.Unlock()
		for _, lk := range e.l.table.links {
			if p := lk.prefixes[good]; p != nil && p.heard.After(flood) {
				return nil
			}
		}
		return fmt.Errorf("the router is not heard any more")
	})
	e.end()
}

// cpu is the processor time of this process.
func cpu(t *testing.T) time.Duration {
	var u unix.Rusage
	testnet.Must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
