package lease_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference by eye")

// TestRecordedCalls replays what real clients gave to their hooks (testdata/README.md), through the allow-list, and
// compares with one line a call.
func TestRecordedCalls(t *testing.T) {
	for dir, client := range map[string]string{
		"dhclient4": "dhclient", "dhclient6": "dhclient", "hostile-dhclient": "dhclient", "pppd": "ppp",
	} {
		t.Run(dir, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("testdata", dir, "*.env"))
			if err != nil || len(files) < 5 {
				t.Fatalf("%d records, %v", len(files), err)
			}
			var got strings.Builder
			for _, f := range files {
				evs := replay(t, client, f)
				fmt.Fprintf(&got, "%s\n    %s\n", strings.TrimSuffix(filepath.Base(f), ".env"), texts(evs))
			}
			golden := filepath.Join("testdata", dir+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

// replay gives a record to Parse, once as the hook sends it and once with the whole environment: the allow-list must hold
// every key that Parse looks at.
func replay(t *testing.T, client, file string) []lease.Event {
	environ := readLines(t, file)
	var args []string
	if client == "ppp" { // the snippets give the script's name first
		args = readLines(t, strings.TrimSuffix(file, ".env")+".argv")
		args[0] = filepath.Base(args[0])
	}
	m, err := hookwire.Collect(client, args, environ)
	if err != nil {
		t.Fatal(err)
	}
	in := lease.Input{Client: client, Args: m.Args, Env: m.Env, Refused: m.Refused, Interface: m.Interface, Index: 7}
	evs := parseAll(t, in)
	for _, ev := range evs {
		if m.Idle() && (ev.Verb != lease.Ignore || len(ev.Problems) > 0) {
			t.Errorf("%s: the hook would not send it, and it says %s", file, text(ev))
		}
	}
	in.Env = map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		in.Env[k] = v
	}
	if d := cmp.Diff(texts(parseAll(t, in)), texts(evs)); d != "" {
		t.Errorf("%s: the allow-list lacks a key: %s", file, d)
	}
	return evs
}

// readLines reads a record: one string a line, in which the recorder escaped what is not printable.
func readLines(t testing.TB, file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(string(b)) {
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.TrimSuffix(l, "\n"), `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: %q: %v", file, l, err)
		}
		lines = append(lines, s)
	}
	return lines
}

// texts is the events of one call, each on a line of its own.
func texts(evs []lease.Event) string {
	var lines []string
	for _, ev := range evs {
		lines = append(lines, text(ev))
	}
	return strings.Join(lines, "\n    ")
}

// text is an event in one line, and a line for each lease of several and each problem.
func text(ev lease.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", ev.Source, ev.Reason, ev.Verb)
	if ev.Interface == "" {
		b.WriteString(" (no interface)")
	}
	if ev.Sole {
		b.WriteString(" sole")
	}
	if ev.Address.IsValid() {
		b.WriteString(" " + ev.Address.String())
	}
	if ev.Why != "" {
		b.WriteString(" (" + ev.Why + ")")
	}
	if ev.Lease.Address.IsValid() {
		b.WriteString(" " + leaseText(ev.Lease))
	}
	for _, l := range ev.Leases {
		b.WriteString("\n    + " + leaseText(l))
	}
	if ev.Keep&lease.KeepGateways != 0 {
		b.WriteString(" keep-gateways")
	}
	if ev.Keep&lease.KeepDNS != 0 {
		b.WriteString(" keep-dns")
	}
	for _, p := range ev.Problems {
		b.WriteString("\n    ! " + p)
	}
	return b.String()
}

func leaseText(l lease.Lease) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%d", l.Address, l.Bits)
	if l.Peer.IsValid() {
		fmt.Fprintf(&b, " peer %s", l.Peer)
	}
	if len(l.Routers) > 0 {
		fmt.Fprintf(&b, " routers %v", l.Routers)
	}
	if l.HasClassless {
		fmt.Fprintf(&b, " classless%s", classlessText(l.Classless))
	}
	fmt.Fprintf(&b, " gateways %v", l.Gateways())
	if l.Refused {
		b.WriteString(" REFUSED")
	}
	if len(l.DNS) > 0 {
		fmt.Fprintf(&b, " dns %v", l.DNS)
	}
	if l.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", l.MTU)
	}
	if l.Lifetime == lease.Infinite {
		b.WriteString(" for ever")
	} else if l.Lifetime != 0 {
		fmt.Fprintf(&b, " for %s", l.Lifetime)
	}
	return b.String()
}

func classlessText(routes []lease.Route) string {
	if len(routes) > 5 {
		return fmt.Sprintf(" (%d routes, the last %s via %s)", len(routes), routes[len(routes)-1].Dst, routes[len(routes)-1].Gateway)
	}
	var b strings.Builder
	b.WriteString(" (")
	for i, r := range routes {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s via %s", r.Dst, r.Gateway)
	}
	return b.String() + ")"
}
