package ra

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// at is one announcement on link 2, some time after the first.
type at struct {
	after          time.Duration
	router, prefix string
	valid          time.Duration
	want           string // the words: "prefix=router,router lifetime"
}

func (a at) announcement() announcement {
	return announcement{link: 2, router: netip.MustParseAddr(a.router), prefix: netip.MustParsePrefix(a.prefix), valid: a.valid}
}

func wordsText(ls []lease.Lease) string {
	var ws []string
	for _, l := range ls {
		ws = append(ws, strings.ReplaceAll(fmt.Sprintf("%v=%v %v", l.Prefix, l.Routers, l.Lifetime), " fe80", ",fe80"))
	}
	return strings.NewReplacer("[", "", "]", "").Replace(strings.Join(ws, "; "))
}

const (
	p1, p2 = "2001:db8:a::/64", "2001:db8:b::/64"
	r1, r2 = "fe80::1", "fe80::2"
)

func TestTable(t *testing.T) {
	for name, steps := range map[string][]at{
		"two routers with a prefix each": {
			{0, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}, {0, r2, p2, time.Hour, p2 + "=fe80::2 1h0m0s"}},
		"one that repeats itself": {
			{0, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}, {time.Minute, r1, p1, time.Hour, ""},
			{14 * time.Minute, r1, p1, time.Hour, ""}, {16 * time.Minute, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}},
		"the first comes first": {
			{0, r2, p1, time.Hour, p1 + "=fe80::2 1h0m0s"}, {0, r1, p1, time.Hour, p1 + "=fe80::2,fe80::1 1h0m0s"},
			{time.Second, r2, p1, time.Hour, ""}},
		"a lifetime that changes all the time": {
			{0, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}, {time.Second, r1, p1, time.Minute, ""},
			{10 * time.Second, r1, p1, time.Minute, p1 + "=fe80::1 1m0s"}, {11 * time.Second, r1, p1, infinity, ""},
			{20 * time.Second, r1, p1, infinity, p1 + "=fe80::1 -1ns"}},
		"withdrawn by one of two": {
			{0, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}, {0, r2, p1, time.Hour, p1 + "=fe80::1,fe80::2 1h0m0s"},
			{0, r1, p1, 0, p1 + "=fe80::2 1h0m0s"}, {0, r1, p1, 0, ""}},
		"withdrawn by the only one": {
			{0, r1, p1, 24 * time.Hour, p1 + "=fe80::1 24h0m0s"}, {time.Minute, r1, p1, 0, p1 + "=fe80::1 2h0m0s"}},
		"withdrawn by a stranger": {
			{0, r1, p1, time.Hour, p1 + "=fe80::1 1h0m0s"}, {0, r2, p1, 0, ""}, {0, r2, p2, 0, ""}},
		"one of two fell silent": {
			{0, r1, p1, time.Minute, p1 + "=fe80::1 1m0s"}, {0, r2, p1, time.Hour, p1 + "=fe80::1,fe80::2 1h0m0s"},
			{time.Minute, r2, p1, time.Hour, p1 + "=fe80::2 1h0m0s"}},
	} {
		start, table := time.Now(), newTable()
		for i, s := range steps {
			if got := wordsText(table.hear(s.announcement(), start.Add(s.after))); got != s.want {
				t.Errorf("%s: step %d: %q, want %q", name, i+1, got, s.want)
			}
		}
	}
}

// TestKnownFromBefore: the first advertisement after a restart does not put out the routers that have not said anything yet.
func TestKnownFromBefore(t *testing.T) {
	now, table := time.Now(), newTable()
	l := lease.Lease{Source: lease.SourceRA, Prefix: netip.MustParsePrefix(p1), Routers: []netip.Addr{netip.MustParseAddr(r1), netip.MustParseAddr(r2)}, Lifetime: time.Hour}
	table.known(2, l, now)
	l.Prefix, l.Lifetime = netip.MustParsePrefix(p2), lease.Infinite
	table.known(2, l, now)
	for _, a := range []at{{0, r2, p1, time.Hour, ""}, {0, r1, p2, infinity, ""}, {0, "fe80::3", p1, time.Hour, p1 + "=fe80::1,fe80::2,fe80::3 1h0m0s"}} {
		if got := wordsText(table.hear(a.announcement(), now.Add(time.Second))); got != a.want {
			t.Errorf("%s of %s: %q, want %q", a.router, a.prefix, got, a.want)
		}
	}
}

// TestFlood: a million announcements of strangers in ten minutes neither fill the memory nor the agent's queue, nor do they
// push out a router that repeats itself every ten minutes.
func TestFlood(t *testing.T) {
	const n = 1 << 20
	start, table, words := time.Now(), newTable(), 0
	good := at{router: r1, prefix: p1, valid: time.Hour}.announcement()
	table.hear(good, start)
	for i := range n {
		b := good.prefix.Addr().As16()
		b[5], b[6], b[7] = byte(i>>16), byte(i>>8), byte(i)
		a := announcement{link: 2, prefix: netip.PrefixFrom(netip.AddrFrom16(b), 64), valid: infinity, router: netip.MustParseAddr(r2)}
		if i%2 == 0 { // a new router of the good prefix
			a.prefix = good.prefix
			r := a.router.As16()
			r[13], r[14], r[15] = byte(i>>16), byte(i>>8), byte(i)
			a.router = netip.AddrFrom16(r)
		}
		words += len(table.hear(a, start.Add(time.Duration(i)*10*time.Minute/n)))
	}
	e := table.links[2].prefixes[good.prefix]
	if e == nil || !slices.Contains(e.addrs(), good.router) {
		t.Error("the good router is gone")
	}
	if words > 2*(newcomersAtOnce+10) {
		t.Errorf("%d words of strangers", words)
	}
}

// TestBounds: whatever is announced, at any pace, nothing grows over its bounds, and what was pushed out is told as over.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, table := time.Now(), newTable()
		told := make(map[string]bool)
		for range rapid.IntRange(1, 400).Draw(t, "announcements") {
			now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "seconds")) * time.Second)
			a := announcement{
				link:   rapid.IntRange(1, 2).Draw(t, "link"),
				router: netip.MustParseAddr(fmt.Sprintf("fe80::%x", rapid.IntRange(1, 40).Draw(t, "router"))),
				prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", rapid.IntRange(1, 60).Draw(t, "prefix"))),
				valid:  time.Duration(rapid.SampledFrom([]int{0, 60, 3600, 1 << 30}).Draw(t, "valid")) * time.Second,
			}
			for _, w := range table.hear(a, now) {
				if len(w.Routers) == 0 || len(w.Routers) > maxRouters || w.Lifetime == 0 || w.Address != w.Prefix.Addr() {
					t.Fatalf("%+v", w)
				}
				told[fmt.Sprint(a.link, w.Prefix)] = true
			}
			for index, lk := range table.links {
				if len(lk.prefixes) > maxPrefixes {
					t.Fatalf("%d prefixes", len(lk.prefixes))
				}
				for p, e := range lk.prefixes {
					if !told[fmt.Sprint(index, p)] || len(e.routers) == 0 || len(e.routers) > maxRouters {
						t.Fatalf("%v: %+v", p, e)
					}
				}
			}
		}
	})
}

// TestLinksAreBounded: links come and go, and their indexes are never told to be over.
func TestLinksAreBounded(t *testing.T) {
	now, table := time.Now(), newTable()
	for i := range 3 * maxLinks {
		a := at{router: r1, prefix: p1, valid: time.Hour}.announcement()
		a.link = i + 1
		table.hear(a, now.Add(time.Duration(i)*time.Second))
	}
	if len(table.links) != maxLinks || table.links[3*maxLinks] == nil {
		t.Errorf("%d links", len(table.links))
	}
}
