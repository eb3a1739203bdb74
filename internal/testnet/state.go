package testnet

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// State is what the kernel holds in the namespace as text, for comparison: rules and routes (all tables but local) of
// both families, sorted, one a line, as iproute2 prints them, each with its protocol.
func State(t testing.TB, n *NS) string {
	t.Helper()
	text, err := n.State(nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// StateOf is State with the entries of one protocol only, and without naming it.
func StateOf(t testing.TB, n *NS, protocol uint8) string {
	t.Helper()
	text, err := n.State(func(p uint8) bool { return p == protocol })
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(text, protocolText(protocol), "")
}

// State is the text of the rules and routes whose protocol keep accepts; nil accepts all.
func (n *NS) State(keep func(protocol uint8) bool) (string, error) {
	rules, err := n.Rules()
	if err != nil {
		return "", err
	}
	routes, err := n.Routes()
	if err != nil {
		return "", err
	}
	name, err := n.LinkNames()
	if err != nil {
		return "", err
	}
	return Text(rules, routes, name, keep), nil
}

// Text is the text of rules and routes, however they were come by; name gives a link's name by its index.
func Text(rules []rpdb.Rule, routes []rpdb.Route, name func(int) string, keep func(protocol uint8) bool) string {
	var b strings.Builder
	for _, f := range rpdb.Families() {
		writeState(&b, f, rules, routes, name, keep)
	}
	return b.String()
}

func writeState(b *strings.Builder, f rpdb.Family, rules []rpdb.Rule, routes []rpdb.Route, name func(int) string,
	keep func(uint8) bool) {
	sortRules(rules)
	for _, r := range rules {
		if r.Family == f && (keep == nil || keep(r.Protocol)) {
			fmt.Fprintf(b, "%v rule %v%s\n", f, r, protocolText(r.Protocol))
		}
	}
	sortRoutes(routes, name)
	for _, r := range routes {
		if r.Family() == f && (keep == nil || keep(r.Protocol)) {
			fmt.Fprintf(b, "%v route %s%s\n", f, r.Text(name), protocolText(r.Protocol))
		}
	}
}

// sortRules sorts by priority; at the same one the kernel's order, that of insertion, says nothing to compare.
func sortRules(rules []rpdb.Rule) {
	sort.SliceStable(rules, func(i, j int) bool {
		a, b := rules[i], rules[j]
		if a.Priority != b.Priority {
			return a.Priority < b.Priority
		}
		return a.String() < b.String()
	})
}

func sortRoutes(routes []rpdb.Route, name func(int) string) {
	sort.SliceStable(routes, func(i, j int) bool {
		a, b := routes[i], routes[j]
		if a.Table != b.Table {
			return a.Table < b.Table
		}
		if c := a.Dst.Compare(b.Dst); c != 0 {
			return c < 0
		}
		return a.Text(name) < b.Text(name)
	})
}

// LinkNames gives link names by index at this moment.
func (n *NS) LinkNames() (func(int) string, error) {
	links, err := n.link.LinkList()
	if err != nil {
		return nil, fmt.Errorf("namespace %s: list links: %w", n.Name, err)
	}
	byIndex := make(map[int]string, len(links))
	for _, l := range links {
		byIndex[l.Attrs().Index] = l.Attrs().Name
	}
	return func(i int) string {
		if name, ok := byIndex[i]; ok {
			return name
		}
		return fmt.Sprintf("if%d", i)
	}, nil
}

// protocolText is " proto NAME" as in iproute2's rt_protos.
func protocolText(p uint8) string {
	if name, ok := protocolNames()[p]; ok {
		return " proto " + name
	}
	return fmt.Sprintf(" proto %d", p)
}

func protocolNames() map[uint8]string {
	return map[uint8]string{
		0: "unspec", rpdb.ProtoRedirect: "redirect", rpdb.ProtoKernel: "kernel", rpdb.ProtoBoot: "boot",
		rpdb.ProtoStatic: "static", rpdb.ProtoRA: "ra", rpdb.ProtoDHCP: "dhcp",
	}
}
