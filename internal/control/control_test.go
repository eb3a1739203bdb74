package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// daemon is a Handler that answers what it is told to.
type daemon struct {
	status  func(context.Context) (Status, error)
	flushed atomic.Int32
	err     error
}

func (d *daemon) Status(ctx context.Context) (Status, error) { return d.status(ctx) }

func (d *daemon) Flush(context.Context) error {
	d.flushed.Add(1)
	return d.err
}

func example() Status {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddr
	return Status{
		Schema: SchemaVersion, Version: "v1", Protocol: 117, Suspended: true, Drift: 3, LastReconcile: at, LastError: "none",
		Problems: []string{"table range is full"}, Notes: []string{"the block stands elsewhere"}, Filtered: 12,
		Uplinks: []Uplink{{
			Name: "dsl", Interface: "ppp0", Index: 7, Table: 7000, State: Degraded, Problems: []string{"no IPv6"}, Notes: []string{"two cards in one subnet"},
			Addresses: []Address{{addr("192.0.2.7"), 32, addr("192.0.2.1")}, {addr("2001:db8::7"), 64, netip.Addr{}}},
			Delegated: []netip.Prefix{netip.MustParsePrefix("2001:db8:100::/56")},
			Gateways:  []Gateway{{"inet6", addr("fe80::1"), true, "dhclient"}},
			Leases:    []Lease{{"ppp", addr("192.0.2.7"), netip.Prefix{}, at, at.Add(time.Hour)}},
		}},
	}
}

func healthy() *daemon {
	return &daemon{status: func(context.Context) (Status, error) { return example(), nil }}
}

// shortDir is a directory with a short name: a socket's path has 108 bytes at most (unix(7)).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ct")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start runs a server until the test is over.
func start(t *testing.T, h Handler, change func(*Server)) (dir string) {
	t.Helper()
	dir = shortDir(t)
	s := NewServer(dir, h, zap.NewNop())
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
		if _, err := os.Lstat(socketPath(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("the server ended with %v", err)
	}
	return dir
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func wantStatus(t *testing.T, c *Client) {
	t.Helper()
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestStatusAndFlush(t *testing.T) {
	d := healthy()
	c := dial(t, start(t, d, nil))
	wantStatus(t, c)
	wantStatus(t, c) // a second request on the same connection
	if err := c.Flush(t.Context()); err != nil || d.flushed.Load() != 1 {
		t.Errorf("flushed %d times, error %v", d.flushed.Load(), err)
	}
}

func TestErrorsOfTheDaemonReachTheClient(t *testing.T) {
	d := &daemon{
		status: func(context.Context) (Status, error) { return Status{}, errors.New("no answer") },
		err:    errors.New("remove rule 4000: operation not permitted"),
	}
	c := dial(t, start(t, d, nil))
	if _, err := c.Status(t.Context()); err == nil || err.Error() != "uplinkd refuses: status: no answer" {
		t.Errorf("status: %v", err)
	}
	want := "uplinkd refuses: flush: remove rule 4000: operation not permitted"
	if err := c.Flush(t.Context()); err == nil || err.Error() != want {
		t.Errorf("flush: %v", err)
	}
}

func TestFlushTakesRoot(t *testing.T) {
	stranger := uint32(os.Geteuid()) + 1
	tests := map[string]struct {
		uid  uint32
		err  error
		want string
	}{
		"root":        {0, nil, ""},
		"the daemon":  {uint32(os.Geteuid()), nil, ""},
		"a stranger":  {stranger, nil, "flush takes root, and this is uid "},
		"nobody":      {65534, nil, "flush takes root, and this is uid 65534: run it with sudo"},
		"who knows":   {0, io.ErrUnexpectedEOF, "who asks cannot be told: unexpected EOF"},
		"highest uid": {1<<32 - 1, nil, "flush takes root, and this is uid 4294967295"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := healthy()
			c := dial(t, start(t, d, func(s *Server) {
				s.peer = func(*net.UnixConn) (uint32, int32, error) { return tt.uid, 1, tt.err }
			}))
			err := c.Flush(t.Context())
			if tt.want == "" {
				if err != nil || d.flushed.Load() != 1 {
					t.Errorf("flushed %d times, error %v", d.flushed.Load(), err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "uplinkd refuses: "+tt.want) || d.flushed.Load() != 0 {
				t.Errorf("flushed %d times, error %v", d.flushed.Load(), err)
			}
			wantStatus(t, c) // reading is for all who can connect
		})
	}
}

func TestPeerIsTheKernelsWord(t *testing.T) {
	got := make(chan [2]int64, 1)
	dir := start(t, healthy(), func(s *Server) {
		s.peer = func(conn *net.UnixConn) (uint32, int32, error) {
			uid, pid, err := peer(conn)
			got <- [2]int64{int64(uid), int64(pid)}
			return uid, pid, err
		}
	})
	if err := dial(t, dir).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([2]int64{int64(os.Getuid()), int64(os.Getpid())}, <-got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// converse sends bytes and returns all that comes back until the server closes.
func converse(t *testing.T, dir, send string) []string {
	t.Helper()
	conn, err := net.Dial("unix", socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewScanner(conn); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}

func TestProtocol(t *testing.T) {
	dir := start(t, &daemon{status: func(context.Context) (Status, error) { return Status{Uplinks: []Uplink{{}}}, nil }}, nil)
	empty := `{"v":1,"ok":true,"result":{"schema":1,"version":"","protocol":0,"suspended":false,` +
		`"uplinks":[{"name":"","interface":"","index":0,"table":0,"state":"","problems":[],"notes":[],"addresses":[],"delegated":[],"gateways":[],"leases":[]}],` +
		`"problems":[],"notes":[],"drift":0,"filtered":0}}`
	tests := map[string]struct {
		send string
		want []string
	}{
		"status":     {"{\"v\":1,\"cmd\":\"status\"}\n", []string{empty}},
		"additions":  {"{\"v\":1,\"cmd\":\"status\",\"more\":[1]}\n", []string{empty}},
		"flush":      {"{\"v\":1,\"cmd\":\"flush\"}\n", []string{`{"v":1,"ok":true}`}},
		"nothing":    {"", nil},
		"no newline": {`{"v":1,"cmd":"status"}`, nil},
		"version":    {"{\"v\":2,\"cmd\":\"status\"}\n", []string{`{"v":1,"ok":false,"error":"version 2 of the protocol is not spoken here; spoken: 1"}`}},
		"command":    {"{\"v\":1,\"cmd\":\"\\u001b[2J\"}\n", []string{`{"v":1,"ok":false,"error":"unknown command \"\\x1b[2J\"; known: status, flush"}`}},
		"two":        {"x\n{\"v\":1,\"cmd\":\"status\"}\n", []string{`{"v":1,"ok":false,"error":"the request is no JSON object of the known form: invalid character 'x' looking for beginning of value"}`, empty}},
		"too long":   {strings.Repeat("x", maxRequest+1), []string{`{"v":1,"ok":false,"error":"the request is longer than 4096 bytes"}`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, converse(t, dir, tt.send)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSlowReaderHoldsNobody(t *testing.T) {
	big := example()
	big.LastError = strings.Repeat("x", 4<<20) // more than a socket's buffer takes
	d := &daemon{status: func(context.Context) (Status, error) { return big, nil }}
	dir := start(t, d, func(s *Server) { s.limits.write = 50 * time.Millisecond })
	conn, err := net.Dial("unix", socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("{\"v\":1,\"cmd\":\"status\"}\n")); err != nil {
		t.Fatal(err)
	}
	if err := dial(t, dir).Flush(t.Context()); err != nil {
		t.Fatalf("while another one does not read: %v", err)
	}
	// The server gives up: what it could write ends before the answer does.
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	waitClosed(t, conn)
	data, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, unix.ECONNRESET) || len(data) == 0 || data[len(data)-1] == '\n' {
		t.Errorf("read %d bytes, error %v", len(data), err)
	}
}

// waitClosed waits without reading until the other end has closed: a write fails then.
func waitClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if _, err := conn.Write([]byte("\n")); err != nil {
			return
		}
		<-tick.C
	}
	t.Fatal("the server does not close")
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	dir := start(t, healthy(), func(s *Server) { s.limits.idle = 20 * time.Millisecond })
	conn, err := net.Dial("unix", socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	dir := start(t, healthy(), func(s *Server) { s.limits.connections = 2 })
	first, second := dial(t, dir), dial(t, dir)
	wantStatus(t, first)
	wantStatus(t, second)
	_, err := dial(t, dir).Status(t.Context())
	if err == nil || err.Error() != "uplinkd refuses: too many connections: 2 are open" {
		t.Errorf("the third: %v", err)
	}
	wantStatus(t, first)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for err = errors.New("never tried"); err != nil && time.Now().Before(deadline); {
		_, err = dial(t, dir).Status(t.Context())
	}
	if err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

func TestSlowDaemonIsGivenUp(t *testing.T) {
	d := &daemon{status: func(ctx context.Context) (Status, error) {
		<-ctx.Done()
		return Status{}, ctx.Err()
	}}
	dir := start(t, d, func(s *Server) { s.limits.handle = 20 * time.Millisecond })
	_, err := dial(t, dir).Status(t.Context())
	if err == nil || err.Error() != "uplinkd refuses: status: context deadline exceeded" {
		t.Errorf("error %v", err)
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	d := &daemon{status: func(ctx context.Context) (Status, error) {
		<-ctx.Done()
		return Status{}, ctx.Err()
	}}
	c := dial(t, start(t, d, nil))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestSocketModeAndStaleSocket(t *testing.T) {
	dir := shortDir(t)
	// What a killed daemon leaves: a socket nobody listens on.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stale socket: %v", err)
	}
	l, err = listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := os.FileMode(0o600)
	if gid, ok := groupID(Group); ok && os.Chown(socketPath(dir), -1, gid) == nil {
		want = 0o660
	}
	if info.Mode().Perm() != want {
		t.Errorf("mode %v, want %v", info.Mode().Perm(), want)
	}
	dial(t, dir)
	if _, ok := groupID("root"); !ok {
		t.Error("group root is not found")
	}
	if gid, ok := groupID("no such group"); ok {
		t.Errorf("a group that is not there has number %d", gid)
	}
}

func TestDialErrorsSayWhatToDo(t *testing.T) {
	dir := shortDir(t)
	_, err := Dial(dir)
	want := "uplinkd is not running (no " + filepath.Join(dir, "control.sock") +
		`): start it with "systemctl start uplinkd", or name its directory with --runtime-dir`
	if err == nil || err.Error() != want || !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	s := NewServer(filepath.Join(dir, "missing"), healthy(), zap.NewNop())
	err = s.Run(t.Context())
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasSuffix(err.Error(), "run uplinkd as root, or name another with --runtime-dir") {
		t.Errorf("no directory: %v", err)
	}
}

// FuzzRequest: any line gives a request of the known kind or an error that prints.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"v":1,"cmd":"status"}`))
	f.Add([]byte(`{"v":1,"cmd":"\u001b"}`))
	f.Add([]byte(`{"v":9}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err == nil && (r.V != 1 || r.Cmd != "status" && r.Cmd != "flush") {
			t.Errorf("%q gave %+v", line, r)
		}
		if err != nil {
			if _, jsonErr := json.Marshal(refusal("%v", err)); jsonErr != nil {
				t.Error(jsonErr)
			}
		}
	})
}
