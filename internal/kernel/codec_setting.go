package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The attributes of RTM_NEWNETCONF and what stands for all links in the first (linux/netconf.h).
const (
	netconfIfindex  = 1
	netconfRPFilter = 3
	netconfAll      = -1
)

// sizeofNetconfmsg is the size of struct netconfmsg, a lone byte, with its padding: the kernel wants it padded.
const sizeofNetconfmsg = 4

// netconfRequest asks for the IPv4 settings that the kernel tells by netlink: rp_filter of every link in one go.
func netconfRequest() request {
	body := make([]byte, sizeofNetconfmsg)
	body[0] = byte(rpdb.IPv4)
	return request{typ: unix.RTM_GETNETCONF, body: body}
}

// decodeNetconf adds the rp_filter of an RTM_NEWNETCONF message: of one link or of all, and of the template of new ones, which
// is left out.
func decodeNetconf(out []rpdb.Setting, b []byte) ([]rpdb.Setting, error) {
	index, value, found := 0, 0, false
	as := attributesAfter(b, 1)
	for as.next() {
		switch as.typ {
		case netconfIfindex:
			index = int(int32(as.uint32()))
		case netconfRPFilter:
			value, found = int(int32(as.uint32())), true
		}
	}
	switch {
	case as.err != nil:
		return out, fmt.Errorf("settings of link %d: %w", index, as.err)
	case index == netconfAll:
		index = rpdb.AllLinks
	case index < 1:
		return out, nil
	}
	if !found {
		return out, nil
	}
	return append(out, rpdb.Setting{SettingKey: rpdb.SettingKey{Link: index, Name: rpdb.RPFilter}, Value: value}), nil
}

// The attributes of RTM_NEWNEIGH, and the states in which an entry holds an address that answered or was given
// (linux/neighbour.h).
const (
	ndaDst      = 1
	ndaLladdr   = 2
	ndaIfindex  = 8
	knownStates = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT
)

// neighborRequest asks for the ARP table of one link.
func neighborRequest(link int) request {
	body := make([]byte, unix.SizeofNdMsg)
	body[0] = byte(rpdb.IPv4)
	return request{typ: unix.RTM_GETNEIGH, body: appendUint32(body, ndaIfindex, uint32(link))}
}

// decodeNeighbor reads an RTM_NEWNEIGH message: struct ndmsg and its attributes. ok is false where the entry says nothing.
func decodeNeighbor(b []byte) (n rpdb.Neighbor, ok bool, err error) {
	if len(b) < unix.SizeofNdMsg {
		return n, false, fmt.Errorf("neighbour: %w", errShort)
	}
	n.Link = int(int32(binary.NativeEndian.Uint32(b[4:])))
	state := binary.NativeEndian.Uint16(b[8:])
	as := attributesAfter(b, unix.SizeofNdMsg)
	for as.next() {
		switch as.typ {
		case ndaDst:
			n.Addr, _ = netip.AddrFromSlice(as.val)
		case ndaLladdr:
			n.MAC = macText(as.val)
		}
	}
	if as.err != nil {
		return n, false, fmt.Errorf("neighbour on link %d: %w", n.Link, as.err)
	}
	return n, state&knownStates != 0 && n.Addr.Is4() && n.MAC != "", nil
}

// listNeighbors reads the gateways' entries on the links that share a subnet with another one: whether a gateway is the same
// machine on both tells whether these are one network.
func (k *Kernel) listNeighbors(l *look) error {
	gateways := make(map[netip.Addr]bool)
	for _, r := range l.Routes {
		gateways[r.Via] = r.Via.Is4()
	}
	for _, link := range sharing(arpLinks(&l.Snapshot), l.Addresses) {
		err := list(k.ask, l, neighborRequest(link), rpdb.IPv4, &l.Neighbors, func(out []rpdb.Neighbor, b []byte) ([]rpdb.Neighbor, error) {
			n, ok, err := decodeNeighbor(b)
			if err == nil && ok && n.Link == link && gateways[n.Addr] {
				out = append(out, n)
			}
			return out, err
		})
		if err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// sharing are the links among these that have an IPv4 subnet which overlaps one of another.
func sharing(links []rpdb.Link, addresses []rpdb.Address) []int {
	among := make(map[int]bool, len(links))
	for _, l := range links {
		among[l.Index] = true
	}
	var out []int
	for _, l := range links {
		if overlaps(l.Index, among, addresses) {
			out = append(out, l.Index)
		}
	}
	return out
}

func overlaps(link int, among map[int]bool, addresses []rpdb.Address) bool {
	for _, a := range addresses {
		if a.Link != link || !a.Prefix.Addr().Is4() || a.Prefix.IsSingleIP() {
			continue
		}
		for _, b := range addresses {
			if b.Link != link && among[b.Link] && !b.Prefix.IsSingleIP() && a.Prefix.Overlaps(b.Prefix) {
				return true
			}
		}
	}
	return false
}
