package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestTemporaryAddresses has the kernel make temporary addresses (RFC 8981) and let them run out: not one rule comes or goes,
// while the router is there and after it has fallen silent.
func TestTemporaryAddresses(t *testing.T) {
	t.Parallel()
	w := newRealWorld(t).(*realWorld)
	s := &script{t: t, w: w, disk: &disk{}}
	defer s.stop()
	play := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if err := s.play(line); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	play("link eth0")
	testnet.Must(t, w.host.Rotating("eth0", "2001:db8:a::10/64", 5*time.Second))
	play("start", "route add default via fe80::1 dev eth0 proto ra metric 1024", "way 2001:db8:a::10 2001:db8:f::1 = eth0 fe80::1")

	changes := w.ruleChanges(t)
	rotated(t, w, 3, "fe80::1")
	if n := changes(); n != 0 {
		t.Errorf("%d rules came or went with the temporary addresses", n)
	}

	play("route del default via fe80::1 dev eth0 proto ra metric 1024", "way 2001:db8:a::10 2001:db8:f::1 = nowhere")
	if n := changes(); n != 2 {
		t.Errorf("%d rules went with the router, want the two of the device", n)
	}
	rotated(t, w, 2, "")
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	if n := changes(); n != 0 {
		t.Errorf("%d rules came or went with the temporary addresses of a prefix that nobody routes", n)
	}
}

// rotated waits until the kernel has made a number of temporary addresses and removed one, and checks of each that its packets
// go by the gateway, or nowhere where that is empty, from its first moment.
func rotated(t *testing.T, w *realWorld, n int, via string) {
	t.Helper()
	seen := make(map[netip.Prefix]bool)
	testnet.Eventually(t, 20*time.Second, func() error {
		now, err := w.host.Addresses("eth0")
		if err != nil {
			return err
		}
		for a, flags := range now {
			if flags&unix.IFA_F_TEMPORARY != 0 && !seen[a] {
				seen[a] = true
				leaves(t, w, a.Addr(), via)
			}
		}
		for a := range seen {
			if _, there := now[a]; !there && len(seen) >= n {
				return nil
			}
		}
		return fmt.Errorf("%d of %d, and all are there still", len(seen), n)
	})
}

func leaves(t *testing.T, w *realWorld, a netip.Addr, via string) {
	t.Helper()
	r, err := w.host.RouteGet(testnet.Lookup{Src: a, Dst: netip.MustParseAddr("2001:db8:f::1")})
	switch {
	case via == "" && !errors.Is(err, unix.ENETUNREACH):
		t.Errorf("temporary address %s: leaves by %s (%v), want the fence", a, r.Via, err)
	case via != "" && (err != nil || r.Via.String() != via || r.Table < 256):
		t.Errorf("temporary address %s: leaves by %s of table %d (%v), want the uplink's", a, r.Via, r.Table, err)
	}
}

// ruleChanges counts the rules that come or go in the host: each call gives those since the last one.
func (w *realWorld) ruleChanges(t *testing.T) func() int {
	fd := -1
	err := w.host.Run(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	groups := uint32(1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1))
	testnet.Must(t, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	return func() (n int) {
		for buf := make([]byte, 1<<16); ; n++ { // one event a datagram
			_, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EAGAIN) {
				return n
			}
			testnet.Must(t, err)
		}
	}
}
