package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/hookserver"
	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/intake"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// manyClients is how many clients call at once, each for a link of its own.
const manyClients = 100

// client is a program in sh with two calls a turn: a lease that replaces all others of the link, and one of many. Each names its
// turn in its address. What a hook says, or that it failed, is all the output that there is.
const client = `
turn=$3
while [ $turn -lt $4 ]; do
	interface=wan$5 reason=BOUND new_ip_address=10.$5.1.$((turn + 1)) "$1" --runtime-dir "$2" dhclient </dev/null 2>&1 || echo "exit status $?"
	interface=wan$5 reason=BOUND6 new_ip6_address=2001:db8:$5::$turn "$1" --runtime-dir "$2" dhclient </dev/null 2>&1 || echo "exit status $?"
	turn=$((turn + 1))
done
`

// storm is a host with many clients, whose daemon comes and goes.
type storm struct {
	t       *testing.T
	host    *testnet.NS
	dir     string
	program string
	clients []*exec.Cmd

	mu      sync.Mutex
	last    map[string]int      // the turn of the last replacing lease of each link
	back    []string            // where that one was older than the one before
	several map[netip.Addr]bool // what was named as one of many
}

func newStorm(t *testing.T) *storm {
	s := &storm{
		t: t, host: testnet.New(t), dir: shortDir(t), program: build(t),
		last: map[string]int{}, several: map[netip.Addr]bool{},
	}
	for n := range manyClients {
		name := fmt.Sprintf("wan%d", n)
		if n%2 == 0 { // one pair makes two links
			testnet.Must(t, testnet.Veth(s.host, name, s.host, fmt.Sprintf("wan%d", n+1)))
		}
	}
	return s
}

// build is the program as it is shipped: the test binary in its place is ten times its size, and slow to start.
func build(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		skip(t, "no go command")
	}
	bin := filepath.Join(t.TempDir(), "uplink-hook")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func (s *storm) handle(_ context.Context, ev lease.Event) <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := ev.Lease.Address; a.Is4() {
		turn := int(a.As4()[3]) - 1
		// By name: where the kernel was too busy to say an ifindex, the message has none.
		if before, ok := s.last[ev.Interface]; ok && turn < before {
			s.back = append(s.back, fmt.Sprintf("%d after %d on %s", turn, before, ev.Interface))
		}
		s.last[ev.Interface] = turn
	} else {
		s.several[a] = true
	}
	done := make(chan error)
	close(done)
	return done
}

// heard is how many of many have come.
func (s *storm) heard() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.several)
}

// serve runs a daemon, which has taken in the spool then, until stop.
func (s *storm) serve() (stop func()) {
	var server *hookserver.Server
	var err error
	s.host.Do(s.t, func() {
		server, err = hookserver.New(hookserver.Config{RuntimeDir: s.dir, Intake: intake.New(s.handle, zap.NewNop())})
	})
	testnet.Must(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	<-server.Ready()
	return func() {
		cancel()
		testnet.Must(s.t, <-done)
	}
}

// start lets all clients run, from one turn to before another. The channel is closed when they have ended.
func (s *storm) start(from, to int) (ended <-chan struct{}) {
	out, err := os.Create(filepath.Join(s.dir, "output"))
	testnet.Must(s.t, err)
	var cmds []*exec.Cmd
	s.host.Do(s.t, func() {
		for n := range manyClients {
			cmd := exec.Command("/bin/sh", "-c", client, "sh", s.program, s.dir, fmt.Sprint(from), fmt.Sprint(to), fmt.Sprint(n))
			cmd.Env, cmd.Stdout = []string{}, out
			testnet.Must(s.t, cmd.Start())
			cmds = append(cmds, cmd)
		}
	})
	s.clients = cmds
	s.t.Cleanup(func() { s.signal(os.Kill) }) // where the test broke off
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				s.t.Errorf("a client: %v", err)
			}
		}
		out.Close()
	}()
	return done
}

// signal stops the clients, or lets them go on; a hook that one of them waits for is not stopped.
func (s *storm) signal(sig os.Signal) {
	for _, cmd := range s.clients {
		_ = cmd.Process.Signal(sig) // it may have ended
	}
}

// quiet says that no hook failed, and none said anything.
func (s *storm) quiet() {
	s.t.Helper()
	said, err := os.ReadFile(filepath.Join(s.dir, "output"))
	if err != nil || len(said) > 0 {
		s.t.Errorf("%v, hooks said %.500q", err, said)
	}
}

// until waits for a state, or for the clients' end, of which it tells.
func until(ended <-chan struct{}, ok func() bool) (over bool) {
	for !ok() {
		select {
		case <-ended:
			return true
		case <-time.After(time.Millisecond):
		}
	}
	return false
}

// TestTenThousandCalls: of 10,000 calls by 100 clients at once, with a daemon that is stopped and started again and again under
// them, every one comes to the daemon, those of one link in their order, and the daemon's memory does not grow with their number.
func TestTenThousandCalls(t *testing.T) {
	const turns = 50 // of two calls
	s := newStorm(t)
	var most use
	stopSampling := most.sample()
	stop := s.serve()
	ended := s.start(0, turns)
	stops, spooled := 0, 0
	for over := false; !over; stops++ {
		enough := s.heard() + manyClients*turns/8
		over = until(ended, func() bool { return s.heard() >= enough })
		// What is on its way then is all that meets no daemon, one call a client: a host as busy as this one could otherwise have
		// more calls in the meantime than the spool has room for.
		s.signal(syscall.SIGSTOP)
		stop()
		spooled += len(spoolFiles(t, s.dir))
		stop = s.serve()
		s.signal(syscall.SIGCONT)
	}
	<-ended
	stop()
	s.serve()() // what the last hooks left in the spool
	stopSampling()

	s.quiet()
	s.wantAll(turns)
	if stops < 4 || spooled == 0 {
		t.Errorf("the daemon stopped %d times only, and %d calls found none", stops, spooled)
	}
	if l := spoolFiles(t, s.dir); len(l) > 0 {
		t.Errorf("%d files are left in the spool", len(l))
	}
	if most.memory > 64<<20 || most.goroutines > 4*hookserver.DefaultMaxConns+manyClients {
		t.Errorf("%d bytes in use over what was at first, %d goroutines", most.memory, most.goroutines)
	}
	t.Logf("%d stops, %d calls found no daemon, %d KiB more in use at most, %d goroutines", stops, spooled, most.memory>>10, most.goroutines)
}

// wantAll says that each of many came, the replacing ones in their order, and that the last one was the last.
func (s *storm) wantAll(turns int) {
	s.t.Helper()
	lost := 0
	for n := range manyClients {
		for turn := range turns {
			if !s.several[netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", n, turn))] {
				lost++
			}
		}
	}
	if lost > 0 || len(s.several) != manyClients*turns {
		s.t.Errorf("%d of %d are lost, %d came", lost, manyClients*turns, len(s.several))
	}
	s.wantNewest(turns - 1)
	if len(s.back) > 0 {
		s.t.Errorf("%d out of order, as %s", len(s.back), s.back[0])
	}
}

func (s *storm) wantNewest(turn int) {
	s.t.Helper()
	for n := range manyClients {
		if got, ok := s.last[fmt.Sprintf("wan%d", n)]; !ok || got != turn {
			s.t.Errorf("the last word about wan%d is of turn %d (%v), want %d", n, got, ok, turn)
		}
	}
}

// use is how much is in use at most.
type use struct {
	memory     uint64 // bytes of heap and stacks over what was in use at first
	goroutines int
}

// sample looks until stop.
func (u *use) sample() (stop func()) {
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	first := inUse()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			u.memory = max(u.memory, inUse()-min(first, inUse()))
			u.goroutines = max(u.goroutines, runtime.NumGoroutine())
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() { close(quit); <-done }
}

// TestLongAbsence: while there is no daemon the spool keeps to its bounds, and of every link it keeps the newest words: those
// that were pushed out had been replaced since.
func TestLongAbsence(t *testing.T) {
	const turns = 6
	s := newStorm(t)
	<-s.start(0, turns)
	s.quiet()
	// A hook that looks before another one has written does not know of that.
	if n := len(spoolFiles(t, s.dir)); n > hookwire.MaxSpoolFiles+manyClients || n < hookwire.MaxSpoolFiles-manyClients/2 {
		t.Errorf("%d files in the spool", n)
	}
	s.serve()()
	s.wantNewest(turns - 1)
	for n := range manyClients {
		if !s.several[netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", n, turns-1))] {
			t.Errorf("the last call of wan%d is lost", n)
		}
	}
	if len(s.back) > 0 {
		t.Errorf("out of order: %s", s.back[0])
	}
}
