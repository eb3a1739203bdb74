package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestFlappingLink: a link that goes down and comes up a hundred times a second, with its address and its default route, has the
// state of before at the end, up as well as down. The daemon says little
// about it: at most that a route was refused, where the link went down in between.
func TestFlappingLink(t *testing.T) {
	const flaps, most = 300, 40 // log lines: six at once, one in five seconds, and those of start and problems
	p := newPlace(t)
	p.uplink()
	d := p.start()
	p.wantState(t, "from 192.0.2.10 lookup", "default via 192.0.2.1")
	before := p.state()
	said := strings.Count(d.text(), "\n")
	pace := time.NewTicker(5 * time.Millisecond) // of one way: a flap is two
	defer pace.Stop()
	for range flaps {
		testnet.Must(t, p.host.Down("eth0"))
		<-pace.C
		testnet.Must(t, p.host.Up("eth0"), p.host.Route("default via 192.0.2.1 dev eth0"))
		<-pace.C
	}
	p.wantState(t, strings.Split(strings.TrimSpace(before), "\n")...)
	if after := p.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	testnet.Must(t, p.host.Down("eth0"))
	testnet.Eventually(t, 5*time.Second, func() error { return onlyFence(p.state()) })
	log := d.text()
	if n := strings.Count(log, "\n") - said; n > most {
		t.Errorf("%d lines about %d flaps:\n%s", n, flaps, log)
	}
}

// onlyFence says what there is beside the fence.
func onlyFence(state string) error {
	for line := range strings.Lines(state) {
		if !strings.Contains(line, "unreachable") {
			return fmt.Errorf("more than the fence:\n%s", state)
		}
	}
	return nil
}
