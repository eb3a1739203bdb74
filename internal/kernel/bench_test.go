package kernel

import (
	"context"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// benchRules are 1000 rules that differ in their source.
func benchRules() (add, del []rpdb.Op) {
	for i := range 1000 {
		r := rule(1000, fmt.Sprintf("10.0.%d.%d/32", i/250, i%250), 7001)
		add, del = append(add, addRule(r)), append(del, delRule(r))
	}
	return add, del
}

func BenchmarkApply1000Rules(b *testing.B) {
	k := open(b, testnet.New(b), ours)
	add, del := benchRules()
	for b.Loop() {
		apply(b, k, add...)
		b.StopTimer()
		apply(b, k, del...)
		b.StartTimer()
	}
}

// BenchmarkNetlinkRuleAdd1000 is the same by a Handle of vishvananda/netlink, one request a rule.
func BenchmarkNetlinkRuleAdd1000(b *testing.B) {
	ns := testnet.New(b)
	k := open(b, ns, ours)
	add, del := benchRules()
	var h *netlink.Handle
	ns.Do(b, func() {
		var err error
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		testnet.Must(b, err)
	})
	defer h.Close()
	for b.Loop() {
		for _, op := range add {
			r := netlink.NewRule()
			r.Family, r.Priority, r.Table, r.Protocol = unix.AF_INET, 1000, 7001, ours
			r.Src, _ = netlink.ParseIPNet(op.Rule.Src.String())
			testnet.Must(b, h.RuleAdd(r))
		}
		b.StopTimer()
		apply(b, k, del...)
		b.StartTimer()
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, links := range []int{17, 401} {
		b.Run(fmt.Sprintf("links=%d", links), func(b *testing.B) {
			ns := testnet.New(b)
			for i := range links - 1 {
				testnet.Must(b, ns.Bridge(fmt.Sprintf("br%d", i)))
			}
			k := open(b, ns, ours)
			if n := len(snapshot(b, k).Links); n != links {
				b.Fatalf("%d links", n)
			}
			for b.Loop() {
				if _, err := k.Snapshot(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSnapshotHostRoutes: what a list of 100,000 routes to single hosts costs a snapshot, a routing daemon's and somebody's.
func BenchmarkSnapshotHostRoutes(b *testing.B) {
	for _, c := range []struct {
		n        int
		protocol uint8
	}{{0, 0}, {100_000, 186}, {100_000, rpdb.ProtoStatic}} {
		b.Run(fmt.Sprintf("routes=%d/protocol=%d", c.n, c.protocol), func(b *testing.B) {
			ns := uplinks(b)
			if c.n > 0 {
				hostRoutes(b, ns, index(b, ns, "wan0"), c.n, c.protocol)
			}
			k := open(b, ns, ours)
			for b.Loop() {
				if _, err := k.Snapshot(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
