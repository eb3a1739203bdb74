package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// refusal is the kernel's answer to a request that it did not carry out.
type refusal struct {
	errno unix.Errno
	words string // NLMSGERR_ATTR_MSG: the kernel's own words, often empty
}

// unix.Errno is syscall.Errno, so errors.Is against either works.
func (r *refusal) Unwrap() error { return r.errno }

func (r *refusal) Error() string {
	if r.words == "" {
		return r.errno.Error()
	}
	return fmt.Sprintf("%v (%s)", r.errno, r.words)
}

// The flags of an acknowledgement (linux/netlink.h).
const (
	ackCapped = 0x100 // NLM_F_CAPPED: the request's payload is not repeated
	ackTLVs   = 0x200 // NLM_F_ACK_TLVS: attributes follow
)

// decodeAck reads NLMSG_ERROR, or an NLMSG_DONE that carries an error: nil where it says success.
func decodeAck(h header, b []byte) error {
	if len(b) < 4 {
		if h.Type == unix.NLMSG_DONE {
			return nil
		}
		return fmt.Errorf("acknowledgement: %w", errShort)
	}
	code := int32(binary.NativeEndian.Uint32(b))
	if code >= 0 {
		return nil
	}
	r := &refusal{errno: unix.Errno(-int64(code))}
	as := attributes{rest: ackAttributes(h, b)}
	for as.next() {
		if as.typ == unix.NLMSGERR_ATTR_MSG {
			r.words = as.text()
		}
	}
	return r
}

// ackAttributes are the attributes behind an acknowledgement's error number and the request that it repeats.
func ackAttributes(h header, b []byte) []byte {
	skip := uint64(4)
	if h.Type == unix.NLMSG_ERROR {
		if len(b) < 4+unix.SizeofNlMsghdr {
			return nil
		}
		skip += unix.SizeofNlMsghdr
		if h.Flags&ackCapped == 0 {
			skip = 4 + max(uint64(binary.NativeEndian.Uint32(b[4:]))+3, unix.SizeofNlMsghdr)&^3
		}
	}
	if h.Flags&ackTLVs == 0 || skip > uint64(len(b)) {
		return nil
	}
	return b[skip:]
}

// isAny says whether err is one of the errnos.
func isAny(err error, errnos ...unix.Errno) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// gone says that there was nothing to delete: the work is done already.
func gone(err error) bool {
	return isAny(err, unix.ESRCH, unix.ENOENT, unix.ENODEV, unix.EADDRNOTAVAIL)
}

// absent says that the kernel has no such family, or no rules for it (built without, or ipv6.disable=1).
func absent(err error) bool { return isAny(err, unix.EAFNOSUPPORT, unix.EOPNOTSUPP) }

// explain turns what the kernel says to a daemon that cannot work here into one line with the mend.
func explain(err error) error {
	switch {
	case isAny(err, unix.EPERM, unix.EACCES):
		return fmt.Errorf("uplinkd may not change routes: run it as root or with CAP_NET_ADMIN: %w", err)
	case absent(err):
		return fmt.Errorf("the kernel has no policy routing: it has to be built with CONFIG_IP_MULTIPLE_TABLES: %w", err)
	}
	return err
}

// opError says what was tried on what.
func opError(op rpdb.Op, name func(int) string, err error) error {
	verb, text := "", ""
	switch op.Verb {
	case rpdb.AddRoute:
		verb, text = "add route", op.Route.Text(name)
	case rpdb.ReplaceRoute:
		verb, text = "replace route", op.Route.Text(name)
	case rpdb.DelRoute:
		verb, text = "delete route", op.Route.Text(name)
	case rpdb.AddRule:
		verb, text = "add rule", op.Rule.String()
	case rpdb.DelRule:
		verb, text = "delete rule", op.Rule.String()
	case rpdb.SetSetting, rpdb.PutBack:
		verb, text = "set", op.Setting.Text(name)
	}
	return fmt.Errorf("%s \"%s\": %w", verb, text, err)
}
