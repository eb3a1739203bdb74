package hookserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// bench is a server in a directory of its own, with a handler that writes down what it gets.
type bench struct {
	*Server
	t      *testing.T
	dir    string
	log    *observer.ObservedLogs
	cancel func() // ends Run
	stop   func() // does so and waits for it

	mu     sync.Mutex
	events []string
	whole  []lease.Event
	answer func(ev lease.Event) <-chan error // nil: done at once
}

// newBench makes the server, which does not run yet.
func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	return newBenchIn(t, shortDir(t), change)
}

// shortDir is a temporary directory whose name leaves room for a socket's (108 bytes, unix(7)).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hook")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newBenchIn(t *testing.T, dir string, change func(*Config)) *bench {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	b := &bench{t: t, dir: dir, log: logs, stop: func() {}}
	cfg := Config{RuntimeDir: dir, Intake: intake.New(b.handle, zap.New(core)), Log: zap.New(core)}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = s
	t.Cleanup(func() { b.stop(); s.Close() })
	return b
}

func (b *bench) handle(_ context.Context, ev lease.Event) <-chan error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events, b.whole = append(b.events, short(ev)), append(b.whole, ev)
	if b.answer != nil {
		return b.answer(ev)
	}
	return closed()
}

func short(ev lease.Event) string {
	a := ev.Address
	if ev.Verb == lease.Bind {
		a = ev.Lease.Address
	}
	return fmt.Sprintf("%d %s %s", ev.Index, ev.Verb, a)
}

func (b *bench) run() *bench {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := wait(b.t, done); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	wait(b.t, b.Ready())
	return b
}

func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// eventually waits for a state.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
		<-time.After(time.Millisecond)
	}
}

func (b *bench) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.events...)
}

func (b *bench) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("unix", filepath.Join(b.dir, hookwire.SocketName))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// send gives bytes to the server and reads the answer.
func (b *bench) send(msg []byte) (hookwire.Reply, error) {
	b.t.Helper()
	c := b.dial()
	_, _ = c.Write(msg) // fails where the server has closed already, after its answer
	return hookwire.ReadReply(c)
}

// message is a dhclient call on a link at a time, in milliseconds since the boot.
func message(index int, at int64, reason, address string) hookwire.Message {
	return hookwire.Message{
		Client: "dhclient", Interface: "wan" + strconv.Itoa(index), Index: index, Stamp: hookwire.Stamp{Boot: at, PID: 1, BootID: readBootID()},
		Env: map[string]string{"reason": reason, "new_ip_address": address, "old_ip_address": address, "new_ip6_address": address, "old_ip6_address": address},
	}
}

func encode(t *testing.T, m hookwire.Message) []byte {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// closed is the outcome of an event that needs nothing.
func closed() <-chan error {
	done := make(chan error)
	close(done)
	return done
}
