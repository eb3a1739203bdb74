package config

import (
	"fmt"
	"testing"
)

// TestObserve: each of the two keys is for its own section's links, and off by default.
func TestObserve(t *testing.T) {
	for key, value := range map[string]func(Settings) bool{
		"observe_dhcp": func(s Settings) bool { return s.ObserveDHCP && !s.ObserveRA },
		"observe_ra":   func(s Settings) bool { return s.ObserveRA && !s.ObserveDHCP },
	} {
		c, err := Parse("f", fmt.Appendf(nil, "[[uplink]]\ninterface = 'wan0'\n%s = true\n[[uplink]]\ninterface = 'wan1'", key))
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"wan0": true, "wan1": false, "eth0": false} {
			if got := value(c.For(name, "", "")); got != want {
				t.Errorf("%s of %s: %v, want %v", key, name, got, want)
			}
		}
		if _, err := Parse("f", []byte(key+" = true")); err == nil {
			t.Errorf("%s is taken for all links", key)
		}
		if _, err := Parse("f", []byte("[[uplink]]\ninterface = 'wan0'\n"+key+" = 1")); err == nil {
			t.Errorf("%s takes a number", key)
		}
	}
}
