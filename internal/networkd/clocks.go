package networkd

import (
	"time"

	"github.com/uplinkd/uplinkd/internal/intake"
)

// clocks is now: by the clock that file systems follow, which jumps when it is set, and by the time since the boot, sleep
// included, which does not.
type clocks struct {
	wall time.Time
	boot time.Duration
}

func clocksNow() clocks {
	at := intake.Now()
	return clocks{wall: time.Unix(0, at.Wall), boot: time.Duration(at.Boot)}
}

// age is how long ago a file of this boot was written. One from the future, or from before the boot, was written by a clock
// that has been set since: then nobody knows, and it counts as new. A host without a clock of its own boots in the past.
func (c clocks) age(written time.Time) time.Duration {
	age := c.wall.Sub(written)
	if c.boot > 0 && age > c.boot {
		return 0
	}
	return max(age, 0)
}
