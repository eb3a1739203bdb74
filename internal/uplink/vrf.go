package uplink

import "slices"

// vrfKind is the kind of a VRF's master (drivers/net/vrf.c).
const vrfKind = "vrf"

// inVRF keeps what is remembered of the addresses of VRF members. The kernel takes a link down for a moment when it goes into a
// VRF and when it comes out (vrf.c: cycle_netdev), and table main's default route by it is gone then without a word: what was
// known is as after any link that was down. A bridge's port keeps its routes, and those say whether it is an uplink again.
func (d *deriver) inVRF() []Held {
	var hs []Held
	for _, l := range d.links {
		master, ok := d.in.Snapshot.Link(l.Master)
		if l.Master == 0 || !ok || master.Kind != vrfKind || d.settings(l).Excluded {
			continue
		}
		for _, a := range d.addresses[l.Index] {
			h, was := d.held[heldKey{l.Index, a.Prefix.Addr()}]
			if h.Fell = true; was && !slices.Contains(hs, h) {
				hs = append(hs, h)
			}
		}
	}
	return hs
}
