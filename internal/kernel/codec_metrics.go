package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

const (
	// maxMetrics bounds RTA_METRICS in octets. All that Linux 6.18 knows, RTAX_LOCK to RTAX_FASTOPEN_NO_COOKIE, take 148.
	maxMetrics = 256
	// maxCongestion is the longest name of a congestion control algorithm, less its NUL (TCP_CA_NAME_MAX in net/tcp.h).
	maxCongestion = 15
)

// What is greater the kernel cuts to these without a word (net/ipv4/metrics.c: ip_metrics_convert).
const (
	maxRouteMTU      = 65535 - 15
	maxRouteADVMSS   = 65535 - 40
	maxRouteHopLimit = 255
)

// normalMetrics are the octets of an RTA_METRICS as the kernel will list them once it was given b: by ascending type, each
// once (the last counts), none of the value 0, which means not set, and none over its limit (net/ipv4/metrics.c:
// ip_metrics_convert, net/core/rtnetlink.c: rtnetlink_put_metrics). So a route that was added with the metrics of another
// compares equal to what was wanted. It does nothing to what a kernel lists today.
//
// A kernel that has metrics of another shape than a number of 32 bits or RTAX_CC_ALGO's name makes this an error.
func normalMetrics(b []byte) (string, error) {
	values := make(map[uint16][]byte)
	as := attributes{rest: b}
	for as.next() {
		val, err := normalMetric(as.typ, as.val)
		if err != nil {
			return "", fmt.Errorf("metric %d: %w", as.typ, err)
		}
		values[as.typ] = val
	}
	if as.err != nil {
		return "", fmt.Errorf("metrics: %w", as.err)
	}
	var out []byte
	for _, typ := range slices.Sorted(maps.Keys(values)) {
		if values[typ] != nil {
			out = appendAttr(out, typ, values[typ])
		}
	}
	if max(len(b), len(out)) > maxMetrics {
		return "", fmt.Errorf("metrics of %d octets, at most %d are taken", max(len(b), len(out)), maxMetrics)
	}
	return string(out), nil
}

// normalMetric is one metric's value; nil where it says nothing.
func normalMetric(typ uint16, val []byte) ([]byte, error) {
	switch {
	case typ == unix.RTAX_UNSPEC: // the kernel passes over it
		return nil, nil
	case typ == unix.RTAX_CC_ALGO:
		return normalCongestion(cString(val))
	case len(val) != 4:
		return nil, fmt.Errorf("value of %d octets, want 4", len(val))
	}
	v := binary.NativeEndian.Uint32(val)
	switch typ {
	case unix.RTAX_MTU:
		v = min(v, maxRouteMTU)
	case unix.RTAX_ADVMSS:
		v = min(v, maxRouteADVMSS)
	case unix.RTAX_HOPLIMIT:
		v = min(v, maxRouteHopLimit)
	}
	if v == 0 {
		return nil, nil
	}
	return binary.NativeEndian.AppendUint32(nil, v), nil
}

func normalCongestion(name string) ([]byte, error) {
	switch {
	case name == "":
		return nil, nil
	case len(name) > maxCongestion:
		return nil, errors.New("name of a congestion control algorithm too long")
	}
	return append([]byte(name), 0), nil
}

// knownMetrics is normalMetrics with none where they cannot be read: nobody's metrics are worth a snapshot.
func knownMetrics(b []byte) string {
	s, err := normalMetrics(b)
	if err != nil {
		return ""
	}
	return s
}

// The wire's router preferences other than medium, which is 0 (ICMPV6_ROUTER_PREF_* in linux/icmpv6.h, RFC 4191 section 2.1).
const (
	wirePrefHigh = 1
	wirePrefLow  = 3
)

// decodePref reads RTA_PREF; the reserved value 2 is medium (RFC 4191 section 2.1).
func decodePref(wire uint8) rpdb.Preference {
	switch wire {
	case wirePrefHigh:
		return rpdb.PrefHigh
	case wirePrefLow:
		return rpdb.PrefLow
	}
	return rpdb.PrefMedium
}

// appendPref adds RTA_PREF, which only IPv6 has, unless it is what the kernel takes where nothing is said.
func appendPref(b []byte, p rpdb.Preference) []byte {
	switch {
	case p > rpdb.PrefMedium:
		return appendAttr(b, unix.RTA_PREF, []byte{wirePrefHigh})
	case p < rpdb.PrefMedium:
		return appendAttr(b, unix.RTA_PREF, []byte{wirePrefLow})
	}
	return b
}
