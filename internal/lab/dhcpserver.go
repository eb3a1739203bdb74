package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Params is what a DHCP server hands out, to whoever asks: the lab has one client on a link.
type Params struct {
	Address  netip.Prefix    // with the length of the subnet
	Routers  []netip.Addr    // option 3
	Static   []*dhcpv4.Route // option 121
	DNS      []netip.Addr    // option 6
	Lifetime time.Duration   // option 51, in whole seconds
}

// Server is a DHCPv4 server on one link.
type Server struct {
	id     netip.Addr
	server *server4.Server
	done   sync.WaitGroup
	mu     sync.Mutex
	params Params
	silent bool
	seen   map[dhcpv4.MessageType]int
}

// DHCP starts a server at the provider's end; it offers the provider's Host4 and GW4.
func (isp *ISP) DHCP() (*Server, error) {
	return NewServer(isp.Router, customer, isp.GW4, Params{
		Address: isp.Host4, Routers: []netip.Addr{isp.GW4}, Lifetime: time.Hour})
}

// NewServer starts a server on a device; id is its own address there.
func NewServer(ns *testnet.NS, dev string, id netip.Addr, p Params) (*Server, error) {
	s := &Server{id: id, params: p, seen: map[dhcpv4.MessageType]int{}}
	err := ns.Run(func() (err error) {
		s.server, err = server4.NewServer(dev, &net.UDPAddr{Port: dhcpv4.ServerPort}, s.handle)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a DHCP server on %s: %w", dev, err)
	}
	s.done.Go(func() { _ = s.server.Serve() }) // it ends with an error when it is closed
	return s, nil
}

// Set changes what is handed out from now on; a client that renews another address is refused (DHCPNAK).
func (s *Server) Set(p Params) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.params = p
}

// Params is what is handed out now.
func (s *Server) Params() Params {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.params
}

// Silence makes the server answer nothing, as one that is cut off; or answer again.
func (s *Server) Silence(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = on
}

// Seen is how many messages of a kind have come.
func (s *Server) Seen(kind dhcpv4.MessageType) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[kind]
}

// Close stops the server.
func (s *Server) Close() {
	_ = s.server.Close()
	s.done.Wait()
}

func (s *Server) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	if m.OpCode != dhcpv4.OpcodeBootRequest {
		return
	}
	answer, err := s.answer(m)
	if err != nil || answer == nil {
		return
	}
	_, _ = conn.WriteTo(answer.ToBytes(), peer) // the client asks again
}

// answer is what RFC 2131 section 4.3 has a server say; nil is silence.
func (s *Server) answer(m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[m.MessageType()]++
	if s.silent {
		return nil, nil
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return s.grant(m, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		if !s.wanted(m) {
			return dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.id.AsSlice())))
		}
		return s.grant(m, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeInform:
		// Neither an address nor a lease time: RFC 2131 section 4.3.5.
		return dhcpv4.NewReplyFromRequest(m, s.parameters(dhcpv4.MessageTypeAck)...)
	}
	return nil, nil
}

// wanted says whether a request is for the address that is handed out: in option 50, or in ciaddr when renewing.
func (s *Server) wanted(m *dhcpv4.DHCPv4) bool {
	ip := m.RequestedIPAddress()
	if ip == nil {
		ip = m.ClientIPAddr
	}
	a, ok := netip.AddrFromSlice(ip.To4())
	return ok && a == s.params.Address.Addr()
}

func (s *Server) grant(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.NewReplyFromRequest(m, append(s.parameters(kind),
		dhcpv4.WithYourIP(s.params.Address.Addr().AsSlice()), dhcpv4.WithLeaseTime(uint32(s.params.Lifetime/time.Second)))...)
}

// parameters are what an answer says of the network.
func (s *Server) parameters(kind dhcpv4.MessageType) []dhcpv4.Modifier {
	p := s.params
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.id.AsSlice())),
		dhcpv4.WithNetmask(net.CIDRMask(p.Address.Bits(), 32)),
	}
	if len(p.Routers) > 0 {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptRouter(ips(p.Routers)...)))
	}
	if len(p.DNS) > 0 {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDNS(ips(p.DNS)...)))
	}
	if len(p.Static) > 0 {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(p.Static...)))
	}
	return options
}

func ips(addrs []netip.Addr) []net.IP {
	var list []net.IP
	for _, a := range addrs {
		list = append(list, a.AsSlice())
	}
	return list
}
