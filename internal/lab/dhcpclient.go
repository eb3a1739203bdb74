package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// answerTime is how long the client waits for an answer before it asks again, and tries is how often it asks.
const (
	answerTime = time.Second
	tries      = 3
)

// NoRoute as a client's Metric: it puts no default route into main.
const NoRoute = -1

// Client is a DHCPv4 client on one link of a namespace, which does what real clients do to the kernel: the address, and
// a default route in main of protocol dhcp. It does nothing by itself: its owner tells it to renew.
type Client struct {
	// Metric is that of its default route in main; NoRoute: none.
	Metric int
	// Hook, if set, is called after each change with the client's word for it in the style of dhclient: BOUND,
	// RENEW, REBIND (a new address), RELEASE, EXPIRE. The ACK is the newest one.
	Hook func(reason string, ack *dhcpv4.DHCPv4)

	ns     *testnet.NS
	dev    string
	client *nclient4.Client
	lease  *nclient4.Lease
	addr   netip.Prefix // what is on the link
	route  string       // what is in main
}

// NewClient makes a client; Close it. It sends nothing before Bind.
func NewClient(ns *testnet.NS, dev string, metric int) (*Client, error) {
	c := &Client{Metric: metric, ns: ns, dev: dev}
	return c, c.open()
}

// open makes the socket, in place of an old one: a packet socket is dead once its link was down (packet(7), ENETDOWN).
func (c *Client) open() error {
	c.Close()
	mac, err := c.ns.MAC(c.dev)
	if err != nil {
		return err
	}
	err = c.ns.Run(func() error {
		conn, err := nclient4.NewRawUDPConn(c.dev, nclient4.ClientPort)
		if err != nil {
			return err
		}
		c.client, err = nclient4.NewWithConn(conn, mac, nclient4.WithTimeout(answerTime), nclient4.WithRetry(tries))
		return err
	})
	if err != nil {
		return fmt.Errorf("start a DHCP client on %s: %w", c.dev, err)
	}
	return nil
}

// Address is what the client has put onto the link; invalid: nothing.
func (c *Client) Address() netip.Prefix { return c.addr }

// Bind gets a lease and configures the link.
func (c *Client) Bind(ctx context.Context) error {
	if err := c.open(); err != nil {
		return err
	}
	lease, err := c.client.Request(ctx)
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", c.dev, err)
	}
	return c.configure("BOUND", lease)
}

// Renew asks for the lease again. Where the server refuses, the client begins anew, as RFC 2131 section 4.4.5 says.
func (c *Client) Renew(ctx context.Context) error {
	lease, err := c.client.Renew(ctx, c.lease)
	reason := "RENEW"
	var nak *nclient4.ErrNak
	if errors.As(err, &nak) {
		reason = "REBIND"
		lease, err = c.client.Request(ctx)
	}
	if err != nil {
		return fmt.Errorf("DHCP renewal on %s: %w", c.dev, err)
	}
	return c.configure(reason, lease)
}

// Release gives the lease back and takes its address off the link.
func (c *Client) Release() error {
	if c.lease == nil {
		return nil
	}
	err := errors.Join(c.sendRelease(), c.unconfigure())
	ack := c.lease.ACK
	c.lease = nil
	c.hook("RELEASE", ack)
	return err
}

// Expire takes the address off the link because the lease has run out, without a word to the server.
func (c *Client) Expire() error {
	if c.lease == nil {
		return nil
	}
	err := c.unconfigure()
	ack := c.lease.ACK
	c.lease = nil
	c.hook("EXPIRE", ack)
	return err
}

// sendRelease tells the server, from the address that is given back (RFC 2131 section 4.4.6). nclient4 would send it from
// 0.0.0.0, which the server's kernel drops.
func (c *Client) sendRelease() error {
	message, err := dhcpv4.NewReleaseFromACK(c.lease.ACK)
	if err != nil {
		return fmt.Errorf("DHCP release on %s: %w", c.dev, err)
	}
	return c.ns.Run(func() error {
		from := &net.UDPAddr{IP: c.lease.ACK.YourIPAddr, Port: dhcpv4.ClientPort}
		conn, err := net.DialUDP("udp4", from, &net.UDPAddr{IP: c.lease.ACK.ServerIdentifier(), Port: dhcpv4.ServerPort})
		if err != nil {
			return fmt.Errorf("DHCP release on %s: %w", c.dev, err)
		}
		defer conn.Close()
		_, err = conn.Write(message.ToBytes())
		return err
	})
}

// Close stops the client and leaves the link as it is, as a client that was killed does.
func (c *Client) Close() {
	if c.client != nil {
		_ = c.client.Close()
		c.client = nil
	}
}

func (c *Client) hook(reason string, ack *dhcpv4.DHCPv4) {
	if c.Hook != nil {
		c.Hook(reason, ack)
	}
}

// configure puts a lease onto the link. An old address goes before a new one comes, as with dhclient-script.
func (c *Client) configure(reason string, lease *nclient4.Lease) error {
	addr, err := leaseAddress(lease.ACK)
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", c.dev, err)
	}
	if addr != c.addr {
		if err := c.unconfigure(); err != nil {
			return err
		}
		if err := c.ns.Addr(c.dev, addr.String()); err != nil {
			return err
		}
	}
	c.lease, c.addr = lease, addr
	if err := c.setRoute(lease.ACK); err != nil {
		return err
	}
	c.hook(reason, lease.ACK)
	return nil
}

// setRoute puts the lease's router into main, in place of the last one.
func (c *Client) setRoute(ack *dhcpv4.DHCPv4) error {
	old, route := c.route, ""
	if routers := ack.Router(); c.Metric != NoRoute && len(routers) > 0 {
		route = fmt.Sprintf("default via %v dev %s proto dhcp metric %d", routers[0], c.dev, c.Metric)
	}
	c.route = route
	switch route {
	case old:
		return nil
	case "":
		return c.ns.DelRoute(old)
	}
	return c.ns.ReplaceRoute(route) // same destination and metric: the old one is replaced
}

// unconfigure takes the address off the link; the kernel takes the routes with it.
func (c *Client) unconfigure() error {
	old := c.addr
	c.addr, c.route = netip.Prefix{}, ""
	if !old.IsValid() {
		return nil
	}
	return c.ns.DelAddr(c.dev, old.String())
}

func leaseAddress(ack *dhcpv4.DHCPv4) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	bits, size := ack.SubnetMask().Size()
	if !ok || size != 32 {
		return netip.Prefix{}, fmt.Errorf("lease without an address: %s", ack.Summary())
	}
	return netip.PrefixFrom(addr, bits), nil
}
