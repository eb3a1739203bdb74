// Package hookwire is the message that a client's hook sends to the daemon, and the daemon's reply: a versioned,
// length-limited binary format, and the allow-list of what may go into it.
//
// It knows nothing of what the values mean. It is linked into uplink-hook, so it uses the standard library only.
package hookwire

import "errors"

// The limits. What is over a limit is never cut: a part of a list would be another list.
const (
	MaxMessage   = 64 << 10 // bytes of a whole encoded message
	MaxValue     = 4 << 10  // bytes of one value or argument
	MaxArgs      = 16       // arguments after the client's name
	MaxKeys      = 512      // environment keys, taken and refused together
	MaxKey       = 64       // bytes of a key, or of a client's name
	MaxInterface = 127      // bytes of a link's name: ALTIFNAMSIZ - 1 (linux/if.h)
	MaxText      = 1 << 10  // bytes of a reply's text
)

// AllKeys in Message.Refused says that there were more keys than MaxKeys: any key that is not in Env may have been set.
const AllKeys = "*"

// What a decoder can say of its input, for errors.Is.
var (
	ErrMalformed = errors.New("malformed message")
	ErrTooLarge  = errors.New("message over a limit")
	ErrVersion   = errors.New("unknown version of the message")
)

// Message is one call of a client's hook.
type Message struct {
	Client string            // as in Clients
	Args   []string          // what the client gave after that, at most MaxArgs
	Env    map[string]string // the allow-listed part of the environment
	// Refused names the keys ("new_routers") and arguments ("$4", counted from 1) that were there but over a limit, sorted.
	// They must not be taken for absent: an option that is too long is not an empty one.
	Refused   []string
	Interface string // the link that the call is about, by the client's word
	Index     int    // its ifindex in the hook's network namespace; 0: there is no such link
	NetNS     NetNS  // that namespace: an ifindex means another link in another one
	Stamp     Stamp
}

// Stamp says when a hook ran, and puts the hooks of one boot into an order.
type Stamp struct {
	Wall   int64    // nanoseconds since 1970, for people
	Boot   int64    // nanoseconds since the boot, suspend included (CLOCK_BOOTTIME)
	BootID [16]byte // /proc/sys/kernel/random/boot_id; zero where it could not be read
	PID    uint32   // of the hook's process: tells two of one nanosecond apart
}

// Compare orders two stamps of one boot: negative where s is older than t.
func (s Stamp) Compare(t Stamp) int {
	switch {
	case s.Boot < t.Boot:
		return -1
	case s.Boot > t.Boot:
		return 1
	case s.PID < t.PID:
		return -1
	case s.PID > t.PID:
		return 1
	}
	return 0
}

// OtherBoot says that the stamp is from another boot than the one with this id. Where one of the two is not known
// it says no: the spool lives on a tmpfs, which does not outlive a boot either.
func (s Stamp) OtherBoot(id [16]byte) bool {
	var unknown [16]byte
	return s.BootID != unknown && id != unknown && s.BootID != id
}

// ParseBootID reads the text of /proc/sys/kernel/random/boot_id (random(4)): a UUID and a newline. Anything else gives
// the zero id, unknown.
func ParseBootID(text string) (id [16]byte) {
	digits := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		var v byte
		switch {
		case c >= '0' && c <= '9':
			v = c - '0'
		case c >= 'a' && c <= 'f':
			v = c - 'a' + 10
		case c == '-' || c == '\n':
			continue
		default:
			return [16]byte{}
		}
		if digits == 32 {
			return [16]byte{}
		}
		id[digits/2] = id[digits/2]<<4 | v
		digits++
	}
	if digits != 32 {
		return [16]byte{}
	}
	return id
}

// Reply is what the daemon answers once the kernel has been changed, or will not be.
type Reply struct {
	OK   bool
	Text string // why not; at most MaxText bytes
}
