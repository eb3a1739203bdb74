package logging

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// consoleCore writes a line a message for people.
type consoleCore struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
	out    zapcore.WriteSyncer
}

// With adds fields to all messages.
func (c *consoleCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = slices.Concat(c.fields, fields)
	return &clone
}

// Check adds the core where the level is on.
func (c *consoleCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write writes one line in one call, so that lines of several writers do not mix.
func (c *consoleCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line := e.Time.Format("15:04:05.000") + " " + e.Level.CapitalString()
	if len(e.Level.CapitalString()) < len("DEBUG") {
		line += " "
	}
	line += " " + sentence(e, pairs(slices.Concat(c.fields, fields))) + "\n"
	_, err := c.out.Write([]byte(line))
	return err
}

// Sync does nothing: standard error has no buffer, and syncing a terminal or pipe is an error.
func (c *consoleCore) Sync() error { return nil }
