package testnet

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAddrWorksAtOnce: what the kernel does later by a work queue has been done when Addr and Peer return.
func TestAddrWorksAtOnce(t *testing.T) {
	for range 20 {
		n, _ := pair(t)
		Must(t, n.Peer("eth0", "2001:db8:c::30", "2001:db8:c::1"),
			n.Route("default via 2001:db8:c::1 dev eth0 src 2001:db8:c::30"))
	}
}

// TestVethIsReady: both ends run when Veth returns, for IPv6 too.
func TestVethIsReady(t *testing.T) {
	for range 20 {
		a, b := New(t), New(t)
		Must(t, Veth(a, "eth0", b, "eth0"))
		for _, n := range []*NS{a, b} {
			l, err := n.dev("eth0")
			Must(t, err)
			if l.Attrs().RawFlags&unix.IFF_RUNNING == 0 {
				t.Error("an end does not run")
			}
			Must(t, n.linkLocal(l))
		}
	}
}

// TestAddrOnALinkThatIsDown does not wait for what cannot come.
func TestAddrOnALinkThatIsDown(t *testing.T) {
	n, _ := pair(t)
	Must(t, n.Down("eth0"), n.Addr("eth0", "2001:db8:c::30/64"))
	if state := State(t, n); strings.Contains(state, "2001:db8:c::") {
		t.Errorf("a route by a link that is down:\n%s", state)
	}
	Must(t, n.Up("eth0"), n.Ready("eth0"))
}

func TestDelAddr(t *testing.T) {
	n, _ := pair(t)
	before := State(t, n)
	Must(t, n.Addr("eth0", "2001:db8:c::30/64"), n.Addr("eth0", "10.3.0.1/16"), n.Peer("eth0", "10.4.0.1", "10.4.0.2"))
	if State(t, n) == before {
		t.Error("new addresses bring no routes")
	}
	Must(t, n.DelAddr("eth0", "2001:db8:c::30/64"), n.DelAddr("eth0", "10.3.0.1/16"), n.DelPeer("eth0", "10.4.0.1", "10.4.0.2"))
	if after := State(t, n); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
