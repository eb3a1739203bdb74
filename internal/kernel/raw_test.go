package kernel

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// appendRoute is "ip route append": it adds beside what is there.
func appendRoute(t testing.TB, k *Kernel, r rpdb.Route) {
	t.Helper()
	body, err := encodeRoute(r)
	if err != nil {
		t.Fatal(err)
	}
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_APPEND)
	if err := k.ask.execute(request{unix.RTM_NEWROUTE, flags, body})[0]; err != nil {
		t.Fatal(err)
	}
}

// pending gives the hint that waits, after all events have been read; nil is none.
func pending(t testing.TB, k *Kernel) *Event {
	t.Helper()
	if _, err := k.drain(); err != nil {
		t.Fatal(err)
	}
	select {
	case ev := <-k.Events():
		return &ev
	default:
		return nil
	}
}

// diff is cmp.Diff for values with addresses in them; an empty list is like none.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty())
}
