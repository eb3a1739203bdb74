package plan

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// declaredSteps are the Step constants of plan.go, by name.
func declaredSteps(t *testing.T) map[string]uint32 {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "plan.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]uint32)
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Step") {
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				n, err := strconv.ParseUint(lit.Value, 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				found[v.Names[0].Name] = uint32(n)
			}
		}
		return true
	})
	return found
}

// TestEveryStepHasARank: where the block steps aside, each step has a priority of its own, in the same order, and all have room.
func TestEveryStepHasARank(t *testing.T) {
	ranks := make(map[uint32]string)
	for name, step := range declaredSteps(t) {
		listed := false
		for _, s := range steps() {
			listed = listed || step >= s[0] && step < s[0]+s[1]
		}
		if !listed {
			t.Errorf("steps has no %s (%d)", name, step)
		}
		if other, taken := ranks[rank(step)]; taken {
			t.Errorf("%s and %s have one rank", name, other)
		}
		ranks[rank(step)] = name
	}
	if len(ranks) < 15 {
		t.Fatalf("only %d steps found", len(ranks))
	}
	last := uint32(0)
	for _, s := range steps() {
		for step := s[0]; step < s[0]+s[1]; step++ {
			if r := rank(step); step != StepLocal && r != last+1 {
				t.Errorf("step %d has rank %d after %d", step, r, last)
			} else {
				last = r
			}
		}
	}
	if last+uplink.AsideRoom >= uplink.AsideSpan {
		t.Errorf("%d steps and %d before them do not fit into %d", last+1, uplink.AsideRoom, uplink.AsideSpan)
	}
	if StepDNS >= config.PrioritySpan {
		t.Errorf("the last step is outside of the block")
	}
}

func TestPriority(t *testing.T) {
	b := builder{cfg: config.Default()}
	if got := b.priority(StepMain); got != 4300 {
		t.Errorf("at home: %d", got)
	}
	b.others.Before = 4189
	if first, last := b.priority(StepLocal), b.priority(StepDNS); first != 4141 || last >= 4189 {
		t.Errorf("aside: %d to %d", first, last)
	}
}
