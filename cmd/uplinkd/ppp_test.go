package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// recorded is the message of a hook call of pppd's as it was recorded.
func (p *place) recorded(record string) []byte {
	p.t.Helper()
	read := func(file string) []string {
		text, err := os.ReadFile(file)
		testnet.Must(p.t, err)
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
	base := filepath.Join("../../internal/lease/testdata/pppd", record)
	argv := read(base + ".argv")
	argv[0] = filepath.Base(argv[0])
	m, err := hookwire.Collect("ppp", argv, read(base+".env"))
	testnet.Must(p.t, err)
	if i, err := p.host.Index(m.Interface); err == nil {
		m.Index = i
	}
	b, err := m.Encode()
	testnet.Must(p.t, err)
	return b
}

func (p *place) replay(t *testing.T, record string) {
	t.Helper()
	if r, err := p.send(p.recorded(record)); err != nil || !r.OK {
		t.Errorf("%s: %+v, %v", record, r, err)
	}
}

// TestRecordedSession replays the calls of a real pppd on a link that looks like its own: the hooks come before, while and
// after the kernel changes, as they do there.
func TestRecordedSession(t *testing.T) {
	p := newPlace(t)
	tun, err := p.host.Tun("ppp0", testnet.ARPHRDPPP)
	if errors.Is(err, fs.ErrPermission) {
		testnet.Skip(t, "/dev/net/tun is not for this user")
	}
	testnet.Must(t, err)
	p.start()

	// ip-pre-up: the address is there, the link is down. The fence may stand already, and nothing leads there yet.
	testnet.Must(t, p.host.Peer("ppp0", "10.64.0.100/32", "10.64.0.1/32"))
	p.replay(t, "01-ip-pre-up-first-connect")
	if got := p.state(); strings.Contains(got, "lookup") || strings.Contains(got, "route") {
		t.Errorf("before the link is up:\n%s", got)
	}
	testnet.Must(t, p.host.Up("ppp0"))
	p.replay(t, "02-ipv6-up-first-connect")
	p.replay(t, "03-ip-up-first-connect")
	p.wantState(t, "4400: from 10.64.0.100 lookup ", "4610: from all oif ppp0 lookup ",
		"route default dev ppp0 table ", "route 10.64.0.1 dev ppp0 table ")
	uplinks, problems := p.status(t)
	if len(uplinks) != 1 || uplinks[0] != "ppp0 up" || len(problems) != 0 {
		t.Errorf("uplinks %q, problems %q", uplinks, problems)
	}

	// The server is gone: the address goes before the hooks run, the link after them.
	testnet.Must(t, p.host.DelPeer("ppp0", "10.64.0.100/32", "10.64.0.1/32"))
	p.replay(t, "04-ipv6-down-server-gone-reconnect-new-address")
	p.replay(t, "05-ip-down-server-gone-reconnect-new-address")
	if got := p.state(); got != "" {
		t.Errorf("after ip-down:\n%s", got)
	}
	testnet.Must(t, tun.Close())
	p.replay(t, "05-ip-down-server-gone-reconnect-new-address") // once more, with the link gone
}
