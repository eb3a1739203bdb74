package uplink_test

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func named(names ...string) []uplink.Uplink {
	us := make([]uplink.Uplink, len(names))
	for i, n := range names {
		us[i].Name = n
	}
	return us
}

func numbers(us []uplink.Uplink) map[string]uint32 {
	m := make(map[string]uint32)
	for _, u := range us {
		m[u.Name] = u.Table
	}
	return m
}

func emptyInput() uplink.Input { return newHost().Input }

// TestAssignForGood: a number that a name once had it keeps, whoever else comes and goes.
func TestAssignForGood(t *testing.T) {
	in := emptyInput()
	us := named("dsl", "lte")
	known := uplink.Assign(us, nil, in)
	want := numbers(us)
	others := named("aaa", "lte", "zzz")
	known = uplink.Assign(others, known, in)
	again := named("dsl")
	uplink.Assign(again, known, in)
	if got := again[0].Table; got != want["dsl"] {
		t.Errorf("dsl has table %d, and had %d", got, want["dsl"])
	}
	if got := others[1].Table; got != want["lte"] {
		t.Errorf("lte has table %d, and had %d", got, want["lte"])
	}
}

// TestAssignWithoutMemory: two starts without a memory give the same answer, in whatever order the uplinks came. Names
// whose hashes meet are left out: there the first one wins, and the memory is what keeps it.
func TestAssignWithoutMemory(t *testing.T) {
	in := emptyInput()
	a, b := named("dsl", "lte", "wlan0"), named("wlan0", "lte", "dsl")
	uplink.Assign(a, nil, in)
	uplink.Assign(b, nil, in)
	if !maps.Equal(numbers(a), numbers(b)) {
		t.Errorf("%v and %v", numbers(a), numbers(b))
	}
}

func TestAssignPassesOverForeign(t *testing.T) {
	h := newHost().eth("eth0")
	us := named("dsl")
	uplink.Assign(us, nil, h.Input)
	first := us[0].Table
	h.gateway("eth0", "192.0.2.1", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Table = first })
	h.snap.Rules = []rpdb.Rule{{Family: rpdb.IPv4, Action: rpdb.ActLookup, Table: first + 1, Protocol: rpdb.ProtoBoot}}
	us[0].Table = 0
	uplink.Assign(us, nil, h.Input)
	if got := us[0].Table; got == first || got == first+1 {
		t.Errorf("table %d is somebody else's", got)
	}
	us[0].Table = 0
	uplink.Assign(us, map[string]uint32{"dsl": first}, h.Input)
	if got := us[0].Table; got != first {
		t.Errorf("table %d, but %d was its own before the other came", got, first)
	}
}

func TestAssignPinned(t *testing.T) {
	in := emptyInput()
	in.Config.Uplinks = []config.Uplink{{Interface: "eth0", Settings: config.Settings{Table: 101}}}
	us := named("dsl", "lte")
	us[0].Table = 101
	known := uplink.Assign(us, map[string]uint32{"dsl": 7001, "old": 101}, in)
	if us[0].Table != 101 {
		t.Errorf("dsl has table %d, and 101 is pinned", us[0].Table)
	}
	if _, kept := known["dsl"]; kept || known["old"] != 0 {
		t.Errorf("remembers %v: what is pinned is the configuration's", known)
	}
}

// TestAssignFull: a full range takes numbers back from uplinks that are not there; when all are there, the last goes
// without, and says what to do.
func TestAssignFull(t *testing.T) {
	in := emptyInput()
	in.Config.FirstTable, in.Config.LastTable = 7000, 7001
	known := uplink.Assign(named("gone1", "gone2"), nil, in)
	us := named("a", "b", "c")
	known = uplink.Assign(us, known, in)
	if us[0].Table == 0 || us[1].Table == 0 || us[0].Table == us[1].Table || us[2].Table != 0 {
		t.Errorf("tables %v", numbers(us))
	}
	if len(known) != 2 || len(us[2].Problems) != 1 || !strings.Contains(us[2].Problems[0], "widen table_range") {
		t.Errorf("remembers %v, complains %q", known, us[2].Problems)
	}
}

// TestAssignApart: whatever is remembered, no two uplinks share a table, and each has one in the range.
func TestAssignApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := emptyInput()
		in.Config.FirstTable, in.Config.LastTable = 7000, 7015
		known := rapid.MapOfN(rapid.StringMatching(`[a-e]`), rapid.Uint32Range(6998, 7017), 0, 5).Draw(t, "known")
		us := named(rapid.SliceOfNDistinct(rapid.StringMatching(`[a-h]`), 0, 8, rapid.ID).Draw(t, "names")...)
		uplink.Assign(us, known, in)
		seen := make(map[uint32]bool)
		for _, u := range us {
			if u.Table < 7000 || u.Table > 7015 || seen[u.Table] {
				t.Fatalf("tables %v", numbers(us))
			}
			seen[u.Table] = true
		}
	})
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"eth0": "eth0", "enp3s0f1.100": "enp3s0f1.100", "wlan-a_b@c": "wlan-a_b@c",
		"a$(id)b": "xa__id_b-358a", "--help": "x--help-8c5c", "main": "xmain-e208", "254": "x254-2bfc",
	} {
		if got := uplink.SafeName(in); got != want {
			t.Errorf("SafeName(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.String().Draw(t, "name")
		name := uplink.SafeName(a)
		if strings.ContainsAny(name, " \t\n#$`'\"\\;&|<>(){}*?[]~%") || name == "" || name[0] == '-' || uplink.SafeName(name) != name {
			t.Errorf("SafeName(%q) = %q", a, name)
		}
	})
}
