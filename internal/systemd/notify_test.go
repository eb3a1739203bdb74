package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manager is a service manager's end of $NOTIFY_SOCKET.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "nf") // short: a socket's path has 108 bytes at most (unix(7))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

func TestNotifierOnARealSocket(t *testing.T) {
	conn := manager(t)
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if n.WatchdogInterval() != 3*time.Second {
		t.Errorf("watchdog interval %v", n.WatchdogInterval())
	}
	err = errors.Join(n.Status("2 uplinks, a\nMAINPID=1\x1b"), n.Ready(), n.Reloading(), n.Alive(), n.Stopping())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		buf := make([]byte, 512)
		size, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, regexp.MustCompile(`USEC=\d{3,}$`).ReplaceAllString(string(buf[:size]), "USEC=N"))
	}
	want := []string{
		"STATUS=2 uplinks, a MAINPID=1 ", "READY=1", "RELOADING=1\nMONOTONIC_USEC=N", "WATCHDOG=1", "STOPPING=1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNotifierWithoutAManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Ready(), n.Status("x"), n.Reloading(), n.Alive(), n.Stopping()); err != nil {
		t.Error(err)
	}
	if n.WatchdogInterval() != 0 {
		t.Errorf("watchdog interval %v", n.WatchdogInterval())
	}
}

func TestNotifierErrors(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	t.Setenv("WATCHDOG_USEC", "soon")
	n, err := NewNotifier()
	if err == nil || !strings.HasPrefix(err.Error(), "read the watchdog's variables: ") {
		t.Errorf("error %v", err)
	}
	if n.WatchdogInterval() != 0 {
		t.Errorf("watchdog interval %v", n.WatchdogInterval())
	}
	if err := n.Reloading(); err == nil || !strings.HasPrefix(err.Error(), `tell the service manager "RELOADING=1": `) {
		t.Errorf("error %v", err)
	}
}

func TestWatchdogOfAnotherProcess(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", "1")
	n, err := NewNotifier()
	if err != nil || n.WatchdogInterval() != 0 {
		t.Errorf("watchdog interval %v, error %v", n.WatchdogInterval(), err)
	}
}
