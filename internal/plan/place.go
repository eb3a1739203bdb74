package plan

import "github.com/uplinkd/uplinkd/internal/uplink"

// steps are all steps in order, as ranges of offsets: the first, and how many there are. Where the block has stepped aside,
// these and no others have priorities, one next to another.
func steps() [][2]uint32 {
	return [][2]uint32{
		{StepLocal, 1}, {StepMark, 1}, {StepIIFMain, 1}, {StepIIF, 1}, {StepOwn, 1}, {StepNested, StepCloser - StepNested + 1},
		{StepSubnet, 1}, {StepBypass, 1}, {StepMain, 1}, {StepBeside, maxBeside}, {StepDefault, 1}, {StepDelegated, 1}, {StepFence, 1},
		{StepDeviceMain, 1}, {StepDevice, 1}, {StepTo, 1}, {StepDNS, 1},
	}
}

// priority is that of a step, at the block's own place or where it has stepped aside.
func (b *builder) priority(step uint32) uint32 {
	if b.others.Before == 0 {
		return b.cfg.PriorityBase + step
	}
	return b.others.Before - uplink.AsideSpan + uplink.AsideRoom + rank(step)
}

// rank is a step's place among all steps, from 0.
func rank(step uint32) (n uint32) {
	for _, s := range steps() {
		if step < s[0]+s[1] {
			return n + step - min(step, s[0])
		}
		n += s[1]
	}
	return n
}
