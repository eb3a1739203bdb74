package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// batchSize is how many changes are sent at once. All their acknowledgements wait in the receive buffer until they are
// read, and the default one holds 256 small messages.
const batchSize = 64

// request is one message for the kernel, less its header's length, sequence number and port id.
type request struct {
	typ, flags uint16
	body       []byte
}

// requests is the socket for dumps and changes. It is not safe for concurrent use.
type requests struct {
	fd   int
	port uint32
	seq  uint32
	in   []byte
	out  []byte
}

// close makes later requests fail: the number must not come to mean another file.
func (c *requests) close() error {
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

func (c *requests) send() error {
	if err := unix.Sendto(c.fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	return nil
}

// execute sends up to batchSize changes at once and gives the kernel's answer to each.
func (c *requests) execute(rs ...request) []error {
	answers := make([]error, len(rs))
	first := c.seq + 1
	c.out = c.out[:0]
	for _, r := range rs {
		c.seq++
		c.out = appendMessage(c.out, r, unix.NLM_F_REQUEST|unix.NLM_F_ACK, c.seq)
	}
	err := c.send()
	if err == nil {
		err = c.acks(first, answers)
	}
	if err != nil {
		for i := range answers {
			if answers[i] == nil || errors.Is(answers[i], errNoAnswer) {
				answers[i] = err
			}
		}
	}
	return answers
}

// errNoAnswer marks a change whose answer has not come yet.
var errNoAnswer = errors.New("no answer from the kernel")

// acks reads the answers to the requests from sequence number first on. What belongs to earlier requests is passed over.
func (c *requests) acks(first uint32, answers []error) error {
	for i := range answers {
		answers[i] = errNoAnswer
	}
	for left := len(answers); left > 0; {
		b, _, err := receive(c.fd, c.in, 0)
		if err != nil {
			return fmt.Errorf("receive the kernel's answer: %w", err)
		}
		for {
			h, payload, rest, ok := nextMessage(b)
			if !ok {
				break
			}
			b = rest
			i := h.Seq - first
			if h.Type != unix.NLMSG_ERROR || i >= uint32(len(answers)) || !errors.Is(answers[i], errNoAnswer) {
				continue
			}
			answers[i] = decodeAck(h, payload)
			left--
		}
	}
	return nil
}

// dumped says how a dump went.
type dumped struct {
	torn  bool // NLM_F_DUMP_INTR or EINTR: the kernel itself says that it is not consistent
	parts int  // the datagrams that held it; one is a single walk under the kernel's lock
}

// dump asks for a list and hands every message to each. It reads to the end also where each fails, since the kernel
// takes no other dump before.
func (c *requests) dump(r request, each func(payload []byte) error) (dumped, error) {
	c.seq++
	c.out = appendMessage(c.out[:0], r, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, c.seq)
	if err := c.send(); err != nil {
		return dumped{}, err
	}
	var d dumped
	var failed error
	for {
		b, _, err := receive(c.fd, c.in, 0)
		if err != nil {
			return d, fmt.Errorf("receive a dump: %w", err)
		}
		done, err := c.dumpPart(b, &d, func(payload []byte) {
			if failed == nil {
				failed = each(payload)
			}
		})
		if done {
			return d, errors.Join(failed, err)
		}
	}
}

// dumpPart reads one datagram of a dump; done says that it was the last.
func (c *requests) dumpPart(b []byte, d *dumped, each func(payload []byte)) (done bool, err error) {
	some := false
	defer func() {
		if some {
			d.parts++
		}
	}()
	for {
		h, payload, rest, ok := nextMessage(b)
		if !ok {
			return false, nil
		}
		b = rest
		if h.Seq != c.seq {
			continue
		}
		d.torn = d.torn || h.Flags&unix.NLM_F_DUMP_INTR != 0
		switch h.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			err := decodeAck(h, payload)
			if isAny(err, unix.EINTR) {
				d.torn, err = true, nil
			}
			return true, err
		case unix.NLMSG_NOOP:
		default:
			some = true
			each(payload)
		}
	}
}
