package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/plan"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// BenchmarkLookup says what rules cost a packet: the lookups a second of a socket that is bound to the last of an uplink's
// addresses, with a set of rules for each address and with the rules as they are planned, a set for a prefix.
//
//	go test -run '^$' -bench Lookup ./internal/scenario
func BenchmarkLookup(b *testing.B) {
	for _, f := range rpdb.Families() {
		for _, n := range []int{1, 10, 100, 1000} {
			h := newBenchHost(b, f, n)
			for _, shape := range []string{"address", "planned"} {
				b.Run(fmt.Sprintf("%s/addresses=%d/rules=%s", f, n, shape), func(b *testing.B) { h.measure(b, shape == "address") })
			}
		}
	}
}

// benchHost is a host with one uplink that has many addresses of one subnet.
type benchHost struct {
	ns   *testnet.NS
	k    *kernel.Kernel
	last netip.Addr // of its addresses
	far  netip.Addr // somebody on the Internet
	n    int
}

func newBenchHost(b *testing.B, f rpdb.Family, n int) *benchHost {
	h := &benchHost{ns: testnet.New(b), n: n, far: netip.MustParseAddr("203.0.113.9")}
	testnet.Must(b, testnet.Veth(h.ns, "eth0", testnet.New(b), "eth0"))
	subnet, way := netip.MustParsePrefix("10.1.0.0/16"), "default via 10.1.255.1 dev eth0"
	if f == rpdb.IPv6 {
		subnet, way, h.far = netip.MustParsePrefix("2001:db8:0:1::/64"), "default via fe80::1 dev eth0 proto ra", netip.MustParseAddr("2001:db8:f::9")
	}
	for h.last = subnet.Addr().Next(); n > 0; n-- {
		h.last = h.last.Next()
		testnet.Must(b, h.ns.Addr("eth0", netip.PrefixFrom(h.last, subnet.Bits()).String()))
	}
	testnet.Must(b, h.ns.Route(way), h.ns.Run(func() (err error) {
		h.k, err = kernel.Open(config.DefaultProtocol, zap.NewNop())
		return err
	}))
	b.Cleanup(func() { _ = h.k.Close() })
	return h
}

// install brings the rules and routes into the kernel, and gives the number of rules that begin with a source.
func (h *benchHost) install(b *testing.B, byAddress bool) (rules int) {
	snap, err := h.k.Snapshot(context.Background())
	testnet.Must(b, err)
	cfg := config.Default()
	us := uplink.Derive(uplink.Input{Snapshot: &snap, Config: cfg}).Uplinks
	if len(us) != 1 || len(us[0].Addresses) != h.n {
		b.Fatalf("%d uplinks: %+v", len(us), us)
	}
	us[0].Table = cfg.FirstTable
	if byAddress {
		us[0].Sources = nil
		for _, a := range us[0].Addresses {
			us[0].Sources = append(us[0].Sources, uplink.Source{Prefix: rpdb.HostPrefix(a.Addr), Addresses: []netip.Addr{a.Addr}})
		}
	}
	want := plan.Make(us, uplink.Others{}, cfg).State()
	ops, _ := rpdb.Diff(want, &snap, cfg.Protocol)
	testnet.Must(b, h.k.Apply(context.Background(), ops)...)
	for _, r := range want.Rules {
		if r.Src.IsValid() {
			rules++
		}
	}
	return rules
}

func (h *benchHost) measure(b *testing.B, byAddress bool) {
	rules := h.install(b, byAddress)
	fd := -1
	testnet.Must(b, h.ns.Run(func() (err error) {
		fd, err = unix.Socket(int(rpdb.FamilyOf(h.last)), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	defer func() { _ = unix.Close(fd) }()
	testnet.Must(b, unix.Bind(fd, sockaddr(h.last, 0)))
	to := sockaddr(h.far, 53)
	for b.Loop() { // connect(2) looks the route up, and sends nothing
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rules), "rules")
	b.ReportMetric(float64(rules)/float64(h.n), "rules/address")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}
