package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// leaseTime is that of the lease in guestClock.
const leaseTime = 10 * time.Minute

// guestClock: the clock is set back and forward, the machine sleeps, and neither rules nor leases follow the clock.
//
//	host -----+-- eth0  192.0.2.10/24; its gateway is known from a lease only
//	          +-- eth1  198.51.100.20/24, default route in main
func guestClock(t *testing.T) {
	h := newGuestHost(t)
	wall := time.Now()
	mono := time.Now() // Go measures with CLOCK_MONOTONIC
	t.Cleanup(func() { setClock(t, wall.Round(0).Add(time.Since(mono))) })
	far := testnet.New(t)
	testnet.Must(t,
		testnet.Veth(h.NS, "eth0", far, "a"), testnet.Veth(h.NS, "eth1", far, "b"), h.Addr("eth0", "192.0.2.10/24"),
		h.Addr("eth1", "198.51.100.20/24"), h.Route("default via 198.51.100.1 dev eth1 proto static"))
	h.startDaemon()
	h.hook("dhclient", "reason=BOUND", "interface=eth0", "new_ip_address=192.0.2.10", "new_subnet_mask=255.255.255.0",
		"new_routers=192.0.2.1", fmt.Sprintf("new_dhcp_lease_time=%d", int(leaseTime.Seconds())))
	h.leaves(netip.MustParseAddr("192.0.2.10"), "eth0")
	h.leaves(netip.MustParseAddr("198.51.100.20"), "eth1")
	c := clockLab{h, h.ours(), watchRules(t, h.NS)}
	h.say("before")

	c.set("back by an hour", time.Now().Add(-time.Hour))
	c.set("forward by ten years", time.Now().AddDate(10, 0, 0))
	h.killDaemon()
	h.startDaemon()
	c.nothingMoved("uplinkd was restarted after the clock was set")
	c.set("back by a quarter of a century", time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	c.sleep()
	c.sleepWhileRulesGo()
	h.say("after")
}

// clockLab is the host with its state before anything was done to the clock.
type clockLab struct {
	*guestHost
	before string
	events *ruleEvents
}

// set sets the clock.
func (c clockLab) set(how string, to time.Time) {
	c.t.Helper()
	n := c.jumps()
	setClock(c.t, to)
	took := c.jumped(n)
	c.t.Logf("%s: noticed after %s", how, took)
	if took > time.Second {
		c.t.Errorf("%s: noticed after %s", how, took)
	}
	c.nothingMoved("the clock was set " + how)
}

// nothingMoved: the rules and routes are as they were and no rule went or came meanwhile, and the lease is there and as young as
// it is, by the clock as it goes now.
func (c clockLab) nothingMoved(when string) {
	c.t.Helper()
	if got := c.ours(); got != c.before {
		c.t.Errorf("%s. It was:\n%sand is:\n%s", when, c.before, got)
	}
	if n := c.events.count(); n > 0 {
		c.t.Errorf("%s. The kernel tells of rules that come and go:\n%s", when, c.events.texts(0))
	}
	u, _ := c.uplink("eth0")
	if u.State != control.Up || len(u.Leases) != 1 || len(u.Problems) > 0 {
		c.t.Fatalf("%s. The uplink is %+v", when, u)
	}
	const young = 2 * time.Minute
	age, left := time.Since(u.Leases[0].Received), time.Until(u.Leases[0].ExpiresAt)
	if age < -time.Second || age > young || left < leaseTime-young || left > leaseTime+time.Second {
		c.t.Errorf("%s. The lease is said to be %s old and to be good for %s", when, age, left)
	}
}

// sleep: the daemon looks within a second of each resume, though no event comes. Three times, for a guest has pauses of its own.
func (c clockLab) sleep() {
	c.t.Helper()
	best := time.Hour
	for range 3 {
		n, last := c.jumps(), c.status().LastReconcile
		suspend(c.t)
		best = min(best, c.jumped(n))
		c.eventually("it looks after a resume", func() error {
			if now := c.status().LastReconcile; !now.After(last) {
				return fmt.Errorf("the last look was at %s", now)
			}
			return nil
		})
		c.nothingMoved("the machine slept")
	}
	c.t.Logf("a resume is noticed after %s", best)
	if best > time.Second {
		c.t.Errorf("no resume was noticed within a second; the best took %s", best)
	}
}

// sleepWhileRulesGo: what is gone after a resume is back, at once.
func (c clockLab) sleepWhileRulesGo() {
	c.t.Helper()
	n := c.jumps()
	c.stopped(func() {
		for _, family := range []string{"-4", "-6"} {
			out, err := exec.Command("ip", family, "rule", "flush", "protocol", fmt.Sprint(config.DefaultProtocol)).CombinedOutput()
			if err != nil {
				c.t.Fatalf("ip rule flush: %v\n%s", err, out)
			}
		}
		if strings.Contains(c.ours(), "rule") {
			c.t.Fatalf("there are rules still:\n%s", c.ours())
		}
		suspend(c.t)
	})
	begin := time.Now()
	c.jumped(n)
	c.same("what went while the machine slept is back", c.before)
	c.t.Logf("repaired after %s", time.Since(begin))
}

// suspend sends the machine to sleep. A User-Mode Linux is woken at once.
func suspend(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/sys/power/state", []byte("mem"), 0); err != nil {
		t.Fatalf("suspend: %v", err)
	}
}

func setClock(t *testing.T, to time.Time) {
	t.Helper()
	tv := unix.NsecToTimeval(to.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		t.Fatalf("set the clock to %s: %v", to, err)
	}
}
