package config

import (
	"fmt"
	"path"

	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	// highestTable keeps table numbers positive for programs that hold them in a signed integer.
	highestTable = 1<<31 - 1
	// firstFreeTable is the first number over the kernel's own tables and over the 8 bits of rtm_table.
	firstFreeTable = 256
	// fewestTables is room for the uplinks of a usual host, the second tables of links with two gateways included.
	fewestTables = 16
	// highestBase keeps the whole block well under the rule of table main at 32766.
	highestBase = 31000
)

// raw is the file as it was read: the keys that sections inherit are known only at its end.
type raw struct {
	Config
	sections []rawUplink
}

const allowedBool = "true or false"

const allowedARP = `"strict" or "off"`

const allowedGlobs = `a list of globs of interface names, as ["wan*", "eth[0-3]"]`

// topKeys lists the keys outside of sections, in the order of the reference file.
func topKeys(ps *problems) []key[raw] {
	return []key[raw]{
		{"include", allowedGlobs, func(r *raw, v *value) []fault {
			return readStrings(v, &r.Include, checkGlob)
		}},
		{"exclude", allowedGlobs, func(r *raw, v *value) []fault {
			return readStrings(v, &r.Exclude, checkGlob)
		}},
		{"fence", allowedBool, func(r *raw, v *value) []fault { return readBool(v, &r.Fence) }},
		{"to_rules", allowedBool, func(r *raw, v *value) []fault { return readBool(v, &r.ToRules) }},
		{"dns_rules", allowedBool, func(r *raw, v *value) []fault { return readBool(v, &r.DNSRules) }},
		{"arp", allowedARP, func(r *raw, v *value) []fault { return readARP(v, &r.ARPStrict) }},
		{"classless_routes", allowedPrefixes, func(r *raw, v *value) []fault { return readPrefixes(v, &r.ClasslessRoutes) }},
		{"hook_users", allowedAccounts("users", "nobody"), func(r *raw, v *value) []fault { return readAccounts(v, &r.HookUsers) }},
		{"hook_groups", allowedAccounts("groups", "openvpn"), func(r *raw, v *value) []fault { return readAccounts(v, &r.HookGroups) }},
		{
			"priority_base", fmt.Sprintf("a number from 1 to %d: the first of %d priorities", highestBase, PrioritySpan),
			func(r *raw, v *value) []fault { return readNumber(v, 1, highestBase, &r.PriorityBase) },
		},
		{
			"table_range", fmt.Sprintf("[FIRST, LAST], from %d to %d, at least %d numbers",
				firstFreeTable, highestTable, fewestTables),
			readTableRange,
		},
		{"protocol", "a number from 5 to 255 that is nobody else's: not 8 to 18, 42 or 186 to 192", readProtocol},
		{"rt_tables_dir", `an absolute path, or "" for no names`, readTablesDir},
		{"uplink", "sections that begin with [[uplink]]", func(r *raw, v *value) []fault {
			return readSections(ps, r, v)
		}},
	}
}

func readARP(v *value, strict *bool) []fault {
	var s string
	if f := readString(v, &s); f != nil {
		return f
	}
	if s != "strict" && s != "off" {
		return faultf(v.at, "%s is neither", quote(s))
	}
	*strict = s == "strict"
	return nil
}

func readTableRange(r *raw, v *value) []fault {
	if v.kind != unstable.Array {
		return wrongType(v)
	}
	if len(v.items) != 2 {
		return faultf(v.at, "has %d elements", len(v.items))
	}
	var first, last uint32
	faults := readNumber(v.items[0], firstFreeTable, highestTable, &first)
	faults = append(faults, readNumber(v.items[1], firstFreeTable, highestTable, &last)...)
	switch {
	case faults != nil:
		return faults
	case last < first:
		return faultf(v.at, "ends at %d before it begins at %d", last, first)
	case last-first+1 < fewestTables:
		return faultf(v.at, "has room for only %d tables", last-first+1)
	}
	r.FirstTable, r.LastTable = first, last
	return nil
}

func readProtocol(r *raw, v *value) []fault {
	var number uint8
	if f := readNumber(v, 1, 255, &number); f != nil {
		return f
	}
	if owner := protocolOwner(number); owner != "" {
		return faultf(v.at, "%d is %s: its rules and routes would be taken for ours and removed", number, owner)
	}
	r.Protocol = number
	return nil
}

// protocolOwner says whose an rtnetlink protocol number is, by linux/rtnetlink.h and iproute2's rt_protos.
func protocolOwner(n uint8) string {
	switch {
	case n == 1:
		return "the kernel's own for ICMP redirects"
	case n == 2:
		return "the kernel's own"
	case n == 3:
		return `what "ip route add" uses ("boot")`
	case n == 4:
		return "what administrators and managers of static routes use"
	case n == 9:
		return "for router advertisements"
	case n == 16:
		return "for the routes of DHCP clients"
	case n >= 8 && n <= 18, n == 42, n >= 186 && n <= 192:
		return "a routing daemon's (see iproute2's rt_protos)"
	}
	return ""
}

func readTablesDir(r *raw, v *value) []fault {
	switch {
	case v.kind != unstable.String:
		return wrongType(v)
	case v.text != "" && !path.IsAbs(v.text):
		return faultf(v.at, "%s is a relative path", quote(v.text))
	}
	for _, c := range []byte(v.text) {
		if c == 0 {
			return faultf(v.at, "%s has a zero byte in it", quote(v.text))
		}
	}
	r.RTTablesDir = ""
	if v.text != "" {
		r.RTTablesDir = path.Clean(v.text)
	}
	return nil
}
