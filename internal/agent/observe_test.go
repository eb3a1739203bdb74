package agent_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// told is what an observer was told, each time.
type told struct {
	mu    sync.Mutex
	times [][]uplink.Observed
}

func (o *told) watch(links []uplink.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.times = append(o.times, links)
}

func (o *told) all() [][]uplink.Observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.times)
}

// observing is a running agent with an observer, which by its configuration is to watch eth0.
func observing(t *testing.T, cfg config.Config) (*bench, *told) {
	b, o := newBench(t), &told{}
	core, logs := observer.New(zap.InfoLevel)
	b.logs = logs
	b.agent = agent.New(agent.Options{Kernel: b.kernel, Store: b.disk, Config: cfg, Log: zap.New(core), Observe: o.watch})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.agent.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return b, o
}

func observeEth0() config.Config {
	cfg := config.Default()
	cfg.Uplinks = []config.Uplink{{Interface: "eth0", Settings: config.Settings{Configured: true, ObserveDHCP: true, Fence: true}}}
	return cfg
}

// TestObserve: the observer is told what to watch when that changes, and only then.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, o := observing(t, config.Default())
		defer func() { b.stop() }()
		settle := func(want int) []uplink.Observed {
			t.Helper()
			time.Sleep(3 * time.Minute) // with several looks
			all := o.all()
			if len(all) != want {
				t.Fatalf("told %d times, want %d: %+v", len(all), want, all)
			}
			return all[want-1]
		}
		if got := settle(1); len(got) != 0 {
			t.Errorf("to watch %+v", got)
		}
		b.must(b.agent.Reload(t.Context(), observeEth0(), nil))
		if got := settle(2); len(got) != 1 || got[0].Name != "eth0" || got[0].Unrouted != nil {
			t.Errorf("to watch %+v", got)
		}
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		if got := settle(3); len(got) != 1 || len(got[0].Unrouted) != 1 {
			t.Errorf("to watch %+v", got)
		}
		b.must(b.agent.Flush(t.Context()))
		if got := settle(4); len(got) != 1 || len(got[0].Unrouted) != 0 {
			t.Errorf("to watch after flush %+v", got)
		}
		b.must(b.agent.Reload(t.Context(), observeEth0(), nil), b.hook("192.0.2.10", "192.0.2.1"))
		if got := o.all(); len(got[len(got)-1]) != 1 || len(got[len(got)-1][0].Unrouted) != 0 {
			t.Errorf("to watch with a gateway %+v", got)
		}
		b.must(b.agent.Reload(t.Context(), config.Default(), nil))
		if got := o.all(); len(got[len(got)-1]) != 0 {
			t.Errorf("to watch after it was switched off %+v", got)
		}
	})
}

// TestComplain: what a source cannot do stands with its link's uplink, is logged once, and goes again.
func TestComplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := observing(t, observeEth0())
		defer func() { b.stop() }()
		i, err := b.kernel.Index("eth0")
		b.must(err)
		problems := func() (general, own []string) {
			time.Sleep(time.Second)
			st, err := b.agent.Status(t.Context())
			b.must(err)
			for _, u := range st.Uplinks {
				own = append(own, u.Problems...)
				if u.State != uplink.Up {
					t.Errorf("the uplink is %s", u.State)
				}
			}
			return st.Problems, own
		}
		b.must(b.agent.Complain(t.Context(), "wire", map[int]string{i: "cannot"}))
		if general, own := problems(); !slices.Equal(general, []string{"cannot"}) || own != nil {
			t.Errorf("without an uplink: %q, %q", general, own)
		}
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.hook("192.0.2.10", "192.0.2.1"))
		if general, own := problems(); len(general) > 0 || !slices.Equal(own, []string{"cannot"}) {
			t.Errorf("with one: %q, %q", general, own)
		}
		lines := map[int]string{i + 100: "elsewhere"}
		b.must(b.agent.Complain(t.Context(), "third", lines))
		lines[i+100] = "changed by the caller"
		if general, own := problems(); !slices.Equal(general, []string{"elsewhere"}) || !slices.Equal(own, []string{"cannot"}) {
			t.Errorf("of a link without an uplink: %q, %q", general, own)
		}
		b.must(b.agent.Complain(t.Context(), "third", nil))
		if n := b.logs.FilterMessage("problem").Filter(func(e observer.LoggedEntry) bool {
			return strings.Contains(e.ContextMap()["problem"].(string), "cannot")
		}).Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
		b.must(b.agent.Complain(t.Context(), "other", map[int]string{i: "neither"}), b.agent.Complain(t.Context(), "wire", nil))
		if _, own := problems(); !slices.Equal(own, []string{"neither"}) {
			t.Errorf("after that: %q", own)
		}
	})
}
