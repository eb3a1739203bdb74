package e2e

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// networkManager is NetworkManager with its internal DHCP client: one process for all links of one host, with its dispatcher,
// and with a system bus that nobody else sees.
type networkManager struct {
	h                   *dhcpHost
	process, dispatcher *program
	// hookless: no script of uplinkd's is installed.
	hookless bool
	// ip is the lines of a profile from [ipv4] on, for the links that have others than DHCPv4.
	ip map[string]string
	// carrierWait is how long a link without carrier is waited for; 0: a second.
	carrierWait time.Duration
}

// nmConfig keeps NetworkManager from everything but the two uplinks. It is told after how many milliseconds a link without
// carrier is given up.
const nmConfig = `[main]
plugins=keyfile
no-auto-default=*
dhcp=internal
dns=none
rc-manager=unmanaged
systemd-resolved=false
auth-polkit=false
hostname-mode=none
[device]
match-device=interface-name:eth*
managed=1
carrier-wait-timeout=%d
[keyfile]
unmanaged-devices=except:interface-name:eth*
[connectivity]
enabled=false
[logging]
level=DEBUG
`

// nmProfile is a link's profile. Each link's routes have a metric of their own, so that it does not matter who is first.
const nmProfile = `[connection]
id=%[1]s
uuid=00000000-0000-4000-8000-00000000000%[2]d
type=ethernet
interface-name=%[1]s
autoconnect=true
%[3]s`

// nmDHCP is a profile's lines for DHCPv4.
const nmDHCP = `[ipv4]
method=auto
route-metric=10%d
[ipv6]
method=disabled
`

// nmStatic is the profiles of two links whose addresses and gateways are set by hand.
func nmStatic() map[string]string {
	const lines = "[ipv4]\nmethod=manual\naddress1=%s\ngateway=%s\nroute-metric=%d\n[ipv6]\nmethod=disabled\n"
	return map[string]string{"eth1": fmt.Sprintf(lines, "192.0.2.10/24", "192.0.2.1", 100),
		"eth2": fmt.Sprintf(lines, "198.51.100.20/24", "198.51.100.1", 101)}
}

// nmNoDefault is the profiles of two links with DHCPv4 that are to have no default route.
func nmNoDefault() map[string]string {
	const lines = "[ipv4]\nmethod=auto\n%s=true\n[ipv6]\nmethod=disabled\n"
	return map[string]string{"eth1": fmt.Sprintf(lines, "ignore-auto-routes"), "eth2": fmt.Sprintf(lines, "never-default")}
}

// nmIPv6 is the profiles of two links with IPv6 only, with one line more for each.
func nmIPv6(a, b string) map[string]string {
	const lines = "[ipv4]\nmethod=disabled\n[ipv6]\nmethod=auto\naddr-gen-mode=eui64\nroute-metric=1024\n"
	return map[string]string{"eth1": lines + a + "\n", "eth2": lines + b + "\n"}
}

func (n *networkManager) install(h *dhcpHost) {
	h.t.Helper()
	n.h = h
	conf := fmt.Sprintf(nmConfig, cmp.Or(n.carrierWait, time.Second).Milliseconds())
	h.file("etc/NetworkManager/NetworkManager.conf", conf, 0o644)
	for i, l := range []*dhcpLink{h.a, h.b} {
		ip, ok := n.ip[l.Dev]
		if !ok {
			ip = fmt.Sprintf(nmDHCP, i)
		}
		h.file("etc/NetworkManager/system-connections/"+l.Dev+".nmconnection", fmt.Sprintf(nmProfile, l.Dev, i, ip), 0o600)
	}
	testnet.Must(h.t, os.MkdirAll(h.path("nm-state"), 0o755), os.MkdirAll(h.path("nm-dispatcher.d"), 0o755))
	h.bind("etc/NetworkManager", "/etc/NetworkManager")
	h.bind("nm-state", "/var/lib/NetworkManager")
	h.bind("nm-dispatcher.d", "/usr/lib/NetworkManager/dispatcher.d")
	if n.hookless {
		return
	}
	// As the script itself says that it has to be installed.
	const script = "90-uplinkd"
	h.file("nm-dispatcher.d/no-wait.d/"+script, h.repository("hooks/NetworkManager/dispatcher.d/"+script), 0o755)
	testnet.Must(h.t, os.MkdirAll(h.path("nm-dispatcher.d/pre-up.d"), 0o755),
		os.Symlink("no-wait.d/"+script, h.path("nm-dispatcher.d/"+script)),
		os.Symlink("../no-wait.d/"+script, h.path("nm-dispatcher.d/pre-up.d/"+script)))
}

// start starts the one process, which serves the other link as well.
func (n *networkManager) start(l *dhcpLink) *program {
	h := l.h
	h.t.Helper()
	if n.process != nil && !n.process.ended() {
		return n.process
	}
	if n.dispatcher == nil {
		h.startBus()
		// D-Bus would start it on demand and let it end again; here it stays.
		n.dispatcher = run(h.t, h.path("nm-dispatcher.log"), h.command("/usr/lib/NetworkManager/nm-dispatcher", "--persist", "--debug"))
		n.dispatcher.await("request name for org.freedesktop.nm_dispatcher succeeded") // or NetworkManager does without
	}
	h.starts++
	n.process = run(h.t, h.path(fmt.Sprintf("networkmanager-%d.log", h.starts)), h.withoutUdev("NetworkManager", "--debug"))
	return n.process
}

// leased counts how often a lease was taken, once the link is up and the dispatcher has called the scripts for that.
func (n *networkManager) leased(l *dhcpLink, a netip.Addr) int {
	address := `[0-9.]+`
	if a.IsValid() {
		address = regexp.QuoteMeta(a.String())
	}
	text := l.process.text()
	if !n.hookless && !dispatched(text, l.Dev, "up") {
		return 0
	}
	lease := regexp.MustCompile(`dhcp4 \(` + l.Dev + `\): state changed [a-z ]+, address=` + address + `\n`)
	return len(lease.FindAllString(text, -1))
}

// dispatched says whether NetworkManager's log tells of the end of all scripts for the last such action of a device.
func dispatched(text, dev, action string) bool {
	calls := regexp.MustCompile(`dispatcher: \((\d+)\) \(`+dev+`\) dispatching action '`+action+`'`).FindAllStringSubmatch(text, -1)
	if len(calls) == 0 {
		return false
	}
	number := calls[len(calls)-1][1]
	return regexp.MustCompile(`dispatcher: \(` + number + `\) (succeeded|failed|complete)`).MatchString(text)
}

// renew: NetworkManager 1.42 cannot be told to; it renews when the server's option 58 says so.
func (n *networkManager) renew(*dhcpLink) {}

func (n *networkManager) release(l *dhcpLink) { n.nmcli("connection", "down", l.Dev) }

// holds is nil when NetworkManager says that the link is connected, with the address.
func (n *networkManager) holds(l *dhcpLink) error {
	out, err := l.h.command("nmcli", "-g", "GENERAL.STATE,IP4.ADDRESS", "device", "show", l.Dev).CombinedOutput()
	if err == nil && (!strings.Contains(string(out), "(connected)") || !strings.Contains(string(out), l.lease.String())) {
		err = fmt.Errorf("nmcli says:\n%s", out)
	}
	return err
}

func (n *networkManager) manners() manners {
	const route = "inet route default via %s dev %s table main src %s metric %d proto dhcp\n"
	second := fmt.Sprintf(route, "198.51.100.1", "eth2", "198.51.100.20", 101)
	return manners{main: fmt.Sprintf(route, "192.0.2.1", "eth1", "192.0.2.10", 100) + second,
		replaced: fmt.Sprintf(route, "192.0.2.2", "eth1", "192.0.2.10", 100) + second,
		shortest: 3 * time.Second}
}

// nmcli tells NetworkManager something and waits until it is done.
func (n *networkManager) nmcli(args ...string) {
	n.h.t.Helper()
	if out, err := n.h.command("nmcli", args...).CombinedOutput(); err != nil {
		n.h.t.Fatalf("nmcli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
