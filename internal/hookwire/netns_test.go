package hookwire

import "testing"

func TestNetNSOther(t *testing.T) {
	own := NetNS{Dev: 4, Ino: 4026531840}
	for _, c := range []struct {
		n, m NetNS
		want bool
	}{
		{own, own, false},
		{own, NetNS{Dev: 4, Ino: 4026532000}, true},
		{own, NetNS{Dev: 5, Ino: 4026531840}, true},
		{own, NetNS{Ino: 4026531840}, true},
		{own, NetNS{}, false},
		{NetNS{}, NetNS{}, false},
	} {
		if c.n.Other(c.m) != c.want || c.m.Other(c.n) != c.want {
			t.Errorf("Other(%+v, %+v): %v and %v, want %v", c.n, c.m, c.n.Other(c.m), c.m.Other(c.n), c.want)
		}
	}
}

func TestNetNSString(t *testing.T) {
	for n, want := range map[NetNS]string{{Dev: 4, Ino: 4026531840}: "net:[4026531840]", {}: "unknown"} {
		if got := n.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
