package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// scenarioCrash: the daemon dies and comes back. Nothing happens.
func scenarioCrash(h *dhcpHost) {
	h.withDaemon()
	before := testnet.State(h.t, h.lab.Host)
	events := watchRules(h.t, h.lab.Host)
	a, b := h.a.stream(), h.b.stream()
	a.flows()
	b.flows()
	h.killUplinkd()
	a.flows()
	b.flows()
	start := time.Now()
	h.startUplinkd()
	h.t.Logf("ready %v after the start", time.Since(start))
	a.flows()
	b.flows()
	a.lossless("eth1")
	b.lossless("eth2")
	if n := events.count(); n > 0 {
		h.t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
	if after := testnet.State(h.t, h.lab.Host); after != before {
		h.t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// scenarioChangeUnseen: while the daemon is dead, one uplink gives its lease back and gets another one. The hooks leave
// that in the spool; the daemon's next start knows it, and removes what its dead self had made for the old address.
func scenarioChangeUnseen(h *dhcpHost) {
	h.withDaemon()
	other, old := h.a.state(), h.b.addr()
	s := h.a.stream()
	h.killUplinkd()
	h.b.release()
	h.b.moveTo("198.51.101.77/24")
	h.b.serve()
	h.b.bind()
	if n := len(h.spooled()); n < 2 && !h.client.manners().silent {
		h.t.Errorf("%d messages in the spool", n)
	}
	if h.b.probes()["Internet -> address"]() == nil {
		h.t.Error("the new address works without a daemon")
	}
	events := watchRules(h.t, h.lab.Host)
	h.startUplinkd()
	h.eventuallyIs("eth2", h.b.full(), func() string { return h.b.state(old) })
	h.eventuallyWorks(h.b)
	if left := h.spooled(); len(left) > 0 {
		h.t.Errorf("still in the spool: %v", left)
	}
	s.flows()
	s.lossless("eth1")
	if texts := events.texts(0); strings.Contains(texts, h.a.addr().String()) {
		h.t.Errorf("rules of eth1 came or went:\n%s", texts)
	}
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// scenarioDrift: another program flushes all rules, and then a table. Both are back, and the log says who did it.
func scenarioDrift(h *dhcpHost) {
	h.withDaemon()
	want := h.ours()
	table := regexp.MustCompile(`oif eth2 lookup ([0-9]+)`).FindStringSubmatch(
		testnet.StateOf(h.t, h.lab.Host, config.DefaultProtocol))[1]
	for _, flush := range []struct{ name, script string }{
		// The default rules come back in the same run: others than uplinkd look after them.
		{"ip rule flush", "rule flush\nrule add lookup main pref 32766\nrule add lookup default pref 32767\n"},
		{"ip route flush table", "route flush table " + table + "\n"},
	} {
		repaired := strings.Count(h.uplinkd.text(), "drift repaired")
		events := watchRules(h.t, h.lab.Host)
		cmd := h.lab.Host.Command(testnet.Need(h.t, "ip"), "-4", "-batch", "-")
		cmd.Stdin = strings.NewReader(flush.script)
		out, err := cmd.CombinedOutput()
		done := time.Now()
		if err != nil {
			h.t.Fatalf("%s: %v\n%s", flush.name, err, out)
		}
		h.eventually(flush.name, func() error {
			if strings.Count(h.uplinkd.text(), "drift repaired") == repaired {
				return errors.New("the log says nothing of drift")
			}
			if got := h.ours(); got != want {
				return fmt.Errorf("want:\n%sgot:\n%s", want, got)
			}
			return nil
		})
		h.t.Logf("%s: seen back %v after ip had ended", flush.name, time.Since(done))
		if gone := events.last(0, "-"); !gone.IsZero() {
			h.t.Logf("%s: last rule back %v after the last one went", flush.name, events.last(0, "+").Sub(gone))
		}
		h.eventuallyWorks(h.a, h.b)
	}
	for line := range strings.Lines(h.uplinkd.text()) {
		if strings.Contains(line, "drift repaired") {
			h.t.Log(line)
		}
	}
}
