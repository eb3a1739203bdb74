package explain

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// TestWalkOfWhatTheKernelTaught holds what the comparison with the kernel found, without a kernel.
func TestWalkOfWhatTheKernelTaught(t *testing.T) {
	links := []rpdb.LinkDetail{{Link: rpdb.Link{Index: 1, Name: "lo", Up: true}}, {Link: rpdb.Link{Index: 2, Name: "wan0", Up: true}}}
	rule := func(f rpdb.Family, edit func(*rpdb.RuleDetail)) rpdb.RuleDetail {
		r := rpdb.RuleDetail{Family: f, Priority: 1, Action: rpdb.ActLookup, Table: 100, SuppressLen: -1, SuppressGroup: -1}
		edit(&r)
		return r
	}
	route := func(dst, from string, host byte) rpdb.RouteDetail {
		d, s := netip.MustParsePrefix(dst), netip.MustParsePrefix(from)
		via := netip.AddrFrom4([4]byte{192, 0, 2, host})
		return rpdb.RouteDetail{Table: 100, Dst: d, From: s, Type: rpdb.Unicast, Hops: []rpdb.Hop{{Via: via, OIF: 2}}}
	}
	plain := func(*rpdb.RuleDetail) {}
	for _, tt := range []struct {
		name   string
		rules  []rpdb.RuleDetail
		routes []rpdb.RouteDetail
		flow   rpdb.Flow
		errno  syscall.Errno
		host   byte // the last byte of the gateway
	}{
		{"not l3mdev asks main", []rpdb.RuleDetail{rule(rpdb.IPv4, func(r *rpdb.RuleDetail) { r.Invert, r.L3MDev, r.Table = true, true, 0 })},
			[]rpdb.RouteDetail{func() rpdb.RouteDetail { r := route("0.0.0.0/0", "0.0.0.0/0", 1); r.Table = rpdb.TableMain; return r }()},
			rpdb.Flow{Dst: netip.MustParseAddr("10.0.0.5")}, 0, 1},
		{"a device and no route", []rpdb.RuleDetail{rule(rpdb.IPv4, plain)}, nil,
			rpdb.Flow{Dst: netip.MustParseAddr("10.0.0.5"), OIF: 2}, 0, 0},
		{"a prefix whose source routes do not fit is left", []rpdb.RuleDetail{rule(rpdb.IPv6, plain)},
			[]rpdb.RouteDetail{route("fd00::/16", "fd01::/16", 1), route("fd00::/16", "::/0", 2), route("fd00::/8", "::/0", 3)},
			rpdb.Flow{Dst: netip.MustParseAddr("fd00::5"), Src: netip.MustParseAddr("fd02::1")}, 0, 3},
		{"but not at the root", []rpdb.RuleDetail{rule(rpdb.IPv6, plain)},
			[]rpdb.RouteDetail{route("::/0", "fd01::/16", 1), route("::/0", "::/0", 2)},
			rpdb.Flow{Dst: netip.MustParseAddr("fd00::5"), Src: netip.MustParseAddr("fd02::1")}, 0, 2},
		{"what the last rule suppressed is no way", []rpdb.RuleDetail{rule(rpdb.IPv6, func(r *rpdb.RuleDetail) { r.SuppressLen = 16 })},
			[]rpdb.RouteDetail{route("fd00::/16", "::/0", 1)}, rpdb.Flow{Dst: netip.MustParseAddr("fd00::5")}, syscall.ENETUNREACH, 0},
		{"nor with IPv4", []rpdb.RuleDetail{rule(rpdb.IPv4, func(r *rpdb.RuleDetail) { r.SuppressLen = 16 })},
			[]rpdb.RouteDetail{route("10.0.0.0/8", "0.0.0.0/0", 1)}, rpdb.Flow{Dst: netip.MustParseAddr("10.0.0.5")}, syscall.ENETUNREACH, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			walk := Do(&rpdb.Database{Links: links, Rules: tt.rules, Routes: tt.routes, Forwarding: true}, tt.flow)
			if len(walk.Outcomes) != 1 || walk.Outcomes[0].Errno != tt.errno {
				t.Fatalf("%+v, want errno %d", walk.Outcomes, tt.errno)
			}
			host := byte(0)
			if hops := walk.Outcomes[0].Hops; len(hops) > 0 && hops[0].Via.IsValid() {
				host = hops[0].Via.As4()[3]
			}
			if host != tt.host {
				t.Errorf("gateway %d, want %d", host, tt.host)
			}
		})
	}
}

func TestCompareSaysHowTheyDiffer(t *testing.T) {
	q := rpdb.Flow{Dst: netip.MustParseAddr("10.0.0.5")}
	w := Walk{Outcomes: []Outcome{{Hops: []rpdb.Hop{{OIF: 2}}}}}
	if got := Compare(&rpdb.Database{}, q, &w, rpdb.Found{OIF: 3, Type: rpdb.Unicast}); got == "" {
		t.Error("another device is no difference")
	}
	if got := Compare(&rpdb.Database{}, q, &w, rpdb.Found{Errno: syscall.EACCES}); got == "" {
		t.Error("an error is no difference")
	}
	if got := Compare(&rpdb.Database{}, q, &w, rpdb.Found{OIF: 2, Type: rpdb.Unicast}); got != "" {
		t.Error(got)
	}
}
