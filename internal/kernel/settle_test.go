package kernel

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Dumps of rules lose entries while somebody writes; a snapshot does not, where there is a moment's rest now and then.
// Where there is none, it says so: the agent then looks again.
func TestSnapshotWhileOthersWrite(t *testing.T) {
	ns := testnet.New(t)
	k, other := open(t, ns, ours), open(t, ns, stranger)
	want := map[rpdb.Rule]bool{}
	var ops []rpdb.Op
	for i := range 3000 {
		r := rule(uint32(1000+i), fmt.Sprintf("10.0.%d.%d/32", i/250, i%250), 7001)
		want[r] = true
		ops = append(ops, addRule(r))
	}
	apply(t, k, ops...)
	for _, tc := range []struct {
		name  string
		burst int // changes between two moments of rest; 0 is no rest
	}{{"bursts", 100}, {"never at rest", 0}} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			churned := make(chan int)
			go churn(ctx, other, tc.burst, churned)
			lost, torn, restless, restful := 0, 0, 0, 0
			wanted := &restful
			if tc.burst == 0 {
				wanted = &restless
			}
			end := time.Now().Add(20 * time.Second)
			for i := 0; i < 30 || *wanted == 0 && time.Now().Before(end); i++ {
				raw, err := k.readRules(rpdb.IPv4) // one dump, as it comes
				testnet.Must(t, err)
				torn += missing(want, raw)
				pending(t, k)
				n := missing(want, snapshot(t, k).Rules)
				if ev := pending(t, k); ev != nil && ev.Restless {
					restless++
				} else {
					lost += n
					restful++
				}
			}
			cancel()
			t.Logf("%d foreign changes; single dumps lost %d rules, snapshots %d; %d snapshots found no rest",
				<-churned, torn, lost, restless)
			if lost > 0 || *wanted == 0 {
				t.Errorf("snapshots that found rest: %d, and lost %d rules; that found none: %d", restful, lost, restless)
			}
		})
	}
}

// churn adds and deletes rules. Its pauses are long enough for a snapshot, and the bursts longer than a dump's gap.
func churn(ctx context.Context, k *Kernel, burst int, done chan<- int) {
	rest := time.NewTicker(30 * time.Millisecond)
	defer rest.Stop()
	n := 0
	for ; ctx.Err() == nil; n++ {
		if burst > 0 && n%burst == 0 {
			<-rest.C
		}
		r := rule(uint32(100+n%50), "203.0.113.1/32", 7002)
		r.Protocol = stranger
		k.ask.execute(mustRule(unix.RTM_NEWRULE, r))
		k.ask.execute(mustRule(unix.RTM_DELRULE, r))
	}
	done <- n
}

func mustRule(typ uint16, r rpdb.Rule) request {
	body, err := encodeRule(r)
	if err != nil {
		panic(err)
	}
	return request{typ, unix.NLM_F_CREATE, body}
}

func missing(want map[rpdb.Rule]bool, got []rpdb.Rule) int {
	have := map[rpdb.Rule]bool{}
	for _, r := range got {
		have[r] = true
	}
	n := 0
	for r := range want {
		if !have[r] {
			n++
		}
	}
	return n
}

func TestSettledAndUnion(t *testing.T) {
	a, b := rpdb.Snapshot{Routes: []rpdb.Route{route(1, "10.0.0.0/8", "", 1)}}, rpdb.Snapshot{}
	for _, tc := range []struct {
		now, last *look
		want      bool
	}{
		{&look{Snapshot: a}, nil, true},
		{&look{Snapshot: a, torn: true}, nil, false},
		{&look{Snapshot: a, split: true}, nil, false},
		{&look{Snapshot: a, split: true}, &look{Snapshot: b}, false},
		{&look{Snapshot: a, split: true}, &look{Snapshot: a}, true},
		{&look{Snapshot: a, split: true, torn: true}, &look{Snapshot: a}, false},
	} {
		if got := settled(tc.now, tc.last); got != tc.want {
			t.Errorf("%+v after %+v: %v", tc.now, tc.last, got)
		}
	}
	for _, u := range []rpdb.Snapshot{union(a, b), union(b, a), union(a, a)} {
		if d := diff(a, u); d != "" {
			t.Errorf("union: (-want +got)\n%s", d)
		}
	}
}

// A look counts when nobody else wrote meanwhile and the kernel does not say that it is torn; else there is another, five
// in all, and then what they saw together and a hint.
func TestSettle(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	seen := []rpdb.Rule{rule(1, "", 1), rule(2, "", 1), rule(3, "", 1), rule(4, "", 1), rule(5, "", 1), rule(6, "", 1)}
	foreign := func(n int) {
		testnet.Must(t, ns.Rule(rpdb.IPv4, fmt.Sprintf("from all lookup 9 priority %d proto 99", 1000+n)))
	}
	for _, tc := range []struct {
		name  string
		look  func(n int) *look
		looks int
		rules []rpdb.Rule
		hint  *Event
	}{
		{"at rest", func(int) *look { return &look{} }, 1, seen[:1], nil},
		{"torn once", func(n int) *look { return &look{torn: n == 1} }, 2, seen[1:2], nil},
		{"torn always", func(int) *look { return &look{torn: true} }, 5, seen[:5], &Event{Restless: true}},
		{"a foreign change in between", func(n int) *look {
			if n == 1 {
				foreign(0)
			}
			return &look{}
		}, 2, seen[1:2], &Event{Rules: true}},
		{"foreign changes all the time", func(n int) *look {
			foreign(n)
			return &look{}
		}, 5, seen[:5], &Event{Rules: true, Restless: true}},
	} {
		n := 0
		s, err := k.settle(func() (*look, error) {
			n++
			l := tc.look(n)
			l.Rules = seen[n-1 : n]
			return l, nil
		})
		testnet.Must(t, err)
		slices.SortFunc(s.Rules, rpdb.CompareRules)
		if d := diff(tc.rules, s.Rules); n != tc.looks || d != "" {
			t.Errorf("%s: %d looks, (-want +got)\n%s", tc.name, n, d)
		}
		if d := diff(tc.hint, pending(t, k)); d != "" {
			t.Errorf("%s: hint (-want +got)\n%s", tc.name, d)
		}
	}
}
