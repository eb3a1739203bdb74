package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Tunnel joins the host and the Internet's host by a link of their own, as a VPN does: what the host sends into dev comes out
// there, with nothing in between. addrs are the host's addresses on it; what has another source is dropped, as a VPN's server does
// (WireGuard's AllowedIPs). It needs /dev/net/tun, as AddPPP does; close ends it.
func (l *Lab) Tunnel(dev string, addrs ...netip.Addr) (end func(), err error) {
	near, err := l.Host.Tun(dev, testnet.ARPHRDNone)
	if err != nil {
		return nil, fmt.Errorf("tunnel %s: %w", dev, err)
	}
	far, err := l.Inet.Tun(dev, testnet.ARPHRDNone)
	if err != nil {
		_ = near.Close()
		return nil, fmt.Errorf("tunnel %s: %w", dev, err)
	}
	wait := splice(near, filtered{far, addrs})
	end = func() { _ = errors.Join(near.Close(), far.Close()); wait() }
	errs := []error{l.Host.Up(dev), l.Inet.Up(dev)}
	for _, a := range addrs {
		errs = append(errs, l.Host.Addr(dev, rpdb.HostPrefix(a).String()), l.Inet.Route(fmt.Sprintf("%v dev %s", a, dev)))
	}
	if err := errors.Join(errs...); err != nil {
		end()
		return nil, fmt.Errorf("tunnel %s: %w", dev, err)
	}
	return end, nil
}

// filtered is the far end of a tunnel, which lets in only what has one of the near end's addresses.
type filtered struct {
	*os.File
	from []netip.Addr
}

// Write drops a packet of a foreign source.
func (f filtered) Write(packet []byte) (int, error) {
	if !slices.Contains(f.from, source(packet)) {
		return len(packet), nil
	}
	return f.File.Write(packet)
}
