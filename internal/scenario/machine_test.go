package scenario

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// step is one line of a script, drawn at random. They are few enough to meet, and some of them fail.
func step(t *rapid.T) string {
	dev := rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(t, "dev")
	cidr := rapid.SampledFrom([]string{"192.0.2.10/24", "192.0.2.11/24", "198.51.100.20/24", "203.0.113.7/32", "10.9.0.7/32", "2001:db8::1/64", "fd00::1/64"}).Draw(t, "cidr")
	ip, _, _ := strings.Cut(cidr, "/")
	gw := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "198.51.100.1", "192.0.2.10", "127.0.0.1", "10.254.0.1"}).Draw(t, "gw")
	proto := rapid.SampledFrom([]string{"boot", "dhcp"}).Draw(t, "proto")
	return rapid.SampledFrom([]string{
		"addr " + dev + " " + cidr,
		"addr " + dev + " " + cidr,
		"deladdr " + dev + " " + cidr,
		"lease " + dev + " dhclient " + ip + " " + gw,
		"lease " + dev + " dhclient " + ip + " " + gw,
		"release " + dev + " dhclient " + ip,
		"fail " + dev + " dhclient",
		"replace " + dev + " nm " + ip + "=" + gw,
		"replace " + dev + " nm " + ip + "=" + gw + " 198.51.100.20=198.51.100.1 2001:db8::1=fe80::2",
		"replace " + dev + " nm",
		"fail " + dev + " nm",
		"route add default via " + gw + " dev " + dev + " proto " + proto,
		"route replace default via " + gw + " dev " + dev + " proto " + proto,
		"route add default via fe80::1 dev " + dev + " proto ra metric 1024",
		"route add default via inet6 fe80::1 dev " + dev + " proto " + proto,
		"route del default via inet6 fe80::1 dev " + dev + " proto " + proto,
		"route del default via " + gw + " dev " + dev + " proto " + proto,
		"down " + dev,
		"up " + dev,
		"restart",
		"rule flush ours",
		"reload strict",
		"reload plain",
		"sysctl " + dev + " arp_ignore 1",
		"sysctl " + dev + " rp_filter 0",
	}).Draw(t, "step")
}

// TestSameOnBothKernels: whatever happens, the agent leaves the same rules, routes and settings in the kernel in memory as in the
// real one, and what one kernel refuses the other refuses too.
func TestSameOnBothKernels(t *testing.T) {
	checks(t, 10)
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(step), 4, 16).Draw(rt, "steps")
		memory, real := newPlayer(t, newFakeWorld()), newPlayer(t, newRealWorld(t))
		defer memory.stop()
		defer real.stop()
		for i, line := range steps {
			// What came and went between two looks leaves no memory, and the two need not look at the same moment.
			if err := errors.Join(memory.settle(), real.settle()); err != nil {
				rt.Fatal(err)
			}
			a, b := memory.play(line), real.play(line)
			if (a == nil) != (b == nil) {
				rt.Fatalf("after %q: %s: in memory %v, really %v", steps[:i], line, a, b)
			}
		}
		alike := testnet.Wait(patience, func() error { return compare(memory, real) })
		if alike != nil {
			rt.Fatalf("after\n%s\n%v", strings.Join(steps, "\n"), alike)
		}
	})
}

// checks bounds how often rapid draws: each draw is a pair of namespaces.
func checks(t *testing.T, n int) {
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(n), "rapid.shrinktime": "10s"} {
		f := flag.Lookup(name)
		old := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(old) })
	}
}

func newPlayer(t testing.TB, w world) *script {
	s := &script{t: t, w: w, disk: &disk{}, files: map[string]string{"strict": `arp = "strict"`, "plain": ""}}
	for _, line := range []string{"link eth0", "link eth1", "start"} {
		if err := s.play(line); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// play does one line.
func (s *script) play(line string) error {
	if line == "restart" {
		s.stop()
		line = "start"
	}
	words := strings.Fields(line)
	return s.do(words[0], words[1:])
}

func compare(a, b *script) error {
	if err := errors.Join(a.settle(), b.settle()); err != nil {
		return err
	}
	for _, see := range []func(*script) (string, error){(*script).picture, (*script).settings} {
		x, err := see(a)
		if err != nil {
			return err
		}
		y, err := see(b)
		if err != nil {
			return err
		}
		if d := cmp.Diff(x, y); d != "" {
			return fmt.Errorf("(-memory +real):\n%s", d)
		}
	}
	return nil
}

// TestOrderDoesNotMatter: the same facts, each learned at another time, lead to the same rules and routes. Detours that
// end where they began change nothing either.
func TestOrderDoesNotMatter(t *testing.T) {
	facts := []string{
		"lease eth0 dhclient 192.0.2.10 192.0.2.1",
		"lease eth1 dhclient 198.51.100.20 198.51.100.1",
		"addr eth0 192.0.2.10/24",
		"addr eth1 198.51.100.20/24",
		"addr eth1 203.0.113.7/32",
		"addr eth0 2001:db8::1/64",
		"route add default via fe80::1 dev eth0 proto ra metric 1024",
		"addr ppp0 10.64.0.100/32 peer 10.64.0.1/32",
		"addr eth0 fd00:a::1/64",
		"addr eth2 10.9.0.7/32",
		"route add default via inet6 fe80::1 dev eth2 proto static metric 9",
	}
	detours := [][]string{
		{"addr eth0 10.1.1.1/24", "lease eth0 other 10.1.1.1 10.1.1.2", "release eth0 other 10.1.1.1", "deladdr eth0 10.1.1.1/24"},
		{"rule flush ours"},
		{"restart"},
		{"addr eth1 10.2.2.2/24", "restart", "deladdr eth1 10.2.2.2/24"},
		{"lease ppp0 ppp 10.64.0.99", "release ppp0 ppp 10.64.0.99"},
	}
	want := outcome(t, facts)
	if strings.Count(want, " unreachable") != 7 {
		t.Fatalf("not every address has a fence:\n%s", want)
	}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.Permutation(facts).Draw(rt, "order")
		at := rapid.IntRange(0, len(steps)).Draw(rt, "at")
		steps = slices.Concat(steps[:at], rapid.SampledFrom(detours).Draw(rt, "detour"), steps[at:])
		if d := cmp.Diff(want, outcome(t, steps)); d != "" {
			rt.Errorf("after\n%s\n(-want +got):\n%s", strings.Join(steps, "\n"), d)
		}
	})
}

// outcome plays lines on a kernel in memory and gives the picture at the end.
func outcome(t *testing.T, steps []string) (text string) {
	synctest.Test(t, func(t *testing.T) { text = play(t, steps) })
	return text
}

func play(t testing.TB, steps []string) string {
	s := newPlayer(t, newFakeWorld())
	defer s.stop()
	for _, line := range slices.Concat([]string{"link ppp0 ppp", "link eth2"}, steps) {
		if err := s.play(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	time.Sleep(time.Minute) // of a clock that nobody waits for: drift is repaired at a bounded rate
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	text, err := s.picture()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
