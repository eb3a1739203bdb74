package main

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/control"
)

// genStatus makes statuses whose strings are as hostile as a daemon could pass them on.
func genStatus(t *rapid.T) control.Status {
	text := rapid.OneOf(rapid.String(), rapid.StringN(0, 200, 400), rapid.Just("\x1b[2J\u009b2J\u202e\xff\r\n"), rapid.Just("wan0"))
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "IPv4") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
	})
	uplink := rapid.Custom(func(t *rapid.T) control.Uplink {
		u := control.Uplink{
			Name: text.Draw(t, "name"), Interface: text.Draw(t, "interface"), State: text.Draw(t, "state"),
			Table: rapid.Uint32().Draw(t, "table"), Problems: rapid.SliceOfN(text, 0, 2).Draw(t, "problems"),
			Notes: rapid.SliceOfN(text, 0, 2).Draw(t, "notes"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "delegated") {
			u.Delegated = append(u.Delegated, netip.PrefixFrom(addr.Draw(t, "prefix"), rapid.IntRange(0, 128).Draw(t, "bits")))
		}
		for range rapid.IntRange(0, 3).Draw(t, "addresses") {
			a := control.Address{Address: addr.Draw(t, "address"), Bits: 128}
			if rapid.Bool().Draw(t, "has a peer") {
				a.Peer = addr.Draw(t, "peer")
			}
			u.Addresses = append(u.Addresses, a)
			u.Gateways = append(u.Gateways, control.Gateway{
				Family: rapid.SampledFrom([]string{"inet", "inet6"}).Draw(t, "family"), Address: addr.Draw(t, "gateway"),
				Onlink: rapid.Bool().Draw(t, "onlink"), Source: text.Draw(t, "source"),
			})
		}
		return u
	})
	return control.Status{
		Uplinks: rapid.SliceOfN(uplink, 0, 4).Draw(t, "uplinks"), Problems: rapid.SliceOfN(text, 0, 2).Draw(t, "problems"),
		LastError: text.Draw(t, "last error"), Suspended: rapid.Bool().Draw(t, "suspended"), Drift: rapid.Uint64().Draw(t, "drift"),
		Notes: rapid.SliceOfN(text, 0, 2).Draw(t, "notes"), Filtered: rapid.Uint64().Draw(t, "filtered"),
	}
}

func TestTableFitsEveryScreenAndObeysNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := genStatus(t)
		out := table(st)
		for line := range strings.Lines(out) {
			line = strings.TrimSuffix(line, "\n")
			if len(line) > screen {
				t.Errorf("%d columns: %s", len(line), line)
			}
			for i := range len(line) {
				if line[i] < ' ' || line[i] > '~' {
					t.Errorf("byte %#x in %q", line[i], line)
				}
			}
		}
		for _, u := range st.Uplinks {
			for _, a := range u.Addresses {
				if !strings.Contains(out, a.Address.String()) {
					t.Errorf("%s is missing in\n%s", a.Address, out)
				}
			}
		}
	})
}

func TestJSONIsASCII(t *testing.T) {
	got, err := asciiJSON(control.Status{LastError: "\u009b \U0001f600 \xff \x7f é"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `"last_error": "\u009b \ud83d\ude00 \ufffd \u007f \u00e9"`; !strings.Contains(got, want) {
		t.Errorf("%s\nhas no %s", got, want)
	}
}

func TestPrintableText(t *testing.T) {
	if got, want := printableText("a b\n\x1b[2J\x7f\xff\u202e\\"), "a b\n\\x1b[2J\\x7f\\ufffd\\u202e\\"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	var b strings.Builder
	wrap(&b, "! ", "")
	wrap(&b, "! ", strings.Repeat("word ", 20)+strings.Repeat("x", 100))
	want := "!\n! " + strings.TrimSpace(strings.Repeat("word ", 15)) + "\n  " +
		strings.TrimSpace(strings.Repeat("word ", 5)) + "\n  " + strings.Repeat("x", 78) + "\n  " + strings.Repeat("x", 22) + "\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
