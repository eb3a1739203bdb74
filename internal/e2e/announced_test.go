package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// multihomed is a host whose addresses the kernel makes of the prefixes of three routers (SLAAC, with temporary addresses): the
// first two are on the same link, and the third, on another one, has the same link-local address as the first.
//
//	host eth0 --- switch --+-- router 1  fe80::1  2001:db8:a::/64, fd00:a::/64 ---+
//	                       +-- router 2  fe80::2  2001:db8:b::/64 ----------------+--- Inet
//	host eth1 ---------------- router 3  fe80::1  2001:db8:c::/64 ---------------+
//
// Each router lets its own prefix through and drops all else (BCP 38).
type multihomed struct {
	t          *testing.T
	dir, bin   string
	host, inet *testnet.NS
	routers    []*slaacRouter
	uplinkd    *program
	starts     int
	more       string // configuration
}

// slaacRouter is a router with radvd.
type slaacRouter struct {
	*testnet.NS
	prefix netip.Prefix
	seen   *lab.Capture
	radvd  *program
	conf   string
}

func newMultihomed(t *testing.T) *multihomed {
	t.Helper()
	m := &multihomed{t: t, dir: t.TempDir(), bin: buildPrograms(t), host: testnet.New(t), inet: testnet.New(t)}
	testnet.Must(t, m.inet.Addr("lo", rpdb.HostPrefix(lab.InetAddr(rpdb.IPv6)).String()),
		m.host.Sysctl("net/ipv6/conf/default/accept_dad", "0"), m.host.Sysctl("net/ipv6/conf/default/use_tempaddr", "2"),
		m.host.Sysctl("net/ipv6/conf/default/accept_ra_rt_info_max_plen", "64"))
	stop, err := lab.Echo(m.inet)
	testnet.Must(t, err)
	t.Cleanup(stop)
	fabric := testnet.New(t)
	testnet.Must(t, testnet.Veth(m.host, "eth0", fabric, "host"))
	m.addRouter(fabric, "port1", "fe80::1", "2001:db8:a::/64", "prefix fd00:a::/64 { };")
	m.addRouter(fabric, "port2", "fe80::2", "2001:db8:b::/64", "route 2001:db8:bbbb::/48 { };")
	m.addRouter(m.host, "eth1", "fe80::1", "2001:db8:c::/64", "")
	testnet.Must(t, fabric.Bridge("br0", "host", "port1", "port2"))
	return m
}

// addRouter ties a router to a device of a namespace and to the Internet.
func (m *multihomed) addRouter(ns *testnet.NS, dev, local, prefix, more string) {
	m.t.Helper()
	r := &slaacRouter{NS: testnet.New(m.t), prefix: netip.MustParsePrefix(prefix)}
	m.routers = append(m.routers, r)
	n := len(m.routers)
	near, far, uplink := fmt.Sprintf("2001:db8:f%d::1", n), fmt.Sprintf("2001:db8:f%d::2", n), fmt.Sprintf("isp%d", n)
	testnet.Must(m.t, testnet.Veth(m.inet, uplink, r.NS, "transit"), testnet.Veth(ns, dev, r.NS, atRouter))
	out, err := r.Command(testnet.Need(m.t, "ip"), "-6", "addr", "flush", "dev", atRouter).CombinedOutput()
	testnet.Must(m.t, err)
	if len(out) > 0 {
		m.t.Fatalf("ip addr flush: %s", out)
	}
	testnet.Must(m.t, r.Addr(atRouter, local+"/64"), r.Addr(atRouter, r.prefix.Addr().Next().String()+"/64"),
		m.inet.Addr(uplink, near+"/64"), r.Addr("transit", far+"/64"), r.Sysctl("net/ipv6/conf/all/forwarding", "1"),
		r.Route("default via "+near), m.inet.Route(fmt.Sprintf("%v via %s src %v", r.prefix, far, lab.InetAddr(rpdb.IPv6))),
		r.Rule(rpdb.IPv6, fmt.Sprintf("from %v iif %s lookup main priority 100", r.prefix, atRouter)),
		r.Rule(rpdb.IPv6, fmt.Sprintf("iif %s blackhole priority 101", atRouter)))
	r.seen, err = lab.NewCapture(r.NS, atRouter)
	testnet.Must(m.t, err)
	m.t.Cleanup(r.seen.Close)
	r.conf = filepath.Join(m.dir, fmt.Sprintf("radvd%d", n))
	write(m.t, r.conf, fmt.Sprintf("interface %s { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix %v { }; %s };\n", atRouter, prefix, more))
}

// advertise starts the router's radvd.
func (m *multihomed) advertise(r *slaacRouter) {
	m.t.Helper()
	r.radvd = run(m.t, r.conf+".log", r.Command(testnet.Need(m.t, "radvd"),
		"--nodaemon", "--logmethod=stderr", "--debug=1", "--config="+r.conf, "--pidfile="+r.conf+".pid"))
}

// startUplinkd starts it, by way of another program where one is named.
func (m *multihomed) startUplinkd(by ...string) {
	m.t.Helper()
	m.configure(m.more)
	m.starts++
	args := append(by, filepath.Join(m.bin, "uplinkd"),
		"--config", filepath.Join(m.dir, "uplinkd.toml"), "--state-dir", filepath.Join(m.dir, "state"), "--runtime-dir", filepath.Join(m.dir, "run"), "--log-format", "json")
	m.uplinkd = run(m.t, filepath.Join(m.dir, fmt.Sprintf("uplinkd-%d.log", m.starts)), m.host.Command(args[0], args[1:]...))
	m.uplinkd.await(`"message":"ready"`)
}

// addresses are the host's in a prefix: one for good, and a temporary one.
func (m *multihomed) addresses(p netip.Prefix) (as []netip.Addr) {
	m.t.Helper()
	testnet.Must(m.t, m.host.Run(func() error {
		all, err := net.InterfaceAddrs()
		for _, a := range all {
			if q, err := netip.ParsePrefix(a.String()); err == nil && p.Contains(q.Addr()) {
				as = append(as, q.Addr())
			}
		}
		return err
	}))
	return as
}

// leaves says by which router packets with an address leave, by the packets that arrive there, and whether an answer comes.
func (m *multihomed) leaves(a netip.Addr) (by []int, err error) {
	var before []int
	for _, r := range m.routers {
		before = append(before, r.seen.Seen(a))
	}
	err = lab.Reach(m.host, lab.InetAddr(rpdb.IPv6), lab.Probe{Src: a})
	for i, r := range m.routers {
		if r.seen.Seen(a) > before[i] {
			by = append(by, i+1)
		}
	}
	return by, err
}

// leaveBy checks that all addresses of a router's prefix leave by another router, or by itself, and are answered where it is that.
func (m *multihomed) leaveBy(r, by int) error {
	as := m.addresses(m.routers[r-1].prefix)
	if len(as) != 2 {
		return fmt.Errorf("addresses %v", as)
	}
	for _, a := range as {
		got, err := m.leaves(a)
		if !slices.Equal(got, []int{by}) || (err == nil) != (r == by) {
			return fmt.Errorf("%v, of router %d, leaves by %v, want by %d: %s", a, r, got, by, lab.Why(err))
		}
	}
	return nil
}

func (m *multihomed) eventually(what string, want map[int]int) {
	m.t.Helper()
	testnet.Eventually(m.t, patience, func() error {
		for r, by := range want {
			if err := m.leaveBy(r, by); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		return nil
	})
}

// ours is the state, with tables by their names in rt_tables.d, as ip(8) reads them there.
func (m *multihomed) ours() string {
	m.t.Helper()
	text := testnet.StateOf(m.t, m.host, config.DefaultProtocol)
	files, err := filepath.Glob(filepath.Join(m.dir, "rt_tables.d", "*"))
	testnet.Must(m.t, err)
	for _, f := range files {
		names, err := os.ReadFile(f)
		testnet.Must(m.t, err)
		for line := range strings.Lines(string(names)) {
			if words := strings.Fields(line); len(words) == 2 {
				text = strings.NewReplacer("lookup "+words[0]+"\n", "lookup "+words[1]+"\n", "lookup "+words[0]+" ", "lookup "+words[1]+" ",
					"table "+words[0]+" ", "table "+words[1]+" ").Replace(text)
			}
		}
	}
	return text
}

// unbound: the kernel takes any address for a socket that has none, and one router for all; labels, as the status says, mend that.
func (m *multihomed) unbound() {
	m.t.Helper()
	first, err := m.host.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.IPv6)})
	testnet.Must(m.t, err)
	dev, err := m.host.LinkNames()
	testnet.Must(m.t, err)
	var by *slaacRouter
	for i, r := range m.routers {
		if own := []string{"eth0 fe80::1", "eth0 fe80::2", "eth1 fe80::1"}[i]; own == fmt.Sprintf("%s %s", dev(first.OIF), first.Via) {
			by = r
			continue
		}
		testnet.Must(m.t, m.host.Command(testnet.Need(m.t, "ip"), "addrlabel", "add", "prefix", r.prefix.String(), "label", "8028").Run())
	}
	if by == nil {
		m.t.Fatalf("unbound packets leave by %v of %s", first.Via, dev(first.OIF))
	}
	with, err := m.host.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.IPv6)})
	testnet.Must(m.t, err)
	m.t.Logf("unbound: by %v of %s with %v; with labels %v", first.Via, dev(first.OIF), first.Src, with.Src)
	if !by.prefix.Contains(with.Src) || with.Via != first.Via || with.OIF != first.OIF {
		m.t.Errorf("with labels, unbound packets leave by %v of %s with %v", with.Via, dev(with.OIF), with.Src)
	}
	testnet.Must(m.t, lab.Reach(m.host, lab.InetAddr(rpdb.IPv6), lab.Probe{}))
}

// TestAnnouncedPrefixes: what comes from an address leaves by the router that announced its prefix (RFC 8028).
func TestAnnouncedPrefixes(t *testing.T) {
	m := newMultihomed(t)
	own := map[int]int{1: 1, 2: 2, 3: 3}
	for _, r := range m.routers {
		m.advertise(r)
	}
	testnet.Eventually(t, patience, func() error {
		for _, r := range m.routers {
			if as := m.addresses(r.prefix); len(as) != 2 {
				return fmt.Errorf("in %v: %v", r.prefix, as)
			}
		}
		return nil
	})
	if err := errors.Join(m.leaveBy(1, 1), m.leaveBy(2, 2)); err == nil {
		t.Error("all works without uplinkd")
	}

	m.startUplinkd() // after the first advertisements: it learns of the next
	m.eventually("each by its own", own)
	before := m.ours()
	t.Logf("each by its own:\n%s", before)
	for _, want := range []string{
		"default via fe80::1 dev eth0 table eth0 src 2001:db8:a:", "default via fe80::2 dev eth0 table eth0-fe80::2 src 2001:db8:b:",
		"default via fe80::1 dev eth1 table eth1 ", "from fd00:a:",
	} {
		if !strings.Contains(before, want) {
			t.Errorf("there is no %q", want)
		}
	}

	// A route information option of router 2: more closely known, so it has the packets of router 1's prefix, too (RFC 4191).
	for _, r := range m.routers[:2] {
		got, err := m.host.RouteGet(testnet.Lookup{Src: m.addresses(r.prefix)[0], Dst: netip.MustParseAddr("2001:db8:bbbb::1")})
		if err != nil || got.Via != netip.MustParseAddr("fe80::2") {
			t.Errorf("from %v into router 2's more specific route: by %v (%v)", r.prefix, got.Via, err)
		}
	}

	m.unbound()

	// A crash, while no router says anything: what they announced is on disk.
	for _, r := range m.routers {
		r.radvd.signal(syscall.SIGSTOP)
	}
	events := watchRules(t, m.host)
	m.uplinkd.kill()
	m.startUplinkd()
	m.eventually("after a crash", own)
	if n := events.count(); n > 0 {
		t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
	if after := m.ours(); after != before {
		t.Errorf("before the crash:\n%safter:\n%s", before, after)
	}
	for _, r := range m.routers {
		r.radvd.signal(syscall.SIGCONT)
	}

	// A radvd that ends says so with router lifetime 0 (RFC 4861 section 6.2.5): its prefix falls to the other router.
	m.routers[0].radvd.signal(syscall.SIGTERM)
	m.routers[0].radvd.wait()
	m.eventually("router 1 is none any more", map[int]int{1: 2, 2: 2, 3: 3})
	t.Logf("without router 1:\n%s", m.ours())
	m.advertise(m.routers[0])
	m.eventually("router 1 is back", own)
	if after := m.ours(); after != before {
		t.Errorf("before router 1 went:\n%sand when it is back:\n%s", before, after)
	}
}
