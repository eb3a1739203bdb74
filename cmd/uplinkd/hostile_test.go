package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// send puts bytes on the hook socket and returns the reply; an error where the daemon gave none.
func (p *place) send(message []byte) (hookwire.Reply, error) {
	c, err := net.Dial("unix", filepath.Join(p.dir, "run", hookwire.SocketName))
	if err != nil {
		return hookwire.Reply{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return hookwire.Reply{}, err
	}
	// The daemon may hang up before it has read all of what is no message.
	_, _ = c.Write(message)
	_ = c.(*net.UnixConn).CloseWrite()
	return hookwire.ReadReply(c)
}

// dhclient is the message of a hook with these variables, one "KEY=VALUE" each.
func (p *place) dhclient(link string, env ...string) []byte {
	p.t.Helper()
	m, err := hookwire.Collect("dhclient", nil, append(env, "interface="+link))
	testnet.Must(p.t, err)
	if i, err := p.host.Index(link); err == nil {
		m.Index = i
	}
	b, err := m.Encode()
	testnet.Must(p.t, err)
	return b
}

func (p *place) bind(t *testing.T, link, ip, routers string) {
	t.Helper()
	r, err := p.send(p.dhclient(link, "reason=BOUND", "new_ip_address="+ip, "new_subnet_mask=255.255.255.0", "new_routers="+routers))
	if err != nil || !r.OK {
		t.Errorf("hook for %s: %+v, %v", ip, r, err)
	}
}

// status is what uplinkctl would be told, problems of uplinks and others in one list.
func (p *place) status(t *testing.T) (uplinks []string, problems []string) {
	t.Helper()
	c, err := control.Dial(filepath.Join(p.dir, "run"))
	testnet.Must(t, err)
	defer c.Close()
	s, err := c.Status(context.Background())
	testnet.Must(t, err)
	problems = s.Problems
	for _, u := range s.Uplinks {
		uplinks = append(uplinks, u.Name+" "+u.State)
		problems = append(problems, u.Problems...)
	}
	return uplinks, problems
}

// TestHostileHooks: whatever comes by the hook socket, the uplink that works goes on working, the daemon lives, and what is
// wrong with a lease is said in the status.
func TestHostileHooks(t *testing.T) {
	p := newPlace(t)
	d := p.start()
	testnet.Must(t, p.host.Addr("eth0", "192.0.2.10/24"))
	p.bind(t, "eth0", "192.0.2.10", "192.0.2.1")
	before := p.state()
	if !strings.Contains(before, "default via 192.0.2.1") {
		t.Fatalf("no uplink:\n%s", before)
	}

	t.Run("no messages", func(t *testing.T) {
		noise := make([]byte, 4096)
		_, _ = rand.Read(noise)
		good := p.dhclient("eth0", "reason=RELEASE", "old_ip_address=192.0.2.10")
		for name, b := range map[string][]byte{
			"nothing": nil, "noise": noise, "much noise": bytes.Repeat(noise, 64), "cut short": good[:len(good)-1],
			"text": []byte("GET / HTTP/1.0\r\n\r\n"), "zeroes": make([]byte, 1<<20),
		} {
			if r, err := p.send(b); err == nil && r.OK {
				t.Errorf("%s: accepted", name)
			}
		}
	})

	for _, tc := range []struct{ name, routers, problem string }{
		{"own", "192.0.2.10", "none of the gateways that it named can be one"},
		{"loopback", "127.0.0.1", `router "127.0.0.1": loopback`},
		{"multicast", "224.0.0.1", `router "224.0.0.1"`},
		{"zero", "0.0.0.0", `router "0.0.0.0"`},
		{"off the subnet", "203.0.113.1", "it is outside the subnet 192.0.2.0/24"},
		{"shell", "$(id)", `router "$(id)"`},
		{"terminal", "\x1b]0;x\a", `router "\x1b]0;x\a"`},
		{"sixty", strings.Repeat("192.0.2.9 ", 60), "60 of them, at most 8 are taken"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.bind(t, "eth0", "192.0.2.10", tc.routers)
			if _, problems := p.status(t); !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, tc.problem) }) {
				t.Errorf("no %q in the status: %q", tc.problem, problems)
			}
			if now := p.state(); now != before {
				t.Errorf("it was\n%s\nand is\n%s", before, now)
			}
		})
	}

	t.Run("an address that is not there", func(t *testing.T) {
		r, err := p.send(p.dhclient("far0", "reason=BOUND", "new_ip_address=198.51.100.20", "new_routers=198.51.100.1"))
		if err != nil || r.OK || !strings.Contains(r.Text, `there is no link "far0"`) {
			t.Errorf("no such link: %+v, %v", r, err)
		}
	})
	if log := d.text(); strings.Contains(log, "panic") || strings.ContainsAny(log, "\x1b\a") {
		t.Errorf("the log:\n%q", log)
	}
}

// TestOddNames: interface names that a shell, iproute2 or a terminal would read as something else, by real leases.
func TestOddNames(t *testing.T) {
	p := newPlace(t)
	far := testnet.New(t)
	names := []string{"a$(id)b", "--help", "main", "254", "x\x1by", "..z", "*"}
	for i, name := range names {
		testnet.Must(t, testnet.Veth(p.host, name, far, fmt.Sprintf("far%d", i)), p.host.Addr(name, fmt.Sprintf("10.1.%d.10/24", i)))
	}
	d := p.start()
	for i, name := range names {
		p.bind(t, name, fmt.Sprintf("10.1.%d.10", i), fmt.Sprintf("10.1.%d.1", i))
	}
	for i := range names {
		p.wantState(t, fmt.Sprintf("4400: from 10.1.%d.10 lookup ", i), fmt.Sprintf("default via 10.1.%d.1 dev ", i))
	}
	uplinks, problems := p.status(t)
	if len(uplinks) != len(names) || len(problems) != 0 {
		t.Errorf("uplinks %q, problems %q", uplinks, problems)
	}
	for _, u := range uplinks {
		if name, state, _ := strings.Cut(u, " "); state != "up" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			t.Errorf("uplink %q", u)
		}
	}
	if strings.ContainsRune(d.text(), 0x1b) {
		t.Errorf("the log:\n%q", d.text())
	}
}
