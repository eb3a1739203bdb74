package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// screen is the width in columns that everything fits into.
const screen = 80

// longestWord is the width that a name from outside is cut to.
const longestWord = 40

// word is a name from outside as one word: see rpdb.Printable.
func word(s string) string {
	s = rpdb.Printable(s)
	switch {
	case s == "":
		return "-"
	case len(s) > longestWord:
		return s[:longestWord-3] + "..."
	}
	return s
}

// printableText is a text from outside with all that is no printable ASCII escaped.
func printableText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= ' ' && r <= '~' || r == '\n' {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// asciiJSON is an answer as JSON in ASCII: in UTF-8 there are control characters that JSON lets through to a terminal.
func asciiJSON(v any) (string, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the answer: %w", err)
	}
	var b strings.Builder
	for _, r := range string(data) {
		writeASCII(&b, r)
	}
	return b.String() + "\n", nil
}

// writeASCII writes a character of a JSON text, those outside of ASCII escaped (RFC 8259 section 7).
func writeASCII(b *strings.Builder, r rune) {
	if r < 0x7f {
		b.WriteRune(r)
		return
	}
	if high, low := utf16.EncodeRune(r); r > 0xffff {
		fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// wrap breaks a text into lines of at most the screen's width; the first begins with first, the others with as many
// spaces. Words that are longer than a line are cut into pieces.
func wrap(b *strings.Builder, first, text string) {
	width := screen - len(first)
	line := ""
	flush := func() {
		b.WriteString(strings.TrimRight(first+line, " ") + "\n")
		first, line = strings.Repeat(" ", len(first)), ""
	}
	for w := range strings.FieldsSeq(printableText(text)) {
		if line != "" && len(line)+1+len(w) > width {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += w
		for len(line) > width {
			rest := line[width:]
			line = line[:width]
			flush()
			line = rest
		}
	}
	flush()
}

// cell is a text and the column that it should begin at; where it does not fit there, below stands for it, on a line of
// its own that begins at indent or before.
type cell struct {
	column int
	text   string
	indent int
	below  string // empty: text
}

// place writes cells into a line, each at its column or below.
func place(b *strings.Builder, cells ...cell) {
	at := 0
	for _, c := range cells {
		if c.text == "" {
			continue
		}
		start, text := c.column, c.text
		if at > 0 && at+2 > start || start+len(text) > screen {
			text = cmp.Or(c.below, c.text)
			start = max(0, min(c.indent, screen-len(text)))
			if at > 0 {
				b.WriteByte('\n')
				at = 0
			}
		}
		b.WriteString(strings.Repeat(" ", start-at) + text)
		at = start + len(text)
	}
	b.WriteByte('\n')
}
