package logging

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// longest is the length in bytes that a value of a line for people is cut to.
const longest = 4096

// Quote is a value as it stands in a line: as it is where it is one word of printable ASCII, else a Go string in double
// quotes with everything else escaped, so that no byte of it can end the line, move a cursor or look like another key.
func Quote(s string) string {
	if len(s) > longest {
		s = s[:longest] + "..."
	}
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '='
	})
	if plain {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// printable is a message, which may hold spaces and quotes, with what does not print escaped.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// pair is a field of a log entry as text.
type pair struct{ key, value string }

// pairs turns zap's fields into text, in their order.
func pairs(fields []zapcore.Field) []pair {
	var out []pair
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for _, key := range slices.Sorted(maps.Keys(enc.Fields)) {
			if key != f.Key+"Verbose" { // an error's stack trace
				out = append(out, pair{key, text(enc.Fields[key])})
			}
		}
	}
	return out
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case time.Duration:
		return v.String()
	case map[string]any, []any:
		if data, err := json.Marshal(v); err == nil {
			return string(data)
		}
	}
	return fmt.Sprint(v)
}

// sentence is the message with its fields, "message key=value ...", on one line.
func sentence(e zapcore.Entry, fields []pair) string {
	var b strings.Builder
	if e.LoggerName != "" {
		b.WriteString(printable(e.LoggerName) + ": ")
	}
	b.WriteString(printable(e.Message))
	for _, p := range fields {
		b.WriteString(" " + Quote(p.key) + "=" + Quote(p.value))
	}
	return b.String()
}
