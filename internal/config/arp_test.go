package config

import "testing"

// TestARP: the key is inherited by sections that do not have it, and counts for links without any.
func TestARP(t *testing.T) {
	const sections = "\n[[uplink]]\ninterface = 'wan0'\narp = 'strict'\n[[uplink]]\ninterface = 'wan1'\narp = 'off'\n[[uplink]]\ninterface = 'wan2'"
	for above, want := range map[string]map[string]bool{
		"":               {"wan0": true, "wan1": false, "wan2": false, "eth0": false},
		"arp = 'off'":    {"wan0": true, "wan1": false, "wan2": false, "eth0": false},
		"arp = 'strict'": {"wan0": true, "wan1": false, "wan2": true, "eth0": true},
	} {
		c, err := Parse("f", []byte(above+sections))
		if err != nil {
			t.Fatal(err)
		}
		for name, strict := range want {
			if got := c.For(name, "", "").ARPStrict; got != strict {
				t.Errorf("%q: %s: %v, want %v", above, name, got, strict)
			}
		}
	}
}
