package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

func sortStrings(less func(a, b string) bool) cmp.Option { return cmpopts.SortSlices(less) }

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"--help", "Usage: uplink-hook"}, {"-h", "CLIENT: dhclient, dhcpcd, generic, "}, {"--version", "uplink-hook " + version},
	} {
		out, err := exec.Command(program(t), c.arg).Output()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.arg, err, out)
		}
	}
	var out bytes.Buffer
	h := hook{stdout: &out, runtimeDir: shortDir(t), logSocket: "/nonexistent", environ: nil}
	h.run([]string{"dhclient", "--help"})
	if out.Len() > 0 {
		t.Errorf("an argument of the client's is no option: %q", out.String())
	}
}

// TestLog: one line to the system's log, and no byte of a stranger's in it that is not printable.
func TestLog(t *testing.T) {
	path := filepath.Join(shortDir(t), "log")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	line := func() string {
		t.Helper()
		if err := ln.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := ln.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	h := hook{runtimeDir: "/proc/nothing", logSocket: path, talkLimit: talkLimit, environ: []string{"interface=a\x1b[2J\nb", "reason=BOUND"}}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"no\nbody"}, `^<28>uplink-hook\[\d+\]: client "no\\nbody": unknown client; known are: dhclient dhcpcd generic [a-z -]* wg-quick$`},
		{[]string{"--bad\x1b"}, `: bad option "--bad\\x1b"; see uplink-hook --help$`},
		{[]string{"dhclient"}, `: message of dhclient for "a\\x1b\[2J\\nb" is lost: connect to /proc/nothing/hook.sock: no such file or directory; open spool: `},
		{nil, `: no client or directory named`},
	} {
		h.run(c.args)
		if got := line(); !regexp.MustCompile(c.want).MatchString(got) || strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("%q: %q, want %s", c.args, got, c.want)
		}
		h.runtimeDir = "/proc/nothing"
	}
	dir := shortDir(t)
	listen(t, dir, func(c net.Conn) {
		_, _ = hookwire.Read(c)
		_, _ = c.Write(hookwire.Reply{Text: "no\x1b"}.Encode())
		c.Close()
	})
	h.runtimeDir = dir
	h.run([]string{"dhclient"})
	if got := line(); !strings.Contains(got, `uplinkd says "no\x1b"`) {
		t.Errorf("%q", got)
	}
	h.environ, h.stdout = nil, nil
	h.run([]string{"--version"}) // a nil writer: a panic stays inside
	if got := line(); !strings.Contains(got, "internal error") {
		t.Errorf("%q", got)
	}
}

func TestLinkIndex(t *testing.T) {
	for name, want := range map[string]int{"lo": 1, "lo:1": 1, "": 0, "no such link": 0, "lo\x00": 0, "../lo": 0, strings.Repeat("x", 16): 0,
		strings.Repeat("x", hookwire.MaxInterface): 0, strings.Repeat("x", 5000): 0, ":": 0} {
		if got := linkIndex(name); got != want {
			t.Errorf("linkIndex(%.20q) = %d, want %d", name, got, want)
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if got := linkIndex(l.Name); got != l.Index {
			t.Errorf("linkIndex(%q) = %d, want %d", l.Name, got, l.Index)
		}
	}
}

func TestStampGrows(t *testing.T) {
	a, b := stamp(), stamp()
	if a.Boot <= 0 || a.Compare(b) >= 0 || a.BootID != b.BootID || a.PID != uint32(os.Getpid()) {
		t.Errorf("%+v, then %+v", a, b)
	}
}

// TestNoTimeLeft: a timeout of 0 would be none at all (socket(7)).
func TestNoTimeLeft(t *testing.T) {
	dir := shortDir(t)
	listen(t, dir, func(net.Conn) {})
	for _, ago := range []time.Duration{0, time.Microsecond, time.Hour} {
		_, err := talk(filepath.Join(dir, hookwire.SocketName), []byte("x"), time.Now().Add(-ago))
		if !errors.Is(err, errDeadline) {
			t.Errorf("%s ago: %v", ago, err)
		}
	}
}

// fill spools n messages of a link, each with a value of this size, from a time on.
func fill(t *testing.T, dir string, index, n, size int, from int64) (pushedOut int) {
	t.Helper()
	for i := range n {
		m := hookwire.Message{Client: "dhclient", Index: index, Stamp: hookwire.Stamp{Boot: from + int64(i), PID: 1},
			Args: []string{strings.Repeat("x", size)}}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		n, err := spool(dir, m, b)
		if err != nil {
			t.Fatal(err)
		}
		pushedOut += n
	}
	return pushedOut
}

// perLink counts the files of each link, and tells the oldest of link 7.
func perLink(t *testing.T, dir string) (count map[int]int, oldest string) {
	t.Helper()
	count = map[int]int{}
	for _, f := range spoolFiles(t, dir) {
		index, ok := hookwire.ParseSpoolFile(filepath.Base(f))
		if !ok {
			t.Fatalf("bad name %s", f)
		}
		if count[index]++; index == 7 && oldest == "" {
			oldest = filepath.Base(f)
		}
	}
	return count, oldest
}

// TestSpoolIsBounded: a link that has many messages pushes out its own oldest, not those of others.
func TestSpoolIsBounded(t *testing.T) {
	dir := shortDir(t)
	if n := fill(t, dir, 3, 2, 10, 1) + fill(t, dir, 7, hookwire.MaxSpoolFiles+40, 10, 1000); n != 42 {
		t.Errorf("%d were pushed out, want 42", n)
	}
	count, oldest := perLink(t, dir)
	if d := cmp.Diff(map[int]int{3: 2, 7: hookwire.MaxSpoolFiles - 2}, count); d != "" {
		t.Error(d)
	}
	if want := fmt.Sprintf("%019d", 1000+42); !strings.HasPrefix(oldest, want) {
		t.Errorf("the oldest is %s, want %s", oldest, want)
	}
}

func TestSpoolIsBoundedInBytes(t *testing.T) {
	dir := shortDir(t)
	fill(t, dir, 3, 1, 10, 1)
	fill(t, dir, 7, 300, hookwire.MaxValue, 1000)
	var total int64
	for _, f := range spoolFiles(t, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	count, _ := perLink(t, dir)
	if total > hookwire.MaxSpoolBytes || total < hookwire.MaxSpoolBytes*9/10 || count[3] != 1 {
		t.Errorf("%d bytes, files by link %v", total, count)
	}
}

// TestSize: the program is small, which is what makes it start fast.
func TestSize(t *testing.T) {
	bin := build(t)
	info, err := os.Stat(bin)
	if err != nil || info.Size() >= 3_000_000 {
		t.Errorf("%d bytes, %v, want less than 3 MB", info.Size(), err)
	}
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range strings.Fields(string(deps)) {
		if d == "net" || strings.Contains(d, ".") && !strings.HasPrefix(d, "vendor/") && !strings.HasSuffix(d, "/hookwire") && !strings.HasSuffix(d, "/cmd/uplink-hook") {
			t.Errorf("imports %s", d)
		}
	}
}

// skip skips, unless the environment says that a skip is a failure.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("UPLINKD_TEST_NO_SKIP") != "" {
		t.Fatalf("would be skipped: %s", why)
	}
	t.Skip(why)
}

// TestMistakesOfOptions: an option without its value, and a directory that is named and empty, are mistakes, and not the default.
func TestMistakesOfOptions(t *testing.T) {
	for _, args := range [][]string{{"--runtime-dir"}, {"--runtime-dir=", "ppp"}, {"--runtime-dir", "", "ppp"}, {}} {
		h := hook{runtimeDir: shortDir(t), logSocket: "/nonexistent"}
		if rest, done, err := h.options(args); err == nil || done {
			t.Errorf("%q: %q, done %v", args, rest, done)
		}
	}
}

// TestIdleCallIsNotSent: a client waits for each of its hooks, so a call that tells nothing costs no message.
func TestIdleCallIsNotSent(t *testing.T) {
	dir := shortDir(t)
	h := hook{runtimeDir: dir, logSocket: "/nonexistent", talkLimit: talkLimit, environ: []string{"interface=lo", "reason=PREINIT"}}
	if err := h.try([]string{"dhclient"}); err != nil {
		t.Error(err)
	}
	if files := spoolFiles(t, dir); len(files) > 0 {
		t.Errorf("kept: %q", files)
	}
}

// TestSpoolFilesArePrivate: what a DHCP server said is for the daemon alone.
func TestSpoolFilesArePrivate(t *testing.T) {
	dir := shortDir(t)
	h := hook{runtimeDir: dir, logSocket: "/nonexistent", talkLimit: talkLimit, environ: []string{"interface=lo", "reason=BOUND", "new_ip_address=192.0.2.9"}}
	if err := h.try([]string{"dhclient"}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "spool", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
