package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// static gives the host an address by hand, and tells the observer of it.
func (b *bench) static(cidr string, routed bool) uplink.Observed {
	b.t.Helper()
	testnet.Must(b.t, b.host.Addr(hostDev, cidr))
	l := b.link(func(o *uplink.Observed) {
		o.Addresses = []netip.Addr{netip.MustParsePrefix(cidr).Addr()}
		if !routed {
			o.Unrouted = o.Addresses
		}
	})
	b.Watch([]uplink.Observed{l})
	return l
}

func quick(c *Config) { c.AskAfter, c.AskAgain = 20*time.Millisecond, 40*time.Millisecond }

const informed = "bind wan0 192.0.2.77/24 by [192.0.2.1] for 0s"

// TestInform: for an address that nobody leased the server is asked once, and what it says counts for as long as that stays.
func TestInform(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick).run().watch()
	server := b.serve()
	l := b.static("192.0.2.77/24", false)
	b.eventually(informed)
	if ev := b.events[0]; ev.Sole {
		t.Error("it takes the place of the client's own lease")
	}
	l.Unrouted = nil
	b.Watch([]uplink.Observed{l}) // as the agent does with the answer
	l.Unrouted = l.Addresses      // and when the gateway is lost again
	b.Watch([]uplink.Observed{l})
	b.quiet()
	if n := server.Seen(dhcpv4.MessageTypeInform); n != 1 {
		t.Errorf("asked %d times", n)
	}
	b.Watch([]uplink.Observed{b.link(nil)})
	b.eventually(informed, "remove wan0 192.0.2.77")
	b.Watch([]uplink.Observed{l}) // it is back
	b.eventually(informed, "remove wan0 192.0.2.77", informed)
}

// quiet lets the time pass in which another question would be asked.
func (b *bench) quiet() {
	select {
	case <-time.After(10 * b.cfg.AskAgain):
	case <-b.t.Context().Done():
	}
}

// TestInformWithoutAnswer: a server that says nothing is asked twice.
func TestInformWithoutAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick).run().watch()
	server := b.serve()
	server.Silence(true)
	b.static("192.0.2.77/24", false)
	testnet.Eventually(t, patience, func() error {
		if n := server.Seen(dhcpv4.MessageTypeInform); n != maxTries {
			return fmt.Errorf("asked %d times", n)
		}
		return nil
	})
	b.quiet()
	if n := server.Seen(dhcpv4.MessageTypeInform); n != maxTries {
		t.Errorf("asked %d times", n)
	}
	b.eventually()
}

// TestInformWithoutGateway: that the server names none says nothing.
func TestInformWithoutGateway(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick).run().watch()
	server := b.serve()
	p := server.Params()
	p.Routers = nil
	server.Set(p)
	b.static("192.0.2.77/24", false)
	testnet.Eventually(t, patience, func() error {
		if server.Seen(dhcpv4.MessageTypeInform) == 0 {
			return fmt.Errorf("not asked")
		}
		return nil
	})
	b.quiet()
	b.eventually()
}

// TestNotAsked: whose gateway is known, or comes before the time, and on a link without an Ethernet address.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.AskAfter = 300 * time.Millisecond }).run().watch()
	server := b.serve()
	l := b.static("192.0.2.77/24", true)
	l.Unrouted = l.Addresses
	b.Watch([]uplink.Observed{l})
	l.Unrouted = nil
	b.Watch([]uplink.Observed{l})
	l.Unrouted, l.MAC = l.Addresses, ""
	b.Watch([]uplink.Observed{l})
	<-time.After(2 * b.cfg.AskAfter)
	if n := server.Seen(dhcpv4.MessageTypeInform); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// TestQuestionIsPutOffAnew: a gateway that came by itself ends the waiting; when it is lost later, that begins anew.
func TestQuestionIsPutOffAnew(t *testing.T) {
	l := uplink.Observed{Index: 7, Name: "wan0", MAC: ownMAC.String(), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.77")}}
	unrouted := l
	unrouted.Unrouted = l.Addresses
	s, at := newStation(l, nil), time.Unix(0, 0)
	for _, step := range []struct {
		link uplink.Observed
		due  time.Time
		want time.Time
	}{
		{unrouted, at.Add(2), at.Add(2)}, {unrouted, at.Add(3), at.Add(2)}, {l, at.Add(4), time.Time{}}, {unrouted, at.Add(5), at.Add(5)},
	} {
		if gone := s.follow(step.link, step.due); len(gone) > 0 || !s.due().Equal(step.want) {
			t.Errorf("due %v, want %v; gone %v", s.due(), step.want, gone)
		}
	}
	if as := s.dueNow(at.Add(4)); len(as) > 0 {
		t.Errorf("asks too early: %v", as)
	}
	if as := s.dueNow(at.Add(5)); len(as) != 1 {
		t.Errorf("asks %v", as)
	}
}

// TestInformMessage: what is asked for, and in which order.
func TestInformMessage(t *testing.T) {
	mac, _ := canAsk("02:00:00:00:00:01")
	q := newQuestion(time.Time{})
	b, err := inform(q.xid, mac, netip.MustParseAddr("192.0.2.77"))
	testnet.Must(t, err)
	payload, to, err := decode(encode(netip.MustParseAddr("192.0.2.77"), b), false)
	testnet.Must(t, err)
	m, err := message(payload)
	testnet.Must(t, err)
	if to != serverPort || m.TransactionID != q.xid || m.ClientIPAddr.String() != "192.0.2.77" || m.IsBroadcast() || len(payload) < 300 {
		t.Errorf("to port %d, %d octets: %s", to, len(payload), m.Summary())
	}
	if got := m.Options.Get(dhcpv4.OptionParameterRequestList); !slices.Equal(got, []byte{121, 1, 3, 6, 26}) {
		t.Errorf("asks for %v", got)
	}
	if other := newQuestion(time.Time{}); other.xid == q.xid {
		t.Error("two questions of one number")
	}
	for _, mac := range []string{"", "x", "02:00:00:00:00:00:00:01"} {
		if _, ok := canAsk(mac); ok {
			t.Errorf("asks on a link with the address %q", mac)
		}
	}
}
