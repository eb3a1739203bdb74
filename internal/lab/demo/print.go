package main

import (
	"fmt"
	"strings"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// width is that of a heading; everything fits into 100 columns.
const width = 96

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

func (s *story) head(title string) {
	s.say("\n== %s %s\n\n", title, strings.Repeat("=", width-len(title)-4))
}

func (s *story) pass(format string, args ...any) { s.say("  ok    "+format+"\n", args...) }

func (s *story) fail(format string, args ...any) {
	s.failures++
	s.say("  FAIL  "+format+"\n", args...)
}

// check waits for a condition, and says how it went.
func (s *story) check(cond func() error, format string, args ...any) {
	if err := testnet.Wait(s.patience, cond); err != nil {
		s.fail("%v", err)
		return
	}
	s.pass(format, args...)
}

// table is who reaches whom: a line a kind of promise, a column an uplink and family.
func table(isps []*lab.ISP, all []lab.Promise, results []error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%36s", "")
	for _, isp := range isps {
		fmt.Fprintf(&b, "%-20s", isp.Dev+", "+isp.Name)
	}
	fmt.Fprintf(&b, "\n%36s%s\n", "", strings.Repeat(fmt.Sprintf("%-10s%-10s", "IPv4", "IPv6"), len(isps)))
	for _, kind := range lab.Kinds() {
		fmt.Fprintf(&b, "  %-34s", kind)
		for _, isp := range append(isps, nil) {
			for _, f := range rpdb.Families() {
				if word, ok := cell(kind, isp, f, all, results); ok {
					fmt.Fprintf(&b, "%-10s", word)
				}
			}
		}
		b.WriteString("\n")
	}
	return trimLines(b.String())
}

func cell(kind string, isp *lab.ISP, f rpdb.Family, all []lab.Promise, results []error) (string, bool) {
	for i, p := range all {
		if p.Kind == kind && p.ISP == isp && p.Family == f {
			return lab.Why(results[i]), true
		}
	}
	return "", false
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		b.WriteString("    " + line)
	}
	return b.String()
}

func trimLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}
