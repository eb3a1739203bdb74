package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Event is rpdb.Event, a hint to look again.
type Event = rpdb.Event

// Kernel is one network namespace's kernel. Its methods may be called from several goroutines at once.
type Kernel struct {
	log     *zap.Logger
	watched watched

	asking sync.Mutex // one request at a time: a dump beside a change of ours would lose entries
	ask    *requests

	settings settings
	events   *os.File
	raw      syscall.RawConn
	hints    chan Event // room for one; see hint

	mu         sync.Mutex // guards what follows, and reading the event socket
	buf        []byte
	generation uint64 // counts hints: somebody else changed something
}

// Open subscribes to the events of the calling thread's network namespace, and opens the socket for requests and the directory
// of the links' settings; all stay in it, whatever thread uses them. protocol is the rtnetlink protocol number that marks rules
// and routes as ours; former are numbers that did so under an earlier configuration.
func Open(protocol uint8, log *zap.Logger, former ...uint8) (*Kernel, error) {
	ask, err := openRequests()
	if err != nil {
		return nil, err
	}
	w := watched{port: ask.port, protocols: append([]uint8{protocol}, former...)}
	events, err := openEvents(eventFilter(w.port, w.protocols))
	if err != nil {
		return nil, errors.Join(err, ask.close())
	}
	raw, err := events.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("poll the netlink event socket: %w", err), events.Close(), ask.close())
	}
	return &Kernel{
		log: log, watched: w, ask: ask, settings: openSettings(), events: events, raw: raw,
		hints: make(chan Event, 1),
		buf:   make([]byte, datagram),
	}, nil
}

// Close ends Run and closes the sockets, after a Snapshot or an Apply that is under way.
func (k *Kernel) Close() error {
	k.asking.Lock()
	defer k.asking.Unlock()
	if err := errors.Join(k.events.Close(), k.ask.close(), k.settings.close()); err != nil {
		return fmt.Errorf("close the netlink sockets: %w", err)
	}
	return nil
}

// Check says, in one line with the mend, why uplinkd cannot work here: it may not change routes, or the kernel has no
// policy routing. It changes nothing.
func (k *Kernel) Check() error {
	k.asking.Lock()
	defer k.asking.Unlock()
	_, err := k.ask.dump(ruleRequest(rpdb.IPv4), func([]byte) error { return nil })
	if err != nil {
		return explain(err)
	}
	// rtnetlink asks for CAP_NET_ADMIN before it reads a request, and this one is too short to be one
	// (net/core/rtnetlink.c: rtnetlink_rcv_msg): EINVAL says that it would have been read.
	probe := request{typ: unix.RTM_DELRULE, body: []byte{byte(rpdb.IPv4)}}
	if err := k.ask.execute(probe)[0]; err != nil && !isAny(err, unix.EINVAL) {
		return explain(err)
	}
	return nil
}

// linkName is a link's name by its index, in the sockets' namespace, or "if7" where there is no such link.
func (k *Kernel) linkName(index int) string {
	name, err := k.nameOf(index)
	if err != nil {
		return fmt.Sprintf("if%d", index)
	}
	return name
}

// nameOf is a link's name by its index, in the sockets' namespace.
func (k *Kernel) nameOf(index int) (string, error) {
	req, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(k.ask.fd, unix.SIOCGIFNAME, req); err != nil {
		return "", err
	}
	return req.Name(), nil
}
