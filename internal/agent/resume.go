package agent

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/state"
)

// Resumed has the kernel looked at now, and nothing wait: the machine slept for so long, or with 0 its clock was set. What was
// put off before is too old to be put off further, and what anybody changed while nobody looked is not his third try.
//
// No netlink event tells of a sleep, and the timers of this process have not gone on in it: all of them follow CLOCK_MONOTONIC.
func (a *Agent) Resumed(ctx context.Context, slept time.Duration) error {
	return await(ctx, a.submit(ctx, false, func() error {
		a.stats.Resumes++
		a.drift = newDrift()
		a.pace.succeeded()
		a.pace.now()
		if slept > 0 {
			a.log.Info("resumed after "+durationText(slept), zap.Duration("slept", slept))
		} else {
			a.log.Info("the clock was set")
		}
		return nil
	}))
}

func newDrift() *rate.Limiter { return rate.NewLimiter(rate.Every(driftBack), driftRush) }

// durationText says a duration as people do: 7h12m, 3m5s, 70ms.
func durationText(d time.Duration) string {
	text := d.Round(time.Millisecond).String()
	switch {
	case d >= time.Hour:
		text = d.Round(time.Minute).String()
		return text[:len(text)-len("0s")]
	case d >= time.Second:
		text = d.Round(time.Second).String()
	case d < time.Millisecond:
		text = d.String()
	}
	return text
}

// moment is now by two clocks.
type moment struct {
	wall time.Time     // what people read; it jumps when it is set
	boot time.Duration // CLOCK_BOOTTIME: what an age is measured with; 0: cannot be read
}

func (a *Agent) now() moment { return moment{time.Now(), a.boottime()} }

// age is how long ago a lease was received. It goes on while the machine sleeps and does not care for a clock that is set:
// leases on disk are of this boot only, and so is CLOCK_BOOTTIME. One without, of an earlier version or of a host that cannot
// read that clock, is as old as the clock says that people read, and never younger than nothing.
func age(l state.StoredLease, now moment) time.Duration {
	if l.Boottime > 0 && now.boot > 0 {
		return max(now.boot-l.Boottime, 0)
	}
	return max(now.wall.Sub(l.Received), 0)
}

// received is when a lease came by the clock that people read, as it goes now.
func received(l state.StoredLease, now moment) time.Time {
	at := now.wall.Add(-age(l, now)).Round(time.Second)
	if at.Sub(l.Received.Round(0)).Abs() <= time.Second {
		return l.Received
	}
	return at
}

// told is a copy of the leases for people.
func (b *book) told(now moment) []state.StoredLease {
	out := slices.Clone(b.leases)
	for i := range out {
		out[i].Received = received(out[i], now)
	}
	return out
}
