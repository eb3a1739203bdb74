package resume

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openTimer makes a timer that never expires in practice, and that the kernel cancels when the time of day jumps: when somebody
// sets it, and at every resume from suspend (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func openTimer() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer on the time of day: %w", err)
	}
	if err := arm(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "timerfd"), nil
}

func arm(fd int) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)} // in the year 2262
	if spec.Value.Sec < 0 {                                            // 32 bits
		spec.Value.Sec, spec.Value.Nsec = math.MaxInt32, 0
	}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil); err != nil {
		return fmt.Errorf("arm a timer that is cancelled when the clock is set: %w", err)
	}
	return nil
}

// awaitJump returns nil each time that the clock jumped, and an error when the timer is of no use any more: it was closed, or
// the year is one in which it has expired.
func awaitJump(f *os.File) error {
	var count [8]byte
	_, err := f.Read(count[:])
	switch {
	case err == nil:
		return errors.New("the timer on the time of day has expired")
	case !errors.Is(err, unix.ECANCELED):
		return fmt.Errorf("wait for the clock to be set: %w", err)
	}
	return rearm(f)
}

// rearm makes sure that the next jump is told as well. The kernel keeps the timer armed (fs/timerfd.c), but promises it nowhere.
func rearm(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if ctl := c.Control(func(fd uintptr) { err = arm(int(fd)) }); ctl != nil {
		return ctl
	}
	return err
}

// watchTimer tells of every jump until the timer is closed, and then returns why it ended.
func watchTimer(f *os.File, jumped chan<- struct{}) error {
	for {
		if err := awaitJump(f); err != nil {
			return err
		}
		select {
		case jumped <- struct{}{}:
		default: // there is a word already that nobody has taken
		}
	}
}

// gone is a deadline in the past: it ends a read.
func gone() time.Time { return time.Unix(1, 0) }
