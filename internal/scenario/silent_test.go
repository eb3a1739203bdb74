package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// silent is a provider that gives private addresses only, an IPv4 host address and a unique local one, and is reached for both
// by its router's link-local address, as many a cloud and mobile network has it.
type silent struct {
	isp       *lab.ISP
	transit   string // the router's address on the Internet's side, by which the addresses are reached
	transit6  string
	host, ula netip.Addr
	linkLocal netip.Addr
	metric    int
	routerULA string
}

func silents(l *lab.Lab) []silent {
	return []silent{
		{isp: l.A, transit: "203.0.113.10", transit6: "2001:db8:f1::2", host: netip.MustParseAddr("10.77.1.2"),
			ula: netip.MustParseAddr("fd77:1::2"), routerULA: "fd77:1::1/64", metric: 1},
		{isp: l.B, transit: "203.0.113.18", transit6: "2001:db8:f2::2", host: netip.MustParseAddr("10.77.2.2"),
			ula: netip.MustParseAddr("fd77:2::2"), routerULA: "fd77:2::1/64", metric: 2},
	}
}

// serve has the provider route the addresses to its customer's link, and take packets from them and from no others.
func (p *silent) serve(l *lab.Lab) error {
	const link = "cust"
	r := p.isp.Router
	as, err := r.Addresses(link)
	if err != nil {
		return err
	}
	for a := range as {
		if a.Addr().IsLinkLocalUnicast() {
			p.linkLocal = a.Addr()
		}
	}
	ula := netip.PrefixFrom(p.ula, 64).Masked()
	return errors.Join(
		r.Addr(link, p.routerULA), r.Route(fmt.Sprintf("%s dev %s", p.host, link)),
		r.Rule(0, fmt.Sprintf("from %s iif %s lookup main priority 99", p.host, link)),
		r.Rule(0, fmt.Sprintf("from %s iif %s lookup main priority 99", ula, link)),
		l.Inet.Route(fmt.Sprintf("%s via %s src 203.0.113.250", p.host, p.transit)),
		l.Inet.Route(fmt.Sprintf("%s via %s src 2001:db8:ffff::1", ula, p.transit6)))
}

// bring gives the host what its client would: addresses, and default routes in main.
func (p *silent) bring(h *testnet.NS) error {
	return errors.Join(
		h.Addr(p.isp.Dev, p.host.String()+"/32"), h.Addr(p.isp.Dev, p.ula.String()+"/64"),
		h.Route(fmt.Sprintf("default via inet6 %s dev %s metric %d proto dhcp", p.linkLocal, p.isp.Dev, p.metric)),
		h.Route(fmt.Sprintf("default via %s dev %s metric %d proto ra", p.linkLocal, p.isp.Dev, 1000+p.metric)))
}

// works is nil when both addresses work both ways, and so does the link for who is bound to it alone.
func (p *silent) works(l *lab.Lab) error {
	var errs []error
	for near, far := range map[netip.Addr]string{p.host: "203.0.113.250", p.ula: "2001:db8:ffff::1"} {
		to := netip.MustParseAddr(far)
		errs = append(errs, lab.Reach(l.Inet, near, lab.Probe{}), lab.Reach(l.Inet, near, lab.Probe{UDP: true}),
			lab.Reach(l.Host, to, lab.Probe{Src: near}), lab.Reach(l.Host, to, lab.Probe{Device: p.isp.Dev}))
	}
	return errors.Join(errs...)
}

// TestSilentGateways sends packets: two uplinks with private addresses, each behind its own router's link-local address. Without
// uplinkd one of them is cut off.
func TestSilentGateways(t *testing.T) {
	t.Parallel()
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	for _, ns := range []*testnet.NS{l.Inet, l.Host} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	ps := silents(l)
	for i := range ps {
		testnet.Must(t, ps[i].serve(l), ps[i].bring(l.Host))
	}
	testnet.Eventually(t, patience, func() error { return ps[0].works(l) })
	if ps[1].works(l) == nil {
		t.Fatal("the second uplink works without uplinkd: the lab proves nothing")
	}
	s := &script{t: t, w: &realWorld{t: t, host: l.Host, far: l.Inet}, disk: &disk{}}
	defer func() { s.stop() }()
	if got, err := s.picture(); err != nil || got != "" {
		t.Fatalf("before: %v\n%s", err, got)
	}
	testnet.Must(t, s.play("start"))
	for i := range ps {
		testnet.Eventually(t, patience, func() error { return ps[i].works(l) })
	}
	got, err := s.picture()
	testnet.Must(t, err)
	got = regexp.MustCompile(`fe80::[0-9a-f:]+`).ReplaceAllString(got, "ROUTER")
	if d := cmp.Diff(silentState, got); d != "" {
		t.Errorf("after (-want +got):\n%s", d)
	}
}

// silentState is what the host has afterwards; the routers' addresses, which their MACs make, are ROUTER.
const silentState = `inet rule 4200: from 10.77.1.2 lookup eth1 suppress_prefixlength 0
inet rule 4200: from 10.77.2.2 lookup eth2 suppress_prefixlength 0
inet rule 4300: from 10.77.1.2 lookup main suppress_prefixlength 1
inet rule 4300: from 10.77.2.2 lookup main suppress_prefixlength 1
inet rule 4400: from 10.77.1.2 lookup eth1
inet rule 4400: from 10.77.2.2 lookup eth2
inet rule 4500: from 10.77.1.2 unreachable
inet rule 4500: from 10.77.2.2 unreachable
inet rule 4600: from all oif eth1 lookup main suppress_prefixlength 1
inet rule 4600: from all oif eth2 lookup main suppress_prefixlength 1
inet rule 4610: from all oif eth1 lookup eth1
inet rule 4610: from all oif eth2 lookup eth2
inet route default via inet6 ROUTER dev eth1 table eth1 src 10.77.1.2
inet route default via inet6 ROUTER dev eth2 table eth2 src 10.77.2.2
inet6 rule 4190: from fd77:1::/64 to fd77:1::/64 iif lo lookup main suppress_prefixlength 64
inet6 rule 4190: from fd77:2::/64 to fd77:2::/64 iif lo lookup main suppress_prefixlength 64
inet6 rule 4200: from fd77:1::/64 iif lo lookup eth1 suppress_prefixlength 0
inet6 rule 4200: from fd77:2::/64 iif lo lookup eth2 suppress_prefixlength 0
inet6 rule 4300: from fd77:1::/64 iif lo lookup main suppress_prefixlength 4
inet6 rule 4300: from fd77:2::/64 iif lo lookup main suppress_prefixlength 4
inet6 rule 4400: from fd77:1::/64 iif lo lookup eth1
inet6 rule 4400: from fd77:2::/64 iif lo lookup eth2
inet6 rule 4500: from fd77:1::/64 iif lo unreachable
inet6 rule 4500: from fd77:2::/64 iif lo unreachable
inet6 rule 4600: from all oif eth1 lookup main suppress_prefixlength 4
inet6 rule 4600: from all oif eth2 lookup main suppress_prefixlength 4
inet6 rule 4610: from all oif eth1 lookup eth1
inet6 rule 4610: from all oif eth2 lookup eth2
inet6 route default via ROUTER dev eth1 table eth1 metric 1024
inet6 route fd77:1::/64 dev eth1 table eth1 metric 1024
inet6 route default via ROUTER dev eth2 table eth2 metric 1024
inet6 route fd77:2::/64 dev eth2 table eth2 metric 1024`
