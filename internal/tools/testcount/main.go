// Command testcount reads the output of "go test -json", prints what a person wants to see of it (the line of every
// package, the output of what failed, the reason of every skip), and closes with the counts:
//
//	go test -json ./... | testcount
//
// Its exit status is 1 where something failed or no test ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	c := newCounter(os.Stdout)
	if err := c.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	if !c.close() {
		os.Exit(1)
	}
}

// event is one line of test2json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

type test struct{ pkg, name string }

type counter struct {
	out                     io.Writer
	output                  map[test][]string // of the tests that run
	parents                 map[test]bool     // tests with subtests: only these count
	failedChildren          map[test]bool
	passed, failed, skipped int
	broken                  bool // a package that failed without a failed test: it did not build, or it crashed
}

func newCounter(out io.Writer) *counter {
	return &counter{out: out, output: map[test][]string{}, parents: map[test]bool{}, failedChildren: map[test]bool{}}
}

func (c *counter) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			c.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

func (c *counter) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(c.out, line) // go's own messages
		return
	}
	t := test{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(c.out, e.Output)
	case e.Action == "build-fail":
		c.broken = true
	case e.Test == "":
		c.packageEvent(e)
	case e.Action == "run":
		if i := strings.LastIndex(e.Test, "/"); i >= 0 {
			c.parents[test{e.Package, e.Test[:i]}] = true
		}
	case e.Action == "output":
		c.output[t] = append(c.output[t], e.Output)
	case e.Action == "pass", e.Action == "fail", e.Action == "skip":
		c.result(t, e.Action)
	}
}

func (c *counter) packageEvent(e event) {
	switch {
	case e.Action == "output" && e.Output != "PASS\n":
		fmt.Fprint(c.out, e.Output)
	case e.Action == "fail":
		c.broken = true
		for t, lines := range c.output { // what ran when the package crashed
			if t.pkg == e.Package {
				fmt.Fprint(c.out, strings.Join(lines, ""))
			}
		}
	}
}

func (c *counter) result(t test, action string) {
	lines := c.output[t]
	delete(c.output, t)
	if i := strings.LastIndex(t.name, "/"); i >= 0 && action == "fail" {
		c.failedChildren[test{t.pkg, t.name[:i]}] = true
	}
	if action != "pass" {
		fmt.Fprint(c.out, strings.Join(lines, ""))
	}
	switch {
	case c.parents[t] && (action != "fail" || c.failedChildren[t]):
	case action == "pass":
		c.passed++
	case action == "fail":
		c.failed++
	default:
		c.skipped++
	}
}

// close prints the counts and says whether all is well.
func (c *counter) close() bool {
	fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return !c.broken && c.failed == 0 && c.passed > 0
}
