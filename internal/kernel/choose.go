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
		return r.connected
	case rpdb.TableLocal, rpdb.TableDefault:
		return false
	}
	return true
}
