package agent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// flap takes eth0 down and up a hundred times a second; it ends with the link up, and the last half a turn later where it is
// to end down.
func (b *bench) flap(turns int, endsUp bool) {
	b.t.Helper()
	for range turns {
		b.must(b.kernel.Down("eth0"))
		time.Sleep(5 * time.Millisecond)
		b.must(b.kernel.Up("eth0"))
		time.Sleep(5 * time.Millisecond)
	}
	if !endsUp {
		b.must(b.kernel.Down("eth0"))
	}
}

// lines are what was logged from the n-th line on: message, uplink and what is said of flapping.
func (b *bench) lines(n int) []string {
	var out []string
	for _, e := range b.logs.All()[n:] {
		m := e.ContextMap()
		out = append(out, strings.TrimSpace(fmt.Sprint(e.Message, " ", text(m["uplink"]), text(m["problem"]), " ", text(m["flapping"]))))
	}
	return out
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// TestFlap: a link that flaps a hundred times a second fills no log, and the kernel follows it at its own pace. What it has come
// to is said within seconds, with how much was not said.
func TestFlap(t *testing.T) {
	for _, endsUp := range []bool{true, false} {
		t.Run(fmt.Sprint("ends up ", endsUp), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t).start()
				defer func() { b.stop() }()
				b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
				time.Sleep(time.Minute)
				from, looks := b.logs.Len(), b.kernel.looked()
				b.flap(300, endsUp)
				time.Sleep(100 * time.Millisecond)
				b.wantRules(map[bool]int{true: uplinkRules, false: 1}[endsUp]) // the kernel does not wait for the log
				if n := b.kernel.looked() - looks; n > 70 {
					t.Errorf("%d looks in 3 s", n)
				}
				time.Sleep(5 * time.Second)
				got := b.lines(from)
				if len(got) > 12 {
					t.Errorf("%d lines of 600 changes:\n%s", len(got), strings.Join(got, "\n"))
				}
				want := map[bool]string{true: "uplink up eth0", false: "uplink down eth0"}[endsUp]
				last := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return !strings.HasPrefix(l, "uplink ") })
				if end := last[len(last)-1]; !strings.HasPrefix(end, want) || !strings.HasSuffix(end, "changes suppressed") {
					t.Errorf("the last word is %q, want %q with what was suppressed:\n%s", end, want, strings.Join(got, "\n"))
				}
				b.quietFor(time.Minute)
			})
		})
	}
}

// quietFor wants nothing more to be logged but, once, the problem that was held back.
func (b *bench) quietFor(d time.Duration) {
	b.t.Helper()
	from := b.logs.Len()
	time.Sleep(2 * d)
	if got := b.lines(from); len(got) > 1 || len(got) == 1 && !strings.HasPrefix(got[0], "problem") {
		b.t.Errorf("afterwards:\n%s", strings.Join(got, "\n"))
	}
}

// TestFlapAgain: after a quiet time a change is said at once, and with nothing suppressed.
func TestFlapAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		b.flap(100, true)
		time.Sleep(time.Minute)
		from := b.logs.Len()
		b.must(b.kernel.Down("eth0"))
		time.Sleep(100 * time.Millisecond)
		b.must(b.kernel.Delete("eth0"))
		time.Sleep(100 * time.Millisecond)
		if got := strings.Join(b.lines(from), "; "); got != "uplink down eth0; problem eth0the link is down: only the fence stands; uplink gone eth0" {
			t.Error(got)
		}
	})
}

// TestNamesFlap: a link that gets another name a hundred times a second fills neither the log nor the memory.
func TestNamesFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer func() { b.stop() }()
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		from, name := b.logs.Len(), "eth0"
		for i := range 6000 {
			to := fmt.Sprint("wan", i)
			b.must(b.kernel.Rename(name, to))
			name = to
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		b.wantRules(uplinkRules)
		if n := b.logs.Len() - from; n > 256+10*62 {
			t.Errorf("%d lines in a minute", n)
		}
		time.Sleep(10 * time.Minute)
		got := slices.DeleteFunc(b.lines(from), func(l string) bool { return l != "uplink up "+name })
		if len(got) != 1 {
			t.Errorf("the last name was said %d times", len(got))
		}
	})
}

// TestSameProblemOfTwo: each uplink's problem is said, also where another has the same.
func TestSameProblemOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.kernel.AddLink(rpdb.Link{Name: "eth1"})
		b.start()
		defer func() { b.stop() }()
		for i, l := range []string{"eth0", "eth1"} {
			r := rpdb.Route{Type: rpdb.Unicast, Via: netip.MustParseAddr(fmt.Sprintf("192.0.%d.1", i)), Protocol: rpdb.ProtoBoot}
			r.Table, r.Dst, r.Metric = rpdb.TableMain, netip.MustParsePrefix("0.0.0.0/0"), uint32(i)
			index, err := b.kernel.Index(l)
			r.OIF = index
			b.must(err, b.kernel.Addr(l, fmt.Sprintf("192.0.%d.10/24", i)), b.kernel.PutRoute(r, false), b.kernel.Carrier(l, false))
			time.Sleep(time.Second)
		}
		warned := b.logs.FilterLevelExact(zapcore.WarnLevel).FilterMessage("problem").Len()
		if warned != 2 {
			t.Errorf("%d warnings:\n%s", warned, strings.Join(b.lines(0), "\n"))
		}
	})
}
