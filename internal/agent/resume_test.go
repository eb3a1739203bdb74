package agent

import (
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
)

// TestLeaseAges: a lease ends after its lifetime, whatever is done to the clock meanwhile, and asleep or awake.
func TestLeaseAges(t *testing.T) {
	wall := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	const hour = time.Hour
	for _, c := range []struct {
		name        string
		boot        time.Duration // when it was received; 0: the file of an earlier version
		now         moment
		age         time.Duration
		ended       bool // with a lifetime of an hour
		toldByClock time.Time
	}{
		{"half an hour awake", hour, moment{wall.Add(hour / 2), hour + hour/2}, hour / 2, false, wall},
		{"half of two hours asleep", hour, moment{wall.Add(2 * hour), 3 * hour}, 2 * hour, true, wall},
		{"the clock was set back by a year", hour, moment{wall.AddDate(-1, 0, 0), hour + time.Minute}, time.Minute, false,
			wall.AddDate(-1, 0, 0).Add(-time.Minute)},
		{"and it ends all the same", hour, moment{wall.AddDate(-1, 0, 0), 3 * hour}, 2 * hour, true, wall.AddDate(-1, 0, 0).Add(-2 * hour)},
		{"the clock was set forward by ten years", hour, moment{wall.AddDate(10, 0, 0), hour + time.Minute}, time.Minute, false,
			wall.AddDate(10, 0, 0).Add(-time.Minute)},
		{"adjusted by a little", hour, moment{wall.Add(hour/2 + 300*time.Millisecond), hour + hour/2}, hour / 2, false, wall},
		{"an earlier version's", 0, moment{wall.Add(2 * hour), 3 * hour}, 2 * hour, true, wall},
		{"an earlier version's, set back", 0, moment{wall.Add(-hour), 3 * hour}, 0, false, wall.Add(-hour)},
		{"a clock that cannot be read", hour, moment{wall.Add(2 * hour), 0}, 2 * hour, true, wall},
		{"from the future of another time namespace", 9 * hour, moment{wall, hour}, 0, false, wall},
	} {
		l := state.StoredLease{Received: wall, Boottime: c.boot, Lease: lease.Lease{Lifetime: hour}}
		if got := age(l, c.now); got != c.age {
			t.Errorf("%s: %s old, want %s", c.name, got, c.age)
		}
		if got := expired(l, c.now); got != c.ended {
			t.Errorf("%s: ended is %v", c.name, got)
		}
		if got := received(l, c.now); !got.Equal(c.toldByClock) {
			t.Errorf("%s: said to be received at %s, want %s", c.name, got, c.toldByClock)
		}
	}
}

// TestLeaseOutlivesAClock: what was learnt in 1970, on a host without a clock of its own, is not over because NTP answered, not
// even for a daemon that starts after that, and although nothing of its address is there yet.
func TestLeaseOutlivesAClock(t *testing.T) {
	l := stored(lease.SourceDhclient, "192.0.2.1", 1, true)
	l.Received, l.Boottime, l.Lease.Lifetime = time.Unix(20, 0), 20*time.Second, time.Hour
	s := rpdb.Snapshot{Links: []rpdb.Link{{Index: l.Index, Name: "eth0"}}}
	for name, c := range map[string]struct {
		now  moment
		left int
	}{
		"a minute later":  {moment{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 80 * time.Second}, 1},
		"two hours later": {moment{time.Unix(60, 0), 2 * time.Hour}, 0},
	} {
		var b book
		b.load([]state.StoredLease{l})
		b.follow(&s, c.now)
		if len(b.leases) != c.left {
			t.Errorf("%s: %d leases left, want %d", name, len(b.leases), c.left)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		7*time.Hour + 12*time.Minute + 9*time.Second: "7h12m",
		time.Hour:                             "1h0m",
		3*time.Minute + 4900*time.Millisecond: "3m5s",
		71234 * time.Microsecond:              "71ms",
		20 * time.Microsecond:                 "20µs",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%s is said as %s, want %s", d, got, want)
		}
	}
}
