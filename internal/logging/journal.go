package logging

import (
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// sender is journal.Send: a message with its priority and fields.
type sender func(message string, priority journal.Priority, fields map[string]string) error

// journalCore writes to the journal by its native protocol. MESSAGE is the line that people read, with all the keys in
// it; besides, every key is a field UPLINKD_KEY of its own, with its value as it is: a field may hold any byte.
type journalCore struct {
	zapcore.LevelEnabler
	fields   []zapcore.Field
	send     sender
	fallback zapcore.Core // where the journal takes nothing
}

// With adds fields to all messages.
func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = slices.Concat(c.fields, fields)
	return &clone
}

// Check adds the core where the level is on.
func (c *journalCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write sends one message; where the journal does not take it (it is being restarted), it goes to stderr.
func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := slices.Concat(c.fields, fields)
	list := pairs(all)
	vars := map[string]string{"SYSLOG_IDENTIFIER": "uplinkd"}
	for _, p := range list {
		vars[fieldName(p.key)] = p.value
	}
	if e.Caller.Defined {
		vars["CODE_FILE"] = e.Caller.File
		vars["CODE_LINE"] = strconv.Itoa(e.Caller.Line)
		vars["CODE_FUNC"] = e.Caller.Function
	}
	if err := c.send(sentence(e, list), priority(e.Level), vars); err != nil {
		return c.fallback.Write(e, all)
	}
	return nil
}

// Sync does nothing: there is no buffer.
func (c *journalCore) Sync() error { return nil }

// fieldName makes a field of ours of a key: capitals, digits and underscores (sd_journal_print(3)).
func fieldName(key string) string {
	return "UPLINKD_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// priority is the level in the numbers of syslog(3).
func priority(l zapcore.Level) journal.Priority {
	switch {
	case l >= zapcore.DPanicLevel:
		return journal.PriCrit
	case l == zapcore.ErrorLevel:
		return journal.PriErr
	case l == zapcore.WarnLevel:
		return journal.PriWarning
	case l == zapcore.InfoLevel:
		return journal.PriInfo
	}
	return journal.PriDebug
}
