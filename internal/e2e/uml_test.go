package e2e

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// atOnce is how many scenarios run at the same time where the command line does not say: clients wait more than they work.
const atOnce = "4"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	testnet.Main(m)
}

// TestGuest: a command's words, output and status come through, and nothing else.
func TestGuest(t *testing.T) {
	NeedGuest(t)
	r := Guest{Deadline: 20 * time.Second, Modules: []string{"veth"}, Env: []string{"WORD=it's $HOME"}}.Run(t, "/bin/sh", "-c",
		`echo "$WORD" "$1"; id -u; ls /sys/class/net; ls /sys/module/veth >/dev/null; touch /etc/changed /out/kept; exit 7`,
		"sh", "two  words")
	if r.Status != 7 || r.Output != "it's $HOME two  words\n0\nlo\n" {
		t.Errorf("status %d, output %q", r.Status, r.Output)
	}
	if _, err := os.Stat("/etc/changed"); err == nil {
		t.Error("the guest changed a file of this machine")
	}
	if _, err := os.Stat(r.Out + "/kept"); err != nil {
		t.Error(err)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)`y`": "'$(x)`y`'"} {
		if got := quote(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
	if strings.Contains(guestInit, "\r") {
		t.Error("the guest's init has carriage returns")
	}
}
