package config

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// rawUplink is one [[uplink]] section as it was read: nil where it inherits, and where its pins stand.
type rawUplink struct {
	Uplink
	fence, toRules, dnsRules, arpStrict *bool

	at map[string]position
}

// readSections reads all [[uplink]] sections; what is wrong inside of them goes into ps by its own keys.
func readSections(ps *problems, r *raw, v *value) []fault {
	if v.kind != unstable.Array {
		return wrongType(v)
	}
	for _, item := range v.items {
		if item.kind != unstable.Table && item.kind != unstable.InlineTable {
			return wrongType(item)
		}
		u := rawUplink{at: map[string]position{}}
		readTable(ps, "uplink.", item, uplinkKeys(), &u)
		if item.get("interface") == nil && item.get("mac") == nil && item.get("kind") == nil {
			ps.add("uplink", "a section with at least one of interface, mac, kind",
				fault{at: item.at, text: "the section says for no link"})
		}
		for _, f := range item.fields {
			u.at[f.name] = f.v.at
		}
		r.sections = append(r.sections, u)
	}
	checkPins(ps, r.sections)
	return nil
}

// uplinkKeys lists the keys of a section, in the order of the reference file.
func uplinkKeys() []key[rawUplink] {
	return append(matchKeys(), append(pinKeys(), ruleKeys()...)...)
}

func matchKeys() []key[rawUplink] {
	return []key[rawUplink]{
		{"interface", `a glob of interface names, as "wan*"`, readInterface},
		{"mac", `a hardware address, as "02:00:5e:10:00:01"`, func(u *rawUplink, v *value) []fault {
			return readMAC(v, &u.MAC)
		}},
		{"kind", `a kind of link as "ip -d link" prints it, as "ppp", "vlan", "wireguard"`, readKind},
		{"exclude", allowedBool, func(u *rawUplink, v *value) []fault { return readBool(v, &u.Excluded) }},
	}
}

func pinKeys() []key[rawUplink] {
	return []key[rawUplink]{
		{"name", "1 to 15 of A-Z a-z 0-9 _ . @ -, the first a letter, a digit or _, and neither a number nor " +
			"one of main, default, local, unspec, all", readName},
		{"table", fmt.Sprintf("a number from 1 to %d other than 253, 254, 255", highestTable), readPinnedTable},
		{"gateway", `a unicast address, or a list with at most one of each family, as ["192.0.2.1", "fe80::1"]`, readGateways},
		{"fwmark", `"MARK" or "MARK/MASK", numbers of 32 bits, as "0x100/0xff00"`, func(u *rawUplink, v *value) []fault {
			return readMark(v, &u.Mark, &u.Mask)
		}},
	}
}

func ruleKeys() []key[rawUplink] {
	return []key[rawUplink]{
		{"iif", `a list of interface names, as ["lan0"]`, func(u *rawUplink, v *value) []fault {
			return readStrings(v, &u.IIF, checkInterface)
		}},
		{"delegated", allowedDelegated, func(u *rawUplink, v *value) []fault { return readDelegated(v, &u.Delegated) }},
		{"fence", allowedBool, func(u *rawUplink, v *value) []fault {
			u.fence = new(bool)
			return readBool(v, u.fence)
		}},
		{"to_rules", allowedBool, func(u *rawUplink, v *value) []fault {
			u.toRules = new(bool)
			return readBool(v, u.toRules)
		}},
		{"dns_rules", allowedBool, func(u *rawUplink, v *value) []fault {
			u.dnsRules = new(bool)
			return readBool(v, u.dnsRules)
		}},
		{"arp", allowedARP, func(u *rawUplink, v *value) []fault {
			u.arpStrict = new(bool)
			return readARP(v, u.arpStrict)
		}},
		{"classless_routes", allowedPrefixes, func(u *rawUplink, v *value) []fault { return readPrefixes(v, &u.ClasslessRoutes) }},
		{"observe_dhcp", allowedBool, func(u *rawUplink, v *value) []fault { return readBool(v, &u.ObserveDHCP) }},
		{"observe_ra", allowedBool, func(u *rawUplink, v *value) []fault { return readBool(v, &u.ObserveRA) }},
	}
}

func readInterface(u *rawUplink, v *value) []fault {
	if f := readString(v, &u.Interface); f != nil {
		return f
	}
	if wrong := checkGlob(u.Interface); wrong != "" {
		return faultf(v.at, "%s %s", quote(u.Interface), wrong)
	}
	return nil
}

func readKind(u *rawUplink, v *value) []fault {
	if f := readString(v, &u.Kind); f != nil {
		return f
	}
	if strings.ContainsFunc(u.Kind, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return faultf(v.at, "%s is no kind of link", quote(u.Kind))
	}
	return nil
}

func readName(u *rawUplink, v *value) []fault {
	if f := readString(v, &u.Name); f != nil {
		return f
	}
	if wrong := checkName(u.Name); wrong != "" {
		return faultf(v.at, "%s %s", quote(u.Name), wrong)
	}
	return nil
}

// checkName says why a string cannot name an uplink and its table, or nothing. iproute2 takes what looks like a number
// for one, by the rules of strtoul(3) with base 0, and knows five names itself (ip-route(8), rt_tables).
func checkName(name string) string {
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,14}$`).MatchString(name) {
		return "cannot name a routing table"
	}
	if _, err := strconv.ParseUint(name, 0, 64); err == nil || strings.Trim(name, "0123456789") == "" {
		return "is a number"
	}
	switch name {
	case "main", "default", "local", "unspec", "all":
		return "is a name of the kernel's own"
	}
	return ""
}

func readPinnedTable(u *rawUplink, v *value) []fault {
	if f := readNumber(v, 1, highestTable, &u.Table); f != nil {
		return f
	}
	if u.Table >= 253 && u.Table <= 255 {
		return faultf(v.at, "%d is a table of the kernel's own", u.Table)
	}
	return nil
}

func readGateways(u *rawUplink, v *value) []fault {
	items := []*value{v}
	if v.kind == unstable.Array {
		items = v.items
	}
	var faults []fault
	for _, item := range items {
		var s string
		if f := readString(item, &s); f != nil {
			faults = append(faults, f...)
			continue
		}
		a, err := netip.ParseAddr(s)
		wrong := "is no address"
		if err == nil {
			wrong = checkGateway(a)
		}
		for _, other := range u.Gateways {
			if wrong == "" && other.Is4() == a.Is4() {
				wrong = "is the second one of its family"
			}
		}
		if wrong != "" {
			faults = append(faults, faultf(item.at, "%s %s", quote(s), wrong)...)
			continue
		}
		u.Gateways = append(u.Gateways, a)
	}
	return faults
}

// checkPins refuses sections that pin the same table, name or mark: one of them could never have it.
func checkPins(ps *problems, sections []rawUplink) {
	for i, u := range sections {
		for _, earlier := range sections[:i] {
			if u.Table != 0 && u.Table == earlier.Table {
				ps.taken("table", u, earlier, strconv.Itoa(int(u.Table)))
			}
			if u.Name != "" && u.Name == earlier.Name {
				ps.taken("name", u, earlier, quote(u.Name))
			}
			if u.Mask != 0 && u.Mark == earlier.Mark && u.Mask == earlier.Mask {
				ps.taken("fwmark", u, earlier, fmt.Sprintf(`"%#x/%#x"`, u.Mark, u.Mask))
			}
		}
	}
}

func (ps *problems) taken(name string, u, earlier rawUplink, text string) {
	f := fault{at: u.at[name], text: fmt.Sprintf("%s is taken by line %d", text, earlier.at[name].line)}
	ps.add("uplink."+name, "one that no other section has", f)
}

// matches says whether a section is about a link.
func (u Uplink) matches(name, mac, kind string) bool {
	return (u.Interface == "" || matchGlob(u.Interface, name)) &&
		(u.MAC == "" || strings.EqualFold(u.MAC, mac)) &&
		(u.Kind == "" || u.Kind == kind)
}

// matchGlob says whether a name matches a glob, which was checked when it was read.
func matchGlob(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return ok && err == nil
}
