package intake

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// maxSaid bounds what a limiter remembers: the texts are a stranger's.
const maxSaid = 256

// The pace of lines that differ: whoever answers DHCP can write another value into each.
const (
	linesPerSecond = 1
	linesAtOnce    = 50
)

// limiter lets a text pass once in a period, and counts how often it did not.
type limiter struct {
	period time.Duration
	pace   *rate.Limiter
	mu     sync.Mutex
	said   map[string]*mute
}

type mute struct {
	until time.Time
	more  int
}

func newLimiter(period time.Duration) *limiter {
	return &limiter{period: period, pace: rate.NewLimiter(linesPerSecond, linesAtOnce), said: make(map[string]*mute)}
}

// allow says whether a line may be logged, and how many the same were not since the last.
func (l *limiter) allow(msg string, fields []zap.Field) (ok bool, suppressed int) {
	key := lineKey(msg, fields)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.said[key]
	if m != nil && (now.Before(m.until) || !l.pace.AllowN(now, 1)) {
		m.more++
		return false, 0
	}
	if m == nil {
		if !l.pace.AllowN(now, 1) {
			return false, 0
		}
		if len(l.said) >= maxSaid {
			clear(l.said)
		}
		m = &mute{}
		l.said[key] = m
	}
	suppressed, m.more = m.more, 0
	m.until = now.Add(l.period)
	return true, suppressed
}

// lineKey is a line's text with its fields: two lines of the same key say the same.
func lineKey(msg string, fields []zap.Field) string {
	enc := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m"})
	buf, err := enc.EncodeEntry(zapcore.Entry{Message: msg}, fields)
	if err != nil {
		return msg
	}
	defer buf.Free()
	return buf.String()
}
