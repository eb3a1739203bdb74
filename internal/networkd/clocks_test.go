package networkd

import (
	"testing"
	"time"
)

// TestAgeOfFile: a clock that was set since a lease file was written makes its lease neither end nor last for ever.
func TestAgeOfFile(t *testing.T) {
	wall := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		boot    time.Duration
		written time.Time
		want    time.Duration
	}{
		"written in this boot":                 {time.Hour, wall.Add(-10 * time.Minute), 10 * time.Minute},
		"written now":                          {time.Hour, wall, 0},
		"set back by an hour since":            {2 * time.Hour, wall.Add(50 * time.Minute), 0},
		"written in 1970, before NTP answered": {time.Minute, time.Unix(20, 0), 0},
		"the boot's clock cannot be read":      {0, wall.Add(-time.Hour), time.Hour},
	} {
		if got := (clocks{wall: wall, boot: c.boot}).age(c.written); got != c.want {
			t.Errorf("%s: %s old, want %s", name, got, c.want)
		}
	}
}

func TestClocksNow(t *testing.T) {
	if c := clocksNow(); c.boot <= 0 || time.Since(c.wall).Abs() > time.Minute {
		t.Errorf("now is %+v", c)
	}
}
