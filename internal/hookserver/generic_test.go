package hookserver

import (
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// TestGenericIsTold: who writes a call by hand hears what is wrong with it, beyond its form.
func TestGenericIsTold(t *testing.T) {
	b := newBench(t, nil).run()
	for args, want := range map[string]string{
		"--interface wan0 --gateway 192.0.2.1":                          "--address: missing",
		"--interface wan0 --address 192.0.2.9/24 --gateway 192.0.2.9":   "own address",
		"--interface wan0 --address 192.0.2.9/33 --gateway 192.0.2.1":   "33",
		"--interface wan0 --address 192.0.2.9/24 --gateway 192.0.2.1":   "",
		"--interface wan0 --address 192.0.2.9/24 --mtu 10":              "576",
		"--interface wan0 --remove --gateway 192.0.2.1":                 "--remove",
		"--interface wan0 --address 127.0.0.1/8 --gateway 192.0.2.1":    "loopback",
		"--interface wan0 --address 192.0.2.9/24 --gateway 2001:db8::1": "family",
	} {
		m, err := hookwire.Collect("generic", strings.Fields(args), nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Index, m.Stamp.Boot = 7, 1
		c := b.dial()
		if _, err := c.Write(encode(t, m)); err != nil {
			t.Fatal(err)
		}
		r, err := hookwire.ReadReply(c)
		if err != nil || r.OK != (want == "") || !strings.Contains(r.Text, want) {
			t.Errorf("%s: %+v, %v, want %q", args, r, err, want)
		}
	}
}
