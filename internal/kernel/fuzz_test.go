package kernel

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The seeds of these targets, under testdata/fuzz, are messages that a real kernel sent (Linux 6.18). The targets ask of
// the decoders that they never panic, and that what they make of a message holds together.

func FuzzDecodeLink(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLink(b)
		if err != nil && l != (rpdb.Link{}) {
			t.Errorf("%v with %+v", err, l)
		}
	})
}

func FuzzDecodeAddress(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAddress(b)
		if (err == nil) != a.Prefix.IsValid() {
			t.Errorf("%v with %+v", err, a)
		}
		if a.Peer.IsValid() && rpdb.FamilyOf(a.Peer.Addr()) != rpdb.FamilyOf(a.Prefix.Addr()) {
			t.Errorf("two families: %+v", a)
		}
	})
}

// What is decoded and can be written is read back the same.
func FuzzDecodeRule(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRule(b)
		if err != nil {
			return
		}
		again, err := encodeRule(r)
		if err != nil {
			return
		}
		if got, err := decodeRule(again); err != nil || got != r {
			t.Errorf("%v: %s", err, diff(r, got))
		}
	})
}

func FuzzDecodeRoute(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := decodeRoute(b)
		if (err == nil) != (len(rs) > 0) {
			t.Errorf("%v with %d routes", err, len(rs))
		}
		for _, r := range rs {
			if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Multipath != rs[0].Multipath || r.Metrics != rs[0].Metrics {
				t.Errorf("%+v", r)
			}
			if d := diff(r.Metrics, normalRoute(r).Metrics); d != "" || len(r.Metrics) > maxMetrics {
				t.Errorf("metrics: %s", d)
			}
			if again, err := encodeRoute(r); err == nil {
				got, err := decodeRoute(again)
				if d := diff([]rpdb.Route{normalRoute(r)}, got); err != nil || d != "" {
					t.Errorf("%v: %s", err, d)
				}
			}
		}
	})
}

// A datagram of events never panics, and names at most 8 culprits, none of them ourselves or the kernel.
func FuzzEvent(f *testing.F) {
	w := watched{port: 1, protocols: []uint8{ours}}
	f.Fuzz(func(t *testing.T, b []byte) {
		ev := w.event(b)
		if len(ev.By) > 8 {
			t.Errorf("%d culprits", len(ev.By))
		}
		for _, c := range ev.By {
			if c.Port == 0 || c.Port == w.port {
				t.Errorf("%+v", c)
			}
		}
	})
}

func FuzzDecodeAck(f *testing.F) {
	for _, words := range []string{"", "Nexthop has invalid gateway"} {
		_, b := ack(-int32(unix.ENETUNREACH), ackCapped|ackTLVs, 40, words)
		f.Add(b, uint16(unix.NLMSG_ERROR), uint16(ackCapped|ackTLVs))
		f.Add(b, uint16(unix.NLMSG_DONE), uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, typ, flags uint16) {
		err := decodeAck(header{Type: typ, Flags: flags}, b)
		if len(b) >= 4 && (err != nil) != (int32(binary.NativeEndian.Uint32(b)) < 0) {
			t.Errorf("%x: %v", b[:4], err)
		}
	})
}
