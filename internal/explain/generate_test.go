package explain

import (
	"fmt"
	"net/netip"

	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The numbers that rules, routes and packets have in common, few, so that they meet.
var (
	tables = []uint32{100, 101, 102, rpdb.TableMain, rpdb.TableLocal, 1000}
	marks  = []uint32{0, 1, 2, 3, 0x100, 0x101}
	toses  = []uint8{0, 0, 0x10, 0x30, 0x08, 0x04, 0xb8, 0x20}
	protos = []uint8{6, 17}
	ports  = []uint16{0, 53, 80, 443, 1000}
)

func pick[T any](t *rapid.T, what string, of ...T) T { return rapid.SampledFrom(of).Draw(t, what) }

// one in n.
func seldom(t *rapid.T, n int, what string) bool { return rapid.IntRange(0, n-1).Draw(t, what) == n-1 }

func genAddr(t *rapid.T, f rpdb.Family, what string) netip.Addr {
	if f == rpdb.IPv4 {
		return netip.MustParseAddr(pick(t, what, "10.0.0.5", "10.0.0.0", "10.0.3.1", "10.1.2.3", "10.200.0.1", "192.0.1.77", "192.0.2.1"))
	}
	return netip.MustParseAddr(pick(t, what, "fd00::5", "fd00::", "fd00:0:3::1", "fd00:1:2::3", "fd80::1", "2001:db8:1::77", "2001:db8:2::1"))
}

func genPrefix(t *rapid.T, f rpdb.Family, what string) netip.Prefix {
	bits := pick(t, what+" bits", 0, 8, 9, 16, 17, 24, 31, 32)
	if f == rpdb.IPv6 {
		bits = pick(t, what+" bits", 0, 8, 9, 16, 32, 33, 48, 64, 127, 128)
	}
	return netip.PrefixFrom(genAddr(t, f, what), bits).Masked()
}

func selectPrefix(t *rapid.T, f rpdb.Family, what string) netip.Prefix {
	if p := genPrefix(t, f, what); p.Bits() > 0 && !seldom(t, 2, what+" any") {
		return p
	}
	return netip.Prefix{}
}

// genRule makes rules of all actions, with all selectors, most of them with few.
func genRule(f rpdb.Family) *rapid.Generator[rpdb.RuleDetail] {
	return rapid.Custom(func(t *rapid.T) rpdb.RuleDetail {
		r := rpdb.RuleDetail{
			Family: f, Priority: uint32(rapid.IntRange(1, 40).Draw(t, "priority")), SuppressLen: -1, SuppressGroup: -1,
			Action: pick(t, "action", rpdb.ActLookup, rpdb.ActLookup, rpdb.ActLookup, rpdb.ActLookup, rpdb.ActLookup, rpdb.ActGoto,
				rpdb.ActNop, rpdb.ActBlackhole, rpdb.ActUnreachable, rpdb.ActProhibit),
		}
		switch r.Action {
		case rpdb.ActLookup:
			r.Table = pick(t, "table", tables...)
			if seldom(t, 3, "suppress") {
				r.SuppressLen = pick(t, "suppress bits", 0, 1, 8, 16, 24, 32, 48)
			}
			if seldom(t, 5, "suppress group") {
				r.SuppressGroup = int64(pick(t, "group", 0, 7))
			}
		case rpdb.ActGoto:
			r.Goto = r.Priority + uint32(rapid.IntRange(1, 12).Draw(t, "goto"))
			if seldom(t, 4, "goto main") {
				r.Goto = 32766
			}
		}
		genSelectors(t, f, &r)
		return r
	})
}

func genSelectors(t *rapid.T, f rpdb.Family, r *rpdb.RuleDetail) {
	r.Invert = seldom(t, 8, "not")
	if seldom(t, 3, "from") {
		r.Src = selectPrefix(t, f, "from")
	}
	if seldom(t, 3, "to") {
		r.Dst = selectPrefix(t, f, "to")
	}
	if seldom(t, 5, "iif") {
		r.IIF = pick(t, "iif name", "lo", "lan0", "wan0", "gone0")
	}
	if seldom(t, 5, "oif") {
		r.OIF = pick(t, "oif name", "wan0", "wan1", "gone0")
	}
	if seldom(t, 4, "fwmark") {
		r.Mark, r.Mask = pick(t, "mark", marks...), pick(t, "mask", ^uint32(0), 1, 0xff, 0x100)
		r.Mark &= r.Mask
	}
	switch rapid.IntRange(0, 9).Draw(t, "class") {
	case 0:
		r.TOS = pick(t, "tos", toses...)
	case 1:
		r.DSCP = rpdb.Masked{Value: uint32(pick(t, "dscp", toses...)) >> 2, Mask: pick(t, "dscp mask", uint32(0x3f), 0x3f, 0x30)}
		r.DSCP.Value &= r.DSCP.Mask
	}
	if seldom(t, 8, "uidrange") {
		first := pick(t, "first user", uint32(0), 1, 100)
		r.UIDs = rpdb.Range{Set: true, First: first, Last: first + pick(t, "users", uint32(0), 1, 1000)}
	}
	genPorts(t, r)
	r.L3MDev = seldom(t, 20, "l3mdev") && r.Action == rpdb.ActLookup
	if r.L3MDev {
		r.Table = 0
	}
	if seldom(t, 30, "tun_id") {
		r.TunnelID = 1 << 40
	}
}

func genPorts(t *rapid.T, r *rpdb.RuleDetail) {
	if seldom(t, 6, "ipproto") {
		r.IPProto = pick(t, "protocol", protos...)
	}
	if seldom(t, 8, "sport") {
		first := uint32(pick(t, "first sport", ports[1:]...))
		r.SrcPorts = rpdb.Range{Set: true, First: first, Last: first + pick(t, "sports", uint32(0), 100)}
	}
	if seldom(t, 8, "dport") {
		first := uint32(pick(t, "first dport", ports[1:]...))
		r.DstPorts = rpdb.Range{Set: true, First: first, Last: first + pick(t, "dports", uint32(0), 100)}
		if seldom(t, 3, "dport mask") {
			r.DstPorts.Last = first
			r.DstPort = rpdb.Masked{Value: first, Mask: 0xf0}
			r.DstPorts.First &= 0xf0
			r.DstPorts.Last &= 0xf0
			r.DstPorts.Set = r.DstPorts.First != 0
			if !r.DstPorts.Set {
				r.DstPort = rpdb.Masked{}
			}
		}
	}
}

// genRoute makes routes of all types, by one next hop, several, or a nexthop object.
func (w *world) genRoute(f rpdb.Family) *rapid.Generator[rpdb.RouteDetail] {
	return rapid.Custom(func(t *rapid.T) rpdb.RouteDetail {
		r := rpdb.RouteDetail{
			Table: pick(t, "table", tables[:4]...), Dst: genPrefix(t, f, "destination"), Metric: pick(t, "metric", uint32(0), 1, 2000),
			Type: pick(t, "type", rpdb.Unicast, rpdb.Unicast, rpdb.Unicast, rpdb.Unicast, rpdb.Unicast, rpdb.Unicast, rpdb.Blackhole,
				rpdb.Unreachable, rpdb.Prohibit, rpdb.Throw),
		}
		if f == rpdb.IPv4 {
			r.TOS = pick(t, "tos", 0, 0, 0, uint8(0x10), 0x08)
		} else {
			if seldom(t, 3, "from") {
				r.From = genPrefix(t, f, "source")
			}
			r.Pref = pick(t, "pref", 0, 0, rpdb.PrefLow, rpdb.PrefHigh)
		}
		if r.Type == rpdb.Unicast {
			w.genHops(t, f, &r)
		}
		return r
	})
}

func (w *world) genHops(t *rapid.T, f rpdb.Family, r *rpdb.RouteDetail) {
	switch rapid.IntRange(0, 7).Draw(t, "hops") {
	case 0:
		r.Object = pick(t, "nhid", uint32(1), 2, 3, 4, 5)
		if f == rpdb.IPv6 {
			r.Object = pick(t, "nhid", uint32(11), 12, 14)
			r.From = netip.Prefix{} // the kernel refuses both
		}
		return
	case 1, 2:
		for range rapid.IntRange(2, 3).Draw(t, "number") {
			r.Hops = append(r.Hops, w.genHop(t, f, true))
		}
	default:
		r.Hops = []rpdb.Hop{w.genHop(t, f, false)}
	}
	if seldom(t, 4, "src") {
		r.Src = netip.MustParseAddr("192.0.1.1")
		if f == rpdb.IPv6 {
			r.Src = netip.MustParseAddr("2001:db8:1::1")
		}
	}
	if f == rpdb.IPv4 && !r.Hops[0].Via.IsValid() && len(r.Hops) == 1 {
		r.Scope = rpdb.ScopeLink
	}
}

func (w *world) genHop(t *rapid.T, f rpdb.Family, gateway bool) rpdb.Hop {
	i := rapid.IntRange(0, 2).Draw(t, "link")
	h := rpdb.Hop{OIF: w.links[i], Weight: rapid.IntRange(1, 3).Draw(t, "weight")}
	if !gateway && seldom(t, 3, "no gateway") {
		return h
	}
	host := rapid.IntRange(252, 254).Draw(t, "gateway")
	if f == rpdb.IPv6 || seldom(t, 6, "IPv6 gateway") {
		h.Via = netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", i+1, host))
	} else {
		h.Via = netip.MustParseAddr(fmt.Sprintf("192.0.%d.%d", i+1, host))
	}
	return h
}

// genFlow makes packets that this host sends, and some that it forwards.
func (w *world) genFlow(f rpdb.Family) *rapid.Generator[rpdb.Flow] {
	return rapid.Custom(func(t *rapid.T) rpdb.Flow {
		q := rpdb.Flow{
			Dst: genAddr(t, f, "destination"), Mark: pick(t, "mark", marks...), TOS: pick(t, "tos", toses...),
			Proto: pick(t, "protocol", protos...), SrcPort: pick(t, "sport", ports...), DstPort: pick(t, "dport", ports...),
		}
		if seldom(t, 4, "forwarded") {
			q.IIF = pick(t, "iif", w.links[3], w.links[3], w.links[0])
			q.Src = netip.MustParseAddr("192.0.4.99")
			if f == rpdb.IPv6 {
				q.Src = genAddr(t, f, "source")
			}
			return q
		}
		q.UID = pick(t, "user", uint32(0), 1, 100, 500)
		if seldom(t, 3, "bound") {
			q.OIF = pick(t, "oif", w.links[:3]...)
		}
		if seldom(t, 2, "from") {
			q.Src = netip.MustParseAddr(pick(t, "own", "192.0.1.1", "192.0.2.1", "10.0.0.5"))
			if f == rpdb.IPv6 {
				q.Src = genAddr(t, f, "source")
			}
		}
		return q
	})
}
