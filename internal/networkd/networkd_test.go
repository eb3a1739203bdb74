package networkd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

const patience = 20 * time.Second

// bench is a directory of lease files, and a watcher whose events are kept.
type bench struct {
	t    *testing.T
	dir  string
	w    *Watcher
	logs *observer.ObservedLogs
	want []string // all that was expected so far

	mu     sync.Mutex
	events []lease.Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "netif", "leases")}
	core, logs := observer.New(zap.WarnLevel)
	b.logs = logs
	b.w = New(Config{
		Dir: b.dir, Log: zap.New(core), Intake: intake.New(b.take, zap.New(core)),
		Link: func(index int) string {
			if index > 99 {
				return ""
			}
			return fmt.Sprintf("wan%d", index)
		},
	})
	return b
}

func (b *bench) take(_ context.Context, ev lease.Event) <-chan error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev)
	done := make(chan error)
	close(done)
	return done
}

// got is what was told so far, a line an event, in the order of the links where several come together.
func (b *bench) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, ev := range b.events {
		line := fmt.Sprintf("%s %s: %s", ev.Interface, ev.Reason, ev.Verb)
		for _, l := range ev.Leases {
			line += fmt.Sprintf(" %s via %s for %s", l.Address, l.Routers, l.Lifetime.Round(time.Second))
		}
		lines = append(lines, line)
	}
	return lines
}

// expect waits for further events, and that they are these.
func (b *bench) expect(more ...string) {
	b.t.Helper()
	b.want = append(b.want, more...)
	want := b.want
	for end := time.Now().Add(patience); len(b.got()) < len(want) && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	if d := cmp.Diff(want, b.got()); d != "" {
		b.t.Fatal(d)
	}
}

func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.w.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	select {
	case <-b.w.Ready():
	case <-time.After(patience):
		b.t.Fatal("not ready")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) mkdir() {
	b.t.Helper()
	must(b.t, os.MkdirAll(b.dir, 0o755))
}

func content(address, router string) string {
	return "# This is private data. Do not parse.\nADDRESS=" + address + "\nNETMASK=255.255.255.0\nROUTER=" + router + "\nLIFETIME=120\n"
}

// put writes a lease file as networkd does: under a temporary name, then moved into place.
func (b *bench) put(name, text string) {
	b.t.Helper()
	temp := filepath.Join(b.dir, ".#"+name+"d0c2f1")
	must(b.t, os.WriteFile(temp, []byte(text), 0o644))
	must(b.t, os.Rename(temp, filepath.Join(b.dir, name)))
}

func (b *bench) remove(name string) {
	b.t.Helper()
	must(b.t, os.Remove(filepath.Join(b.dir, name)))
}

// warned says whether a line of the log has a text.
func (b *bench) warned(text string) bool {
	return slices.ContainsFunc(b.logs.All(), func(e observer.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), text)
	})
}

// TestFollows: files that are there before Ready, a changed one, a second link, the end of one.
func TestFollows(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.run()
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
	b.put("2", content("192.0.2.101", "192.0.2.254"))
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.254] for 2m0s")
	b.put("13", content("198.51.100.7", "198.51.100.1"))
	b.expect("wan13 lease file: replace 198.51.100.7 via [198.51.100.1] for 2m0s")
	b.remove("2")
	b.expect("wan2 lease file deleted: replace 192.0.2.101 via [192.0.2.254] for 1s")
	b.put("2", content("192.0.2.101", "192.0.2.254"))
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.254] for 2m0s")
}

// TestReadyHasHeard: what is there at the start has been told when Ready is closed.
func TestReadyHasHeard(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	for i := range 40 {
		b.put(fmt.Sprint(i+1), content(fmt.Sprintf("192.0.2.%d", i+10), "192.0.2.1"))
	}
	b.run()
	if n := len(b.got()); n != 40 {
		t.Errorf("%d events when ready", n)
	}
}

// TestNetworkdComesAndGoes: the directory may be made later, and go with networkd.
func TestNetworkdComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.run()
	b.mkdir()
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
	must(t, os.RemoveAll(filepath.Dir(b.dir)))
	b.expect("wan2 lease file deleted: replace 192.0.2.101 via [192.0.2.1] for 1s")
	b.mkdir()
	b.put("2", content("192.0.2.9", "192.0.2.1"))
	b.expect("wan2 lease file: replace 192.0.2.9 via [192.0.2.1] for 2m0s")
}

// TestLifetimeCountsFromTheWriting, which was before the daemon's start; and when half of the rest is over the file, being
// there still, stands for a renewal.
func TestLifetimeCountsFromTheWriting(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.put("3", content("192.0.2.102", "192.0.2.1"))
	ago := func(name string, d time.Duration) {
		must(t, os.Chtimes(filepath.Join(b.dir, name), time.Time{}, time.Now().Add(-d)))
	}
	b.w.now = later(0)
	ago("2", 50*time.Second)
	ago("3", time.Hour)
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 1m10s", "wan3 lease file: replace 192.0.2.102 via [192.0.2.1] for 1s")
	b.w.Look(t.Context())
	b.expect() // nothing new
	b.w.now = later(61 * time.Second)
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s", "wan3 lease file: replace 192.0.2.102 via [192.0.2.1] for 2m0s")
}

// later are the clocks of a host that has been up for a day, so much later.
func later(d time.Duration) func() clocks {
	return func() clocks { return clocks{wall: time.Now().Add(d), boot: 24*time.Hour + d} }
}

// TestWrittenByAClockThatWasSet: with the right time comes no end of a lease, and none that lasts for a year.
func TestWrittenByAClockThatWasSet(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	b.w.now = later(0)
	for name, written := range map[string]time.Time{"2": time.Unix(1, 0), "3": time.Now().Add(365 * 24 * time.Hour)} {
		b.put(name, content("192.0.2.101", "192.0.2.1"))
		must(t, os.Chtimes(filepath.Join(b.dir, name), time.Time{}, written))
	}
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s", "wan3 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
}

// TestWrittenAnew: the same text in a file that was written again is a renewal, and another text is news even where the time of
// the file is the same; an end without a limit stays one.
func TestWrittenAnew(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	write := func(text string, at time.Time) {
		b.put("2", text)
		must(t, os.Chtimes(filepath.Join(b.dir, "2"), time.Time{}, at))
		b.w.Look(t.Context())
	}
	at := time.Now().Add(-50 * time.Second)
	write(content("192.0.2.101", "192.0.2.1"), at)
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 1m10s")
	write(content("192.0.2.101", "192.0.2.1"), at.Add(10*time.Second))
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 1m20s")
	write(content("192.0.2.101", "192.0.2.7"), at.Add(10*time.Second))
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.7] for 1m20s")
	endless := strings.Replace(content("192.0.2.101", "192.0.2.1"), "LIFETIME=120", "LIFETIME=infinity", 1)
	write(endless, at)
	b.expect(fmt.Sprintf("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for %s", lease.Infinite.Round(time.Second)))
	if l := b.events[len(b.events)-1].Leases[0]; l.Lifetime != lease.Infinite {
		t.Errorf("for ever is %s", l.Lifetime)
	}
}

// TestEndIsToldOnce, and without the problems of the file that is gone.
func TestEndIsToldOnce(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	b.put("2", content("192.0.2.101", "192.0.2.1")+"DNS=127.0.0.53\n")
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
	b.remove("2")
	for range 3 {
		b.w.Look(t.Context())
	}
	b.expect("wan2 lease file deleted: replace 192.0.2.101 via [192.0.2.1] for 1s")
	if p := b.events[1].Problems; len(b.events[0].Problems) != 1 || len(p) > 0 {
		t.Errorf("problems %q, and at the end %q", b.events[0].Problems, p)
	}
}

// TestHostileFiles: what is no lease file is not read, does not hang, and takes nothing away.
func TestHostileFiles(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte(content("192.0.2.66", "192.0.2.66")), 0o644))
	must(t, os.Symlink(outside, filepath.Join(b.dir, "3")))
	must(t, unix.Mkfifo(filepath.Join(b.dir, "4"), 0o644))
	must(t, os.Mkdir(filepath.Join(b.dir, "5"), 0o755))
	b.put("6", strings.Repeat("x", lease.MaxNetworkdFile+1))
	b.put("7", "\x00\xff\nADDRESS=\n")
	for _, name := range []string{"0", "-1", "+8", "08", "8 ", "8x", "99999999999", "4294967304"} {
		b.put(name, content("192.0.2.66", "192.0.2.66"))
	}
	b.put("100", content("192.0.2.66", "192.0.2.66")) // of no link
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.run()
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s", "wan7 lease file: ignore")
	for _, index := range []int{3, 4, 5, 6} {
		if !b.warned(fmt.Sprintf("ifindex:%d", index)) {
			t.Errorf("nothing in the log about %d", index)
		}
	}
	// One that was good and is so no more has not ended.
	must(t, unix.Mkfifo(filepath.Join(b.dir, ".#fifo"), 0o644))
	must(t, os.Rename(filepath.Join(b.dir, ".#fifo"), filepath.Join(b.dir, "2")))
	b.put("9", content("192.0.2.109", "192.0.2.1"))
	for end := time.Now().Add(patience); !b.warned("ifindex:2") && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	if !b.warned("ifindex:2") {
		t.Error("nothing in the log about the FIFO")
	}
	b.expect("wan9 lease file: replace 192.0.2.109 via [192.0.2.1] for 2m0s")
}

// TestHostileDirectory: one in which others can write is not read, and takes nothing back.
func TestHostileDirectory(t *testing.T) {
	b := newBench(t)
	b.mkdir()
	b.put("2", content("192.0.2.101", "192.0.2.1"))
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.101 via [192.0.2.1] for 2m0s")
	b.put("2", content("192.0.2.101", "192.0.2.66"))
	b.put("3", content("192.0.2.102", "192.0.2.66"))
	for _, mode := range []os.FileMode{0o777, 0o775, 0o757} {
		must(t, os.Chmod(b.dir, mode))
		b.w.Look(t.Context())
		b.expect()
	}
	if !b.warned("others than its owner") {
		t.Error("nothing in the log")
	}
	must(t, os.Rename(b.dir, b.dir+".real"))
	must(t, os.Symlink(b.dir+".real", b.dir))
	must(t, os.Chmod(b.dir+".real", 0o755))
	b.w.Look(t.Context())
	b.expect()
}

// TestForeignOwner: a file of somebody who owns neither the directory nor the machine.
func TestForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("UPLINKD_TEST_NO_SKIP") != "" {
			t.Fatal("would be skipped: needs root to give a file away")
		}
		t.Skip("needs root to give a file away")
	}
	b := newBench(t)
	b.mkdir()
	for name, uid := range map[string]int{"2": 998, "3": 1000} {
		b.put(name, content("192.0.2.10"+name, "192.0.2.1"))
		must(t, os.Chown(filepath.Join(b.dir, name), uid, uid))
	}
	must(t, os.Chown(b.dir, 998, 998))
	b.w.Look(t.Context())
	b.expect("wan2 lease file: replace 192.0.2.102 via [192.0.2.1] for 2m0s")
}
