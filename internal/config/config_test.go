package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// addrs compares addresses as values, and an absent list with an empty one as equal.
func addrs() cmp.Options {
	return cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}
}

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	got, err := Load(filepath.Join(dir, "missing.toml"))
	if err != nil {
		t.Fatalf("a missing file: %v", err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("a missing file (-default +got):\n%s", diff)
	}
	file := filepath.Join(dir, "uplinkd.toml")
	if err := os.WriteFile(file, []byte("protocol = 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = Load(file); err != nil || got.Protocol != 99 {
		t.Errorf("protocol %d, error %v", got.Protocol, err)
	}
	if _, err = Load(dir); err == nil || !strings.Contains(err.Error(), "read configuration "+dir) {
		t.Errorf("a directory: %v", err)
	}
	if err := os.WriteFile(file, make([]byte, largest+2), 0o600); err != nil {
		t.Fatal(err)
	}
	want := file + ":1:1: the file is too large; allowed: 1048576 bytes"
	if _, err = Load(file); err == nil || err.Error() != want {
		t.Errorf("a huge file: %v", err)
	}
}

func TestParseGood(t *testing.T) {
	wan := func(s Settings) []Uplink {
		s.Configured = true
		return []Uplink{{Interface: "wan*", Settings: s}}
	}
	tests := map[string]struct {
		toml string
		want func(c *Config)
	}{
		"empty":          {"", func(*Config) {}},
		"only a comment": {"# nothing\r\n", func(*Config) {}},
		"numbers": {
			"protocol = 0x7f\npriority_base = 1_000\ntable_range = [\n 300, # first\n 399,\n]\nrt_tables_dir = ''",
			func(c *Config) {
				c.Protocol, c.PriorityBase, c.FirstTable, c.LastTable, c.RTTablesDir = 127, 1000, 300, 399, ""
			},
		},
		"globs": {`include = ["wan*"]` + "\n" + `exclude = ["wan[89]", "docker?"]`, func(c *Config) {
			c.Include, c.Exclude = []string{"wan*"}, []string{"wan[89]", "docker?"}
		}},
		"the path is cleaned": {`rt_tables_dir = "/etc//iproute2/x/../rt_tables.d/"`, func(*Config) {}},
		"a section inherits": {"fence = false\nto_rules = true\n[[uplink]]\ninterface = 'wan*'\ndns_rules = true", func(c *Config) {
			c.Fence, c.ToRules = false, true
			c.Uplinks = wan(Settings{ToRules: true, DNSRules: true})
		}},
		"a section overrides": {"fence = true\nto_rules = true\n[[uplink]]\ninterface = 'wan*'\nfence = false\nto_rules = false", func(c *Config) {
			c.ToRules = true
			c.Uplinks = wan(Settings{})
		}},
		"the least and the most": {
			"protocol = 5\npriority_base = 31000\ntable_range = [2147483632, 2147483647]\n[[uplink]]\ninterface = 'wan*'\ntable = 252",
			func(c *Config) {
				c.Protocol, c.PriorityBase, c.FirstTable, c.LastTable = 5, 31000, 1<<31-16, 1<<31-1
				c.Uplinks = wan(Settings{Fence: true, Table: 252})
			},
		},
		"classless routes are inherited": {
			"classless_routes = ['10.0.0.0/8', '2001:db8::/32', '0.0.0.0/0']\n[[uplink]]\ninterface = 'wan*'", func(c *Config) {
				c.ClasslessRoutes = prefixes("10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0")
				c.Uplinks = wan(Settings{Fence: true, ClasslessRoutes: c.ClasslessRoutes})
			}},
		"a section has its own": {
			"classless_routes = ['10.0.0.0/8']\n[[uplink]]\ninterface = 'wan*'\nclassless_routes = ['169.254.169.254/32']", func(c *Config) {
				c.ClasslessRoutes = prefixes("10.0.0.0/8")
				c.Uplinks = wan(Settings{Fence: true, ClasslessRoutes: prefixes("169.254.169.254/32")})
			}},
		"a section has none": {
			"classless_routes = ['10.0.0.0/8']\n[[uplink]]\ninterface = 'wan*'\nclassless_routes = []", func(c *Config) {
				c.ClasslessRoutes = prefixes("10.0.0.0/8")
				c.Uplinks = wan(Settings{Fence: true})
			}},
		"who may speak": {"hook_users = [\n 'nobody',\n 0x10, 4294967294]\nhook_groups = ['r\u00e9seau']", func(c *Config) {
			c.HookUsers = []Account{{Name: "nobody", Line: 2, Column: 2}, {ID: 16, Line: 3, Column: 2}, {ID: 1<<32 - 2, Line: 3, Column: 8}}
			c.HookGroups = []Account{{Name: "r\u00e9seau", Line: 4, Column: 16}}
		}},
		"one gateway": {"[[uplink]]\ninterface = 'wan*'\ngateway = '2001:db8::1'", func(c *Config) {
			c.Uplinks = wan(Settings{Fence: true, Gateways: []netip.Addr{netip.MustParseAddr("2001:db8::1")}})
		}},
		"a mark without a mask": {"[[uplink]]\ninterface = 'wan*'\nfwmark = '7'", func(c *Config) {
			c.Uplinks = wan(Settings{Fence: true, Mark: 7, Mask: 0xffffffff})
		}},
		"a pinned table under 256": {"[[uplink]]\ninterface = 'wan*'\ntable = 101", func(c *Config) {
			c.Uplinks = wan(Settings{Fence: true, Table: 101})
		}},
		"an inline section": {"uplink = [{interface = 'wan*', exclude = true}]", func(c *Config) {
			c.Uplinks = wan(Settings{Fence: true, Excluded: true})
		}},
		"a MAC is normalised": {"[[uplink]]\nmac = '02-00-5E-10-00-0A'", func(c *Config) {
			c.Uplinks = []Uplink{{MAC: "02:00:5e:10:00:0a", Settings: Settings{Configured: true, Fence: true}}}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := Default()
			tt.want(&want)
			got, err := Parse("f", []byte(tt.toml))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, addrs()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFor(t *testing.T) {
	c, err := Parse("f", []byte(`
include = ["wan*"]
exclude = ["wan9", "tun9"]
to_rules = true
classless_routes = ["10.0.0.0/8"]

[[uplink]]
interface = "wan0"
mac = "02:00:00:00:00:01"
name = "both"

[[uplink]]
interface = "wan0"
name = "glob"
to_rules = false

[[uplink]]
interface = "tun*"
name = "vpn"

[[uplink]]
kind = "ppp"
exclude = true
`))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name, mac, kind string
		want            Settings
	}{
		"all that a section has must match": {"wan0", "02:00:00:00:00:01", "", Settings{Configured: true, Name: "both", Fence: true, ToRules: true}},
		"the first that matches counts":     {"wan0", "02:00:00:00:00:02", "", Settings{Configured: true, Name: "glob", Fence: true}},
		"no section":                        {"wan1", "", "", Settings{Fence: true, ToRules: true}},
		"not included":                      {"lan0", "", "", Settings{Fence: true, ToRules: true, Excluded: true}},
		"a section includes":                {"tun0", "", "tun", Settings{Configured: true, Name: "vpn", Fence: true, ToRules: true}},
		"exclude wins over a section":       {"tun9", "", "tun", Settings{Configured: true, Name: "vpn", Fence: true, ToRules: true, Excluded: true}},
		"exclude wins over include":         {"wan9", "", "", Settings{Fence: true, ToRules: true, Excluded: true}},
		"a section excludes":                {"ppp0", "", "ppp", Settings{Configured: true, Fence: true, ToRules: true, Excluded: true}},
		"a hostile name is only a name":     {"[wan*", "", "", Settings{Fence: true, ToRules: true, Excluded: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.ClasslessRoutes = prefixes("10.0.0.0/8")
			if diff := cmp.Diff(tt.want, c.For(tt.name, tt.mac, tt.kind), addrs()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccountText(t *testing.T) {
	if got := (Account{Name: "nobody", ID: 7}).String() + " " + (Account{ID: 65534}).String(); got != "nobody 65534" {
		t.Error(got)
	}
}

// TestNowhere: what lies around such a prefix is not in it.
func TestNowhere(t *testing.T) {
	for prefix, in := range map[string]string{
		"127.0.0.0/8": "127.0.0.0/8", "127.1.2.3/32": "127.0.0.0/8", "0.0.0.0/8": "0.0.0.0/8", "224.0.0.251/32": "224.0.0.0/4", "255.255.255.255/32": "240.0.0.0/4",
		"::1/128": "::/96", "fe80::/64": "fe80::/10", "ff02::/16": "ff00::/8",
		"0.0.0.0/0": "", "0.0.0.0/1": "", "128.0.0.0/1": "", "::/0": "", "::/1": "", "10.0.0.0/8": "", "169.254.169.254/32": "", "2001:db8::/32": "", "64:ff9b::/96": "",
	} {
		want := ""
		if in != "" {
			want = "is in " + in + ", where no gateway leads"
		}
		if got := Nowhere(netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("%s %s, want %q", prefix, got, want)
		}
	}
}

// TestNames: a section that says an interface or a MAC, and the list include, are about a very link; a kind is not.
func TestNames(t *testing.T) {
	c, err := Parse("f", []byte(`
include = ["podman*"]
[[uplink]]
kind = "bridge"
interface = "br*"
[[uplink]]
kind = "bridge"
[[uplink]]
interface = "docker0"
[[uplink]]
mac = "02:00:00:00:00:01"
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, mac, kind string
		want            bool
	}{
		{"br0", "", "bridge", true},
		{"docker0", "", "bridge", false}, // the first that matches counts
		{"docker0", "", "veth", true},
		{"eth0", "02:00:00:00:00:01", "", true},
		{"eth0", "02:00:00:00:00:02", "", false},
		{"podman1", "", "veth", true},
		{"podman1", "", "bridge", true},
	} {
		if got := c.Names(tt.name, tt.mac, tt.kind); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
