package wire

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// DHCPINFORM (RFC 2131 section 3.4): what a server would say of an address that it did not give. It is asked for an address
// whose gateway nobody knows: one set by hand, or by a client that came before us and has no hook.

// question is what was asked about one address.
type question struct {
	xid   dhcpv4.TransactionID
	due   time.Time // the next try
	tries int
}

// maxTries is how often a server is asked about an address, for as long as that stays.
const maxTries = 2

// newQuestion begins one. Its number is a secret: whoever guesses it could answer without having seen the question.
func newQuestion(due time.Time) *question {
	q := &question{due: due}
	_, _ = rand.Read(q.xid[:]) // it does not fail (crypto/rand)
	return q
}

// inform is the message. Option 121 is asked for before the router option, as RFC 3442 demands.
func inform(xid dhcpv4.TransactionID, mac net.HardwareAddr, address netip.Addr) ([]byte, error) {
	m, err := dhcpv4.New(
		dhcpv4.WithTransactionID(xid), dhcpv4.WithHwAddr(mac), dhcpv4.WithClientIP(address.AsSlice()),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeInform),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionInterfaceMTU,
		)),
	)
	if err != nil {
		return nil, fmt.Errorf("make a DHCPINFORM: %w", err)
	}
	return m.ToBytes(), nil
}

// canAsk says whether there may be a server that a broadcast reaches, and gives the link's Ethernet address; nil: it has none.
func canAsk(mac string) (net.HardwareAddr, bool) {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != macLen {
		return nil, false
	}
	return hw, true
}
