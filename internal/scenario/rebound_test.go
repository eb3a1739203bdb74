package scenario

import (
	"testing"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestReboundChangesNothing: a lease that says what it said before is no event for the kernel, nor is a restart or a look. What
// the kernel tells others of is counted, on a socket that belongs to neither.
func TestReboundChangesNothing(t *testing.T) {
	w := newRealWorld(t).(*realWorld)
	s := &script{t: t, w: w, disk: &disk{}}
	defer func() { s.stop() }()
	for _, line := range []string{
		"link eth0", "link eth1", "start", "addr eth0 192.0.2.10/24", "addr eth0 192.0.2.11/24", "addr eth1 10.0.0.2/24",
		"addr eth1 fd00:b::2/64", "route add default via inet6 fe80::1 dev eth1 proto static", "route add default via fe80::1 dev eth1 proto ra",
		"lease eth0 dhclient 192.0.2.10 192.0.2.1", "replace eth0 nm 192.0.2.11=192.0.2.1",
	} {
		if err := s.play(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	testnet.Must(t, s.settle())
	before, err := s.picture()
	testnet.Must(t, err)
	var k *kernel.Kernel
	testnet.Must(t, w.host.Run(func() (err error) {
		k, err = kernel.Open(99, zap.NewNop())
		return err
	}))
	defer k.Close()
	changes := func(line string) []rpdb.Event {
		if err := s.play(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		testnet.Must(t, s.settle())
		_, err := k.Snapshot(t.Context()) // reads what has come
		testnet.Must(t, err)
		var evs []rpdb.Event
		select {
		case ev := <-k.Events():
			evs = append(evs, ev)
		default:
		}
		return evs
	}
	for range 3 {
		for _, line := range []string{
			"lease eth0 dhclient 192.0.2.10 192.0.2.1", "replace eth0 nm 192.0.2.11=192.0.2.1", "restart",
		} {
			if evs := changes(line); len(evs) > 0 {
				t.Errorf("%s: the kernel tells of %+v", line, evs)
			}
		}
	}
	after, err := s.picture()
	testnet.Must(t, err)
	if before != after || before == "" {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// And what does change something is seen here.
	if evs := changes("lease eth0 dhclient 192.0.2.10 192.0.2.2"); len(evs) != 1 || !evs[0].Routes {
		t.Errorf("another gateway: the kernel tells of %+v", evs)
	}
}
