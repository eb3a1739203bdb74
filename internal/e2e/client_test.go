package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// dhcpClient is a DHCP client program, as the scenarios use it: a value, whose methods are told the link.
type dhcpClient interface {
	// install writes what the client is to find on the host, its configuration and its hook, and binds it into place.
	install(h *dhcpHost)
	// start runs the client for the link's IPv4 lease, and does not wait.
	start(l *dhcpLink) *program
	// leased is how often the client has got or renewed a lease of the address since its start, and run its hooks to the
	// end; an invalid address stands for any.
	leased(l *dhcpLink, a netip.Addr) int
	// renew has the client ask for its lease again, where it can be told to; where it cannot, renewOften makes it.
	renew(l *dhcpLink)
	// release has the lease given back and the client end; it need not wait for the end.
	release(l *dhcpLink)
	// holds is nil when the client itself says that it has the lease.
	holds(l *dhcpLink) error
	// manners is what is the client's own way.
	manners() manners
}

// testClient runs scenarios with a client, each on a host of its own, as subtests whose names begin with the prefix.
func testClient(t *testing.T, bin, prefix string, client dhcpClient, groups ...map[string]func(*dhcpHost)) {
	for _, scenarios := range groups {
		for name, scenario := range scenarios {
			t.Run(prefix+name, func(t *testing.T) {
				t.Parallel()
				scenario(newDHCPHost(t, bin, client))
			})
		}
	}
}

// manners is what a client does, as far as it is its own way.
type manners struct {
	// main is the default routes in main when both uplinks are bound, A first.
	main string
	// replaced is the same when A has got the router 192.0.2.2 by a renewal.
	replaced string
	// rogue is what B alone leaves there when it is told that its router is the host's own address, 198.51.100.20.
	rogue string
	// silent: no hook of the client's is installed.
	silent bool
	// hijacked: the client puts every route of option 121 into main, as RFC 3442 has it (and CVE-2024-3661).
	hijacked bool
	// offLink: the client puts a host route to a router outside of the subnet, and a default route by it.
	offLink bool
	// shortest is the shortest lease that the client takes at its word.
	shortest time.Duration
	// routerRoute says that the client puts a host route to the router into main, for which there is a rule more.
	routerRoute bool
}

// left is what is left of main when both uplinks were bound and one of them, dev, still is.
func (m manners) left(dev string) string {
	lines := strings.SplitAfter(m.main, "\n")
	if len(lines) == 2 {
		return "" // there was only one, and it went with its lease
	}
	for _, line := range lines {
		if strings.Contains(line, "dev "+dev+" ") {
			return line
		}
	}
	return ""
}
