package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/uplinkd/uplinkd/internal/uplink"
)

// observe tells what is to be read off which links, when that changes. After Flush nobody is to be asked anything.
func (a *Agent) observe(v uplink.View) {
	if a.observer == nil {
		return
	}
	now := uplink.Observe(&a.snap, a.cfg, v)
	for i := range now {
		if a.suspended {
			now[i].Unrouted, now[i].Solicit = nil, false
		}
	}
	if a.observed != nil && slices.EqualFunc(a.observed, now, uplink.Observed.Equal) {
		return
	}
	a.observed = append([]uplink.Observed{}, now...)
	a.observer(now)
}

// Complain takes what a source of leases cannot do, a line for each link by its ifindex, in place of all that the source
// said before. It stands in the status as a problem of the link's uplink, and degrades that not.
func (a *Agent) Complain(ctx context.Context, source string, problems map[int]string) error {
	return await(ctx, a.submit(ctx, false, func() error {
		a.complaints[source] = maps.Clone(problems)
		a.pace.soon()
		return nil
	}))
}

// complain adds what the sources said to the view: to the link's first uplink, or where it has none to no single one.
func (a *Agent) complain(v *uplink.View) {
	for _, source := range slices.Sorted(maps.Keys(a.complaints)) {
		problems := a.complaints[source]
		for _, index := range slices.Sorted(maps.Keys(problems)) {
			i := slices.IndexFunc(v.Uplinks, func(u uplink.Uplink) bool { return u.Link.Index == index })
			if i >= 0 {
				v.Uplinks[i].Problems = append(v.Uplinks[i].Problems, problems[index])
			} else {
				v.Problems = append(v.Problems, problems[index])
			}
		}
	}
}
