package lease

import (
	"strconv"
	"strings"
)

// openVPN is the client whose leases are of tunnels by their nature, and whose scripts often run as an ordinary user.
const openVPN = "openvpn"

// ordinaryMark stands between a source and the id of the ordinary user who speaks for it. No client has it in its name.
const ordinaryMark = "@"

// OfUser is the source under which an ordinary user speaks for this one: "generic@65534". So nobody's word replaces or ends
// what root said. Those of OpenVPN are one voice, since it gives up root between its first call and its last.
func (s Source) OfUser(uid uint32) Source {
	if s == openVPN {
		return s
	}
	return s + Source(ordinaryMark+strconv.FormatUint(uint64(uid), 10))
}

// TunnelOnly says that the source's word counts for tunnels only: an ordinary user may have said it.
func (s Source) TunnelOnly() bool {
	return s == openVPN || strings.Contains(string(s), ordinaryMark)
}
