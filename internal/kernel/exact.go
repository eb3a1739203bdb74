package kernel

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The kernel compares rules loosely. What a request does not set is "any" (net/core/fib_rules.c: rule_find, rule_exists):
// deleting "100: from all lookup 7001" takes the first of the rules at 100 that look up 7001, whatever they select, and
// adding it says EEXIST where one of these is. So both are made exact here.

// covers says whether the kernel may take x for r when it is asked to find r.
func covers(r, x rpdb.Rule) bool {
	return r.Family == x.Family && r.Protocol == x.Protocol && r.Priority == x.Priority && r.Action == x.Action &&
		anyOr(r.Table, x.Table) && anyOr(r.Src, x.Src) && anyOr(r.Dst, x.Dst) &&
		anyOr(r.IIF, x.IIF) && anyOr(r.OIF, x.OIF) &&
		anyOr(r.Mark, x.Mark) && anyOr(r.Mask, x.Mask) && anyOr(r.Suppress, x.Suppress)
}

// anyOr says whether a selector is not set, or the same.
func anyOr[T comparable](v, x T) bool {
	var unset T
	return v == unset || v == x
}

// ruleBook is what the kernel held when deletes began, kept up to date with them. Rules of one priority are in the kernel's
// order.
type ruleBook map[rpdb.Family][]rpdb.Rule

func (a *applier) book(f rpdb.Family) ([]rpdb.Rule, error) {
	if rules, ok := a.rules[f]; ok {
		return rules, nil
	}
	a.flush() // adds that are still queued
	rules, err := a.k.readRules(f)
	if err != nil {
		return nil, err
	}
	if a.rules == nil {
		a.rules = make(ruleBook)
	}
	a.rules[f] = rules
	return rules, nil
}

// ruleExists tells the rule that was wanted from one that the kernel takes for it. In the second case it is added without
// NLM_F_EXCL, after all.
func (a *applier) ruleExists(want rpdb.Rule, answer error) error {
	want = normalRule(want)
	rules, err := a.k.readRules(want.Family)
	if err != nil {
		return err
	}
	if slices.Contains(rules, want) {
		return nil
	}
	if !slices.ContainsFunc(rules, func(x rpdb.Rule) bool { return covers(want, x) }) {
		return answer
	}
	return a.addRule(want)
}

func (a *applier) addRule(r rpdb.Rule) error {
	body, err := encodeRule(r)
	if err != nil {
		return err
	}
	return a.k.ask.execute(request{unix.RTM_NEWRULE, unix.NLM_F_CREATE, body})[0]
}

// delRule deletes a rule with its whole identity, and every copy of it. Most go with the queue; where the kernel would
// find another one first, makeWay moves that one behind.
func (a *applier) delRule(i int, r rpdb.Rule) error {
	r = normalRule(r)
	body, err := encodeRule(r)
	if err != nil {
		return err
	}
	rules, err := a.book(r.Family)
	if err != nil {
		return err
	}
	del := request{typ: unix.RTM_DELRULE, body: body}
	matches := slices.DeleteFunc(slices.Clone(rules), func(x rpdb.Rule) bool { return !covers(r, x) })
	if len(matches) == 0 {
		return a.push(i, del, nil) // the listing may have missed it
	}
	for slices.Contains(matches, r) { // else it is gone already, and the delete would take another
		for ; matches[0] != r; matches = append(matches[1:], matches[0]) {
			a.flush()
			delete(a.rules, r.Family) // their order will be another
			if err := a.makeWay(matches[0], del); err != nil {
				return err
			}
		}
		matches = matches[1:]
		if err := a.push(i, del, nil); err != nil {
			return err
		}
	}
	if _, known := a.rules[r.Family]; known {
		a.rules[r.Family] = slices.DeleteFunc(rules, func(x rpdb.Rule) bool { return x == r })
	}
	return nil
}

// makeWay moves a rule that a delete would take behind the others: a copy is added at the end, and the delete then takes
// the first. There is no moment without it.
func (a *applier) makeWay(x rpdb.Rule, del request) error {
	if err := a.addRule(x); err != nil {
		return fmt.Errorf("the kernel would delete %q instead: %w", x, err)
	}
	if err := a.k.ask.execute(del)[0]; err != nil {
		return fmt.Errorf("the kernel would delete %q instead: %w", x, err)
	}
	return nil
}
