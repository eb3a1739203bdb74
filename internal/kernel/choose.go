package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// plainRoute says whether a route message is of a kind that snapshots know, going by its header alone: not a cache entry
// (RTM_F_CLONED), not of the types local, broadcast, anycast and multicast that the kernel keeps for itself, and without
// a source prefix or a TOS, which would be one more part of its identity.
func plainRoute(b []byte) bool {
	if len(b) < unix.SizeofRtMsg || binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return false
	}
	if srcLen, tos := b[2], b[3]; srcLen != 0 || tos != 0 {
		return false
	}
	switch rpdb.RouteType(b[7]) {
	case rpdb.Unicast, rpdb.Blackhole, rpdb.Unreachable, rpdb.Prohibit, rpdb.Throw:
		return true
	}
	return false
}

// kept says whether a snapshot holds a route; rpdb.Snapshot says which it does. eventFilter lets the same routes pass.
func (w *watched) kept(r listing) bool {
	if r.Dst.Bits() == 0 || w.ours(r.Protocol) {
		return true
	}
	switch r.Table {
	case rpdb.TableMain:
		return r.connected || hostRoute(r.Route)
	case rpdb.TableLocal, rpdb.TableDefault:
		return false
	}
	return true
}

// maxHostRoutes is how many routes to single hosts by a next hop a snapshot holds of a family, the first in the kernel's own
// order, which in IPv4 is that of their destinations: more would be somebody's list, and no VPN's routes to its servers.
const maxHostRoutes = 1024

// hostProtocols are the protocols of those that count: of whoever puts single routes there. A routing daemon has a number of
// its own.
func hostProtocols() [3]uint8 { return [...]uint8{rpdb.ProtoBoot, rpdb.ProtoStatic, rpdb.ProtoDHCP} }

// hostRoute says whether a route leads to a single host by one next hop, as a VPN's to its server, and is no routing daemon's.
func hostRoute(r rpdb.Route) bool {
	if r.Type != rpdb.Unicast || !r.Dst.IsSingleIP() || !r.Via.IsValid() || r.Multipath {
		return false
	}
	for _, proto := range hostProtocols() {
		if r.Protocol == proto {
			return true
		}
	}
	return false
}

// atMost lets no more of main's host routes pass than a snapshot holds.
func atMost(n int, kept func(listing) bool) func(listing) bool {
	return func(r listing) bool {
		if !kept(r) {
			return false
		}
		if r.Table != rpdb.TableMain || !hostRoute(r.Route) {
			return true
		}
		n--
		return n >= 0
	}
}
