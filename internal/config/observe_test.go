package config

import "testing"

func TestObserveDHCP(t *testing.T) {
	c, err := Parse("f", []byte("[[uplink]]\ninterface = 'wan0'\nobserve_dhcp = true\n[[uplink]]\ninterface = 'wan1'"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"wan0": true, "wan1": false, "eth0": false} {
		if got := c.For(name, "", "").ObserveDHCP; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if _, err := Parse("f", []byte("observe_dhcp = true")); err == nil {
		t.Error("taken for all links")
	}
}
