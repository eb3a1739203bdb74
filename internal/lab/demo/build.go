package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// build makes the lab and brings all uplinks up, each in its own way.
func (s *story) build(ctx context.Context) (err error) {
	if s.lab, err = lab.New(); err != nil {
		return err
	}
	s.closers = append(s.closers, s.lab.Close)
	s.say("A host with three uplinks, in network namespaces (nothing of this machine's network is touched):\n\n" +
		"                +-- eth1   ISP A   192.0.2.10      2001:db8:a::10 --+\n" +
		"  LAN --- host -+-- eth2   ISP B   198.51.100.20   2001:db8:b::20 --+--- Internet\n" +
		"                +-- ppp0   ISP C   198.18.7.2      2001:db8:c::30 --+\n\n")
	for _, ns := range []*testnet.NS{s.lab.Host, s.lab.Inet, s.lab.LAN} {
		stop, err := lab.Echo(ns)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, stop)
	}
	if err := s.bringUpA(ctx); err != nil {
		return err
	}
	if err := s.bringUpB(ctx); err != nil {
		return err
	}
	return s.bringUpC(ctx)
}

// bringUpA has a client without a hook: the default route that it puts into main is all that uplinkd learns.
func (s *story) bringUpA(ctx context.Context) error {
	a := s.lab.A
	client, err := s.dhcp(a, 100)
	if err != nil {
		return err
	}
	s.say("  eth1: DHCP, a client without a hook; default route in main; IPv6 as by router advertisement\n")
	return errors.Join(client.Bind(ctx), s.ipv6(a, 100))
}

// bringUpB has a client as dhclient is: no second default route, but a hook.
func (s *story) bringUpB(ctx context.Context) (err error) {
	b := s.lab.B
	if s.dhcpB, err = s.dhcp(b, lab.NoRoute); err != nil {
		return err
	}
	s.dhcpB.Hook = s.dhclientHook
	s.say("  eth2: DHCP, a client like dhclient: no second default route in main, its hook calls uplink-hook\n")
	return s.bindB(ctx)
}

// bindB gets the lease of eth2 and its IPv6 address, which the kernel forgets when the link is down.
func (s *story) bindB(ctx context.Context) error {
	return errors.Join(s.dhcpB.Bind(ctx), s.ipv6(s.lab.B, 200))
}

// bringUpC is a PPP link, with the calls of pppd's scripts.
func (s *story) bringUpC(ctx context.Context) error {
	err := s.lab.AddPPP()
	switch {
	case err == nil:
		s.say("  ppp0: point-to-point (a tun device of type PPP), its ip-up calls uplink-hook\n")
		c := s.lab.C
		if err := s.lab.Static(c); err != nil {
			return err
		}
		_, err = s.hook([]string{"IFNAME=" + c.Dev, "IPLOCAL=" + c.Host4.Addr().String(), "IPREMOTE=" + c.GW4.String()},
			"ppp", "ip-up", c.Dev, "", "0", c.Host4.Addr().String(), c.GW4.String())
		return err
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		s.say("  ppp0: /dev/net/tun cannot be opened here, so this is an Ethernet link with a peer and no subnet;\n" +
			"        its gateway is in main\n")
		return s.bringUpPeer()
	}
	return err
}

// bringUpPeer is bringUpC without /dev/net/tun.
func (s *story) bringUpPeer() error {
	if err := s.lab.AddPeer(); err != nil {
		return err
	}
	return errors.Join(s.lab.Static(s.lab.C), s.lab.DefaultVia(s.lab.C, 300))
}

// dhcp starts a provider's server, and a client on the host's end.
func (s *story) dhcp(isp *lab.ISP, metric int) (*lab.Client, error) {
	server, err := isp.DHCP()
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, server.Close)
	client, err := lab.NewClient(s.lab.Host, isp.Dev, metric)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, client.Close)
	return client, nil
}

// ipv6 does what the kernel does with a router advertisement.
func (s *story) ipv6(isp *lab.ISP, metric int) error {
	return errors.Join(s.lab.Host.Addr(isp.Dev, isp.Host6.String()),
		s.lab.Host.Route(fmt.Sprintf("default via %v dev %s metric %d proto ra", isp.GW6, isp.Dev, metric)))
}

// dhclientHook calls uplink-hook as dhclient-script's exit hook does (dhclient-script(8)).
func (s *story) dhclientHook(reason string, ack *dhcpv4.DHCPv4) {
	which := "new_"
	if reason == "RELEASE" || reason == "EXPIRE" {
		which = "old_"
	}
	env := []string{"reason=" + reason, "interface=" + s.lab.B.Dev,
		which + "ip_address=" + ack.YourIPAddr.String(), which + "subnet_mask=" + net.IP(ack.SubnetMask()).String()}
	for _, r := range ack.Router() {
		env = append(env, which+"routers="+r.String())
	}
	if out, err := s.hook(env, "dhclient"); err != nil || out != "" {
		s.fail("uplink-hook dhclient with reason %s: %v %s", reason, err, out)
	}
}
