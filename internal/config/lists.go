package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

const allowedPrefixes = `a list of prefixes without host bits, as ["10.0.0.0/8", "2001:db8::/32"]`

// nowhere are the prefixes in which no classless route is ever taken, whatever is allowed: this host (RFC 1122 section
// 3.2.1.3, RFC 4291 section 2.5.3), multicast (RFC 5771, RFC 4291 section 2.7), what is reserved (RFC 1112 section 4) and
// IPv6's link-local addresses (RFC 4291 section 2.5.6). IPv4's are not among them: clouds have a server at 169.254.169.254.
func nowhere() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// Nowhere says why nothing that lies in a prefix can be a destination by a gateway, or gives the empty string.
func Nowhere(p netip.Prefix) string {
	for _, n := range nowhere() {
		if n.Contains(p.Addr()) && p.Bits() >= n.Bits() {
			return fmt.Sprintf("is in %s, where no gateway leads", n)
		}
	}
	return ""
}

// readPrefixes reads a list of prefixes; one without any is an empty list, and not nil.
func readPrefixes(v *value, dst *[]netip.Prefix) []fault {
	var list []string
	if f := readStrings(v, &list, checkPrefix); f != nil {
		return f
	}
	*dst = make([]netip.Prefix, len(list))
	for i, s := range list {
		(*dst)[i] = netip.MustParsePrefix(s)
	}
	return nil
}

const allowedDelegated = `a list of prefixes without host bits, as ["2001:db8:100::/56", "203.0.113.8/29"]`

// readDelegated reads the prefixes of networks behind the host. What is wider than anything that IANA
// gives out (/8 of IPv4, /12 of IPv6) is a mistake, and would draw other uplinks' packets.
func readDelegated(v *value, dst *[]netip.Prefix) []fault {
	var list []string
	f := readStrings(v, &list, func(s string) string {
		wrong := checkPrefix(s)
		p, err := netip.ParsePrefix(s)
		if wrong == "" && err == nil && p.Bits() < shortestDelegated(p) {
			wrong = fmt.Sprintf("is shorter than /%d", shortestDelegated(p))
		}
		return wrong
	})
	for _, s := range list {
		*dst = append(*dst, netip.MustParsePrefix(s))
	}
	return f
}

func shortestDelegated(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 8
	}
	return 12
}

// checkPrefix says what is wrong with a prefix of destinations, or nothing.
func checkPrefix(s string) string {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return "is no prefix"
	case p.Addr().Is4In6():
		return "is an IPv4 prefix in an IPv6 one: write the IPv4 prefix"
	case p != p.Masked():
		return fmt.Sprintf("has host bits: write %s", p.Masked())
	}
	return Nowhere(p)
}

func allowedAccounts(what, example string) string {
	return fmt.Sprintf("a list of %s by name or number, as [%q, 65534]", what, example)
}

// highestAccount is the last user or group id: the one after it means "none" in many calls (chown(2), setresuid(2)).
const highestAccount = 1<<32 - 2

// readAccounts reads a list of users or groups. Whether there are such is not looked at here.
func readAccounts(v *value, dst *[]Account) []fault {
	if v.kind != unstable.Array {
		return wrongType(v)
	}
	var faults []fault
	list := make([]Account, 0, len(v.items))
	for _, item := range v.items {
		a := Account{Line: item.at.line, Column: item.at.column}
		if item.kind == unstable.Integer {
			faults = append(faults, readNumber(item, 0, highestAccount, &a.ID)...)
		} else if f := readString(item, &a.Name); f != nil {
			faults = append(faults, f...)
		} else if wrong := checkAccount(a.Name); wrong != "" {
			faults = append(faults, faultf(item.at, "%s %s", quote(a.Name), wrong)...)
		}
		list = append(list, a)
	}
	*dst = list
	return faults
}

// checkAccount says what is wrong with the name of a user or group, or nothing: what can stand in passwd(5) at all. A number
// in quotes could be either.
func checkAccount(name string) string {
	switch {
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }):
		return "can be no name: it has a colon, white space or a control byte in it"
	case strings.Trim(name, "0123456789") == "":
		return "is a number in quotes"
	}
	return ""
}
