package kernel

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// metric is one metric of 32 bits, as RTA_METRICS holds it.
func metric(typ uint16, v uint32) string { return string(appendUint32(nil, typ, v)) }

// congctl is RTAX_CC_ALGO as the kernel lists it.
func congctl(name string) string { return string(appendText(nil, unix.RTAX_CC_ALGO, name)) }

// lock is RTAX_LOCK with the bits of metrics.
func lock(metrics ...uint16) string {
	var bits uint32
	for _, m := range metrics {
		bits |= 1 << m
	}
	return metric(unix.RTAX_LOCK, bits)
}

func TestNormalMetrics(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"none":                          {"", ""},
		"one":                           {metric(unix.RTAX_MTU, 1400), metric(unix.RTAX_MTU, 1400)},
		"order":                         {metric(unix.RTAX_ADVMSS, 1200) + metric(unix.RTAX_MTU, 1400), metric(unix.RTAX_MTU, 1400) + metric(unix.RTAX_ADVMSS, 1200)},
		"lock stays":                    {metric(unix.RTAX_MTU, 1400) + lock(unix.RTAX_MTU), lock(unix.RTAX_MTU) + metric(unix.RTAX_MTU, 1400)},
		"zero is not set":               {metric(unix.RTAX_MTU, 0) + metric(unix.RTAX_WINDOW, 9), metric(unix.RTAX_WINDOW, 9)},
		"only zeros":                    {metric(unix.RTAX_MTU, 0), ""},
		"the last counts":               {metric(unix.RTAX_MTU, 1300) + metric(unix.RTAX_MTU, 1400), metric(unix.RTAX_MTU, 1400)},
		"also a zero":                   {metric(unix.RTAX_MTU, 1300) + metric(unix.RTAX_MTU, 0), ""},
		"limits":                        {metric(unix.RTAX_MTU, 70000) + metric(unix.RTAX_ADVMSS, 70000) + metric(unix.RTAX_HOPLIMIT, 300), metric(unix.RTAX_MTU, 65520) + metric(unix.RTAX_ADVMSS, 65495) + metric(unix.RTAX_HOPLIMIT, 255)},
		"congestion control":            {congctl("cubic"), congctl("cubic")},
		"congestion control, no NUL":    {string(appendAttr(nil, unix.RTAX_CC_ALGO, []byte("reno"))), congctl("reno")},
		"congestion control, junk":      {string(appendAttr(nil, unix.RTAX_CC_ALGO, []byte("bbr\x00x"))), congctl("bbr")},
		"congestion control, no name":   {congctl("") + metric(unix.RTAX_MTU, 1400), metric(unix.RTAX_MTU, 1400)},
		"unspecified":                   {metric(unix.RTAX_UNSPEC, 5), ""},
		"one of a later kernel":         {metric(18, 5), metric(18, 5)},
		"nested bit":                    {metric(unix.RTAX_MTU|unix.NLA_F_NESTED, 1400), metric(unix.RTAX_MTU, 1400)},
		"as many octets as are taken":   {strings.Repeat(metric(unix.RTAX_MTU, 1400), 32), metric(unix.RTAX_MTU, 1400)},
		"less than a header at the end": {metric(unix.RTAX_MTU, 1400) + "\x01\x02", metric(unix.RTAX_MTU, 1400)},
	} {
		if got, err := normalMetrics([]byte(tc.in)); err != nil || got != tc.want {
			t.Errorf("%s: %x, %v, want %x", name, got, err, tc.want)
		}
	}
}

// malformed are metrics that no kernel lists, by what is said of them.
func malformed() map[string]string {
	return map[string]string{
		"value of 2 octets":  string(appendAttr(nil, unix.RTAX_MTU, []byte{1, 2})),
		"value of 8 octets":  string(appendAttr(nil, unix.RTAX_WINDOW, make([]byte, 8))),
		"value of 0 octets":  string(appendAttr(nil, 18, nil)),
		"attribute of 8":     metric(unix.RTAX_MTU, 1400)[:7],
		"attribute of 0":     "\x00\x00\x02\x00",
		"metrics of 264":     strings.Repeat(metric(unix.RTAX_MTU, 1400), 33),
		"metrics of 260":     manyMetrics(31) + string(appendAttr(nil, unix.RTAX_CC_ALGO, []byte("reno"))),
		"algorithm too long": congctl("0123456789abcdef"),
	}
}

// manyMetrics are n different ones, more than any kernel knows.
func manyMetrics(n uint16) (s string) {
	for i := range n {
		s += metric(100+i, 1)
	}
	return s
}

func TestNormalMetricsRefuses(t *testing.T) {
	for want, in := range malformed() {
		if got, err := normalMetrics([]byte(in)); err == nil || got != "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %x, %v", want, got, err)
		}
	}
}

// A route whose metrics cannot be read is listed without; one that we are to add with such is refused.
func TestMalformedMetricsOfARoute(t *testing.T) {
	want := route(7001, "0.0.0.0/0", "192.0.2.1", 3)
	b, err := encodeRoute(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range malformed() {
		got, err := decodeRoute(appendAttr(slices.Clone(b), unix.RTA_METRICS, []byte(in)))
		if d := diff([]rpdb.Route{want}, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, d)
		}
		r := want
		r.Metrics = in
		if _, err := encodeRoute(r); err == nil {
			t.Errorf("%s: encoded", name)
		}
		if _, err := encodeDelRoute(r); err != nil {
			t.Errorf("%s: a delete does not name metrics: %v", name, err)
		}
	}
}

// The metrics and the preference are the whole route's, and every hop of a multipath route has them.
func TestMultipathMetrics(t *testing.T) {
	hop := func(oif uint32) []byte {
		return binary.NativeEndian.AppendUint32([]byte{8, 0, 0, 0}, oif)
	}
	b, err := encodeRoute(route(7001, "::/0", "", 0))
	if err != nil {
		t.Fatal(err)
	}
	b = appendAttr(b, unix.RTA_MULTIPATH, append(hop(3), hop(4)...))
	b = appendPref(appendAttr(b, unix.RTA_METRICS, []byte(metric(unix.RTAX_MTU, 1400))), rpdb.PrefHigh)
	got, err := decodeRoute(b)
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, r := range got {
		if r.Metrics != metric(unix.RTAX_MTU, 1400) || r.Pref != rpdb.PrefHigh || !r.Multipath {
			t.Errorf("%+v", r)
		}
	}
}

func TestPreference(t *testing.T) {
	for wire, want := range map[uint8]rpdb.Preference{0: rpdb.PrefMedium, 1: rpdb.PrefHigh, 2: rpdb.PrefMedium, 3: rpdb.PrefLow, 255: rpdb.PrefMedium} {
		if got := decodePref(wire); got != want {
			t.Errorf("%d is %d, want %d", wire, got, want)
		}
	}
	for _, tc := range []struct {
		dst  string
		pref rpdb.Preference
		want []byte // of RTA_PREF; nil: not sent
	}{
		{"::/0", rpdb.PrefMedium, nil},
		{"::/0", rpdb.PrefHigh, []byte{1}},
		{"::/0", rpdb.PrefLow, []byte{3}},
		{"::/0", 100, []byte{1}},
		{"::/0", -100, []byte{3}},
		{"0.0.0.0/0", rpdb.PrefHigh, nil}, // IPv4 has none
	} {
		r := route(7001, tc.dst, "", 3)
		r.Pref = tc.pref
		b, err := encodeRoute(r)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for as := attributesAfter(b, unix.SizeofRtMsg); as.next(); {
			if as.typ == unix.RTA_PREF {
				got = as.val
			}
		}
		if d := diff(tc.want, got); d != "" {
			t.Errorf("%s pref %d: (-want +got)\n%s", tc.dst, tc.pref, d)
		}
	}
	v4 := route(7001, "0.0.0.0/0", "", 3)
	b, err := encodeRoute(v4)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeRoute(appendPref(b, rpdb.PrefHigh)); err != nil || got[0].Pref != rpdb.PrefMedium {
		t.Errorf("RTA_PREF of an IPv4 route counts: %v, %v", got, err)
	}
}

// Whatever order and values metrics come in, normalizing them twice is normalizing them once.
func TestNormalMetricsIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in string
		for range rapid.IntRange(0, 20).Draw(t, "metrics") {
			in += metric(rapid.Uint16Range(0, 18).Draw(t, "type"), rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32()).Draw(t, "value"))
		}
		once, err := normalMetrics([]byte(in))
		if err != nil {
			return
		}
		if twice, err := normalMetrics([]byte(once)); err != nil || twice != once {
			t.Fatalf("%x: %x, then %x, %v", in, once, twice, err)
		}
	})
}

func FuzzNormalMetrics(f *testing.F) {
	for _, in := range malformed() {
		f.Add([]byte(in))
	}
	f.Add([]byte(lock(unix.RTAX_MTU) + metric(unix.RTAX_MTU, 1400) + congctl("cubic") + metric(unix.RTAX_QUICKACK, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := normalMetrics(b)
		if err != nil && once != "" || len(once) > maxMetrics {
			t.Errorf("%v with %d octets", err, len(once))
		}
		if twice, err := normalMetrics([]byte(once)); err != nil || twice != once {
			t.Errorf("%x, then %x, %v", once, twice, err)
		}
	})
}
