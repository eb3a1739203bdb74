package resume

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSpan: what grew for certain is told, and what two clocks read one after the other may seem to have grown is not.
func TestSpan(t *testing.T) {
	for name, c := range map[string]struct {
		was, now span
		grown    time.Duration
	}{
		"the same reading":          {span{10, 20}, span{10, 20}, 0},
		"one that lies inside":      {span{10, 20}, span{12, 15}, 0},
		"one that touches":          {span{10, 20}, span{20, 30}, 0},
		"a sleep":                   {span{10, 20}, span{1020, 1025}, 1000},
		"the shortest sleep":        {span{10, 20}, span{21, 30}, 1},
		"less, which cannot happen": {span{10, 20}, span{1, 5}, 0},
	} {
		if got := c.now.since(c.was); got != c.grown {
			t.Errorf("%s: grew by %d, want %d", name, got, c.grown)
		}
	}
	if got := (span{10, 20}).narrow(span{15, 30}); got != (span{15, 20}) {
		t.Errorf("narrowed to %v", got)
	}
}

// TestSleptStaysTheSame: on a machine that does not sleep meanwhile, every reading overlaps every other.
func TestSleptStaysTheSame(t *testing.T) {
	first, err := slept()
	if err != nil || first.high < first.low {
		t.Fatalf("%v, %v", first, err)
	}
	for range 1000 {
		now, err := slept()
		if err != nil {
			t.Fatal(err)
		}
		if grown := now.since(first); grown != 0 {
			t.Fatalf("from %v to %v it slept for %s", first, now, grown)
		}
	}
}

func TestBoottime(t *testing.T) {
	var info unix.Sysinfo_t
	before := Boottime()
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	after := Boottime()
	// Uptime is that of the same clock, in whole seconds.
	if up := time.Duration(info.Uptime) * time.Second; up < before-2*time.Second || up > after+2*time.Second || after < before || before == 0 {
		t.Errorf("between %s and %s the uptime was %s", before, after, up)
	}
	if _, err := read(-1); err == nil {
		t.Error("there is a clock -1")
	}
}

// TestSleptIsNarrow: three readings of clocks lie within a moment, so that a sleep of a second is told for certain.
func TestSleptIsNarrow(t *testing.T) {
	s, err := slept()
	if err != nil || s.low > s.high || s.high-s.low >= time.Second {
		t.Errorf("%v, %v", s, err)
	}
}
