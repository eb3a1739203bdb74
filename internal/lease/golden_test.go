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

// recorded is a folder of recorded calls.
type recorded struct {
	client string
	count  int // of records; those in which the client refused the server's answer are none
	// args gives the arguments after the client's name; nil: none.
	args func(t testing.TB, record string) []string
}

// folders are the recorded calls under testdata.
func folders() map[string]recorded {
	return map[string]recorded{
		"dhclient4":        {"dhclient", 70, nil},
		"dhclient6":        {"dhclient", 40, nil},
		"hostile-dhclient": {"dhclient", 30, nil},
		"dhcpcd":           {"dhcpcd", 101, nil},
		"udhcpc":           {"udhcpc", 34, recordedArgs},
		"hostile-udhcpc":   {"udhcpc", 31, func(testing.TB, string) []string { return []string{"bound"} }},
		"pppd":             {"ppp", 5, scriptAndArgs},

		"networkmanager":         {"networkmanager", 69, recordedArgs},
		"hostile-networkmanager": {"networkmanager", 29, func(testing.TB, string) []string { return []string{"wan0", "up"} }},
		"ifupdown":               {"ifupdown", 41, nil},
		"openvpn":                {"openvpn", 28, nil},
	}
}

// recordedArgs are a record's arguments.
func recordedArgs(t testing.TB, record string) []string { return readLines(t, record+".argv") }

// scriptAndArgs are a record's arguments after the script's name, as the snippets for pppd give them.
func scriptAndArgs(t testing.TB, record string) []string {
	args := recordedArgs(t, record)
	args[0] = filepath.Base(args[0])
	return args
}

// records are the paths of a folder's records, less what they end in.
func records(t testing.TB, dir string, count int) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.env"))
	if err != nil || len(files) != count {
		t.Fatalf("%s: %d records, want %d; %v", dir, len(files), count, err)
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ".env")
	}
	return files
}

// call is a record's arguments and environment.
func (r recorded) call(t testing.TB, record string) (args, environ []string) {
	t.Helper()
	if r.args != nil {
		args = r.args(t, record)
	}
	return args, readLines(t, record+".env")
}

// TestRecordedCalls replays what real clients gave to their hooks (testdata/README.md), through the allow-list, and
// compares with one line a call.
func TestRecordedCalls(t *testing.T) {
	for dir, folder := range folders() {
		t.Run(dir, func(t *testing.T) {
			var got strings.Builder
			for _, r := range records(t, dir, folder.count) {
				fmt.Fprintf(&got, "%s\n    %s\n", filepath.Base(r), texts(replay(t, folder, r)))
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
func replay(t *testing.T, folder recorded, record string) []lease.Event {
	t.Helper()
	args, environ := folder.call(t, record)
	m, err := hookwire.Collect(folder.client, args, environ)
	if err != nil {
		t.Fatal(err)
	}
	in := lease.Input{Client: folder.client, Args: m.Args, Env: m.Env, Refused: m.Refused, Interface: m.Interface, Index: 7}
	evs := parseAll(t, in)
	for _, ev := range evs {
		if m.Idle() && (ev.Verb != lease.Ignore || len(ev.Problems) > 0) {
			t.Errorf("%s: the hook would not send it, and it says %s", record, text(ev))
		}
	}
	in.Env = map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		in.Env[k] = v
	}
	if d := cmp.Diff(texts(parseAll(t, in)), texts(evs)); d != "" {
		t.Errorf("%s: the allow-list lacks a key: %s", record, d)
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
	if l.Delegated {
		b.WriteString("delegated ")
	}
	fmt.Fprintf(&b, "%s/%d", l.Address, l.Bits)
	if l.Peer.IsValid() {
		fmt.Fprintf(&b, " peer %s", l.Peer)
	}
	if len(l.Routers) > 0 {
		fmt.Fprintf(&b, " routers %v", l.Routers)
	}
	if l.HasClassless {
		fmt.Fprintf(&b, " classless%s", classlessText(l.Classless))
	} else if len(l.Classless) > 0 {
		fmt.Fprintf(&b, " routes%s", classlessText(l.Classless))
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
