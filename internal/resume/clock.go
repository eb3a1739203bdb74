package resume

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is CLOCK_BOOTTIME, the time since the boot with all that the machine slept; 0 where it cannot be read. It is the
// clock for what has an age or a lifetime: setting the time of day does not move it, and sleeping does (clock_gettime(2)).
func Boottime() time.Duration {
	t, err := read(unix.CLOCK_BOOTTIME)
	if err != nil {
		return 0
	}
	return t
}

func read(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", clock, err)
	}
	return time.Duration(ts.Nano()), nil
}

// span is where a duration lies: it was not read at one moment, and is at least low and at most high.
type span struct{ low, high time.Duration }

// reads is how often the two clocks are read for one span: the narrowest counts, for the goroutine may be put aside in between.
const reads = 5

// slept is CLOCK_BOOTTIME - CLOCK_MONOTONIC: what the machine has slept since its boot. Nothing else moves the two apart
// (kernel/time/timekeeping.c, offs_boot).
func slept() (span, error) {
	best := span{high: 1<<63 - 1}
	for range reads {
		before, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return span{}, err
		}
		boot, err := read(unix.CLOCK_BOOTTIME)
		if err != nil {
			return span{}, err
		}
		after, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return span{}, err
		}
		if after-before < best.high-best.low {
			best = span{boot - after, boot - before}
		}
	}
	return best, nil
}

// since is by how much a value has grown for certain, from what it was to what it is; 0: it may be the same.
func (now span) since(was span) time.Duration { return max(now.low-was.high, 0) }

// narrow is where a value lies that lies in both, which overlap.
func (now span) narrow(was span) span {
	return span{max(now.low, was.low), min(now.high, was.high)}
}
