// Package logging makes the program's logger: lines for people, JSON, or the journal's own fields.
package logging

import (
	"fmt"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New makes a logger on stderr. level is debug, info, warn or error; format one of:
//
//   - console: a line a message, "HH:MM:SS.mmm LEVEL message key=value ...", without stack traces or code places;
//   - json: an object a line, with "time" (RFC 3339), "level" and "message";
//   - auto: the journal's native protocol with a field for every key where stderr is the journal
//     (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), else console. A pipe or a file gets console too: what collects the
//     output of a container shows it to people first, and JSON is one flag away.
//
// Values that came from outside never end a line or reach a terminal as they are: see Quote.
func New(level, format string, stderr *os.File) (*zap.Logger, error) {
	return build(level, format, stderr, os.Getenv("JOURNAL_STREAM"), journal.Send)
}

func build(level, format string, stderr *os.File, stream string, send sender) (*zap.Logger, error) {
	lowest, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	console := &consoleCore{LevelEnabler: lowest, out: zapcore.Lock(stderr)}
	errorOutput := zap.ErrorOutput(zapcore.Lock(stderr))
	switch format {
	case "console":
		return zap.New(console, errorOutput), nil
	case "json":
		return zap.New(zapcore.NewCore(jsonEncoder(), zapcore.Lock(stderr), lowest), errorOutput), nil
	case "auto":
		if !isStream(stderr, stream) {
			return zap.New(console, errorOutput), nil
		}
		return zap.New(&journalCore{LevelEnabler: lowest, send: send, fallback: console}, errorOutput, zap.AddCaller()), nil
	}
	return nil, fmt.Errorf("log format %q: allowed: auto, console, json", format)
}

func parseLevel(level string) (zapcore.Level, error) {
	switch level {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "warn":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	return 0, fmt.Errorf("log level %q: allowed: debug, info, warn, error", level)
}

func jsonEncoder() zapcore.Encoder {
	return zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message",
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
}

// isStream says whether a file is the stream to the journal that systemd named in $JOURNAL_STREAM, as "DEVICE:INODE"
// (systemd.exec(5)). The variable alone says nothing: it is inherited by programs whose output goes elsewhere.
func isStream(f *os.File, stream string) bool {
	var device, inode uint64
	if n, err := fmt.Sscanf(stream, "%d:%d", &device, &inode); n != 2 || err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Dev == device && stat.Ino == inode
}
