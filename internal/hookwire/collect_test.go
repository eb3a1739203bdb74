package hookwire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCollectTakesTheAllowListOnly(t *testing.T) {
	got, err := Collect("dhclient", []string{"x"}, []string{
		"reason=BOUND", "interface=wan0", "new_routers=192.0.2.1", "new_routers=192.0.2.2", "new_host_name=$(id)",
		"LD_PRELOAD=x", "nonsense", "=x", "new_bootfile_name=`id`", "new_domain_name_servers=a=b",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Message{Client: "dhclient", Args: []string{"x"}, Interface: "wan0", Env: map[string]string{
		"reason": "BOUND", "interface": "wan0", "new_routers": "192.0.2.1", "new_domain_name_servers": "a=b"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := Collect("nobody", nil, nil); !errors.Is(err, ErrClient) {
		t.Errorf("unknown client: %v", err)
	}
}

func TestCollectFindsTheInterface(t *testing.T) {
	for _, c := range []struct {
		client    string
		args, env []string
		want      string
	}{
		{"dhclient", nil, []string{"interface=--help"}, "--help"},
		{"dhclient", []string{"a", "eth9"}, nil, ""},
		{"dhclient", nil, []string{"interface=" + strings.Repeat("x", MaxInterface+1)}, ""},
		{"ppp", []string{"ip-up", "ppp0"}, []string{"IFNAME=ppp1"}, "ppp0"},
		{"ppp", []string{"ip-up"}, []string{"IFNAME=ppp1"}, "ppp1"},
		{"ppp", []string{"ip-up", ""}, []string{"IFNAME=ppp1"}, "ppp1"},
	} {
		m, err := Collect(c.client, c.args, c.env)
		if err != nil || m.Interface != c.want {
			t.Errorf("Collect(%s, %q, %.40q).Interface = %q, %v, want %q", c.client, c.args, c.env, m.Interface, err, c.want)
		}
	}
}

// TestCollectNamesWhatItLeavesOut: what is over a limit is neither cut nor taken for absent.
func TestCollectNamesWhatItLeavesOut(t *testing.T) {
	long := strings.Repeat("x", MaxValue+1)
	m, err := Collect("dhclient", []string{"ok", long, "ok"}, []string{"new_routers=" + long, "reason=RENEW"})
	if err != nil {
		t.Fatal(err)
	}
	want := Message{Client: "dhclient", Args: []string{"ok", "", "ok"}, Refused: []string{"$2", "new_routers"},
		Env: map[string]string{"reason": "RENEW"}}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
}

// TestNumberedKeys: # is one digit or more, and nothing else.
func TestNumberedKeys(t *testing.T) {
	c := client{keys: []string{"nd#_addr#", "ip#"}}
	for key, want := range map[string]bool{
		"nd1_addr1": true, "nd12_addr007": true, "ip0": true, "nd_addr1": false, "nd1_addr": false, "nd1_addr1x": false, "xnd1_addr1": false,
		"nd1_addr1_vltime": false, "nd#_addr#": false, "nd-1_addr1": false, "nd1x_addr1": false, "ip": false, "": false,
	} {
		if c.allows(key) != want {
			t.Errorf("allows(%s) = %v", key, !want)
		}
	}
}

// TestCollectAlwaysEncodes: whatever the environment is, the message fits, and each allowed key is in exactly one place.
func TestCollectAlwaysEncodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		client := rapid.SampledFrom(Clients()).Draw(t, "client")
		c, _ := find(client)
		value := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat("v", rapid.SampledFrom([]int{0, 1, 100, MaxValue - 1, MaxValue, MaxValue + 1, 70000}).Draw(t, "size"))
		})
		args := rapid.SliceOfN(value, 0, MaxArgs+3).Draw(t, "args")
		var env, keys []string
		for _, k := range c.keys {
			if k = example(k); rapid.Bool().Draw(t, k) {
				env, keys = append(env, k+"="+value.Draw(t, "value")), append(keys, k)
			}
		}
		m, err := Collect(client, args, env)
		if err != nil {
			t.Fatal(err)
		}
		m.Index, m.NetNS, m.Stamp = 1<<31-1, NetNS{Dev: 4, Ino: 1}, Stamp{Boot: 1, PID: 1}
		if _, err := m.Encode(); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if _, in := m.Env[k]; in == slices.Contains(m.Refused, k) {
				t.Errorf("key %s: taken %v, refused %v", k, in, !in)
			}
		}
	})
}

// example is a key that fits a pattern.
func example(pattern string) string { return strings.ReplaceAll(pattern, "#", "12") }

// TestCollectFitsToTheByte: arguments that leave any room from much to none for the keys.
func TestCollectFitsToTheByte(t *testing.T) {
	c, _ := find("dhclient")
	var env []string
	for _, k := range c.keys {
		env = append(env, k+"=12")
	}
	args := slices.Repeat([]string{strings.Repeat("x", MaxValue)}, MaxArgs)
	fullest := 0
	for n := MaxValue; n > 0; n-- {
		args[MaxArgs-2] = args[0][:n]
		m, err := Collect("dhclient", args, env)
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Env)+len(m.Refused) < len(env) {
			t.Fatalf("with %d bytes: keys %d, refused %q", n, len(m.Env), m.Refused)
		}
		fullest = max(fullest, len(b))
	}
	if fullest < MaxMessage-fixedLen {
		t.Errorf("the longest message has %d bytes only", fullest)
	}
}

// TestFixedLen: what is set aside for all but the client's name, values and keys is what such a message takes at most.
func TestFixedLen(t *testing.T) {
	m := Message{Client: "c", Interface: strings.Repeat("i", MaxInterface), Args: make([]string, MaxArgs), Refused: []string{AllKeys}}
	names := 0
	for i := range MaxArgs {
		m.Refused = append(m.Refused, fmt.Sprintf("$%d", i+1))
		names += len(m.Refused[i+1])
	}
	slices.Sort(m.Refused)
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(b) - len(m.Client) + MaxArgs*3 - names; got != fixedLen {
		t.Errorf("fixedLen is %d, and such a message takes %d with names of 3 bytes", fixedLen, got)
	}
}

func TestClientsTable(t *testing.T) {
	if want := []string{
		"dhclient", "dhcpcd", "generic", "ifupdown", "networkd-dispatcher", "networkmanager", "openvpn", "ppp", "udhcpc", "wg-quick",
	}; !slices.Equal(Clients(), want) {
		t.Errorf("Clients() = %q, want %q", Clients(), want)
	}
	if Allowed("nobody", "reason") || Allowed("ppp", "reason") || !Allowed("dhclient", "reason") {
		t.Error("Allowed does not go by the client")
	}
	for _, c := range clients() {
		if !isName(c.name) || len(c.keys) > MaxKeys {
			t.Errorf("client %q: bad line", c.name)
		}
		for _, k := range slices.Concat(c.keys, c.ifaceKey) {
			if k = example(k); !isName(k) || len(k) > MaxKey || !c.allows(k) {
				t.Errorf("client %s: bad key %q", c.name, k)
			}
		}
	}
}

func TestStampOrder(t *testing.T) {
	a, b, c := Stamp{Boot: 1, PID: 9}, Stamp{Boot: 2, PID: 1}, Stamp{Boot: 2, PID: 2}
	got := []Stamp{c, a, b}
	slices.SortFunc(got, Stamp.Compare)
	if d := cmp.Diff([]Stamp{a, b, c}, got); d != "" {
		t.Error(d)
	}
	id, other := [16]byte{1}, [16]byte{2}
	for _, c := range []struct {
		stamp, now [16]byte
		want       bool
	}{{id, id, false}, {id, other, true}, {[16]byte{}, other, false}, {id, [16]byte{}, false}} {
		if got := (Stamp{BootID: c.stamp}).OtherBoot(c.now); got != c.want {
			t.Errorf("OtherBoot(%v, %v) = %v", c.stamp, c.now, got)
		}
	}
}

func TestParseBootID(t *testing.T) {
	want := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	if got := ParseBootID("01234567-89ab-cdef-0123-456789abcdef\n"); got != want {
		t.Errorf("got %x", got)
	}
	for _, bad := range []string{"", "x", "01234567-89ab-cdef-0123-456789abcde", "01234567-89ab-cdef-0123-456789abcdef0", "01234567-89ab-cdef-0123-456789abcdeg"} {
		if got := ParseBootID(bad); got != [16]byte{} {
			t.Errorf("ParseBootID(%q) = %x", bad, got)
		}
	}
}

func TestSpoolFileNames(t *testing.T) {
	older := Message{Index: 2147483647, Stamp: Stamp{Boot: 999, PID: 4294967295}}
	newer := Message{Index: 1, Stamp: Stamp{Boot: 1000, PID: 1}}
	if SpoolFile(older) >= SpoolFile(newer) {
		t.Errorf("%s does not sort before %s", SpoolFile(older), SpoolFile(newer))
	}
	for _, m := range []Message{older, newer, {Stamp: Stamp{Boot: -1}}} {
		if index, ok := ParseSpoolFile(SpoolFile(m)); !ok || index != m.Index {
			t.Errorf("ParseSpoolFile(%s) = %d, %v", SpoolFile(m), index, ok)
		}
		if boot, ok := SpoolTime(SpoolFile(m)); ok != (m.Stamp.Boot > 0) || boot != max(m.Stamp.Boot, 0) {
			t.Errorf("SpoolTime(%s) = %d, %v", SpoolFile(m), boot, ok)
		}
	}
	for _, bad := range []string{"", "x", "..", TempPrefix + SpoolFile(older), SpoolFile(older) + "x", "0000000000000000999.0000000001.00000000-1",
		fmt.Sprintf("%019d.%010d", 1, 1)} {
		if _, ok := ParseSpoolFile(bad); ok {
			t.Errorf("ParseSpoolFile(%q) is one", bad)
		}
		if _, ok := SpoolTime(bad); ok {
			t.Errorf("SpoolTime(%q) knows one", bad)
		}
	}
}
