package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// story is the demo while it runs.
type story struct {
	w        io.Writer
	bin, dir string
	lab      *lab.Lab
	dhcpB    *lab.Client
	daemon   *daemon
	closers  []func()
	before   string // what uplinkd had put into the kernel when all was well
	failures int
	patience time.Duration
}

func (s *story) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// tell goes through the acts; an error ends it, a promise that does not hold does not.
func (s *story) tell(ctx context.Context) error {
	for _, act := range []func(context.Context) error{
		s.build, s.problem, s.start, s.explain, s.down, s.expire, s.back, s.stop,
	} {
		if err := errors.Join(ctx.Err(), act(ctx)); err != nil {
			return errors.Join(err, s.daemon.complain())
		}
	}
	if s.failures > 0 {
		return errors.Join(fmt.Errorf("%d promises failed", s.failures), s.daemon.complain())
	}
	s.say("\nAll promises held.\n")
	return nil
}

// problem shows the host without uplinkd.
func (s *story) problem(context.Context) error {
	s.head("Without uplinkd")
	all := s.lab.Promises(false)
	results := lab.CheckAll(all)
	s.say("%s", table(s.lab.ISPs(), all, results))
	if countErrors(results) == 0 {
		s.fail("there is no problem to solve on this machine: the lab is broken")
	}
	s.say("\nTable main has one default route that counts: replies of eth2 and ppp0 leave by eth1, and ISP A drops\n" +
		"packets with addresses that are not its own (\"lost\").\n")
	return nil
}

// start runs the daemon and waits for the promises.
func (s *story) start(ctx context.Context) (err error) {
	s.head("With uplinkd")
	started := time.Now()
	if s.daemon, err = s.startDaemon(); err != nil {
		return err
	}
	s.awaitPromises("all promises hold", started)
	s.before, err = s.ours()
	if err != nil {
		return err
	}
	s.say("\n$ uplinkctl status\n")
	out, err := s.run(ctx, "uplinkctl", "--runtime-dir", s.dir, "status")
	if err != nil {
		return err
	}
	s.say("%s\n", indent(out))
	return nil
}

// awaitPromises tries all promises until they hold, and shows the last result.
func (s *story) awaitPromises(what string, since time.Time) {
	all := s.lab.Promises(false)
	var results []error
	err := testnet.Wait(s.patience, func() error {
		results = lab.CheckAll(all)
		return errors.Join(results...)
	})
	took := time.Since(since)
	s.say("%s", table(s.lab.ISPs(), all, results))
	if err != nil {
		s.fail("%d of %d promises do not hold after %.1f s", countErrors(results), len(all), took.Seconds())
		return
	}
	s.pass("%s, %.2f s later (%d probes by packets)", what, took.Seconds(), len(all))
}

// explain shows what one uplink has in the kernel.
func (s *story) explain(context.Context) error {
	s.say("\nWhat the kernel has for eth2, as \"ip rule\" and \"ip route\" tell it (IPv4 part):\n")
	for line := range strings.Lines(s.before) {
		if s.ofB(line) && strings.HasPrefix(line, "inet ") {
			s.say("    %s", strings.TrimPrefix(line, "inet "))
		}
	}
	return nil
}

// down sets eth2 down: its address is still there, and the fence keeps its packets from the other uplinks.
func (s *story) down(context.Context) error {
	s.head("eth2 goes down")
	b := s.lab.B
	var watches []*lab.Capture
	for _, isp := range []*lab.ISP{s.lab.A, s.lab.C} {
		c, err := isp.Watch()
		if err != nil {
			return err
		}
		defer c.Close()
		watches = append(watches, c)
	}
	if err := s.lab.Host.Down(b.Dev); err != nil {
		return err
	}
	s.check(func() error {
		if got := lab.Why(lab.Reach(s.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Src: b.Host4.Addr()})); got != "no route" {
			return fmt.Errorf("a connection from %v: %s, want no route", b.Host4.Addr(), got)
		}
		return nil
	}, "a connection from %v fails at once: no route", b.Host4.Addr())
	s.others()
	leaked := 0
	for _, c := range watches {
		leaked += c.Seen(b.Host4.Addr()) + c.Seen(b.Host6.Addr())
	}
	s.check(func() error {
		if leaked > 0 {
			return fmt.Errorf("%d packets with an address of eth2 left by another uplink", leaked)
		}
		return nil
	}, "not one packet with an address of eth2 left by another uplink")
	return nil
}

// expire takes the lease away, and with it all that uplinkd had for eth2.
func (s *story) expire(context.Context) error {
	s.head("Its lease runs out")
	if err := s.dhcpB.Expire(); err != nil {
		return err
	}
	s.check(func() error { return s.oursIs(s.without(s.before)) },
		"every rule and route of eth2 is gone; those of eth1 and ppp0 are untouched")
	s.others()
	return nil
}

// others checks that the remaining uplinks work as before.
func (s *story) others() {
	var rest []lab.Promise
	for _, p := range s.lab.Promises(false) {
		if p.ISP != s.lab.B {
			rest = append(rest, p)
		}
	}
	s.check(func() error { return errors.Join(lab.CheckAll(rest)...) }, "eth1 and ppp0 work as before (%d probes)", len(rest))
}

// back brings eth2 up again.
func (s *story) back(ctx context.Context) error {
	s.head("eth2 comes back")
	started := time.Now()
	b := s.lab.B
	if err := errors.Join(s.lab.Host.Up(b.Dev), s.lab.Host.Ready(b.Dev), s.bindB(ctx)); err != nil {
		return err
	}
	s.awaitPromises("all promises hold again", started)
	s.check(func() error { return s.oursIs(s.before) }, "the kernel has what it had before, the table's number included")
	return nil
}

// stop ends the daemon, which leaves the kernel as it is.
func (s *story) stop(context.Context) error {
	s.head("uplinkd stops")
	if err := s.daemon.stop(); err != nil {
		s.fail("uplinkd: %v", err)
	}
	s.check(func() error { return s.oursIs(s.before) },
		"the kernel keeps every rule and route: a restart or an upgrade cuts no connection")
	all := s.lab.Promises(false)
	s.check(func() error { return errors.Join(lab.CheckAll(all)...) },
		"everybody reaches everybody still (%d probes)", len(all))
	return nil
}

// ours is what the kernel holds of uplinkd's.
func (s *story) ours() (string, error) {
	return s.lab.Host.State(func(p uint8) bool { return p == config.DefaultProtocol })
}

// oursIs compares what the kernel holds of uplinkd's with what it should.
func (s *story) oursIs(want string) error {
	got, err := s.ours()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the kernel has\n%s    and should have\n%s", indent(got), indent(want))
	}
	return nil
}

// without is a state less what belongs to eth2.
func (s *story) without(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		if !s.ofB(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// ofB says whether a rule or a route is one of eth2: by its address, its prefix or its device.
func (s *story) ofB(line string) bool {
	b := s.lab.B
	for _, f := range rpdb.Families() {
		if strings.Contains(line, b.Address(f).String()+" ") || strings.Contains(line, b.Subnet(f).String()+" ") {
			return true
		}
	}
	return strings.Contains(line, " dev "+b.Dev+" ") || strings.Contains(line, " oif "+b.Dev+" ")
}

func countErrors(list []error) (n int) {
	for _, err := range list {
		if err != nil {
			n++
		}
	}
	return n
}

// writeConfig writes the daemon's configuration: it must not write names of tables to the machine's /etc.
func (s *story) writeConfig(path string) error {
	text := "rt_tables_dir = \"\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}
