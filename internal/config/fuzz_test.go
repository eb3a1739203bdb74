package config

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unicode"
)

// FuzzParse holds the promises of Parse over any bytes: no panic, either an *Error whose places lie in the file and
// whose lines print, or a configuration that keeps the limits that the rest of the program relies on.
func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile("../../packaging/uplinkd.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reference)
	f.Add(commentedKey.ReplaceAll(reference, []byte("$1")))
	f.Add([]byte("uplink = [{interface = 'a', gateway = ['192.0.2.1', 4]}, 7]\na.b.c = [[[1]]]\n\"\\u0000\" = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			checkError(t, data, err)
			return
		}
		checkLimits(t, c)
		c.For("wan0", "", "ppp")
	})
}

func checkError(t *testing.T, data []byte, err error) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) == 0 {
		t.Fatalf("%T %v", err, err)
	}
	lines := strings.Split(string(data), "\n")
	for _, p := range e.Problems {
		if p.Line < 1 || p.Line > len(lines)+1 || p.Column < 1 {
			t.Errorf("%d:%d lies outside the file", p.Line, p.Column)
		}
		if strings.ContainsFunc(p.Key+p.Text, unicode.IsControl) {
			t.Errorf("%q does not print", p.Key+p.Text)
		}
	}
}

func checkLimits(t *testing.T, c Config) {
	t.Helper()
	if c.PriorityBase < 1 || c.PriorityBase+PrioritySpan >= 32766 {
		t.Errorf("priority base %d", c.PriorityBase)
	}
	if c.FirstTable < 256 || c.LastTable < c.FirstTable || c.LastTable-c.FirstTable < 15 {
		t.Errorf("tables %d to %d", c.FirstTable, c.LastTable)
	}
	if protocolOwner(c.Protocol) != "" || c.Protocol == 0 {
		t.Errorf("protocol %d", c.Protocol)
	}
	for _, u := range c.Uplinks {
		if u.Interface == "" && u.MAC == "" && u.Kind == "" {
			t.Errorf("%+v matches everything", u)
		}
		if u.Name != "" && checkName(u.Name) != "" || u.Mark&^u.Mask != 0 {
			t.Errorf("%+v", u)
		}
		if len(u.Gateways) > 2 || len(u.Gateways) == 2 && u.Gateways[0].Is4() == u.Gateways[1].Is4() {
			t.Errorf("gateways %v", u.Gateways)
		}
		for _, gw := range u.Gateways {
			if gw != netip.MustParseAddr(gw.String()) || checkGateway(gw) != "" {
				t.Errorf("gateway %v", gw)
			}
		}
	}
}
