package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// State puts an address into a state. No program can tell the kernel that an address is temporary: that one is as any other
// there, and TestTemporaryAddresses has the kernel make them.
func (w *realWorld) State(dev, cidr, state string) error {
	switch state {
	case "temporary":
		return w.host.Addr(dev, cidr)
	case "deprecated":
		return w.host.Deprecated(dev, cidr)
	case "tentative":
		return w.host.Tentative(dev, cidr)
	case "dadfailed":
		return errors.Join(w.far.Addr(dev, cidr), w.host.Duplicate(dev, cidr))
	}
	return fmt.Errorf("no such state of an address")
}

// Promote is the sysctl promote_secondaries.
func (w *realWorld) Promote(dev string) error {
	return w.host.Sysctl("net/ipv4/conf/"+dev+"/promote_secondaries", "1")
}

// Forward makes the host a router.
func (w *realWorld) Forward() error {
	return errors.Join(w.host.Sysctl("net/ipv4/ip_forward", "1"), w.host.Sysctl("net/ipv6/conf/all/forwarding", "1"))
}

// addresses are what a script may say of addresses and of the packets that have them.
//
//	addr DEV CIDR temporary|deprecated|tentative|dadfailed
//	promote DEV                     secondary addresses stay when the first one goes
//	forward                         the host is a router
//	way FROM TO [iif DEV] = WAY     where the real kernel sends a packet: "DEV [GATEWAY]" or "nowhere"
func (s *script) addresses(command string, args []string) error {
	switch command {
	case "addr":
		return s.w.State(args[0], args[1], args[2])
	case "promote":
		return s.w.Promote(args[0])
	}
	w, ok := s.w.(*realWorld)
	switch {
	case !ok:
		return nil // the kernel in memory forwards nothing
	case command == "forward":
		return w.Forward()
	}
	if err := s.settle(); err != nil {
		return err
	}
	return w.goes(args)
}

// goes checks a line "FROM TO [iif DEV] = WAY".
func (w *realWorld) goes(args []string) error {
	at := slices.Index(args, "=")
	if at != 2 && at != 4 {
		return fmt.Errorf("want FROM TO [iif DEV] = WAY")
	}
	q, err := lookup(args[:at])
	if err != nil {
		return err
	}
	want := strings.Join(args[at+1:], " ")
	return testnet.Wait(patience, func() error {
		got := "nowhere"
		r, err := w.host.RouteGet(q)
		if err == nil {
			got = w.way(w.t, r)
		} else if !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
			return err
		}
		if got != want {
			return errors.Join(fmt.Errorf("it goes by %q", got), err)
		}
		return nil
	})
}

func lookup(words []string) (q testnet.Lookup, err error) {
	if q.Src, err = netip.ParseAddr(words[0]); err != nil {
		return q, err
	}
	if q.Dst, err = netip.ParseAddr(words[1]); err == nil && len(words) == 4 {
		q.IIF = words[3]
	}
	return q, err
}
