package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Question is a packet as a person writes it: Flow with the devices by their names.
type Question struct {
	rpdb.Flow
	OIFName, IIFName string
}

// Syntax is how a question is written.
const Syntax = "DST [from SRC] [oif DEV] [iif DEV] [mark M] [uid N] [ipproto P] [sport N] [dport N] [tos T]"

// Parse reads a question; uid is the user where none is given. A packet without a protocol is one of UDP, as with "ip route
// get" (net/ipv4/route.c: inet_rtm_getroute). Its errors are one line with the mend.
func Parse(words []string, uid uint32) (Question, error) {
	if len(words) == 0 {
		return Question{}, errors.New("the destination is missing: uplinkctl explain " + Syntax)
	}
	dst, err := parseAddr("the destination", words[0])
	if err != nil {
		return Question{}, err
	}
	q := Question{Flow: rpdb.Flow{Dst: dst, UID: uid, Proto: 17}}
	given := make(map[string]bool)
	for rest := words[1:]; len(rest) > 0; rest = rest[2:] {
		word := rest[0]
		switch {
		case !known(word):
			return Question{}, fmt.Errorf("%q is not understood: write %s", word, Syntax)
		case given[word]:
			return Question{}, fmt.Errorf("%q is given twice: leave one out", word)
		case len(rest) == 1:
			return Question{}, fmt.Errorf("%q has no value: write %s", word, Syntax)
		}
		given[word] = true
		if err := q.set(word, rest[1]); err != nil {
			return Question{}, err
		}
	}
	return q, q.check(given)
}

func known(word string) bool {
	switch word {
	case "from", "oif", "iif", "mark", "uid", "ipproto", "sport", "dport", "tos":
		return true
	}
	return false
}

func (q *Question) set(word, value string) (err error) {
	var n uint64
	switch word {
	case "from":
		q.Src, err = parseAddr("the source", value)
	case "oif":
		q.OIFName = value
	case "iif":
		q.IIFName = value
	case "mark":
		n, err = number(word, value, 32)
		q.Mark = uint32(n)
	case "uid":
		n, err = number(word, value, 32)
		q.UID = uint32(n)
	case "ipproto":
		q.Proto, err = parseProto(value)
	case "sport":
		n, err = number(word, value, 16)
		q.SrcPort = uint16(n)
	case "dport":
		n, err = number(word, value, 16)
		q.DstPort = uint16(n)
	case "tos":
		n, err = number(word, value, 8)
		q.TOS = uint8(n)
	}
	return err
}

// check refuses what no packet is.
func (q *Question) check(given map[string]bool) error {
	switch {
	case q.Src.IsValid() && rpdb.FamilyOf(q.Src) != q.Family():
		return fmt.Errorf("the source %s and the destination %s are of different families: give both of one", q.Src, q.Dst)
	case given["iif"] && given["oif"]:
		return errors.New(`a packet that came in ("iif") is bound to no device: leave "oif" out`)
	case given["iif"] && given["uid"]:
		return errors.New(`a packet that came in ("iif") is no user's: leave "uid" out`)
	case given["iif"] && !q.Src.IsValid():
		return errors.New(`a packet that came in ("iif") has a source: add "from SRC"`)
	case q.TOS&3 != 0:
		return fmt.Errorf("tos %#x: the two lowest bits are ECN's and choose no route: write %#x", q.TOS, q.TOS&^3)
	case q.Proto == 1 && q.Family() == rpdb.IPv6:
		return errors.New(`"ipproto icmp" is IPv4's: write "ipproto ipv6-icmp"`)
	case q.Proto == 58 && q.Family() == rpdb.IPv4:
		return errors.New(`"ipproto ipv6-icmp" is IPv6's: write "ipproto icmp"`)
	case (given["sport"] || given["dport"]) && (q.Proto == 1 || q.Proto == 58):
		return errors.New(`ICMP has no ports: leave "sport" and "dport" out, or give another "ipproto"`)
	}
	if q.IIFName != "" {
		q.UID = 0 // the kernel's, which forwards
	}
	return nil
}

func parseAddr(what, text string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return netip.Addr{}, fmt.Errorf("%s %q is a prefix: give one address, as %s", what, text, p.Addr())
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%s %q is no address: give an IPv4 or IPv6 address, not a name", what, text)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%s %q names a device: write %s oif %s", what, text, a.WithZone(""), a.Zone())
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%s %q is an IPv4 address in IPv6's form: write %s", what, text, a.Unmap())
	}
	return a, nil
}

func number(word, text string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(text, 0, bits)
	if err != nil {
		return 0, fmt.Errorf("%s %q is no number from 0 to %d (0x1f is understood)", word, text, uint64(1)<<bits-1)
	}
	return n, nil
}

func parseProto(text string) (uint8, error) {
	for _, p := range []uint8{1, 6, 17, 58} {
		if rpdb.IPProtoText(p) == text {
			return p, nil
		}
	}
	n, err := strconv.ParseUint(text, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("ipproto %q is not understood: write tcp, udp, icmp, ipv6-icmp or a number from 1 to 255", text)
	}
	return uint8(n), nil
}

// Resolve finds the devices of a question.
func (q *Question) Resolve(links []rpdb.LinkDetail) error {
	for _, d := range []struct {
		name string
		to   *int
	}{{q.OIFName, &q.OIF}, {q.IIFName, &q.IIF}} {
		for _, l := range links {
			if l.Name == d.name {
				*d.to = l.Index
			}
		}
		if d.name != "" && *d.to == 0 {
			return fmt.Errorf(`there is no device %q: "ip -br link" lists those that there are`, d.name)
		}
	}
	return nil
}
