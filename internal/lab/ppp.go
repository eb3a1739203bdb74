package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// AddPPP adds ISP C by a point-to-point link, ppp0: two tun devices of type PPP, spliced. It needs /dev/net/tun; where
// that cannot be opened, the error is of os.ErrPermission or os.ErrNotExist, and AddPeer will do.
func (l *Lab) AddPPP() error {
	isp := pppISP()
	isp.PointToPoint = true
	near, err := l.Host.Tun(isp.Dev, testnet.ARPHRDPPP)
	if err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	l.onClose(func() { _ = near.Close() })
	if err := l.addISP(isp); err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	far, err := isp.Router.Tun(customer, testnet.ARPHRDPPP)
	if err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	wait := splice(near, far)
	isp.detach = func() { _ = errors.Join(near.Close(), far.Close()); wait() }
	l.onClose(isp.detach)
	if err := errors.Join(l.Host.Up(isp.Dev), isp.Router.Up(customer),
		isp.Router.Peer(customer, isp.GW4.String(), isp.Host4.Addr().String()),
		isp.Router.Peer(customer, isp.GW6.String(), isp.Host6.Addr().String()), isp.serve()); err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	l.C = isp
	return nil
}

// AddPeer adds ISP C by an Ethernet device named ppp0 whose address has no subnet, only the router's for a peer: as
// near to a point-to-point link as it gets without /dev/net/tun.
func (l *Lab) AddPeer() error {
	isp := pppISP()
	if err := l.addISP(isp); err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	if err := testnet.Veth(l.Host, isp.Dev, isp.Router, customer); err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	isp.PointToPoint = true // for serve and Static: no subnet
	err := errors.Join(
		isp.Router.Peer(customer, isp.GW4.String(), isp.Host4.Addr().String()),
		isp.Router.Peer(customer, isp.GW6.String(), isp.Host6.Addr().String()), isp.serve())
	if err != nil {
		return fmt.Errorf("%s: %w", isp.Name, err)
	}
	l.C = isp
	return nil
}

func pppISP() *ISP {
	return &ISP{Name: "ISP C", Dev: "ppp0", number: 3,
		Host4: netip.MustParsePrefix("198.18.7.2/32"), GW4: netip.MustParseAddr("198.18.7.1"),
		Host6: netip.MustParsePrefix("2001:db8:c::30/128"), GW6: netip.MustParseAddr("2001:db8:c::1")}
}

// Hangup ends a point-to-point link as a dying pppd does: its device is gone, and all that was on it.
func (isp *ISP) Hangup() {
	if isp.detach != nil {
		isp.detach()
	}
}

// splice carries packets between two tun files until both are closed; wait returns when it has stopped.
func splice(a, b io.ReadWriter) (wait func()) {
	var wg sync.WaitGroup
	carry := func(from io.Reader, to io.Writer) {
		for buf := make([]byte, 1<<16); ; {
			n, err := from.Read(buf)
			if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				_, _ = to.Write(buf[:n]) // a packet for a device that is down is lost, as on any cable
			}
		}
	}
	wg.Go(func() { carry(a, b) })
	wg.Go(func() { carry(b, a) })
	return wg.Wait
}
