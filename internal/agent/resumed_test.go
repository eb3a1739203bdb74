package agent_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// TestResumedLooksAtOnce: a resume has the kernel looked at with no event and no wait, says so once, and is counted.
func TestResumedLooksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		time.Sleep(10 * time.Second)
		before, _ := b.kernel.asked()
		begin := time.Now()
		b.must(b.agent.Resumed(t.Context(), 7*time.Hour+12*time.Minute+5*time.Second), b.agent.Resumed(t.Context(), 0))
		synctest.Wait()
		if looks, _ := b.kernel.asked(); looks == before || time.Since(begin) > 0 {
			t.Errorf("%d looks in %s", looks-before, time.Since(begin))
		}
		if b.logs.FilterMessage("resumed after 7h12m").Len() != 1 || b.logs.FilterMessage("the clock was set").Len() != 1 {
			t.Errorf("it said %v", b.logs.All())
		}
		if s, err := b.agent.Status(t.Context()); err != nil || s.Stats.Resumes != 2 {
			t.Errorf("%+v, %v", s.Stats, err)
		}
	})
}

// TestResumedWaitsForNothing: neither the pace of repairs nor that of new tries holds back what is to be done after a sleep.
func TestResumedWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
		for range 30 { // somebody uses up all repairs
			b.takeAway()
			time.Sleep(60 * time.Millisecond)
		}
		b.wantRules(0)
		b.must(b.agent.Resumed(t.Context(), time.Minute))
		synctest.Wait()
		b.wantRules(uplinkRules)
		// The same with a kernel that cannot be read: the next try would come much later.
		b.kernel.setBlind(errors.New("not now"))
		time.Sleep(10 * time.Minute)
		b.takeAway()
		b.kernel.setBlind(nil)
		b.must(b.agent.Resumed(t.Context(), time.Minute))
		synctest.Wait()
		b.wantRules(uplinkRules)
	})
}

// takeAway removes all rules of ours, as somebody else.
func (b *bench) takeAway() {
	b.kernel.DelRules(func(r rpdb.Rule) bool { return r.Protocol == config.DefaultProtocol })
}

// TestClockOfLeases: the age of a lease is that since it came by the boot's clock, also in the status and for the next daemon.
func TestClockOfLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := atomic.Int64{}
		boot.Store(int64(3 * time.Hour))
		b := newBench(t)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		b.boottime = func() time.Duration { return time.Duration(boot.Load()) }
		b.start()
		b.must(b.hook("192.0.2.10", "192.0.2.1"))
		s, err := b.agent.Status(t.Context())
		b.must(err)
		if at := s.Leases[0]; at.Boottime != 3*time.Hour || time.Since(at.Received) > time.Second {
			t.Errorf("received at %s, %s", at.Received, at.Boottime)
		}
		b.stop()
		boot.Add(int64(8 * time.Hour)) // asleep, or so says the clock since: the bubble's own has not moved
		b.start()
		defer func() { b.stop() }()
		s, err = b.agent.Status(t.Context())
		b.must(err)
		if age := time.Since(s.Leases[0].Received).Round(time.Second); len(s.Leases) != 1 || age != 8*time.Hour {
			t.Errorf("%d leases, the first %s old", len(s.Leases), age)
		}
	})
}
