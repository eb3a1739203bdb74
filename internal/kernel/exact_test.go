package kernel

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Rules are a set, whatever the kernel takes for what: after any adds and deletes of rules that it confuses, it holds
// what a set would hold, and what others put there.
func TestRulesAreASet(t *testing.T) {
	foreign := rule(100, "", 7001)
	foreign.Protocol = stranger
	rapid.Check(t, func(t *rapid.T) {
		ns, k := fresh(t)
		defer ns.Close()
		defer k.Close()
		if err := ns.Rule(rpdb.IPv4, "from all lookup 7001 priority 100 proto 99"); err != nil {
			t.Fatal(err)
		}
		model := map[rpdb.Rule]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "applies") {
			var ops []rpdb.Op
			for range rapid.IntRange(1, 8).Draw(t, "operations") {
				r := closeRule(t)
				add := maybe(t, "add")
				model[r] = add
				if ops = append(ops, delRule(r)); add {
					ops[len(ops)-1] = addRule(r)
				}
			}
			for i, err := range k.Apply(context.Background(), ops) {
				if err != nil {
					t.Fatalf("operation %d of %v: %v", i, ops, err)
				}
			}
			want := []rpdb.Rule{foreign}
			for r, there := range model {
				if there {
					want = append(want, r)
				}
			}
			compareRules(t, ns, want)
		}
	})
}

// fresh makes a namespace for one draw of a property, so that a failed one leaves nothing behind for the next.
func fresh(t *rapid.T) (*testnet.NS, *Kernel) {
	ns, err := testnet.Open("property")
	if err != nil {
		t.Fatal(err)
	}
	var k *Kernel
	err = ns.Run(func() (err error) { k, err = Open(ours, zap.NewNop()); return err })
	if err != nil {
		t.Fatal(err)
	}
	return ns, k
}

func compareRules(t *rapid.T, ns *testnet.NS, want []rpdb.Rule) {
	rules, err := ns.Rules()
	if err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(rules, func(r rpdb.Rule) bool { return r.Priority != 100 })
	slices.SortFunc(got, rpdb.CompareRules)
	slices.SortFunc(want, rpdb.CompareRules)
	key := func(a, b rpdb.Rule) int { // CompareRules leaves out what the RPDB's order does not know
		if c := rpdb.CompareRules(a, b); c != 0 {
			return c
		}
		return boolInt(a.Invert) + 2*boolInt(a.Suppress.Set) - boolInt(b.Invert) - 2*boolInt(b.Suppress.Set)
	}
	slices.SortStableFunc(got, key)
	slices.SortStableFunc(want, key)
	if d := diff(want, got); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The kernel's looseness that exact.go is there for: should a kernel ever compare exactly, this says so.
func TestKernelComparesRulesLoosely(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	narrow, wide := rule(100, "192.0.2.1/32", 7001), rule(100, "", 7001)
	apply(t, k, addRule(narrow))
	body, err := encodeRule(wide)
	testnet.Must(t, err)
	if err := k.ask.execute(request{typ: unix.RTM_DELRULE, body: body})[0]; err != nil {
		t.Fatalf("deleting %q by %q: %v", narrow, wide, err)
	}
	if got := testnet.StateOf(t, ns, ours); got != "" {
		t.Errorf("the kernel kept %s", got)
	}
}

// All copies of a rule go, and its neighbours stay, however they are mixed.
func TestDelRuleCopiesAndNeighbours(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	narrow, wide := rule(100, "192.0.2.1/32", 7001), rule(100, "", 7001)
	for _, r := range []rpdb.Rule{wide, narrow, wide, narrow, wide} {
		testnet.Must(t, (&applier{k: k}).addRule(r))
	}
	apply(t, k, delRule(wide))
	want := "inet rule 100: from 192.0.2.1 lookup 7001\ninet rule 100: from 192.0.2.1 lookup 7001\n"
	if got := testnet.StateOf(t, ns, ours); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	apply(t, k, delRule(wide), delRule(narrow), addRule(wide), addRule(narrow), delRule(narrow))
	if got, want := testnet.StateOf(t, ns, ours), "inet rule 100: from all lookup 7001\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The same rule of somebody else is another rule.
func TestRulesOfOthersStay(t *testing.T) {
	ns := testnet.New(t)
	k := open(t, ns, ours)
	for _, f := range rpdb.Families() {
		testnet.Must(t, ns.Rule(f, "from all lookup 7001 priority 100 proto 99"))
		r := rule(100, "", 7001)
		r.Family = f
		apply(t, k, addRule(r), delRule(r), delRule(r))
	}
	if got, want := testnet.StateOf(t, ns, stranger), "inet rule 100: from all lookup 7001\ninet6 rule 100: from all lookup 7001\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := testnet.StateOf(t, ns, ours); got != "" {
		t.Errorf("left: %s", got)
	}
}
