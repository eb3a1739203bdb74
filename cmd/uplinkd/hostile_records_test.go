package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference by eye")

// hostile is a client whose calls were recorded while a rogue server answered it.
type hostile struct {
	client  string
	args    []string // of a bind
	overArg []string // and of the end of the lease
	overEnv []string
	count   int // of records
}

// hostiles are the folders of such records under internal/lease/testdata. Each was recorded on wan0, and 00-baseline is an
// honest server's lease of 192.0.2.100/24 with the router 192.0.2.1.
func hostiles() map[string]hostile {
	return map[string]hostile{
		"hostile-dhclient": {
			client: "dhclient", overEnv: []string{"reason=RELEASE", "interface=wan0", "old_ip_address=192.0.2.100"}, count: 30,
		},
		"hostile-udhcpc": {
			client: "udhcpc", args: []string{"bound"}, overArg: []string{"deconfig"}, overEnv: []string{"interface=wan0"}, count: 31,
		},
		"hostile-networkmanager": {
			client: "networkmanager", args: []string{"wan0", "up"}, overArg: []string{"wan0", "down"}, count: 29,
		},
	}
}

// TestHostileRecords replays what clients passed on from rogue servers, each record twice: as the first that is heard of the
// link, and after an honest lease. The golden file, to be read by eye, says what the kernel holds then. The other uplink is
// never touched.
func TestHostileRecords(t *testing.T) {
	for dir, h := range hostiles() {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			replayHostile(t, dir, h)
		})
	}
}

func replayHostile(t *testing.T, dir string, h hostile) {
	p := newPlace(t)
	testnet.Must(t, p.host.Addr("eth0", "198.51.100.10/24"), testnet.Veth(p.host, "wan0", testnet.New(t), "far1"))
	testnet.Must(t, p.host.Addr("wan0", "192.0.2.100/24"), p.host.Leased("wan0", "192.0.2.100/24", time.Hour))
	d := p.start()
	p.bind(t, "eth0", "198.51.100.10", "198.51.100.1")
	alone := p.state()
	if !strings.Contains(alone, "default via 198.51.100.1") {
		t.Fatalf("no uplink:\n%s", alone)
	}
	records, err := filepath.Glob(filepath.Join("../../internal/lease/testdata", dir, "*.env"))
	if err != nil || len(records) != h.count {
		t.Fatalf("%d records, want %d; %v", len(records), h.count, err)
	}
	honest := recordedEnv(t, records[0])
	p.hook(t, h.client, h.args, honest)
	good := p.state()
	got := fmt.Sprintf("with the honest lease of %s:%s\n", filepath.Base(records[0]), added(alone, good))
	for _, r := range records {
		env := recordedEnv(t, r)
		p.hook(t, h.client, h.overArg, h.overEnv)
		p.wantExactly(t, alone)
		p.hook(t, h.client, h.args, env)
		first := p.outcome(t, alone, good)
		p.hook(t, h.client, h.args, honest)
		p.wantExactly(t, good)
		p.hook(t, h.client, h.args, env)
		got += fmt.Sprintf("%s\n    first: %s\n    after the honest lease: %s\n", strings.TrimSuffix(filepath.Base(r), ".env"), first, p.outcome(t, alone, good))
	}
	compareGolden(t, filepath.Join("testdata", dir+".golden"), got)
	if log := d.text(); strings.Contains(log, "panic") || strings.Contains(log, "touch /") || strings.ContainsAny(log, "\x1b\a\x00") {
		t.Errorf("the log:\n%q", log)
	}
	// What is over leaves nothing, whatever came before.
	p.hook(t, h.client, h.overArg, h.overEnv)
	p.wantExactly(t, alone)
}

// recordedEnv is a record's environment, in which the recorder escaped what is not printable.
func recordedEnv(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	testnet.Must(t, err)
	var env []string
	for l := range strings.Lines(string(b)) {
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.TrimSuffix(l, "\n"), `"`, `\"`) + `"`)
		testnet.Must(t, err)
		env = append(env, s)
	}
	return env
}

// hook sends a client's call. Whatever it says of the lease, the daemon answers.
func (p *place) hook(t *testing.T, client string, args, env []string) {
	t.Helper()
	m, err := hookwire.Collect(client, args, env)
	testnet.Must(t, err)
	if m.Index, err = p.host.Index(m.Interface); err != nil {
		t.Fatal(err)
	}
	b, err := m.Encode()
	testnet.Must(t, err)
	if _, err := p.send(b); err != nil {
		t.Errorf("%s %q: %v", client, args, err)
	}
}

func (p *place) wantExactly(t *testing.T, want string) {
	t.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(p.state(), "\n")); d != "" {
		t.Errorf("the kernel is not as it was: %s", d)
	}
}

// outcome says what the kernel holds, compared with the other uplink alone and with an honest lease beside it. Whatever it is,
// the other uplink is whole.
func (p *place) outcome(t *testing.T, alone, good string) string {
	t.Helper()
	now := p.state()
	if lost := added(now, alone); lost != "" {
		t.Errorf("the other uplink lost %s", lost)
	}
	switch now {
	case alone:
		return "no uplink"
	case good:
		return "as with the honest lease"
	}
	return "other than with the honest lease:" + added(good, now)
}

// added are the lines of after that before has not.
func added(before, after string) string {
	var more string
	for l := range strings.Lines(after) {
		if !strings.Contains("\n"+before, "\n"+l) {
			more += "\n        " + strings.TrimSuffix(l, "\n")
		}
	}
	return more
}

func compareGolden(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		testnet.Must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	testnet.Must(t, err)
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Error(d)
	}
}
