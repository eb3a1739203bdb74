package config

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// commentedKey is a line of the reference file that becomes TOML without its '#': prose has a space after it.
var commentedKey = regexp.MustCompile(`(?m)^#(\[\[uplink\]\]|[a-z_]+ = .*)$`)

func readReference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../packaging/uplinkd.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReferenceFileAsShippedIsTheDefault(t *testing.T) {
	got, err := Parse("uplinkd.toml", []byte(readReference(t)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("the reference file changes something (-default +got):\n%s", diff)
	}
}

func TestReferenceFileUncommented(t *testing.T) {
	text := commentedKey.ReplaceAllString(readReference(t), "$1")
	got, err := Parse("uplinkd.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Uplinks = []Uplink{{
		Interface: "wan0", MAC: "02:00:5e:10:00:01", Kind: "ppp",
		Settings: Settings{
			Configured: true, Name: "dsl", Table: 101,
			Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")},
			Mark:     0x100, Mask: 0xff00, IIF: []string{"lan0"}, Fence: true,
			Delegated: []netip.Prefix{netip.MustParsePrefix("2001:db8:100::/56")},
		},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("every top-level key stands at its default (-want +got):\n%s", diff)
	}
}

func TestReferenceFileHasEveryKey(t *testing.T) {
	top, section, found := strings.Cut(readReference(t), "\n#[[uplink]]\n")
	if !found {
		t.Fatal("the reference file has no #[[uplink]]")
	}
	for _, k := range topKeys(nil) {
		if k.name != "uplink" && strings.Count(top, "\n#"+k.name+" = ") != 1 {
			t.Errorf("top level: key %s must stand there once", k.name)
		}
	}
	for _, k := range uplinkKeys() {
		if strings.Count(section, "\n#"+k.name+" = ") != 1 {
			t.Errorf("[[uplink]]: key %s must stand there once", k.name)
		}
	}
	known := len(topKeys(nil)) + len(uplinkKeys()) // "uplink" among them, as the header
	if n := len(commentedKey.FindAllString(top+"\n#[[uplink]]\n"+section, -1)); n != known {
		t.Errorf("the reference file has %d keys, the parser %d", n, known)
	}
}
