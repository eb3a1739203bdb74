package agent

import (
	"context"
	"slices"
	"time"

	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// Stats counts what the agent did since it started.
type Stats struct {
	Looks     uint64 // looks that came to their end
	Ops       uint64 // operations tried
	Drift     uint64 // repairs of what somebody else undid
	Overruns  uint64 // times that events were lost
	Resumes   uint64 // times that the machine had slept, or its clock was set
	LastLook  time.Time
	LastError string // of the last look; empty where it went well
}

// Status is a copy of what the agent knows.
type Status struct {
	Protocol  uint8
	Suspended bool
	Uplinks   []uplink.Uplink
	Leases    []state.StoredLease
	Problems  []string
	Notes     []string // see uplink.View
	Filtered  uint64   // see rpdb.Snapshot
	Stats     Stats
}

// Status asks the agent what it knows.
func (a *Agent) Status(ctx context.Context) (Status, error) {
	got := make(chan Status, 1)
	err := await(ctx, a.submit(ctx, false, func() error {
		got <- Status{
			Protocol: a.cfg.Protocol, Suspended: a.suspended,
			Uplinks: slices.Clone(a.view.Uplinks), Leases: a.book.told(a.now()),
			Problems: slices.Clone(a.view.Problems), Notes: slices.Clone(a.view.Notes), Filtered: a.snap.Filtered, Stats: a.stats,
		}
		return nil
	}))
	if err != nil {
		return Status{}, err
	}
	return <-got, nil
}
