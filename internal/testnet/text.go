package testnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// words walks over the words of an iproute2 command line.
type words struct {
	left []string
	err  error
}

func (w *words) next() string {
	if len(w.left) == 0 {
		w.fail(fmt.Errorf("ends too early"))
		return ""
	}
	word := w.left[0]
	w.left = w.left[1:]
	return word
}

func (w *words) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *words) number(bits int) uint32 {
	n, err := strconv.ParseUint(w.next(), 0, bits)
	if err != nil {
		w.fail(err)
	}
	return uint32(n)
}

func (w *words) addr() netip.Addr {
	a, err := netip.ParseAddr(w.next())
	if err != nil {
		w.fail(err)
	}
	return a
}

// prefix reads a prefix, an address or "all" (the zero Prefix).
func (w *words) prefix() netip.Prefix {
	text := w.next()
	if text == "all" {
		return netip.Prefix{}
	}
	p, err := parsePrefix(text)
	if err != nil {
		w.fail(err)
	}
	return p
}

func (w *words) table() uint32 {
	for _, t := range []uint32{rpdb.TableDefault, rpdb.TableMain, rpdb.TableLocal} {
		if len(w.left) > 0 && w.left[0] == rpdb.TableText(t) {
			w.next()
			return t
		}
	}
	return w.number(32)
}

func (w *words) protocol() uint8 {
	for p, name := range protocolNames() {
		if len(w.left) > 0 && w.left[0] == name {
			w.next()
			return p
		}
	}
	return uint8(w.number(8))
}

// mark reads MARK or MARK/MASK.
func (w *words) mark() (mark, mask uint32) {
	text, bits, masked := strings.Cut(w.next(), "/")
	if !masked {
		bits = "0xffffffff"
	}
	m := words{left: []string{text, bits}}
	mark, mask = m.number(32), m.number(32)
	w.failIf(m.err)
	return mark, mask
}

func (w *words) failIf(err error) {
	if err != nil {
		w.fail(err)
	}
}

// ParseRule reads what follows "ip [-6] rule add": the family is that of the addresses; without any it is "family".
func ParseRule(text string, family rpdb.Family) (rpdb.Rule, error) {
	w := &words{left: strings.Fields(text)}
	r := rpdb.Rule{Family: family, Action: rpdb.ActLookup, Table: rpdb.TableMain, Protocol: rpdb.ProtoBoot}
	for len(w.left) > 0 && w.err == nil {
		ruleWord(w, &r)
	}
	for _, p := range []netip.Prefix{r.Src, r.Dst} {
		if p.IsValid() {
			r.Family = rpdb.FamilyOf(p.Addr())
		}
	}
	if w.err != nil {
		return r, fmt.Errorf("rule %q: %w", text, w.err)
	}
	return r, nil
}

// HasPriority says whether a rule's text gives a priority; ParseRule makes 0 of none.
func HasPriority(text string) bool {
	return slices.ContainsFunc(strings.Fields(text), func(word string) bool { return word == "priority" || word == "pref" })
}

func ruleWord(w *words, r *rpdb.Rule) {
	switch word := w.next(); word {
	case "not":
		r.Invert = true
	case "from":
		r.Src = w.prefix()
	case "to":
		r.Dst = w.prefix()
	case "priority", "pref":
		r.Priority = w.number(32)
	case "iif":
		r.IIF = w.next()
	case "oif":
		r.OIF = w.next()
	case "fwmark":
		r.Mark, r.Mask = w.mark()
	case "lookup", "table":
		r.Table = w.table()
	case "suppress_prefixlength":
		r.Suppress = rpdb.Suppress(uint8(w.number(8)))
	case "proto", "protocol":
		r.Protocol = w.protocol()
	case "goto":
		r.Action, r.Table, r.Goto = rpdb.ActGoto, 0, w.number(32)
	case "nop", "blackhole", "unreachable", "prohibit":
		actions := map[string]rpdb.Action{"nop": rpdb.ActNop, "blackhole": rpdb.ActBlackhole,
			"unreachable": rpdb.ActUnreachable, "prohibit": rpdb.ActProhibit}
		r.Action, r.Table = actions[word], 0
	default:
		w.fail(fmt.Errorf("%q is not understood", word))
	}
}

// ParseRoute reads what follows "ip route add"; index gives a device's ifindex.
func ParseRoute(text string, index func(dev string) (int, error)) (rpdb.Route, error) {
	w := &words{left: strings.Fields(text)}
	r := rpdb.Route{Type: rpdb.Unicast, Protocol: rpdb.ProtoBoot}
	r.Table = rpdb.TableMain
	scoped := false
	for len(w.left) > 0 && w.err == nil {
		scoped = routeWord(w, &r, index) || scoped
	}
	if w.err == nil && !r.Dst.IsValid() {
		w.fail(fmt.Errorf("no destination"))
	}
	// As ip-route(8): what has no gateway is on the link.
	if !scoped && r.Type == rpdb.Unicast && !r.Via.IsValid() && rpdb.FamilyOf(r.Dst.Addr()) == rpdb.IPv4 {
		r.Scope = rpdb.ScopeLink
	}
	if w.err != nil {
		return r, fmt.Errorf("route %q: %w", text, w.err)
	}
	return r, nil
}

// routeWord reads one word and its argument, and says whether it was the scope.
func routeWord(w *words, r *rpdb.Route, index func(string) (int, error)) (scope bool) {
	switch word := w.next(); word {
	case "blackhole", "unreachable", "prohibit", "throw":
		types := map[string]rpdb.RouteType{"blackhole": rpdb.Blackhole, "unreachable": rpdb.Unreachable,
			"prohibit": rpdb.Prohibit, "throw": rpdb.Throw}
		r.Type = types[word]
	case "default":
		r.Dst = rpdb.IPv4.Any()
	case "default6":
		r.Dst = rpdb.IPv6.Any()
	case "via":
		if len(w.left) > 0 && w.left[0] == rpdb.IPv6.String() { // of the other family than the destination's
			w.next()
			r.Via = w.addr()
		} else if r.Via = w.addr(); r.Dst == rpdb.IPv4.Any() {
			r.Dst = rpdb.FamilyOf(r.Via).Any()
		}
	case "dev":
		i, err := index(w.next())
		w.failIf(err)
		r.OIF = i
	case "src":
		r.Src = w.addr()
	case "table":
		r.Table = w.table()
	case "metric":
		r.Metric = w.number(32)
	case "proto":
		r.Protocol = w.protocol()
	case "onlink":
		r.Onlink = true
	case "scope":
		scopes := map[string]rpdb.Scope{"global": rpdb.ScopeUniverse, "site": rpdb.ScopeSite, "link": rpdb.ScopeLink,
			"host": rpdb.ScopeHost}
		r.Scope = scopes[w.next()]
		return true
	default:
		p, err := parsePrefix(word)
		w.failIf(err)
		r.Dst = p.Masked()
	}
	return false
}
