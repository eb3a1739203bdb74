package hookwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sample() Message {
	return Message{
		Client: "dhclient", Args: []string{"a", "", "b\x00c"}, Env: map[string]string{"reason": "BOUND", "interface": "a$(id)b", "x": ""},
		Refused: []string{"$2", "new_routers"}, Interface: "a$(id)b", Index: 7,
		NetNS: NetNS{Dev: 1 << 63, Ino: 1<<64 - 1},
		Stamp: Stamp{Wall: -5, Boot: 1 << 40, BootID: [16]byte{1, 2, 3}, PID: 1<<32 - 1},
	}
}

func TestMessageSurvivesTheWire(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	r := io.MultiReader(iotest.OneByteReader(bytes.NewReader(b)), strings.NewReader("next"))
	got, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got); d != "" {
		t.Error(d)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "next" {
		t.Errorf("Read left %q", rest)
	}
}

func TestReplySurvivesTheWire(t *testing.T) {
	for _, r := range []Reply{{OK: true}, {Text: "no such \"link\"\n"}} {
		got, err := ReadReply(bytes.NewReader(r.Encode()))
		if err != nil || got != r {
			t.Errorf("ReadReply(%+v) = %+v, %v", r, got, err)
		}
	}
	got, err := ReadReply(bytes.NewReader(Reply{Text: strings.Repeat("x", MaxText+1)}.Encode()))
	if err != nil || len(got.Text) != MaxText {
		t.Errorf("a long text came as %d bytes, %v", len(got.Text), err)
	}
}

func TestReadRefuses(t *testing.T) {
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	swapped := Message{Client: "c", Env: map[string]string{"aa": "1", "bb": "2"}}
	two, err := swapped.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a header", good[:5], io.ErrUnexpectedEOF},
		{"header only", good[:headerLen], io.ErrUnexpectedEOF},
		{"half a body", good[:len(good)-3], io.ErrUnexpectedEOF},
		{"other magic", change(func(b []byte) []byte { b[0] = 'x'; return b }), ErrMalformed},
		{"other version", change(func(b []byte) []byte { b[4] = 2; return b }), ErrVersion},
		{"a reply", Reply{OK: true}.Encode(), ErrMalformed},
		{"length over the limit", change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[6:], MaxMessage); return b }), ErrTooLarge},
		{"length of 4 GiB", change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[6:], 1<<32-1); return b }), ErrTooLarge},
		{"a byte too many", change(func(b []byte) []byte { return seal(append(b, 0)) }), ErrMalformed},
		{"a byte too few", change(func(b []byte) []byte { return seal(b[:len(b)-1]) }), ErrMalformed},
		{"empty body", seal(header(kindMessage)), ErrMalformed},
		{"keys out of order", bytes.ReplaceAll(two, []byte("bb"), []byte("a0")), ErrMalformed},
		{"a key twice", bytes.ReplaceAll(two, []byte("bb"), []byte("aa")), ErrMalformed},
		{"a key with '='", bytes.ReplaceAll(two, []byte("bb"), []byte("b=")), ErrMalformed},
		{"negative ifindex", change(func(b []byte) []byte {
			b[headerLen+2+len("dhclient")+2+len("a$(id)b")] = 0xff
			return b
		}), ErrMalformed},
	} {
		if _, err := Read(bytes.NewReader(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", MaxValue+1)
	many := map[string]string{}
	for i := range 20 {
		many["k"+string(rune('a'+i))] = long[:MaxValue]
	}
	for _, c := range []struct {
		name string
		m    Message
		want error
	}{
		{"no client", Message{}, ErrMalformed},
		{"client with a slash", Message{Client: "../x"}, ErrMalformed},
		{"long client", Message{Client: long[:MaxKey+1]}, ErrMalformed},
		{"long value", Message{Client: "c", Env: map[string]string{"k": long}}, ErrTooLarge},
		{"long argument", Message{Client: "c", Args: []string{long}}, ErrTooLarge},
		{"many arguments", Message{Client: "c", Args: make([]string, MaxArgs+1)}, ErrTooLarge},
		{"many keys", Message{Client: "c", Refused: make([]string, MaxKeys+MaxArgs+2)}, ErrTooLarge},
		{"long interface", Message{Client: "c", Interface: long}, ErrTooLarge},
		{"empty key", Message{Client: "c", Env: map[string]string{"": "v"}}, ErrMalformed},
		{"key with a newline", Message{Client: "c", Env: map[string]string{"a\n": "v"}}, ErrMalformed},
		{"refused out of order", Message{Client: "c", Refused: []string{"b", "a"}}, ErrMalformed},
		{"ifindex below 0", Message{Client: "c", Index: -1}, ErrMalformed},
		{"80 KiB", Message{Client: "c", Env: many}, ErrTooLarge},
	} {
		if b, err := c.m.Encode(); !errors.Is(err, c.want) {
			t.Errorf("%s: %d bytes, %v, want %v", c.name, len(b), err, c.want)
		}
	}
}

// TestAnyMessageRoundTrips: what Encode makes, Read gives back.
func TestAnyMessageRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[A-Za-z0-9_]{1,64}`)
		refused := rapid.SliceOfNDistinct(key, 0, 5, rapid.ID[string]).Draw(t, "refused")
		set := map[string]string{}
		for _, k := range refused {
			set[k] = ""
		}
		m := Message{
			Client:    rapid.StringMatching(`[a-z][a-z0-9._-]{0,20}`).Draw(t, "client"),
			Args:      rapid.SliceOfN(rapid.String(), 0, MaxArgs).Draw(t, "args"),
			Env:       rapid.MapOfN(key, rapid.String(), 0, 20).Draw(t, "env"),
			Refused:   sortedKeys(set),
			Interface: rapid.StringN(0, 15, 60).Draw(t, "interface"),
			Index:     rapid.IntRange(0, 1<<31-1).Draw(t, "index"),
			NetNS:     NetNS{Dev: rapid.Uint64().Draw(t, "dev"), Ino: rapid.Uint64().Draw(t, "ino")},
			Stamp: Stamp{Wall: rapid.Int64().Draw(t, "wall"), Boot: rapid.Int64().Draw(t, "boot"), PID: rapid.Uint32().Draw(t, "pid"),
				BootID: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "boot id"))},
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got, cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())); d != "" {
			t.Error(d)
		}
	})
}

// FuzzRead: any bytes give an error or a message within the limits, which encodes to the very same bytes.
func FuzzRead(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	unknown := sample()
	unknown.NetNS = NetNS{}
	if b, err = unknown.Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(Reply{OK: true, Text: "x"}.Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := ReadReply(bytes.NewReader(in)); err == nil && !bytes.HasPrefix(in, r.Encode()) {
			t.Errorf("reply %+v has another encoding", r)
		}
		m, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("Read gave what Encode refuses: %v", err)
		}
		if !bytes.HasPrefix(in, again) || len(again) > MaxMessage {
			t.Errorf("%+v has another encoding", m)
		}
	})
}
