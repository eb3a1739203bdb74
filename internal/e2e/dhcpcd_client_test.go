package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// dhcpcd is Roy Marples's dhcpcd, one process a link. It keeps its sockets in /run/dhcpcd.
type dhcpcd struct {
	// hook: the repository's snippet is installed.
	hook bool
	// socket: uplinkd finds the sockets.
	socket bool
	// gateway: dhcpcd puts default routes into main, which tell uplinkd all there is to know.
	gateway bool
}

// dhcpcdConf is Debian's in what matters here, with less patience: no random delay before the first packet, and no ARP
// probes (RFC 5227), which take five seconds. The links are nobody's whom udev would have to tell of.
const dhcpcdConf = `hostname
clientid
option domain_name_servers, classless_static_routes, interface_mtu
require dhcp_server_identifier
nodelay
noarp
noipv4ll
nodev
slaac hwaddr
`

// witness is a hook that comes after the others and writes down what the client has had done: when it is written, the
// other hooks have ended.
const witness = `echo "$reason $new_ip_address" >>"/run/witness-$interface"
`

func (c dhcpcd) install(h *dhcpHost) {
	h.t.Helper()
	conf := dhcpcdConf
	if !c.gateway {
		conf += "nogateway\n"
	}
	h.file("dhcpcd.conf", conf, 0o644)
	if c.hook {
		h.file("dhcpcd-hooks/90-uplinkd", h.repository("hooks/dhcpcd-hooks/90-uplinkd"), 0o644)
	}
	testnet.Must(h.t, os.MkdirAll(h.path("run/dhcpcd"), 0o755), os.MkdirAll(h.path("nothing"), 0o755))
	if !c.socket {
		h.apart = append(h.apart, h.path("nothing"), "/run/dhcpcd")
	}
	h.file("dhcpcd-hooks/99-witness", witness, 0o644)
	h.bind("dhcpcd-hooks", "/usr/lib/dhcpcd/dhcpcd-hooks")
	h.file("dhcpcd-lib/secret", "", 0o600)
	h.bind("dhcpcd-lib", "/var/lib/dhcpcd")
}

func (c dhcpcd) start(l *dhcpLink) *program {
	_ = os.Remove(witnessFile(l)) // of an earlier start
	return l.run("dhcpcd", c.command(l, "-4", "-B", "-d"))
}

func witnessFile(l *dhcpLink) string { return l.h.path("run/witness-" + l.Dev) }

func (dhcpcd) command(l *dhcpLink, options ...string) *exec.Cmd {
	return l.h.command("dhcpcd", append(append([]string{"-f", l.h.path("dhcpcd.conf")}, options...), l.Dev)...)
}

func (dhcpcd) leased(l *dhcpLink, a netip.Addr) int {
	return witnessed(l, a, "BOUND", "REBOOT", "RENEW", "REBIND")
}

// witnessed is how often the client's last hook has been called for one of the reasons and an address; an invalid one
// stands for any.
func witnessed(l *dhcpLink, a netip.Addr, reasons ...string) int {
	text, err := os.ReadFile(witnessFile(l))
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		reason, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, r := range reasons {
			if r == reason && (!a.IsValid() || a.String() == addr) {
				n++
			}
		}
	}
	return n
}

// renew uses the control socket, which takes one client at a time: where uplinkd may be the one, the server's option 58 has
// to say it.
func (c dhcpcd) renew(l *dhcpLink) {
	l.h.t.Helper()
	if !c.socket {
		c.tell(l, "-4", "-N")
	}
}

func (c dhcpcd) release(l *dhcpLink) { c.tell(l, "-4", "-k") }

// tell has the running dhcpcd do something, by way of its control socket.
func (c dhcpcd) tell(l *dhcpLink, options ...string) {
	l.h.t.Helper()
	if out, err := c.command(l, options...).CombinedOutput(); err != nil {
		l.h.t.Fatalf("dhcpcd %v %s: %v\n%s", options, l.Dev, err, out)
	}
}

func (c dhcpcd) start6(l *dhcpLink) *program {
	_ = os.Remove(witnessFile(l)) // of an earlier start
	return l.run("dhcpcd6", c.command(l, "-6", "-B", "-d"))
}

func (dhcpcd) leased6(l *dhcpLink) bool { return witnessed(l, netip.Addr{}, "BOUND6", "REBOOT6") > 0 }

func (c dhcpcd) release6(l *dhcpLink) { c.tell(l, "-6", "-k") }

// holds looks at the lease file, which is the server's last message as it came: yiaddr is at byte 16 (RFC 2131 figure 1).
func (dhcpcd) holds(l *dhcpLink) error {
	m, err := os.ReadFile(l.h.path("dhcpcd-lib/" + l.Dev + ".lease"))
	if err != nil {
		return err
	}
	if len(m) < 20 || !bytes.Equal(m[16:20], l.addr().AsSlice()) {
		return fmt.Errorf("its file has %x", m)
	}
	return nil
}

// manners: dhcpcd gives every link's routes a metric of their own, and replaces a route when the router changes.
func (c dhcpcd) manners() manners {
	const shortest = 20 * time.Second // dhcpcd's own least
	if !c.gateway {
		return manners{silent: !c.hook, hijacked: true, shortest: shortest}
	}
	const a, b = "inet route default via %s dev eth1 table main src 192.0.2.10 metric 1003 proto dhcp\n",
		"inet route default via %s dev eth2 table main src 198.51.100.20 metric 1004 proto dhcp\n"
	second := fmt.Sprintf(b, "198.51.100.1")
	return manners{main: fmt.Sprintf(a, "192.0.2.1") + second, replaced: fmt.Sprintf(a, "192.0.2.2") + second,
		rogue: fmt.Sprintf(b, "198.51.100.20"), silent: !c.hook, hijacked: true, offLink: true, shortest: shortest}
}
