package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// hostileEnvironment has what could turn a program's head: the loader's variables, the Go runtime's, those of systemd and of a
// shell, and some that look like our own. A client may pass on whatever it was started with. What no Go program can help is
// left out: the runtime obeys GOMAXPROCS (a million takes all memory) and GODEBUG's traces on standard error before main.
func hostileEnvironment(dir string) []string {
	var env []string
	for _, k := range []string{
		"HOME", "TMPDIR", "PWD", "OLDPWD", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "SSLKEYLOGFILE",
		"UPLINKD_RUNTIME_DIR", "UPLINKD_SOCKET", "UPLINKD_CONFIG", "UPLINK_HOOK_RUNTIME_DIR", "RUNTIME_DIR", "GOCOVERDIR", "GOROOT", "GOPATH", "BASH_ENV", "ENV",
		"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "ZONEINFO", "TZ", "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES",
	} {
		env = append(env, k+"="+filepath.Join(dir, "trap"))
	}
	return append(env, "PATH=", "IFS=/", "LISTEN_FDS=3", "LISTEN_PID=1", "WATCHDOG_USEC=1", "WATCHDOG_PID=1",
		"GOTRACEBACK=crash", "GOMAXPROCS=8", "GOGC=1", "GORACE=log_path=stdout",
		"GODEBUG=netdns=go+9,http2debug=2,execerrdot=0,panicnil=1,gotypesalias=0,madvdontneed=0,asyncpreemptoff=1,x509sha1=1,nonsense=1")
}

// TestHostileEnvironment: the program as it is shipped sends the same message, exits 0, says nothing, and leaves its input to
// the client, whatever else is in its environment.
func TestHostileEnvironment(t *testing.T) {
	bin, dir := build(t), shortDir(t)
	env := append(bound("2001:db8::1"), "new_dhcp6_name_servers=2001:db8::53")
	var messages []hookwire.Message
	for _, more := range [][]string{nil, hostileEnvironment(dir)} {
		messages = append(messages, spoolOne(t, bin, append(more, env...)))
	}
	if d := cmp.Diff(messages[0], messages[1], cmpopts.IgnoreFields(hookwire.Stamp{}, "Wall", "Boot", "PID")); d != "" {
		t.Errorf("the environment changes the message (-plain +hostile):\n%s", d)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) > 0 {
		t.Errorf("something was written where the environment says: %v, %v", l, err)
	}
}

// spoolOne calls the program with no daemon, and reads what it leaves. It has one byte in its standard input, which has to be
// there afterwards.
func spoolOne(t *testing.T, bin string, env []string) hookwire.Message {
	t.Helper()
	dir := shortDir(t)
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if _, err := io.WriteString(feed, "theirs"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--runtime-dir", dir, "dhclient")
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, stdin, &out, &out
	if err := cmd.Run(); err != nil || out.Len() > 0 {
		t.Errorf("%v, said %q", err, out.String())
	}
	if left, err := io.ReadAll(stdin); err != nil || string(left) != "theirs" {
		t.Errorf("of the client's input is left %q, %v", left, err)
	}
	files := spoolFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("spool: %q", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	m, err := hookwire.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"trap", "GODEBUG", "LD_PRELOAD", "`id`"} {
		if strings.Contains(string(b), word) {
			t.Errorf("%q is in the message", word)
		}
	}
	return m
}
