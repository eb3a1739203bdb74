package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// drainLimit is how many events are read before others get their turn at the lock.
const drainLimit = 4096

// maxComm is the longest command name, less its NUL (TASK_COMM_LEN in linux/sched.h).
const maxComm = 15

// Events are hints to look again, merged into one while nobody takes it. What our own requests caused gives none.
func (k *Kernel) Events() <-chan Event { return k.hints }

// Run reads the event socket until ctx ends, and then returns nil. Nothing else ends it but Close.
func (k *Kernel) Run(ctx context.Context) error {
	if err := k.events.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read netlink events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = k.events.SetReadDeadline(time.Unix(1, 0)) }) // closed: has ended anyway
	defer stop()
	err := k.raw.Read(func(fd uintptr) bool {
		for !k.pump(int(fd)) {
			if ctx.Err() != nil {
				return true
			}
		}
		return false // empty: wait for more
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read netlink events: %w", err)
}

// drain reads what has arrived on the event socket, and gives the generation: it changes whenever somebody else did
// change something. Snapshot needs it, whether Run runs or not.
func (k *Kernel) drain() (generation uint64, err error) {
	if err := k.raw.Control(func(fd uintptr) { k.pump(int(fd)) }); err != nil {
		return 0, fmt.Errorf("read netlink events: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, nil
}

// pump reads events until there are none left (empty) or drainLimit is reached, and passes the hint on.
func (k *Kernel) pump(fd int) (empty bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var hint Event
	for range drainLimit {
		b, cut, err := receive(fd, k.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			empty = true
		case errors.Is(err, syscall.ENOBUFS):
			// Events were lost; those that fitted into the buffer can still be read.
			hint.Overrun = true
			continue
		case err != nil:
			k.log.Warn("reading netlink events failed, looking again", zap.Error(err))
			hint.Merge(anything())
			empty = true
		}
		if empty {
			break
		}
		hint.Merge(k.watched.event(b))
		if cut {
			hint.Merge(anything())
		}
	}
	k.hint(hint)
	return empty
}

// anything is the hint of an event that could not be read.
func anything() Event { return Event{Links: true, Addresses: true, Routes: true, Rules: true} }

// hint passes an event on, merged with the one that nobody took yet. Only it sends, under the lock: it never blocks.
func (k *Kernel) hint(ev Event) {
	if !ev.Links && !ev.Addresses && !ev.Routes && !ev.Rules && !ev.Overrun && !ev.Restless {
		return
	}
	k.generation++
	for i := range ev.By {
		ev.By[i].Comm = comm(ev.By[i].Port)
	}
	select {
	case old := <-k.hints:
		old.Merge(ev)
		ev = old
	default:
	}
	k.hints <- ev
}

// comm is the command name of a process, escaped, since anybody may choose his own. A port id is the process id only
// for a process's first netlink socket (net/netlink/af_netlink.c: netlink_autobind), so that it may be nobody's.
func comm(port uint32) string {
	b, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(port), 10) + "/comm")
	if err != nil {
		return ""
	}
	name := strings.TrimSuffix(string(b), "\n")
	return rpdb.Printable(name[:min(len(name), maxComm)])
}

// watched is what tells events that matter from others.
type watched struct {
	port      uint32  // of our own requests
	protocols []uint8 // that mark rules and routes as ours
	objects   objectEvents
}

// event reads a datagram of events into one hint. It does not fill in command names.
func (w *watched) event(b []byte) Event {
	var ev Event
	for {
		h, payload, rest, ok := nextMessage(b)
		if !ok {
			return ev
		}
		b = rest
		if h.Port != w.port {
			ev.Merge(w.message(h, payload))
		}
	}
}

func (w *watched) message(h header, payload []byte) Event {
	switch h.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Bridges say here what became of a port; what matters of it comes again for the link itself.
		return Event{Links: len(payload) > 0 && payload[0] != unix.AF_BRIDGE}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Event{Addresses: true}
	case unix.RTM_NEWROUTE:
		return Event{Routes: true}
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return Event{Routes: w.objects.matters(payload)}
	case unix.RTM_NEWRULE:
		return Event{Rules: true}
	case unix.RTM_DELROUTE:
		return Event{Routes: true, By: w.culprit(h, "route", len(payload) > 5 && w.ours(payload[5]))}
	case unix.RTM_DELRULE:
		r, err := decodeRule(payload)
		return Event{Rules: true, By: w.culprit(h, "rule", err == nil && w.ours(r.Protocol))}
	}
	return Event{}
}

func (w *watched) ours(protocol uint8) bool { return slices.Contains(w.protocols, protocol) }

// culprit names who deleted something of ours; port 0 is the kernel, which may.
func (w *watched) culprit(h header, what string, ours bool) []rpdb.Culprit {
	if !ours || h.Port == 0 {
		return nil
	}
	return []rpdb.Culprit{{Port: h.Port, What: what}}
}
