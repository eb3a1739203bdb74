package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestDHCP walks one lease through its life and looks at what the client leaves in the kernel each time.
func TestDHCP(t *testing.T) {
	l, err := New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	server, err := l.A.DHCP()
	testnet.Must(t, err)
	defer server.Close()
	client, err := NewClient(l.Host, l.A.Dev, 100)
	testnet.Must(t, err)
	defer client.Close()
	var hooks []string
	client.Hook = func(reason string, ack *dhcpv4.DHCPv4) { hooks = append(hooks, reason+" "+ack.YourIPAddr.String()) }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	steps := []struct {
		name   string
		do     func() error
		routes string // of eth1 in main
	}{
		{"bind", func() error { return client.Bind(ctx) },
			"default via 192.0.2.1 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.10 proto kernel"},
		{"renew", func() error { return client.Renew(ctx) },
			"default via 192.0.2.1 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.10 proto kernel"},
		{"another router", func() error {
			p := server.Params()
			p.Routers = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
			server.Set(p)
			return client.Renew(ctx)
		}, "default via 192.0.2.9 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.10 proto kernel"},
		{"renumber", func() error {
			server.Set(Params{Address: netip.MustParsePrefix("192.0.2.77/24"), Routers: []netip.Addr{l.A.GW4}, Lifetime: time.Hour})
			return client.Renew(ctx)
		}, "default via 192.0.2.1 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.77 proto kernel"},
		{"release", client.Release, ""},
		{"release again", client.Release, ""},
		{"bind again", func() error { return client.Bind(ctx) },
			"default via 192.0.2.1 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.77 proto kernel"},
		{"expire", client.Expire, ""},
		{"bind after the link was down", func() error {
			return errors.Join(l.Host.Down(l.A.Dev), l.Host.Up(l.A.Dev), l.Host.Ready(l.A.Dev), client.Bind(ctx))
		}, "default via 192.0.2.1 metric 100 proto dhcp; 192.0.2.0/24 scope link src 192.0.2.77 proto kernel"},
	}
	for _, s := range steps {
		testnet.Must(t, s.do())
		if diff := cmp.Diff(s.routes, mainRoutes(t, l, l.A.Dev)); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
	want := []string{"BOUND 192.0.2.10", "RENEW 192.0.2.10", "RENEW 192.0.2.10", "REBIND 192.0.2.77", "RELEASE 192.0.2.77",
		"BOUND 192.0.2.77", "EXPIRE 192.0.2.77", "BOUND 192.0.2.77"}
	if diff := cmp.Diff(want, hooks); diff != "" {
		t.Error(diff)
	}
	testnet.Eventually(t, time.Second, func() error {
		if server.Seen(dhcpv4.MessageTypeRelease) == 0 {
			return errors.New("the server saw no DHCPRELEASE")
		}
		return nil
	})
}

// mainRoutes is the IPv4 routes of a device in one line, without what is the same in all.
func mainRoutes(t *testing.T, l *Lab, dev string) string {
	var list []string
	for line := range strings.Lines(testnet.State(t, l.Host)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "inet route "); ok && strings.Contains(rest, "dev "+dev+" ") {
			list = append(list, strings.Replace(rest, " dev "+dev+" table main", "", 1))
		}
	}
	return strings.Join(list, "; ")
}

func TestSilentServer(t *testing.T) {
	l, err := New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	server, err := l.B.DHCP()
	testnet.Must(t, err)
	defer server.Close()
	server.Silence(true)
	client, err := NewClient(l.Host, l.B.Dev, NoRoute)
	testnet.Must(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.Bind(ctx); err == nil {
		t.Error("bound by a server that says nothing")
	}
	server.Silence(false)
	testnet.Must(t, client.Bind(t.Context()))
	if got := mainRoutes(t, l, l.B.Dev); got != "198.51.100.0/24 scope link src 198.51.100.20 proto kernel" {
		t.Errorf("routes without a default: %s", got)
	}
}

// TestOptions: what Params has is what a client's hook sees.
func TestOptions(t *testing.T) {
	l, err := New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	server, err := l.A.DHCP()
	testnet.Must(t, err)
	defer server.Close()
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	testnet.Must(t, err)
	server.Set(Params{Address: netip.MustParsePrefix("192.0.2.30/25"), Lifetime: 90 * time.Second,
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Static: []*dhcpv4.Route{{Dest: all, Router: l.A.GW4.AsSlice()}}})
	client, err := NewClient(l.Host, l.A.Dev, 100)
	testnet.Must(t, err)
	defer client.Close()
	var got *dhcpv4.DHCPv4
	client.Hook = func(_ string, ack *dhcpv4.DHCPv4) { got = ack }
	testnet.Must(t, client.Bind(t.Context()))
	text := fmt.Sprint(got.YourIPAddr, got.SubnetMask(), got.DNS(), got.ClasslessStaticRoute(),
		got.IPAddressLeaseTime(0), len(got.Router()))
	if want := "192.0.2.30 ffffff80 [192.0.2.53] [route to 0.0.0.0/0 via 192.0.2.1] 1m30s 0"; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if client.Address().String() != "192.0.2.30/25" {
		t.Errorf("configured %v", client.Address())
	}
}
