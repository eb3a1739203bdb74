package kernel

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

func TestNextMessage(t *testing.T) {
	first := appendMessage(nil, request{typ: 20, flags: 1, body: []byte{1, 2, 3}}, 4, 7) // 19 bytes and one of padding
	both := appendMessage(append([]byte(nil), first...), request{typ: 21, body: []byte{4}}, 0, 8)
	h, payload, rest, ok := nextMessage(both)
	if d := diff(header{Type: 20, Flags: 5, Seq: 7}, h); !ok || d != "" || string(payload) != "\x01\x02\x03" {
		t.Errorf("%v %x %s", ok, payload, d)
	}
	h, payload, rest, ok = nextMessage(rest)
	if !ok || h.Type != 21 || string(payload) != "\x04" || len(rest) > 0 {
		t.Errorf("%v %+v %x, rest %x", ok, h, payload, rest)
	}
	length := func(n uint32) []byte {
		b := append([]byte(nil), first...)
		binary.NativeEndian.PutUint32(b, n)
		return b
	}
	for name, b := range map[string][]byte{
		"none": nil, "half a header": first[:8], "length 0": length(0), "length 15": length(15),
		"longer than the datagram": length(21), "longer than anything": length(^uint32(0)),
	} {
		if h, _, _, ok := nextMessage(b); ok {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestAttributes(t *testing.T) {
	b := appendUint32(appendText(nil, 3, "wan0"), 0x8000|4, 1500)
	as := attributes{rest: b}
	if !as.next() || as.typ != 3 || as.text() != "wan0" {
		t.Errorf("%+v", as)
	}
	if !as.next() || as.typ != 4 || as.uint32() != 1500 {
		t.Errorf("%+v", as)
	}
	if as.next() || as.err != nil {
		t.Errorf("%+v", as)
	}
	for name, b := range map[string][]byte{
		"length 3": {3, 0, 1, 0}, "length 0": {0, 0, 1, 0}, "too long": {9, 0, 1, 0, 1, 2, 3, 4},
	} {
		as := attributes{rest: b}
		if as.next() || as.err == nil {
			t.Errorf("%s: %+v", name, as)
		}
	}
	as = attributesAfter([]byte{1, 2}, 4)
	if as.next() || !errors.Is(as.err, errShort) {
		t.Errorf("a short header: %+v", as)
	}
}

// ack builds an NLMSG_ERROR as the kernel sends it.
func ack(code int32, flags uint16, echo int, words string) (header, []byte) {
	b := binary.NativeEndian.AppendUint32(nil, uint32(code))
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+echo))
	b = append(b, make([]byte, 12)...)
	if flags&ackCapped == 0 {
		b = append(b, make([]byte, align(echo))...)
	}
	if words != "" {
		b = appendText(b, unix.NLMSGERR_ATTR_MSG, words)
	}
	return header{Type: unix.NLMSG_ERROR, Flags: flags}, b
}

func TestDecodeAck(t *testing.T) {
	for _, tc := range []struct {
		name  string
		code  int32
		flags uint16
		echo  int
		words string
		want  string
	}{
		{"success", 0, ackCapped, 40, "", ""},
		{"success with a warning", 0, ackCapped | ackTLVs, 40, "mind", ""},
		{"bare", -17, ackCapped, 40, "", "file exists"},
		{"with words", -101, ackCapped | ackTLVs, 40, "Nexthop has invalid gateway", "network is unreachable (Nexthop has invalid gateway)"},
		{"words behind the request", -22, ackTLVs, 41, "no", "invalid argument (no)"},
		{"words without the flag", -22, ackCapped, 40, "no", "invalid argument"},
		{"longer than it is", -22, ackTLVs, 1 << 20, "", "invalid argument"},
	} {
		h, b := ack(tc.code, tc.flags, min(tc.echo, 100), tc.words)
		if tc.echo > 100 {
			binary.NativeEndian.PutUint32(b[4:], ^uint32(0))
		}
		got := ""
		if err := decodeAck(h, b); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if err := decodeAck(header{Type: unix.NLMSG_ERROR}, []byte{1}); !errors.Is(err, errShort) {
		t.Errorf("a short one: %v", err)
	}
	if err := decodeAck(header{Type: unix.NLMSG_DONE}, nil); err != nil {
		t.Errorf("a bare end of a dump: %v", err)
	}
	if err := decodeAck(header{Type: unix.NLMSG_DONE}, binary.NativeEndian.AppendUint32(nil, 0xfffffffc)); !isAny(err, unix.EINTR) {
		t.Errorf("an interrupted dump: %v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		errno unix.Errno
		want  string
	}{
		{unix.EPERM, "uplinkd may not change routes: run it as root or with CAP_NET_ADMIN: operation not permitted"},
		{unix.EOPNOTSUPP, "the kernel has no policy routing: it has to be built with CONFIG_IP_MULTIPLE_TABLES: operation not supported"},
		{unix.EAFNOSUPPORT, "the kernel has no policy routing: it has to be built with CONFIG_IP_MULTIPLE_TABLES: address family not supported by protocol"},
		{unix.ENOBUFS, "no buffer space available"},
	} {
		err := explain(&refusal{errno: tc.errno})
		if err.Error() != tc.want || !errors.Is(err, tc.errno) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

func TestOpErrorEscapesNames(t *testing.T) {
	r := route(7001, "0.0.0.0/0", "192.0.2.1", 3)
	for verb, want := range map[rpdb.Verb]string{
		rpdb.ReplaceRoute: `replace route "default via 192.0.2.1 dev \x1b[31m table 7001": file exists`,
		rpdb.DelRoute:     `delete route "default via 192.0.2.1 dev \x1b[31m table 7001": file exists`,
		rpdb.DelRule:      `delete rule "100: from all lookup 7001": file exists`,
	} {
		op := rpdb.Op{Verb: verb, Route: r, Rule: rule(100, "", 7001)}
		err := opError(op, func(int) string { return "\x1b[31m" }, unix.EEXIST)
		if err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A dump says by a flag of a message, or by the error at its end, that it is torn; what belongs to another is passed over.
func TestDumpPart(t *testing.T) {
	message := func(typ, flags uint16, seq uint32, body ...byte) []byte {
		return appendMessage(nil, request{typ: typ, flags: flags, body: body}, 0, seq)
	}
	const link, done = unix.RTM_NEWLINK, unix.NLMSG_DONE
	eintr := binary.NativeEndian.AppendUint32(nil, 0xfffffffc)
	for _, tc := range []struct {
		name     string
		b        []byte
		done     bool
		messages int
		want     dumped
		err      error
	}{
		{"a part", append(message(link, 0, 5, 1), message(link, 0, 5, 2)...), false, 2, dumped{parts: 1}, nil},
		{"the last part", append(message(link, 0, 5, 1), message(done, 0, 5, 0, 0, 0, 0)...), true, 1, dumped{parts: 1}, nil},
		{"the end alone", message(done, 0, 5, 0, 0, 0, 0), true, 0, dumped{}, nil},
		{"torn", message(link, unix.NLM_F_DUMP_INTR, 5, 1), false, 1, dumped{torn: true, parts: 1}, nil},
		{"torn at the end", message(done, unix.NLM_F_DUMP_INTR, 5), true, 0, dumped{torn: true}, nil},
		{"interrupted", message(done, 0, 5, eintr...), true, 0, dumped{torn: true}, nil},
		{"refused", message(done, 0, 5, 0xff, 0xff, 0xff, 0xff), true, 0, dumped{}, unix.EPERM},
		{"of an earlier request", append(message(link, 0, 4, 1), message(done, 0, 4)...), false, 0, dumped{}, nil},
	} {
		var d dumped
		n := 0
		c := &requests{seq: 5}
		end, err := c.dumpPart(tc.b, &d, func([]byte) { n++ })
		if end != tc.done || n != tc.messages || d != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: end %v, %d messages, %+v, %v", tc.name, end, n, d, err)
		}
	}
}
