package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// said is what a source says of an address on a link.
func (b *bench) said(link string, source lease.Source, ip string) error {
	i, err := b.kernel.Index(link)
	b.must(err)
	ev := bind(link, i, ip, "10.8.0.1")
	ev.Source, ev.Lease.Source, ev.Sole = source, source, false
	return b.agent.Hook(context.Background(), ev)
}

// TestUsersQuota: on a tunnel, where an ordinary user's leases count, many of them under many names, all of an address that is there,
// take no place from root's.
func TestUsersQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const tunnels = 10
		for n := range tunnels {
			b.kernel.AddLink(rpdb.Link{Name: fmt.Sprint("tun", n), Kind: "tun"})
		}
		b.must(b.kernel.Addr("tun0", "10.8.0.2/24"))
		b.start()
		defer func() { b.stop() }()
		count := func() (root, user int) {
			for _, l := range b.disk.load().Leases {
				if l.Lease.Source.TunnelOnly() {
					user++
				} else {
					root++
				}
			}
			return root, user
		}
		for n := range 12 {
			b.must(b.said("tun1", lease.Source(fmt.Sprint("a", n)).OfUser(65534), "10.8.0.2"))
		}
		if root, user := count(); root != 0 || user != 8 {
			t.Errorf("%d leases of root's and %d of users' are left of 12 on a link with room for 8", root, user)
		}
		for n := range 60 {
			b.must(b.said("tun0", "generic", netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}).String()))
		}
		for n := range 70 {
			b.must(b.said("tun0", lease.Source(fmt.Sprint("a", n)).OfUser(65534), "10.8.0.2"))
		}
		if root, user := count(); root != 60 || user != 4+8 {
			t.Errorf("%d leases of root's and %d of users' are left of 60 and 70 on a link with room for 64, and 8 elsewhere", root, user)
		}
		for n := range tunnels {
			for m := range 9 {
				b.must(b.said(fmt.Sprint("tun", n), lease.Source(fmt.Sprint("b", m)).OfUser(65534), "10.8.0.2"))
			}
		}
		if root, user := count(); root != 60 || user != 64 {
			t.Errorf("%d leases of root's and %d of users' are left, want 60 and 64", root, user)
		}
	})
}

// TestProblemLinesArePaced: problems with ever new texts do not fill the log. What is not told is counted, and is told later where it
// lasts.
func TestProblemLinesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		lines := func() int { return b.logs.FilterMessage("problem").FilterLevelExact(zap.WarnLevel).Len() }
		for n := range 500 {
			b.must(b.replace("nm", netip.AddrFrom4([4]byte{10, 9, byte(n / 250), byte(n%250 + 1)}).String()+" 10.9.255.1"))
		}
		began := lines()
		if began < 50 || began > 100 {
			t.Errorf("%d lines of 500 problems in half a minute", began)
		}
		last := "lease of 10.9.1.250 by nm on eth0 waits: the address is not on the link"
		time.Sleep(2 * time.Minute)
		told := b.logs.FilterField(zap.String("problem", last)).All()
		if len(told) != 1 || lines() != began+1 {
			t.Fatalf("%d lines of the one that lasts, %d more in all", len(told), lines()-began)
		}
		suppressed := 0
		for _, l := range b.logs.FilterMessage("problem").All() {
			if n, ok := l.ContextMap()["suppressed"].(int64); ok {
				suppressed += int(n)
			}
		}
		if suppressed != 500-began {
			t.Errorf("%d suppressed are told of, want %d", suppressed, 500-began)
		}
	})
}
