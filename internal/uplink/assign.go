package uplink

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Assign gives each uplink its table number, in place, and returns the numbers to be remembered: those of known, and
// the new ones. A number belongs to a name for good. A new one is looked for from a hash of the name on, so that two
// starts without a memory give the same answer, whichever uplink came first. Numbers that others use in the snapshot
// are passed over. When the range is full, numbers of uplinks that are not there now are taken back.
func Assign(us []Uplink, known map[string]uint32, in Input) map[string]uint32 {
	t := newTables(known, in)
	for i := range us {
		if us[i].Table != 0 {
			t.pin(us[i].Name, us[i].Table)
		}
	}
	for i := range us {
		u := &us[i]
		if u.Table == 0 {
			u.Table = t.number(u.Name, us)
		}
		if u.Table == 0 {
			u.Problems = append(u.Problems, fmt.Sprintf("no table number is free in %d-%d: widen table_range", t.first, t.last))
			u.State = Degraded
		}
	}
	return t.byName
}

// tables is the allotment under way.
type tables struct {
	byName      map[string]uint32
	taken       map[uint32]bool
	first, last uint32
}

func newTables(known map[string]uint32, in Input) *tables {
	t := &tables{
		byName: make(map[string]uint32, len(known)),
		taken:  foreignTables(in.Snapshot, in.Config.Protocol),
		first:  in.Config.FirstTable, last: in.Config.LastTable,
	}
	pinned := make(map[uint32]bool)
	for _, u := range in.Config.Uplinks {
		if u.Table != 0 {
			pinned[u.Table] = true
			t.taken[u.Table] = true
		}
	}
	// Two names with one number, or a number outside the range, come of an edited file or another configuration. A number
	// that somebody else has begun to use since stays: moving away would not free the traffic, and the route is reported.
	used := make(map[uint32]bool)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		n := known[name]
		if n >= t.first && n <= t.last && !pinned[n] && !used[n] {
			t.byName[name], used[n], t.taken[n] = n, true, true
		}
	}
	return t
}

// foreignTables are the tables that somebody else's routes are in or somebody else's rules lead to.
func foreignTables(s *rpdb.Snapshot, protocol uint8) map[uint32]bool {
	taken := make(map[uint32]bool)
	for _, r := range s.Routes {
		if r.Protocol != protocol {
			taken[r.Table] = true
		}
	}
	for _, r := range s.Rules {
		if r.Protocol != protocol && r.Action == rpdb.ActLookup {
			taken[r.Table] = true
		}
	}
	return taken
}

// pin takes a number that the configuration gave: it is not remembered, since the configuration is.
func (t *tables) pin(name string, n uint32) {
	delete(t.byName, name)
	t.taken[n] = true
}

func (t *tables) number(name string, us []Uplink) uint32 {
	if n, ok := t.byName[name]; ok {
		return n
	}
	n := t.free(name)
	if n == 0 {
		t.reclaim(us)
		n = t.free(name)
	}
	if n != 0 {
		t.byName[name], t.taken[n] = n, true
	}
	return n
}

// free probes the range from the name's hash on; 0 where it is full.
func (t *tables) free(name string) uint32 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	size := uint64(t.last-t.first) + 1
	for i := range size {
		if n := t.first + uint32((h.Sum64()%size+i)%size); !t.taken[n] {
			return n
		}
	}
	return 0
}

func (t *tables) reclaim(us []Uplink) {
	for name, n := range t.byName {
		if !slices.ContainsFunc(us, func(u Uplink) bool { return u.Name == name }) {
			delete(t.byName, name)
			delete(t.taken, n)
		}
	}
}
