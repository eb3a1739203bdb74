package dhcpcd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// TestHostileStreams: whatever comes over the socket, the watcher lives, and hears the next dhcpcd.
func TestHostileStreams(t *testing.T) {
	for name, stream := range map[string][]byte{
		"huge length":     word(1 << 40),
		"negative length": word(-1),
		"over the limit":  word(MaxMessage + 1),
		"garbage":         bytes.Repeat([]byte{0xa5}, 100),
		"half a message":  message(bound("wan0", "192.0.2.66", "192.0.2.66"))[:40],
		"half a length":   word(3)[:3],
	} {
		for _, where := range []string{"listening", "dump"} {
			t.Run(name+", "+where, func(t *testing.T) {
				b := newBench(t)
				f := b.start("wan0.unpriv.sock")
				if where == "dump" {
					f.answer = func(_ string, c net.Conn) { c.Write(append(word(1), stream...)); c.Close() }
					b.run()
				} else {
					b.run()
					f.say(stream)
					f.hangUp()
				}
				f.mu.Lock()
				f.answer = func(_ string, c net.Conn) { c.Write(records(bound("wan0", "192.0.2.101", "192.0.2.1"))) }
				f.mu.Unlock()
				f.hangUp()
				b.eventually("the word after it", func() bool { return slices.Contains(b.got(), first) })
				if got := b.got(); slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "192.0.2.66") }) {
					t.Errorf("half a message counted: %q", got)
				}
			})
		}
	}
}

// TestHostileMessages: messages that are well-formed as such.
func TestHostileMessages(t *testing.T) {
	b := newBench(t)
	f := b.start("unpriv.sock")
	b.run()
	f.say(append(word(0), message("")...))
	f.say(message("reason=BOUND new_ip_address=192.0.2.66"))                      // no link
	f.say(message(bound("gone0", "192.0.2.66", "192.0.2.1")))                     // no such link
	f.say(message(bound("wan0", "127.0.0.1", "192.0.2.1")))                       // no address of a host
	f.say(message(bound("wan0", "192.0.2.101", "192.0.2.101 127.0.0.1 0.0.0.0"))) // no routers
	f.say(message("x=" + strings.Repeat("y", MaxMessage-10) + " " + bound("wan0", "192.0.2.66", "192.0.2.1"))[:wordSize+100])
	f.hangUp()
	b.expect("0 dhcpcd: bind 192.0.2.66 via [192.0.2.1]", "7 dhcpcd: ignore", "7 dhcpcd: bind 192.0.2.101 via []")
}

// TestHostileDump: a number that is none, and one that never ends.
func TestHostileDump(t *testing.T) {
	for name, answer := range map[string]func(string, net.Conn){
		"too many records": func(_ string, c net.Conn) { c.Write(word(MaxRecords + 1)) },
		"endless": func(_ string, c net.Conn) {
			c.Write(word(MaxRecords))
			big := message("x=" + strings.Repeat("y", 64<<10))
			for {
				if _, err := c.Write(big); err != nil {
					return
				}
			}
		},
	} {
		b := newBench(t)
		b.start("wan0.unpriv.sock").answer = answer
		if err := b.w.dump(t.Context(), "wan0", dumpCommands()[0]); err == nil || !strings.Contains(err.Error(), "at most 1024") && !strings.Contains(err.Error(), "over 8388608 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFlood: many messages in one go are all taken, in order.
func TestFlood(t *testing.T) {
	const n = 5000
	b := newBench(t)
	b.w.pace = rate.Inf
	f := b.start("wan0.unpriv.sock")
	b.run()
	var all []byte
	var want []string
	for i := range n {
		a := fmt.Sprintf("10.0.%d.%d", i/200, i%200+10)
		all = append(all, message(bound("wan0", a, "10.0.0.1"))...)
		want = append(want, "7 dhcpcd: bind "+a+" via [10.0.0.1]")
	}
	f.say(all)
	b.expect(want...)
}

// TestManyInstances: not more than the limit are listened to.
func TestManyInstances(t *testing.T) {
	b := newBench(t)
	for i := range MaxInstances + 5 {
		b.start(fmt.Sprintf("w%d.unpriv.sock", i))
	}
	b.run()
	if n := len(b.listened()); n != MaxInstances || !b.warned("too many") {
		t.Errorf("%d are listened to", n)
	}
}

// TestHostileDirectory: where others can make sockets nobody is listened to.
func TestHostileDirectory(t *testing.T) {
	b := newBench(t)
	b.start("wan0.unpriv.sock", bound("wan0", "192.0.2.66", "192.0.2.66"))
	must(t, os.Chmod(b.dir, 0o777))
	b.run()
	if got := b.got(); len(got) > 0 || !b.warned("must be a directory of root's") {
		t.Errorf("%q, %v", got, b.logs.All())
	}
}

// TestDecoder: a stream gives the same messages whatever pieces it comes in.
func TestDecoder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want [][]string
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			words := rapid.SliceOf(rapid.StringMatching(`[a-z]{1,5}=[^\x00 ]{0,9}`)).Draw(t, "words")
			stream = append(stream, message(strings.Join(words, " "))...)
			want = append(want, words)
		}
		var d decoder
		var got [][]string
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(t, "piece")
			d.feed(stream[:n])
			stream = stream[n:]
			for {
				m, ok, err := d.message()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				got = append(got, m)
			}
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// TestDecoderLimit: a length over the limit is refused before its message is there.
func TestDecoderLimit(t *testing.T) {
	for n, ok := range map[int]bool{MaxMessage: true, MaxMessage + 1: false, -1: false} {
		d := decoder{rest: word(n)}
		if _, _, err := d.message(); (err == nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// FuzzDecoder: no stream makes the decoder panic, keep more than a message, or give what was not sent.
func FuzzDecoder(f *testing.F) {
	f.Add(records(carrier, bound("wan0", "192.0.2.101", "192.0.2.1")), uint8(7))
	f.Add(word(-1), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var d decoder
		for len(stream) > 0 {
			n := min(int(piece)+1, len(stream))
			d.feed(stream[:n])
			stream = stream[n:]
			for {
				m, ok, err := d.message()
				if err != nil {
					return
				}
				if !ok {
					break
				}
				for _, s := range m {
					if s == "" || strings.ContainsRune(s, 0) || len(s) > MaxMessage {
						t.Fatalf("string %q", s)
					}
				}
			}
			if len(d.rest) > wordSize+MaxMessage {
				t.Fatalf("%d bytes kept", len(d.rest))
			}
		}
	})
}
