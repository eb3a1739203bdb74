package hookwire

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The frame: "uplk", the version, the kind, the length of the body in 4 bytes, the body. Numbers are big-endian, strings
// and lists have their length in 2 bytes before them. A message has exactly one encoding: keys are sorted and unique.
const (
	magic       = "uplk"
	version     = 1
	kindMessage = 'M'
	kindReply   = 'R'
	headerLen   = len(magic) + 2 + 4
)

// Encode is the message in the wire format, which is also the format of a spool file. It fails with ErrTooLarge or
// ErrMalformed where Read would refuse what it made; Collect makes only messages that it accepts.
func (m Message) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode message of %q: %w", cut(m.Client), err)
	}
	b := header(kindMessage)
	b = appendString(b, m.Client)
	b = appendString(b, m.Interface)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Index))
	b = binary.BigEndian.AppendUint64(b, m.NetNS.Dev)
	b = binary.BigEndian.AppendUint64(b, m.NetNS.Ino)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Stamp.Wall))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Stamp.Boot))
	b = append(b, m.Stamp.BootID[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Stamp.PID)
	b = appendList(b, m.Args)
	b = appendList(b, m.Refused)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Env)))
	for _, k := range sortedKeys(m.Env) {
		b = appendString(appendString(b, k), m.Env[k])
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode message of %q: %d bytes: %w", cut(m.Client), len(b), ErrTooLarge)
	}
	return seal(b), nil
}

// check says whether the message holds to the limits and to the canonical form.
func (m Message) check() error {
	switch {
	case len(m.Client) > MaxKey || !isName(m.Client):
		return fmt.Errorf("client's name: %w", ErrMalformed)
	case len(m.Interface) > MaxInterface:
		return fmt.Errorf("interface of %d bytes: %w", len(m.Interface), ErrTooLarge)
	case m.Index < 0 || m.Index > 1<<31-1:
		return fmt.Errorf("ifindex %d: %w", m.Index, ErrMalformed)
	case len(m.Args) > MaxArgs:
		return fmt.Errorf("%d arguments: %w", len(m.Args), ErrTooLarge)
	case len(m.Env)+len(m.Refused) > MaxKeys+MaxArgs+1:
		return fmt.Errorf("%d keys: %w", len(m.Env)+len(m.Refused), ErrTooLarge)
	}
	for _, a := range m.Args {
		if len(a) > MaxValue {
			return fmt.Errorf("argument of %d bytes: %w", len(a), ErrTooLarge)
		}
	}
	for i, k := range m.Refused {
		if len(k) > MaxKey || k == "" || i > 0 && m.Refused[i-1] >= k {
			return fmt.Errorf("list of refused keys: %w", ErrMalformed)
		}
	}
	for k, v := range m.Env {
		if len(k) > MaxKey || !isName(k) {
			return fmt.Errorf("key %q: %w", cut(k), ErrMalformed)
		}
		if len(v) > MaxValue {
			return fmt.Errorf("value of %s of %d bytes: %w", k, len(v), ErrTooLarge)
		}
	}
	return nil
}

// Read takes one message off r and leaves what follows. io.EOF means that nothing came at all, io.ErrUnexpectedEOF
// that it broke off.
func Read(r io.Reader) (Message, error) {
	body, err := readFrame(r, kindMessage, MaxMessage)
	if err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	m, err := decode(body)
	if err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

func decode(body []byte) (Message, error) {
	d := decoder{rest: body}
	m := Message{Client: d.string(), Interface: d.string(), Index: int(int32(d.uint32()))}
	m.NetNS.Dev, m.NetNS.Ino = d.uint64(), d.uint64()
	m.Stamp.Wall, m.Stamp.Boot = int64(d.uint64()), int64(d.uint64())
	copy(m.Stamp.BootID[:], d.take(len(m.Stamp.BootID)))
	m.Stamp.PID = d.uint32()
	m.Args, m.Refused = d.list(), d.list()
	m.Env = d.env()
	if d.bad || len(d.rest) > 0 {
		return Message{}, ErrMalformed
	}
	return m, m.check()
}

// Encode is the reply in the wire format; a text over MaxText is cut, since it is for people only.
func (r Reply) Encode() []byte {
	b := header(kindReply)
	if r.OK {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return seal(appendString(b, r.Text[:min(len(r.Text), MaxText)]))
}

// ReadReply takes one reply off r. Errors are as with Read.
func ReadReply(r io.Reader) (Reply, error) {
	body, err := readFrame(r, kindReply, headerLen+1+2+MaxText)
	if err != nil {
		return Reply{}, fmt.Errorf("read reply: %w", err)
	}
	d := decoder{rest: body}
	ok := d.take(1)
	text := d.string()
	if d.bad || len(d.rest) > 0 || ok[0] > 1 {
		return Reply{}, fmt.Errorf("read reply: %w", ErrMalformed)
	}
	return Reply{OK: ok[0] == 1, Text: text}, nil
}

func readFrame(r io.Reader, kind byte, limit int) ([]byte, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	if string(h[:len(magic)]) != magic {
		return nil, fmt.Errorf("header: %w", ErrMalformed)
	}
	if h[len(magic)] != version {
		return nil, fmt.Errorf("version %d: %w", h[len(magic)], ErrVersion)
	}
	if h[len(magic)+1] != kind {
		return nil, fmt.Errorf("kind %#x: %w", h[len(magic)+1], ErrMalformed)
	}
	n := binary.BigEndian.Uint32(h[len(magic)+2:])
	if int64(n)+int64(headerLen) > int64(limit) {
		return nil, fmt.Errorf("%d bytes: %w", n, ErrTooLarge)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

func header(kind byte) []byte {
	b := make([]byte, 0, 1024)
	return append(append(b, magic...), version, kind, 0, 0, 0, 0)
}

// seal writes the length of the body into the header.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[len(magic)+2:], uint32(len(b)-headerLen))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendList(b []byte, l []string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(l)))
	for _, s := range l {
		b = appendString(b, s)
	}
	return b
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// isName says whether s is a plain name: letters, digits, '_', '-' and '.', not empty.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
		if !ok {
			return false
		}
	}
	return s != ""
}

// cut keeps what comes from outside short in an error.
func cut(s string) string { return s[:min(len(s), 40)] }
