package uplink

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// SafeName makes an uplink's name of an interface's. The kernel takes nearly any bytes as an interface name, but an
// uplink's name goes into rt_tables.d, logs and terminals: one that iproute2 would misread (a number, "main", an
// option) or that is not plain is spelled with '_' and told apart by a hash of the true one.
func SafeName(ifname string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 0x80 && (isAlnum(byte(r)) || strings.ContainsRune("_.@-", r)) {
			return r
		}
		return '_'
	}, ifname)
	if plain == ifname && !misread(ifname) {
		return ifname
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(ifname))
	return fmt.Sprintf("x%s-%04x", plain, h.Sum32()&0xffff)
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// misread says whether iproute2 would take the name for something else: it reads table names as numbers first
// (lib/rt_names.c: rtnl_rttable_a2n), and options begin with a dash.
func misread(name string) bool {
	if _, err := strconv.ParseUint(name, 0, 64); err == nil || name == "" {
		return true
	}
	switch name {
	case "main", "default", "local", "all", "unspec", "none":
		return true
	}
	return name[0] == '-' || name[0] == '.'
}
