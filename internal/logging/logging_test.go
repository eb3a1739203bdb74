package logging

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

func stderr(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func written(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// streamOf is what systemd would put into JOURNAL_STREAM for a file.
func streamOf(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no stat")
	}
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

type sent struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

// recorder is a journal that keeps what it is sent, or refuses it.
type recorder struct {
	all []sent
	err error
}

func (r *recorder) send(message string, p journal.Priority, fields map[string]string) error {
	if r.err != nil {
		return r.err
	}
	r.all = append(r.all, sent{message, p, fields})
	return nil
}

func TestConsole(t *testing.T) {
	f := stderr(t)
	log, err := New("info", "console", f)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not shown")
	log.Info("uplink is up", zap.String("uplink", "dsl"), zap.Stringer("address", netip.MustParseAddr("192.0.2.1")))
	log.With(zap.Int("table", 7000)).Warn("two words", zap.Duration("after", time.Second), zap.Error(errors.New("no such device")))
	log.Error("hostile\nname\x1b[2J", zap.String("interface", "a\nINFO fake=1\x1b[2J\u202e"), zap.String("empty", ""),
		zap.Strings("list", []string{"a b", "\n"}), zap.Any("map", map[string]string{"k": "v"}))
	log.Named("agent").Error("named", zap.String("k=v", `back\slash`))
	want := `INFO  uplink is up uplink=dsl address=192.0.2.1
WARN  two words table=7000 after=1s error="no such device"
ERROR hostile\nname\x1b[2J interface="a\nINFO fake=1\x1b[2J\u202e" empty="" list="[\"a b\",\"\\n\"]" map=map[k:v]
ERROR agent: named "k=v"="back\\slash"
`
	stamp := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d\d\d `)
	got := written(t, f)
	if n := len(stamp.FindAllString(got, -1)); n != 4 {
		t.Errorf("%d time stamps", n)
	}
	if diff := cmp.Diff(want, stamp.ReplaceAllString(got, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	f := stderr(t)
	log, err := New("debug", "json", f)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("a\nb", zap.String("interface", "\x1b\n"), zap.Duration("after", time.Second))
	var got map[string]string
	if err := json.Unmarshal([]byte(written(t, f)), &got); err != nil {
		t.Fatalf("%v: %q", err, written(t, f))
	}
	if _, err := time.Parse(time.RFC3339Nano, got["time"]); err != nil {
		t.Error(err)
	}
	delete(got, "time")
	want := map[string]string{"level": "debug", "message": "a\nb", "interface": "\x1b\n", "after": "1s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Count(written(t, f), "\n") != 1 {
		t.Errorf("more than one line: %q", written(t, f))
	}
}

func TestJournal(t *testing.T) {
	f := stderr(t)
	r := &recorder{}
	log, err := build("debug", "auto", f, streamOf(t, f), r.send)
	if err != nil {
		t.Fatal(err)
	}
	log = log.With(zap.String("uplink", "dsl"))
	log.Info("up", zap.String("dns-server", "a\nb"), zap.Int("table", 7))
	log.Debug("d")
	log.Warn("w")
	log.Error("e")
	log.DPanic("p")
	if len(r.all) != 5 {
		t.Fatalf("%d messages", len(r.all))
	}
	var priorities []journal.Priority
	for _, s := range r.all {
		priorities = append(priorities, s.Priority)
		if s.Fields["UPLINKD_UPLINK"] != "dsl" {
			t.Errorf("%q has fields %q", s.Message, s.Fields)
		}
	}
	if diff := cmp.Diff([]journal.Priority{6, 7, 4, 3, 2}, priorities); diff != "" {
		t.Errorf("priorities (-want +got):\n%s", diff)
	}
	got := r.all[0]
	if !strings.HasSuffix(got.Fields["CODE_FILE"], "logging_test.go") || got.Fields["CODE_LINE"] == "" ||
		!strings.HasSuffix(got.Fields["CODE_FUNC"], "TestJournal") {
		t.Errorf("code: %q", got.Fields)
	}
	for _, k := range []string{"CODE_FILE", "CODE_LINE", "CODE_FUNC"} {
		delete(got.Fields, k)
	}
	want := sent{`up uplink=dsl dns-server="a\nb" table=7`, journal.PriInfo, map[string]string{
		"SYSLOG_IDENTIFIER": "uplinkd", "UPLINKD_UPLINK": "dsl", "UPLINKD_DNS_SERVER": "a\nb", "UPLINKD_TABLE": "7",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := written(t, f); s != "" {
		t.Errorf("stderr got %q too", s)
	}
}

func TestJournalThatTakesNothing(t *testing.T) {
	f := stderr(t)
	r := &recorder{err: io.ErrClosedPipe}
	log, err := build("info", "auto", f, streamOf(t, f), r.send)
	if err != nil {
		t.Fatal(err)
	}
	log.With(zap.Int("a", 1)).Info("still heard", zap.Int("b", 2))
	if got := written(t, f); !strings.HasSuffix(got, " INFO  still heard a=1 b=2\n") {
		t.Errorf("stderr got %q", got)
	}
}

func TestAutoWithoutJournal(t *testing.T) {
	f := stderr(t)
	other := streamOf(t, stderr(t))
	for _, stream := range []string{"", other, "x:y", "1", strings.ReplaceAll(streamOf(t, f), ":", " ")} {
		r := &recorder{}
		log, err := build("info", "auto", f, stream, r.send)
		if err != nil {
			t.Fatal(err)
		}
		before := len(written(t, f))
		log.Info("line")
		if len(r.all) != 0 || !strings.HasSuffix(written(t, f)[before:], " INFO  line\n") {
			t.Errorf("JOURNAL_STREAM=%q: journal %v, stderr %q", stream, r.all, written(t, f))
		}
	}
}

func TestBadArguments(t *testing.T) {
	for _, tt := range []struct{ level, format, want string }{
		{"loud", "auto", `log level "loud": allowed: debug, info, warn, error`},
		{"info", "xml", `log format "xml": allowed: auto, console, json`},
	} {
		if _, err := New(tt.level, tt.format, os.Stderr); err == nil || err.Error() != tt.want {
			t.Errorf("%v", err)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "dsl", "a b", "\x1b[2J", "\xff\n", `\"=`, "\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, q := range []string{Quote(s), printable(s)} {
			for i := range len(q) {
				if q[i] < ' ' || q[i] > '~' {
					t.Fatalf("byte %#x in %q", q[i], q)
				}
			}
		}
		if q := Quote(s); q[0] != '"' && q != s {
			t.Errorf("%q became %q", s, q)
		}
	})
}
