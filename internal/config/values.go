package config

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// key is one key that the file may have: how it is called, what it takes, and how it is read.
type key[T any] struct {
	name    string
	allowed string // the end of every complaint about it
	set     func(dst *T, v *value) []fault
}

// readTable reads a table by its list of keys; what is not in the list is refused.
func readTable[T any](ps *problems, prefix string, table *value, keys []key[T], dst *T) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
fields:
	for _, f := range table.fields {
		for _, k := range keys {
			if k.name == f.name {
				ps.add(prefix+k.name, k.allowed, k.set(dst, f.v)...)
				continue fields
			}
		}
		ps.add(prefix+shorten(f.name), strings.Join(names, ", "), fault{at: f.at, text: "unknown key"})
	}
}

// kindText is a value's type in words.
func kindText(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a boolean"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a floating point number"
	case unstable.Array:
		return "a list"
	case unstable.Table, unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}

// wrongType is the complaint about a value that is not of the type it should be.
func wrongType(v *value) []fault { return faultf(v.at, "is %s", kindText(v.kind)) }

// shorten keeps a value of the file fit for one line: cut, and what does not print is escaped.
func shorten(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

func quote(s string) string { return `"` + shorten(s) + `"` }

func readBool(v *value, dst *bool) []fault {
	if v.kind != unstable.Bool {
		return wrongType(v)
	}
	*dst = v.text == "true"
	return nil
}

func readString(v *value, dst *string) []fault {
	if v.kind != unstable.String {
		return wrongType(v)
	}
	if v.text == "" {
		return faultf(v.at, "is empty")
	}
	*dst = v.text
	return nil
}

func readNumber[N uint8 | uint32](v *value, lowest, highest int64, dst *N) []fault {
	switch {
	case v.kind != unstable.Integer:
		return wrongType(v)
	case v.number < lowest:
		return faultf(v.at, "%d is too low", v.number)
	case v.number > highest:
		return faultf(v.at, "%d is too high", v.number)
	}
	*dst = N(v.number)
	return nil
}

// readStrings reads a list of strings and checks each.
func readStrings(v *value, dst *[]string, check func(string) string) []fault {
	if v.kind != unstable.Array {
		return wrongType(v)
	}
	var faults []fault
	list := []string{}
	for _, item := range v.items {
		var s string
		if f := readString(item, &s); f != nil {
			faults = append(faults, f...)
			continue
		}
		if wrong := check(s); wrong != "" {
			faults = append(faults, faultf(item.at, "%s %s", quote(s), wrong)...)
			continue
		}
		list = append(list, s)
	}
	*dst = list
	return faults
}

// checkGlob says what is wrong with a glob for interface names, or nothing.
func checkGlob(glob string) string {
	if _, err := path.Match(glob, ""); err != nil {
		return "is not a well-formed glob"
	}
	if strings.ContainsAny(glob, "/: \t\n") {
		return "can match no interface: a name has no slash, colon or white space"
	}
	return ""
}

// checkInterface says what is wrong with the name of an interface, by the kernel's rule (net/core/dev.c:
// dev_valid_name) and the size of IFNAMSIZ in linux/if.h.
func checkInterface(name string) string {
	const most = 15
	switch {
	case len(name) > most:
		return fmt.Sprintf("is longer than %d bytes", most)
	case name == "." || name == "..":
		return "is no interface name"
	}
	for _, c := range []byte(name) {
		// 0xa0 is white space to the kernel (lib/ctype.c), which looks at bytes, not at characters.
		if c == '/' || c == ':' || c <= ' ' && strings.IndexByte(" \t\n\v\f\r\x00", c) >= 0 || c == 0xa0 {
			return "has a slash, colon or white space in it"
		}
	}
	return ""
}

// checkGateway says what is wrong with an address as the next hop of a default route, or nothing.
func checkGateway(a netip.Addr) string {
	switch {
	case a.Zone() != "":
		return "has a zone: the link is the one that the section matches"
	case a.Is4In6():
		return "is an IPv4 address in an IPv6 one: write the IPv4 address"
	case a.IsUnspecified():
		return "is the unspecified address"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240): // RFC 1122 section 3.2.1.3, RFC 1112 section 4
		return "is no unicast address"
	}
	return ""
}

// readMAC reads a hardware address into the form that the kernel's links have here.
func readMAC(v *value, dst *string) []fault {
	var s string
	if f := readString(v, &s); f != nil {
		return f
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		return faultf(v.at, "%s is no hardware address", quote(s))
	}
	*dst = mac.String()
	return nil
}

// readMark reads "MARK/MASK" or "MARK", each a number as in ip-rule(8).
func readMark(v *value, mark, mask *uint32) []fault {
	var s string
	if f := readString(v, &s); f != nil {
		return f
	}
	first, second, hasMask := strings.Cut(s, "/")
	m, err := strconv.ParseUint(first, 0, 32)
	if err != nil {
		return faultf(v.at, "%s is no mark of 32 bits", quote(s))
	}
	k := uint64(1<<32 - 1)
	if hasMask {
		if k, err = strconv.ParseUint(second, 0, 32); err != nil {
			return faultf(v.at, "%s has no mask of 32 bits", quote(s))
		}
	}
	switch {
	case m == 0:
		return faultf(v.at, "%s is the mark of every packet that nobody marked", quote(s))
	case m&^k != 0:
		return faultf(v.at, "%s can match no packet: the mark has bits outside its mask", quote(s))
	}
	*mark, *mask = uint32(m), uint32(k)
	return nil
}
