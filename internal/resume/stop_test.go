package resume

import (
	"context"
	"testing"
	"time"
)

// TestStopsEachTime: a context that ends at any moment ends Run, whichever of those who wait for it hears of it first.
func TestStopsEachTime(t *testing.T) {
	for i := range 1000 {
		w := New(Config{Wake: func(context.Context, time.Duration) {}})
		parent, cancel := context.WithCancel(t.Context())
		ctx, release := context.WithCancel(parent) // others hang on the same one, as in the daemon
		for range 8 {
			context.AfterFunc(ctx, func() {})
		}
		done := make(chan struct{})
		go func() { _ = w.Run(ctx); close(done) }()
		<-w.Ready()
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("run %d: Run did not end", i)
		}
		release()
	}
}
