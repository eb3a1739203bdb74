// Package systemd speaks to the service manager that started the program: sd_notify(3) and the watchdog.
package systemd

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// SendFunc sends one datagram of assignments to the service manager; false: there is none to hear it.
type SendFunc func(state string) (bool, error)

// Notifier tells the service manager what the program is about. Without a service manager every method does nothing and
// returns nil. It may be used by several goroutines.
type Notifier struct {
	send     SendFunc
	interval time.Duration
}

// NewNotifier makes a notifier from the environment: $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID. The error says
// that the watchdog's variables are not well-formed; the notifier is good all the same, and without a watchdog.
func NewNotifier() (*Notifier, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		err = fmt.Errorf("read the watchdog's variables: %w", err)
	}
	return NewNotifierWith(func(state string) (bool, error) { return daemon.SdNotify(false, state) }, interval), err
}

// NewNotifierWith makes a notifier that sends by send, with a watchdog that wants to hear something within interval; 0: no
// watchdog.
func NewNotifierWith(send SendFunc, interval time.Duration) *Notifier {
	return &Notifier{send: send, interval: interval}
}

// Ready says that the start, or a reload, is over.
func (n *Notifier) Ready() error { return n.notify(daemon.SdNotifyReady) }

// Stopping says that the program is about to end.
func (n *Notifier) Stopping() error { return n.notify(daemon.SdNotifyStopping) }

// Reloading says that a reload has begun; Ready ends it. For Type=notify-reload the time of the monotonic clock goes
// along, which tells this reload's READY from an earlier one's (sd_notify(3), MONOTONIC_USEC).
func (n *Notifier) Reloading() error {
	return n.notify(daemon.SdNotifyReloading + "\n" + strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

// Status sets the line that "systemctl status" shows. Line ends and other control characters become spaces: after a line
// end a name from outside could go on with an assignment of its own.
func (n *Notifier) Status(text string) error {
	return n.notify("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
}

// Alive feeds the watchdog once.
func (n *Notifier) Alive() error { return n.notify(daemon.SdNotifyWatchdog) }

// WatchdogInterval is how long the service manager waits for the next Alive before it kills the program; 0: it does not.
func (n *Notifier) WatchdogInterval() time.Duration { return n.interval }

func (n *Notifier) notify(state string) error {
	if _, err := n.send(state); err != nil {
		first, _, _ := strings.Cut(state, "\n")
		return fmt.Errorf("tell the service manager %q: %w", first, err)
	}
	return nil
}
