package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

func TestTable(t *testing.T) {
	a, b := &lab.ISP{Name: "ISP A", Dev: "eth1"}, &lab.ISP{Name: "ISP B", Dev: "eth2"}
	kinds := lab.Kinds()
	all := []lab.Promise{
		{Kind: kinds[0], ISP: a, Family: rpdb.IPv4}, {Kind: kinds[0], ISP: a, Family: rpdb.IPv6},
		{Kind: kinds[0], ISP: b, Family: rpdb.IPv4}, {Kind: kinds[0], ISP: b, Family: rpdb.IPv6},
		{Kind: kinds[5], Family: rpdb.IPv4}, {Kind: kinds[5], Family: rpdb.IPv6},
	}
	lost := errors.New("timeout")
	got := table([]*lab.ISP{a, b}, all, []error{nil, nil, lost, lost, nil, lost})
	want := `                                    eth1, ISP A         eth2, ISP B
                                    IPv4      IPv6      IPv4      IPv6
  Internet -> the uplink's address  ok        ok        lost      lost
  the uplink's address -> Internet
  bound to the device -> Internet
  LAN -> the uplink's address
  the uplink's address -> LAN
  not bound -> Internet             ok        lost
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWithout: what is told to be eth2's has to be exactly that, or the demo would prove nothing.
func TestWithout(t *testing.T) {
	s := &story{lab: &lab.Lab{B: &lab.ISP{Dev: "eth2"}}}
	s.lab.B.Host4, s.lab.B.Host6 = prefix("198.51.100.20/24"), prefix("2001:db8:b::20/64")
	kept := "inet rule 4200: from 192.0.2.10 lookup 7000 suppress_prefixlength 0 proto 117\n" +
		"inet route default via 192.0.2.1 dev eth1 table 7000 proto 117\n" +
		"inet6 rule 4600: from all oif eth1 lookup 7000 proto 117\n" +
		"inet rule 4200: from 198.51.100.201 lookup 7005 proto 117\n"
	gone := "inet rule 4200: from 198.51.100.20 lookup 7001 suppress_prefixlength 0 proto 117\n" +
		"inet rule 4200: from 198.51.100.0/24 lookup 7001 proto 117\n" +
		"inet route 198.51.100.0/24 dev eth2 table 7001 proto 117\n" +
		"inet6 rule 4500: from 2001:db8:b::20 unreachable proto 117\n" +
		"inet6 rule 4600: from all oif eth2 lookup 7001 proto 117\n"
	if diff := cmp.Diff(kept, s.without(kept+gone)); diff != "" {
		t.Error(diff)
	}
}

func TestWidth(t *testing.T) {
	var b strings.Builder
	s := &story{w: &b}
	s.head("With uplinkd")
	if n := len(strings.TrimSpace(b.String())); n != width {
		t.Errorf("a heading is %d wide, want %d", n, width)
	}
	s.check(func() error { return nil }, "fine")
	s.fail("broken")
	if s.failures != 1 || !strings.HasSuffix(b.String(), "  ok    fine\n  FAIL  broken\n") {
		t.Errorf("%d failures, said %q", s.failures, b.String())
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
