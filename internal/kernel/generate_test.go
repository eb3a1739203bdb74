package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// anyAddr draws any address of a family.
func anyAddr(t *rapid.T, f rpdb.Family) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), f.Bits()/8, f.Bits()/8).Draw(t, "address")
	a, _ := netip.AddrFromSlice(b)
	return a
}

// anyPrefix draws a masked prefix of a family, of length 1 at least.
func anyPrefix(t *rapid.T, f rpdb.Family) netip.Prefix {
	return netip.PrefixFrom(anyAddr(t, f), rapid.IntRange(1, f.Bits()).Draw(t, "bits")).Masked()
}

func anyFamily(t *rapid.T) rpdb.Family {
	return rapid.SampledFrom([]rpdb.Family{rpdb.IPv4, rpdb.IPv6}).Draw(t, "family")
}

func maybe(t *rapid.T, what string) bool { return rapid.Bool().Draw(t, what) }

// anyRule draws a rule that the kernel may hold, as it would list it.
func anyRule(t *rapid.T) rpdb.Rule {
	f := anyFamily(t)
	r := rpdb.Rule{
		Family:   f,
		Priority: rapid.Uint32Range(1, 32000).Draw(t, "priority"),
		Protocol: rapid.Uint8Range(1, 255).Draw(t, "protocol"),
		Invert:   maybe(t, "invert"),
		Action: rapid.SampledFrom([]rpdb.Action{rpdb.ActLookup, rpdb.ActGoto, rpdb.ActNop, rpdb.ActBlackhole,
			rpdb.ActUnreachable, rpdb.ActProhibit}).Draw(t, "action"),
	}
	if maybe(t, "source") {
		r.Src = anyPrefix(t, f)
	}
	if maybe(t, "destination") {
		r.Dst = anyPrefix(t, f)
	}
	if maybe(t, "mark") {
		r.Mark, r.Mask = rapid.Uint32().Draw(t, "mark"), rapid.Uint32Min(1).Draw(t, "mask")
	}
	if maybe(t, "suppress") {
		r.Suppress = rpdb.Suppress(rapid.Uint8().Draw(t, "length"))
	}
	name := rapid.SampledFrom([]string{"", "lo", "a$(id)b", "--help", "main", "\x01\xff", "abcdefghijklmno"})
	r.IIF, r.OIF = name.Draw(t, "iif"), name.Draw(t, "oif")
	switch r.Action {
	case rpdb.ActLookup:
		r.Table = rapid.OneOf(rapid.Uint32Range(1, 300), rapid.Uint32Min(1)).Draw(t, "table")
	case rpdb.ActGoto:
		r.Goto = rapid.Uint32Range(r.Priority+1, 40000).Draw(t, "target")
	}
	return r
}

// closeRule draws from rules that differ in so little that the kernel takes one for another.
func closeRule(t *rapid.T) rpdb.Rule {
	r := rpdb.Rule{Family: rpdb.IPv4, Priority: 100, Action: rpdb.ActLookup, Table: 7001, Protocol: ours}
	if maybe(t, "source") {
		r.Src = netip.MustParsePrefix("192.0.2.1/32")
	}
	if maybe(t, "oif") {
		r.OIF = "wan0"
	}
	if maybe(t, "mark") {
		r.Mark, r.Mask = 1, 0xff
	}
	if maybe(t, "suppress") {
		r.Suppress = rpdb.Suppress(0)
	}
	if maybe(t, "invert") {
		r.Invert = true
	}
	return r
}

// anyRoute draws a route of the kernel's listing; whether it may exist depends on links and addresses.
func anyRoute(t *rapid.T) rpdb.Route {
	f := anyFamily(t)
	r := rpdb.Route{
		Type:     rapid.SampledFrom([]rpdb.RouteType{rpdb.Unicast, rpdb.Unicast, rpdb.Blackhole, rpdb.Throw}).Draw(t, "type"),
		Protocol: rapid.Uint8Range(1, 255).Draw(t, "protocol"),
	}
	r.Table = rapid.OneOf(rapid.Uint32Range(1, 300), rapid.Uint32Min(1)).Draw(t, "table")
	r.Metric = rapid.Uint32Min(1).Draw(t, "metric")
	r.Dst = f.Any()
	if maybe(t, "destination") {
		r.Dst = anyPrefix(t, f)
	}
	if f == rpdb.IPv4 {
		r.Scope = rapid.SampledFrom([]rpdb.Scope{rpdb.ScopeUniverse, rpdb.ScopeLink}).Draw(t, "scope")
	}
	if maybe(t, "preferred source") {
		r.Src = anyAddr(t, f)
	}
	if r.Type == rpdb.Unicast {
		r.OIF = int(rapid.Int32Range(1, 1<<30).Draw(t, "oif"))
		r.Onlink = maybe(t, "onlink")
		if maybe(t, "gateway") {
			r.Via = anyAddr(t, anyFamily(t))
		}
		if f == rpdb.IPv6 {
			r.Pref = rapid.SampledFrom([]rpdb.Preference{rpdb.PrefLow, rpdb.PrefMedium, rpdb.PrefHigh}).Draw(t, "preference")
		}
	}
	r.Metrics = anyMetrics(t)
	return r
}

// anyMetrics draws metrics as a kernel lists them: by ascending type, each once, and none 0 or over its limit.
func anyMetrics(t *rapid.T) (s string) {
	for typ := uint16(unix.RTAX_LOCK); typ <= unix.RTAX_FASTOPEN_NO_COOKIE; typ++ {
		switch {
		case !maybe(t, "metric"):
		case typ == unix.RTAX_CC_ALGO:
			s += congctl(rapid.StringMatching("[a-z][a-z0-9_]{0,14}").Draw(t, "congctl"))
		case typ == unix.RTAX_HOPLIMIT:
			s += metric(typ, rapid.Uint32Range(1, 255).Draw(t, "value"))
		case typ == unix.RTAX_MTU || typ == unix.RTAX_ADVMSS:
			s += metric(typ, rapid.Uint32Range(1, 65495).Draw(t, "value"))
		default:
			s += metric(typ, rapid.Uint32Min(1).Draw(t, "value"))
		}
	}
	return s
}
