package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// vpnHost is a host with two uplinks at providers that drop foreign source addresses, and a VPN beside uplinkd.
type vpnHost struct {
	t        *testing.T
	lab      *lab.Lab
	bin, dir string
	starts   int
}

// vpnServer is an address of the Internet's host: the server at the other end of the tunnel.
func vpnServer(f rpdb.Family) netip.Addr {
	if f == rpdb.IPv4 {
		return netip.MustParseAddr("203.0.113.251")
	}
	return netip.MustParseAddr("2001:db8:ffff::51")
}

func newVPNHost(t *testing.T) *vpnHost {
	t.Helper()
	t.Parallel()
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	testnet.Must(t, l.Static(l.A), l.Static(l.B), l.DefaultVia(l.A, 100), l.DefaultVia(l.B, 200))
	for _, f := range rpdb.Families() {
		testnet.Must(t, l.Inet.Addr("lo", rpdb.HostPrefix(vpnServer(f)).String()))
	}
	for _, ns := range []*testnet.NS{l.Inet, l.Host} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	return &vpnHost{t: t, lab: l, bin: buildPrograms(t), dir: t.TempDir()}
}

// start starts the daemon; it sees only its own files.
func (h *vpnHost) start() *program {
	h.t.Helper()
	h.starts++
	conf := filepath.Join(h.dir, "uplinkd.toml")
	write(h.t, conf, `rt_tables_dir = ""`+"\n")
	cmd := h.lab.Host.Command(filepath.Join(h.bin, "uplinkd"), "--config", conf, "--state-dir", filepath.Join(h.dir, "state"),
		"--runtime-dir", filepath.Join(h.dir, "run"), "--log-format", "json")
	p := run(h.t, filepath.Join(h.dir, fmt.Sprintf("uplinkd-%d.log", h.starts)), cmd)
	p.await(`"message":"ready"`)
	return p
}

// status is what the operator is told.
func (h *vpnHost) status() string {
	h.t.Helper()
	cmd := h.lab.Host.Command(filepath.Join(h.bin, "uplinkctl"), "--runtime-dir", filepath.Join(h.dir, "run"), "status")
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Logf("uplinkctl: %v", err)
	}
	return string(out)
}

// ip runs ip(8) on the host, so that a rule without a priority is what wg-quick(8) makes it.
func (h *vpnHost) ip(args string) {
	h.t.Helper()
	if out, err := h.lab.Host.Command(testnet.Need(h.t, "ip"), strings.Fields(args)...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// rpFilter sets the reverse path filter of the host's links.
func (h *vpnHost) rpFilter(value string, devs ...string) {
	h.t.Helper()
	for _, dev := range append([]string{h.lab.A.Dev, h.lab.B.Dev}, devs...) {
		testnet.Must(h.t, h.lab.Host.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", value))
	}
}

// replies has everybody outside call both uplinks: each answer has to come by the uplink that was called, or its provider drops
// it. The VPN's server calls, too.
func (h *vpnHost) replies() error {
	var errs []error
	for _, f := range rpdb.Families() {
		for _, isp := range h.lab.ISPs() {
			for _, from := range []netip.Addr{lab.InetAddr(f), vpnServer(f)} {
				for _, udp := range []bool{false, true} {
					if err := lab.Reach(h.lab.Inet, isp.Address(f), lab.Probe{Src: from, UDP: udp}); err != nil {
						errs = append(errs, fmt.Errorf("%v -> %s %v (udp %t): %w", from, isp.Dev, isp.Address(f), udp, err))
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// bound has each uplink's address used by a program: to the Internet, to the server, and with a mark of the tunnel's own packets.
func (h *vpnHost) bound(mark uint32) error {
	var errs []error
	for _, f := range rpdb.Families() {
		for _, isp := range h.lab.ISPs() {
			for _, to := range []netip.Addr{lab.InetAddr(f), vpnServer(f)} {
				for _, m := range slices.Compact([]uint32{0, mark}) {
					if err := lab.Reach(h.lab.Host, to, lab.Probe{Src: isp.Address(f), Mark: m, UDP: m != 0}); err != nil {
						errs = append(errs, fmt.Errorf("%v of %s -> %v, mark %d: %w", isp.Address(f), isp.Dev, to, m, err))
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// unbound is nil where what is not bound leaves by a device and gets its answer.
func (h *vpnHost) unbound(dev string, mark uint32, to netip.Addr) error {
	r, err := h.lab.Host.RouteGet(testnet.Lookup{Dst: to, Mark: mark})
	if err != nil {
		return err
	}
	name, err := h.lab.Host.LinkNames()
	if err != nil {
		return err
	}
	if name(r.OIF) != dev {
		return fmt.Errorf("what is not bound goes to %v by %s, want %s", to, name(r.OIF), dev)
	}
	if err := lab.Reach(h.lab.Host, to, lab.Probe{Mark: mark, UDP: true}); err != nil {
		return fmt.Errorf("not bound -> %v, mark %d: %w", to, mark, err)
	}
	return nil
}

// eventually polls with the tests' patience: a rule that has just come takes replies away until uplinkd has seen it.
func (h *vpnHost) eventually(what string, cond func() error) {
	h.t.Helper()
	testnet.Eventually(h.t, patience, func() error {
		if err := cond(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// wg is a full tunnel as wg-quick(8) sets it up, by the same commands (add_default there), on a link without encryption: the
// test kernels have no WireGuard.
type wg struct {
	h    *vpnHost
	dev  string
	mark uint32
	addr map[rpdb.Family]netip.Addr
	end  func()
}

func (h *vpnHost) wg(number byte) *wg {
	h.t.Helper()
	w := &wg{h: h, dev: fmt.Sprintf("wg%d", number), mark: 51820 + uint32(number), addr: map[rpdb.Family]netip.Addr{
		rpdb.IPv4: netip.AddrFrom4([4]byte{10, 66, number, 2}), rpdb.IPv6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x66, 2: number, 15: 2}),
	}}
	return w
}

func (w *wg) up() {
	w.h.t.Helper()
	var err error
	if w.end, err = w.h.lab.Tunnel(w.dev, w.addr[rpdb.IPv4], w.addr[rpdb.IPv6]); err != nil {
		testnet.Skip(w.h.t, err.Error())
	}
	w.h.t.Cleanup(w.end)
	for f, any := range map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"} {
		w.h.ip(fmt.Sprintf("%s route add %s dev %s table %d", f, any, w.dev, w.mark))
		w.h.ip(fmt.Sprintf("%s rule add not fwmark %d table %d", f, w.mark, w.mark))
		w.h.ip(f + " rule add table main suppress_prefixlength 0")
	}
}

func (w *wg) down() {
	w.h.t.Helper()
	for _, f := range []string{"-4", "-6"} {
		w.h.ip(fmt.Sprintf("%s rule delete table %d", f, w.mark))
		w.h.ip(f + " rule delete table main suppress_prefixlength 0")
	}
	w.end()
}

// works is nil where replies and bound packets go by their uplinks, what is not bound by the tunnel, and the tunnel's own packets
// by the default uplink, or by the one that they are bound to.
func (w *wg) works() error {
	errs := []error{w.h.replies(), w.h.bound(w.mark)}
	for _, f := range rpdb.Families() {
		errs = append(errs, w.h.unbound(w.dev, 0, lab.InetAddr(f)), w.h.unbound(w.h.lab.A.Dev, w.mark, vpnServer(f)))
	}
	return errors.Join(errs...)
}

// ahead is nil where the first rules after table local's are ours.
func (h *vpnHost) ahead() error {
	state := testnet.State(h.t, h.lab.Host)
	for _, f := range rpdb.Families() {
		_, rest, _ := strings.Cut(state, f.String()+" rule 0: from all lookup local proto kernel\n")
		if first, _, _ := strings.Cut(rest, "\n"); !strings.HasSuffix(first, " proto 117") {
			return fmt.Errorf("the first rule is %q", first)
		}
	}
	return nil
}

// none is nil where everything is as without a VPN.
func (h *vpnHost) none() error {
	return errors.Join(h.replies(), h.bound(0), h.unbound(h.lab.A.Dev, 0, lab.InetAddr(rpdb.IPv4)), h.unbound(h.lab.A.Dev, 0, lab.InetAddr(rpdb.IPv6)))
}

// TestWireGuardFirst: the tunnel is there when uplinkd starts.
func TestWireGuardFirst(t *testing.T) {
	h := newVPNHost(t)
	w := h.wg(0)
	w.up()
	h.start()
	for _, rp := range []string{"0", "1", "2"} {
		h.rpFilter(rp, w.dev)
		h.eventually("rp_filter "+rp, w.works)
	}
	if s := h.status(); strings.Contains(s, "stand") {
		t.Errorf("status makes words of it:\n%s", s)
	}
	w.down()
	h.eventually("without the tunnel", h.none)
}

// TestWireGuardAfter: the tunnel comes while uplinkd runs, and its rules before ours. It goes, comes again, and a daemon that is
// killed meanwhile changes nothing.
func TestWireGuardAfter(t *testing.T) {
	h := newVPNHost(t)
	daemon := h.start()
	h.eventually("without a tunnel", h.none)
	home := testnet.State(t, h.lab.Host)
	w := h.wg(0)
	for round := range 3 {
		w.up()
		h.eventually("with the tunnel", func() error { return errors.Join(h.ahead(), w.works()) })
		for _, rp := range []string{"1", "2", "0"} {
			h.rpFilter(rp, w.dev)
			if err := w.works(); err != nil {
				t.Errorf("round %d, rp_filter %s: %v", round, rp, err)
			}
		}
		if s := h.status(); !strings.Contains(s, "instead of from 4000") || strings.Contains(s, "degraded") {
			t.Errorf("status:\n%s", s)
		}
		if round == 1 {
			before := testnet.State(t, h.lab.Host)
			daemon.kill()
			h.start()
			if d := cmp.Diff(before, testnet.State(t, h.lab.Host)); d != "" {
				t.Errorf("a restart changed (-before +after):\n%s", d)
			}
		}
		w.down()
		h.eventually("without the tunnel again", func() error {
			if d := cmp.Diff(home, testnet.State(t, h.lab.Host)); d != "" {
				return errors.New(d)
			}
			return h.none()
		})
	}
}

// TestWireGuardTwice: two full tunnels, which come and go in any order; the one that came last has what is not bound.
func TestWireGuardTwice(t *testing.T) {
	h := newVPNHost(t)
	h.start()
	first, second := h.wg(0), h.wg(1)
	own := func(w *wg) error {
		return errors.Join(h.replies(), h.bound(w.mark), h.unbound(w.dev, 0, lab.InetAddr(rpdb.IPv4)))
	}
	first.up()
	h.eventually("the first", first.works)
	second.up()
	h.eventually("both", func() error { return own(second) })
	first.down()
	h.eventually("the second", func() error { return own(second) })
	first.up()
	h.eventually("both, the other way round", func() error { return own(first) })
	second.down()
	h.eventually("the first alone", func() error { return own(first) })
	first.down()
	h.eventually("none", h.none)
}

// openvpn starts both ends of a tunnel with redirect-gateway def1; the host's end.
func (h *vpnHost) openvpn() *program {
	h.t.Helper()
	openvpn, key := testnet.Need(h.t, "openvpn"), filepath.Join(h.dir, "key")
	if out, err := exec.Command(openvpn, "--genkey", "secret", key).CombinedOutput(); err != nil {
		h.t.Fatalf("openvpn --genkey: %v: %s", err, out)
	}
	common := []string{"--dev", "tun0", "--proto", "udp", "--secret", key, "--cipher", "AES-256-CBC", "--verb", "3"}
	server := vpnServer(rpdb.IPv4).String()
	far := run(h.t, filepath.Join(h.dir, "openvpn-server.log"), h.lab.Inet.Command(openvpn, append(slices.Clone(common),
		"--ifconfig", "10.8.0.1", "10.8.0.2", "--ifconfig-ipv6", "fd00:8::1/64", "fd00:8::2", "--port", "1194", "--local", server)...))
	far.await("UDPv4 link remote")
	near := run(h.t, filepath.Join(h.dir, "openvpn.log"), h.lab.Host.Command(openvpn, append(slices.Clone(common),
		"--ifconfig", "10.8.0.2", "10.8.0.1", "--ifconfig-ipv6", "fd00:8::2/64", "fd00:8::1",
		"--remote", server, "1194", "--nobind", "--redirect-gateway", "def1", "ipv6", "--route-gateway", "10.8.0.1")...))
	near.await("Initialization Sequence Completed")
	return near
}

// TestOpenVPN: a real OpenVPN takes the default route, by two halves of the Internet and a route to its server.
func TestOpenVPN(t *testing.T) {
	h := newVPNHost(t)
	h.start()
	vpn := h.openvpn()
	capture, err := lab.NewCapture(h.lab.Inet, "tun0") // OpenVPN delivers whatever source a packet has
	testnet.Must(t, err)
	defer capture.Close()
	works := func() error {
		return errors.Join(h.replies(), h.bound(0), h.unbound("tun0", 0, lab.InetAddr(rpdb.IPv4)), h.unbound("tun0", 0, lab.InetAddr(rpdb.IPv6)),
			h.unbound(h.lab.A.Dev, 0, vpnServer(rpdb.IPv4)))
	}
	h.eventually("with the tunnel", works)
	for _, rp := range []string{"1", "2", "0"} {
		h.rpFilter(rp, "tun0")
		if err := works(); err != nil {
			t.Errorf("rp_filter %s: %v", rp, err)
		}
	}
	for _, f := range rpdb.Families() {
		for _, isp := range h.lab.ISPs() {
			if n := capture.Seen(isp.Address(f)); n > 0 {
				t.Errorf("%d packets of %v went into the tunnel", n, isp.Address(f))
			}
		}
	}
	if capture.Seen(netip.MustParseAddr("10.8.0.2")) == 0 {
		t.Error("the capture sees nothing of the tunnel")
	}
	if state := testnet.State(t, h.lab.Host); !strings.Contains(state, "to 203.0.113.251 lookup") {
		t.Errorf("no rule for packets from the other uplink to the server:\n%s", state)
	}
	if s := h.status(); strings.Contains(s, "degraded") || strings.Contains(s, "!") {
		t.Errorf("status complains:\n%s", s)
	}
	vpn.signal(syscall.SIGTERM)
	vpn.wait()
	h.eventually("without the tunnel", func() error {
		if state := testnet.State(t, h.lab.Host); strings.Contains(state, "203.0.113.251") {
			return fmt.Errorf("something is left:\n%s", state)
		}
		return h.none()
	})
}
