package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	Line, Column int    // from 1; the column counts bytes
	Key          string // "priority_base", "uplink.table"; empty where the file is no TOML at that place
	Text         string // what is wrong, and what is allowed instead
}

// Error is a configuration file that was refused, with every mistake in it, in the order of the file.
type Error struct {
	File     string
	Problems []Problem
}

// Error is one line a problem, "FILE:LINE:COLUMN: key: text", in the form that editors jump to.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		key := p.Key
		if key != "" {
			key += ": "
		}
		lines[i] = fmt.Sprintf("%s:%d:%d: %s%s", e.File, p.Line, p.Column, key, p.Text)
	}
	return strings.Join(lines, "\n")
}

// fault is a mistake on its way to a Problem: the place, and what is wrong there. The key's own words on what is
// allowed are added to it.
type fault struct {
	at   position
	text string
}

func faultf(at position, format string, args ...any) []fault {
	return []fault{{at: at, text: fmt.Sprintf(format, args...)}}
}

// problems collects what is wrong with a file.
type problems []Problem

func (ps *problems) add(key, allowed string, faults ...fault) {
	for _, f := range faults {
		*ps = append(*ps, Problem{
			Line: f.at.line, Column: f.at.column, Key: key, Text: f.text + "; allowed: " + allowed,
		})
	}
}

// err is nil where there is no problem, else an *Error in the order of the file.
func (ps problems) err(file string) error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{File: file, Problems: ps}
}
