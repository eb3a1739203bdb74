package agent

import (
	"cmp"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The order of what was said, leases and routes together, outlives a restart: what is the newest word stays so. What is new
// at the first look of a run came while nobody looked, and is newer than all that was known.

// restore takes up the order of a former run.
func (a *Agent) restore(s state.State) {
	a.ages = make(uplink.Ages)
	for _, l := range s.Leases {
		a.seq = max(a.seq, l.Seq)
	}
	for _, r := range s.Routes {
		family := rpdb.IPv4
		if r.IPv6 {
			family = rpdb.IPv6
		}
		a.ages[uplink.WordKey{Link: r.Index, Family: family, Class: uplink.ParseClass(r.Class), Gateway: r.Gateway}] = r.Seq
		a.seq = max(a.seq, r.Seq)
	}
	if len(s.Leases)+len(s.Routes) > 0 {
		a.seq++
	}
	a.unseen = a.seq
}

// storeAges are the ages of routes as they are kept, in an order of their own.
func storeAges(ages uplink.Ages) []state.RouteWord {
	var out []state.RouteWord
	for k, seq := range ages {
		out = append(out, state.RouteWord{Index: k.Link, IPv6: k.Family == rpdb.IPv6, Class: k.Class.String(), Gateway: k.Gateway, Seq: seq})
	}
	slices.SortFunc(out, func(x, y state.RouteWord) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), x.Gateway.Compare(y.Gateway), cmp.Compare(x.Class, y.Class), compareBool(x.IPv6, y.IPv6))
	})
	return out
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}
