package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/insomniacslk/dhcp/iana"
)

// Delegating is a DHCPv6 server on one link that gives no addresses, but delegates one prefix (RFC 8415 section 6.3).
type Delegating struct {
	server   *server6.Server
	prefix   netip.Prefix
	lifetime time.Duration
	done     sync.WaitGroup
}

// Delegate has the provider delegate a prefix on the customer's link, to whoever asks. It routes the prefix to the customer's
// address, and lets in what comes from it.
func (isp *ISP) Delegate(p netip.Prefix, lifetime time.Duration) (*Delegating, error) {
	if err := isp.Routed(p); err != nil {
		return nil, err
	}
	s := &Delegating{prefix: p, lifetime: lifetime}
	err := isp.Router.Run(func() (err error) {
		s.server, err = server6.NewServer(customer, &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers, Port: dhcpv6.DefaultServerPort}, s.handle)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a DHCPv6 server of %s: %w", isp.Name, err)
	}
	s.done.Go(func() { _ = s.server.Serve() }) // it ends with an error when it is closed
	return s, nil
}

// Close stops the server.
func (s *Delegating) Close() {
	_ = s.server.Close()
	s.done.Wait()
}

func (s *Delegating) handle(conn net.PacketConn, peer net.Addr, d dhcpv6.DHCPv6) {
	m, ok := d.(*dhcpv6.Message)
	if !ok {
		return
	}
	answer, err := s.answer(m)
	if err == nil && answer != nil {
		_, _ = conn.WriteTo(answer.ToBytes(), peer) // the client asks again
	}
}

// answer is what RFC 8415 section 18.3 has a server say; nil is silence.
func (s *Delegating) answer(m *dhcpv6.Message) (*dhcpv6.Message, error) {
	options := []dhcpv6.Modifier{dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 1}})}
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		for _, ia := range m.Options.IAPD() {
			options = append(options, dhcpv6.WithOption(s.association(ia.IaId)))
		}
	case dhcpv6.MessageTypeRelease:
		options = append(options, dhcpv6.WithOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess}))
	default:
		return nil, nil
	}
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		return dhcpv6.NewAdvertiseFromSolicit(m, options...)
	}
	return dhcpv6.NewReplyFromMessage(m, options...)
}

func (s *Delegating) association(id [4]byte) *dhcpv6.OptIAPD {
	return &dhcpv6.OptIAPD{
		IaId: id, T1: s.lifetime / 2, T2: s.lifetime * 4 / 5,
		Options: dhcpv6.PDOptions{Options: dhcpv6.Options{&dhcpv6.OptIAPrefix{
			PreferredLifetime: s.lifetime, ValidLifetime: s.lifetime,
			Prefix: &net.IPNet{IP: s.prefix.Addr().AsSlice(), Mask: net.CIDRMask(s.prefix.Bits(), s.prefix.Addr().BitLen())},
		}}},
	}
}
