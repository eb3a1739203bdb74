package dhcpcd

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// The limits of what one dhcpcd may send.
const (
	MaxMessage = 256 << 10 // bytes of a message: old and new values of everything, and the environment dhcpcd was started with
	MaxRecords = 1024      // messages of one dump: up to 4 for each link
	MaxDump    = 8 << 20   // bytes of one dump
)

// wordSize is the size of a length: dhcpcd sends its size_t as it is, and is of the machine's own kind (control.c).
const wordSize = bits.UintSize / 8

// decoder takes a stream apart: each message is its length as a native word, then so many bytes, which are an environment
// of strings that end in NUL. A dump is the number of its messages as a word, then these.
type decoder struct{ rest []byte }

func (d *decoder) feed(b []byte) { d.rest = append(d.rest, b...) }

// word takes a number off the front; ok is false as long as it is not there whole.
func (d *decoder) word() (n uint64, ok bool) {
	n, ok = d.peek()
	if ok {
		d.rest = d.rest[wordSize:]
	}
	return n, ok
}

func (d *decoder) peek() (uint64, bool) {
	if len(d.rest) < wordSize {
		return 0, false
	}
	if wordSize == 4 {
		return uint64(binary.NativeEndian.Uint32(d.rest)), true
	}
	return binary.NativeEndian.Uint64(d.rest), true
}

// message takes the next message off the front; ok is false as long as it is not there whole. After an error nothing can be
// made of the stream any more.
func (d *decoder) message() (environ []string, ok bool, err error) {
	n, ok := d.peek()
	if !ok {
		return nil, false, nil
	}
	if n > MaxMessage {
		return nil, false, fmt.Errorf("message of %d bytes, at most %d are taken", n, MaxMessage)
	}
	if uint64(len(d.rest)-wordSize) < n {
		return nil, false, nil
	}
	body := string(d.rest[wordSize : wordSize+int(n)])
	d.rest = d.rest[wordSize+int(n):]
	return strings.FieldsFunc(body, func(r rune) bool { return r == 0 }), true, nil
}
