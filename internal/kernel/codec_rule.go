package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// sizeofRuleHdr is the size of struct fib_rule_hdr (linux/fib_rules.h): family, dst_len, src_len, tos, table, two
// reserved bytes, action, and 32 bits of flags.
const sizeofRuleHdr = 12

// tableCompat stands in a header's 8 bits for a table above 255, whose number is then an attribute.
const tableCompat = unix.RT_TABLE_COMPAT

// noSuppress is FRA_SUPPRESS_PREFIXLEN where nothing is suppressed; the kernel always sends the attribute.
const noSuppress = ^uint32(0)

// ruleRequest asks for all rules of a family. Both at once would list multicast rules as well.
func ruleRequest(f rpdb.Family) request {
	body := make([]byte, sizeofRuleHdr)
	body[0] = byte(f)
	return request{typ: unix.RTM_GETRULE, body: body}
}

// decodeRule reads an RTM_NEWRULE or RTM_DELRULE message.
func decodeRule(b []byte) (rpdb.Rule, error) {
	if len(b) < sizeofRuleHdr {
		return rpdb.Rule{}, fmt.Errorf("rule: %w", errShort)
	}
	f, err := family(b[0])
	if err != nil {
		return rpdb.Rule{}, fmt.Errorf("rule: %w", err)
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	r := rpdb.Rule{
		Family: f,
		Table:  uint32(b[4]),
		Action: rpdb.Action(b[7]),
		Invert: flags&unix.FIB_RULE_INVERT != 0,
		// A TOS selects too, and so does "the source of a locally made packet that has none yet".
		Opaque: b[3] != 0 || flags&unix.FIB_RULE_FIND_SADDR != 0,
	}
	if err := decodeRuleAttributes(&r, b); err != nil {
		return rpdb.Rule{}, fmt.Errorf("rule %d: %w", r.Priority, err)
	}
	return normalRule(r), nil
}

// normalRule is the rule as it is listed: what its action does not use is left out, and so is a selector that takes all.
func normalRule(r rpdb.Rule) rpdb.Rule {
	if r.Action != rpdb.ActLookup {
		r.Table = 0
	}
	if r.Action != rpdb.ActGoto {
		r.Goto = 0
	}
	if !r.Suppress.Set {
		r.Suppress = rpdb.Limit{}
	}
	r.Src, r.Dst = selective(r.Src), selective(r.Dst)
	return r
}

func selective(p netip.Prefix) netip.Prefix {
	if p.Bits() <= 0 {
		return netip.Prefix{}
	}
	return p
}

func decodeRuleAttributes(r *rpdb.Rule, b []byte) error {
	var src, dst []byte
	hasMask := false
	as := attributesAfter(b, sizeofRuleHdr)
	for as.next() {
		switch as.typ {
		case unix.FRA_SRC:
			src = as.val
		case unix.FRA_DST:
			dst = as.val
		case unix.FRA_FWMASK:
			r.Mask, hasMask = as.uint32(), true
		default:
			decodeRuleAttribute(r, &as)
		}
	}
	if as.err != nil {
		return as.err
	}
	if r.Mark != 0 && !hasMask {
		r.Mask = ^uint32(0)
	}
	var err error
	if r.Dst, err = selector(r.Family, dst, b[1]); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if r.Src, err = selector(r.Family, src, b[2]); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}

func decodeRuleAttribute(r *rpdb.Rule, as *attributes) {
	switch as.typ {
	case unix.FRA_UNSPEC, unix.FRA_PAD:
	case unix.FRA_IIFNAME:
		r.IIF = as.text()
	case unix.FRA_OIFNAME:
		r.OIF = as.text()
	case unix.FRA_GOTO:
		r.Goto = as.uint32()
	case unix.FRA_PRIORITY:
		r.Priority = as.uint32()
	case unix.FRA_FWMARK:
		r.Mark = as.uint32()
	case unix.FRA_TABLE:
		r.Table = as.uint32()
	case unix.FRA_PROTOCOL:
		r.Protocol = as.uint8()
	case unix.FRA_SUPPRESS_PREFIXLEN:
		if n := as.uint32(); n != noSuppress {
			r.Suppress = rpdb.Suppress(uint8(min(n, 255)))
		}
	default:
		r.Opaque = true // ports, uids, realms, and whatever later kernels select by
	}
}

// selector is a rule's prefix: the zero Prefix where it has length 0 and so takes all.
func selector(f rpdb.Family, b []byte, bits uint8) (netip.Prefix, error) {
	if bits == 0 {
		return netip.Prefix{}, nil
	}
	return decodePrefix(f, b, bits)
}

// encodeRule writes a rule as RTM_NEWRULE and RTM_DELRULE want it. The priority is sent even where it is 0: without it
// the kernel picks one for a new rule, and deletes at any.
func encodeRule(r rpdb.Rule) ([]byte, error) {
	if err := checkRule(r); err != nil {
		return nil, err
	}
	r = normalRule(r)
	b := make([]byte, sizeofRuleHdr, 128)
	b[0] = byte(r.Family)
	b[4] = tableByte(r.Table)
	b[7] = byte(r.Action)
	if r.Invert {
		binary.NativeEndian.PutUint32(b[8:], unix.FIB_RULE_INVERT)
	}
	b = appendUint32(b, unix.FRA_PRIORITY, r.Priority)
	b = appendAttr(b, unix.FRA_PROTOCOL, []byte{r.Protocol})
	if r.Dst.Bits() > 0 {
		b[1] = byte(r.Dst.Bits())
		b = appendAttr(b, unix.FRA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Src.Bits() > 0 {
		b[2] = byte(r.Src.Bits())
		b = appendAttr(b, unix.FRA_SRC, r.Src.Addr().AsSlice())
	}
	return appendRuleAttributes(b, r), nil
}

func appendRuleAttributes(b []byte, r rpdb.Rule) []byte {
	if r.IIF != "" {
		b = appendText(b, unix.FRA_IIFNAME, r.IIF)
	}
	if r.OIF != "" {
		b = appendText(b, unix.FRA_OIFNAME, r.OIF)
	}
	if r.Mark != 0 || r.Mask != 0 {
		b = appendUint32(b, unix.FRA_FWMARK, r.Mark)
		b = appendUint32(b, unix.FRA_FWMASK, r.Mask)
	}
	switch r.Action {
	case rpdb.ActLookup:
		b = appendUint32(b, unix.FRA_TABLE, r.Table)
	case rpdb.ActGoto:
		b = appendUint32(b, unix.FRA_GOTO, r.Goto)
	}
	if r.Suppress.Set {
		b = appendUint32(b, unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.Suppress.Len))
	}
	return b
}

// checkRule refuses what would come out as another rule than the one that was meant: what the kernel reads as "any" when
// it deletes, and names that do not fit into an attribute.
func checkRule(r rpdb.Rule) error {
	_, err := family(byte(r.Family))
	switch {
	case err != nil:
		return err
	case r.Opaque:
		return errors.New("it has selectors that uplinkd does not know")
	case r.Protocol == 0:
		return errors.New("it carries no protocol number: it would be nobody's, and deleting it would delete anybody's")
	case r.Action == 0:
		return errors.New("it has no action")
	case r.Action == rpdb.ActLookup && r.Table == 0:
		return errors.New("it has no table")
	case r.Src.IsValid() && rpdb.FamilyOf(r.Src.Addr()) != r.Family,
		r.Dst.IsValid() && rpdb.FamilyOf(r.Dst.Addr()) != r.Family:
		return errors.New("it mixes address families")
	case len(r.IIF) >= unix.IFNAMSIZ || len(r.OIF) >= unix.IFNAMSIZ:
		return fmt.Errorf("an interface name has at most %d bytes", unix.IFNAMSIZ-1)
	}
	return nil
}

// tableByte is a table's number in the 8 bits of a header.
func tableByte(table uint32) byte {
	if table > 255 {
		return tableCompat
	}
	return byte(table)
}
