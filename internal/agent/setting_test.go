package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// settingNames are those that arp = "strict" sets, in the order in which values are told here.
func settingNames() [3]rpdb.SettingName {
	return [3]rpdb.SettingName{rpdb.ARPIgnore, rpdb.ARPAnnounce, rpdb.RPFilter}
}

func strictValues() [3]int { return [3]int{1, 2, 2} }
func noValues() [3]int     { return [3]int{} }

func strictConfig() config.Config {
	cfg := config.Default()
	cfg.ARPStrict = true
	return cfg
}

func (b *bench) values(dev string) (vs [3]int) {
	b.t.Helper()
	for i, name := range settingNames() {
		v, err := b.kernel.GetSetting(dev, name)
		b.must(err)
		vs[i] = v
	}
	return vs
}

func (b *bench) wantValues(when string, want [3]int) {
	b.t.Helper()
	if got := b.values("eth0"); got != want {
		b.t.Errorf("%s: %v, want %v", when, got, want)
	}
}

// strict is a bench whose uplink eth0 is strict by the configuration.
func strict(t *testing.T) *bench {
	b := newBench(t)
	b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
	b.start()
	b.must(b.hook("192.0.2.10", "192.0.2.1"), b.agent.Reload(t.Context(), strictConfig(), nil))
	b.wantValues("strict", strictValues())
	return b
}

// TestSettingsAreKeptBeforeTheyAreWritten: what was there before is on disk when the kernel is asked to change it.
func TestSettingsAreKeptBeforeTheyAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.SetSetting("eth0", rpdb.RPFilter, 1))
		b.start()
		defer func() { b.stop() }()
		b.must(b.hook("192.0.2.10", "192.0.2.1"))
		index, err := b.kernel.Index("eth0")
		b.must(err)
		var early []state.Setting
		b.kernel.Refuse(func(o rpdb.Op) error {
			if o.Verb == rpdb.SetSetting {
				early = b.disk.load().Settings
			}
			return nil
		})
		b.must(b.agent.Reload(t.Context(), strictConfig(), nil))
		want := []state.Setting{
			{Index: index, Interface: "eth0", Name: "arp_announce", Value: 2, Was: 0},
			{Index: index, Interface: "eth0", Name: "arp_ignore", Value: 1, Was: 0},
			{Index: index, Interface: "eth0", Name: "rp_filter", Value: 2, Was: 1},
		}
		if diff := cmp.Diff(want, early); diff != "" {
			t.Errorf("on disk at the first write (-want +got):\n%s", diff)
		}
		b.must(b.agent.Flush(t.Context()))
		b.wantValues("flushed", [3]int{0, 0, 1})
		if left := b.disk.load().Settings; len(left) != 0 {
			t.Errorf("on disk after all is put back: %+v", left)
		}
	})
}

// TestSettingsOverACrash: a run that ended between any two steps leaves what the next one needs.
func TestSettingsOverACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := strict(t)
		b.stop() // it says goodbye to nobody
		kept := b.disk.load().Settings
		for _, c := range []struct {
			name  string
			there [3]int // what the kernel has when the next run starts, without the key
			want  [3]int
		}{
			{"after the writes", strictValues(), noValues()},
			{"before the writes", noValues(), noValues()},
			{"between the writes", [3]int{1, 0, 0}, noValues()},
			{"somebody was quicker", [3]int{2, 1, 1}, [3]int{2, 1, 1}},
		} {
			b.disk.s.Settings = kept
			for i, name := range settingNames() {
				b.must(b.kernel.SetSetting("eth0", name, c.there[i]))
			}
			b.start()
			time.Sleep(time.Second)
			b.wantValues(c.name, c.want)
			b.stop()
			if left := b.disk.load().Settings; len(left) != 0 {
				t.Errorf("%s: on disk %+v", c.name, left)
			}
		}
	})
}

// TestSettingsOfAnotherLink: a link that took the number of one that is gone has values of its own.
func TestSettingsOfAnotherLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			kept func(*state.Setting)
			want [3]int
		}{
			{"the same", func(*state.Setting) {}, noValues()},
			{"renamed", func(s *state.Setting) { s.Interface = "wan7" }, noValues()},
			{"with another address", func(s *state.Setting) { s.MAC = "02:00:00:00:00:07" }, noValues()},
			{"with another name and address", func(s *state.Setting) { s.Interface, s.MAC = "wan7", "02:00:00:00:00:07" }, strictValues()},
			{"gone", func(s *state.Setting) { s.Index = 99 }, strictValues()},
			{"edited by hand", func(s *state.Setting) { s.Name = "../../../kernel/panic" }, strictValues()},
		} {
			b := strict(t)
			b.stop()
			for i := range b.disk.s.Settings {
				c.kept(&b.disk.s.Settings[i])
			}
			b.start()
			time.Sleep(time.Second)
			b.wantValues(c.name, c.want)
			b.stop()
			if left := b.disk.load().Settings; len(left) != 0 {
				t.Errorf("%s: on disk %+v", c.name, left)
			}
			for _, o := range b.kernel.ops {
				if o.Verb.Sets() && !o.Setting.Name.Known() {
					t.Errorf("%s: the kernel was asked for %q", c.name, o.Setting.Name)
				}
			}
		}
	})
}

// TestSettingsWaitForTheSpool: a lease that is still in the spool may make the link an uplink again. Until it is read, nothing is
// put back.
func TestSettingsWaitForTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := strict(t)
		b.stop()
		complete := make(chan struct{})
		a := agent.New(agent.Options{
			Kernel: b.kernel, Store: b.disk, State: b.disk.load(), Config: config.Default(), Log: zap.NewNop(), Complete: complete,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(3 * time.Minute)
		b.wantValues("before all is heard", strictValues())
		close(complete)
		time.Sleep(time.Second)
		b.wantValues("when all is heard", noValues())
		cancel()
		b.must(<-done)
	})
}

// TestSettingsAreFlushed by a single look, as "uplinkd --flush" takes.
func TestSettingsAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := strict(t)
		b.stop()
		a := agent.New(agent.Options{Kernel: b.kernel, Store: b.disk, State: b.disk.load(), Config: strictConfig(), Log: zap.NewNop()})
		a.Suspend()
		b.must(a.Reconcile(t.Context()))
		b.wantValues("flushed", noValues())
		if left := b.disk.load().Settings; len(left) != 0 {
			t.Errorf("on disk %+v", left)
		}
	})
}

// TestSettingsCannotBeKept: where the state cannot be saved, nothing is set, and the status says why; rules are made all the same.
func TestSettingsCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"))
		b.start()
		defer func() { b.stop() }()
		b.disk.mu.Lock()
		b.disk.fail = errors.New("disk full")
		b.disk.mu.Unlock()
		b.must(b.agent.Reload(t.Context(), strictConfig(), nil), b.hook("192.0.2.10", "192.0.2.1"))
		b.wantRules(uplinkRules)
		b.wantValues("the disk is full", noValues())
		b.wantProblem(`set "net.ipv4.conf.eth0.arp_ignore = 1": it has to wait, for what is there now cannot be kept on disk`)
		before, _ := b.kernel.asked()
		time.Sleep(10 * time.Minute)
		if looks, _ := b.kernel.asked(); looks-before > 12 {
			t.Errorf("%d looks in 10 minutes", looks-before)
		}
		if st, err := b.agent.Status(t.Context()); err != nil || st.Stats.Drift != 0 {
			t.Errorf("drift %d, %v", st.Stats.Drift, err)
		}
		b.disk.mu.Lock()
		b.disk.fail = nil
		b.disk.mu.Unlock()
		time.Sleep(2 * time.Minute)
		b.wantValues("the disk has room again", strictValues())
	})
}

func (b *bench) wantProblem(want string) {
	b.t.Helper()
	st, err := b.agent.Status(context.Background())
	b.must(err)
	all := slices.Clone(st.Problems)
	for _, u := range st.Uplinks {
		all = append(all, u.Problems...)
		if len(u.Problems) > 0 && u.State == uplink.Up {
			b.t.Errorf("%s has problems and is up", u.Name)
		}
	}
	if !slices.ContainsFunc(all, func(p string) bool { return strings.Contains(p, want) }) {
		b.t.Errorf("problems %q, want %q", all, want)
	}
}

// TestSettingsRefused: a read-only /proc/sys is a problem of the uplink's, and holds up neither the hook nor the looks, nor is it
// tried more often than a look comes. What cannot be put back is said, too.
func TestSettingsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := strict(t)
		defer func() { b.stop() }()
		readOnly := func(o rpdb.Op) error {
			if o.Verb.Sets() {
				return fmt.Errorf("set it: %w", unix.EROFS)
			}
			return nil
		}
		b.kernel.Refuse(readOnly)
		b.must(b.agent.Flush(t.Context()))
		b.wantValues("cannot be put back", strictValues())
		b.wantProblem("what was set before cannot be put back: set it: read-only file system")
		b.kernel.Refuse(nil)
		time.Sleep(2 * time.Minute)
		b.wantValues("put back later", noValues())

		b.kernel.Refuse(readOnly)
		b.must(b.agent.Reload(t.Context(), strictConfig(), nil), b.hook("192.0.2.10", "192.0.2.2"))
		b.wantRules(uplinkRules)
		b.wantProblem("set it: read-only file system")
		before, _ := b.kernel.asked()
		time.Sleep(10 * time.Minute)
		looks, _ := b.kernel.asked()
		st, err := b.agent.Status(t.Context())
		if err != nil || looks-before > 12 || st.Stats.Drift != 0 || st.Stats.LastError != "" {
			t.Errorf("%d looks in 10 minutes, drift %d, error %q, %v", looks-before, st.Stats.Drift, st.Stats.LastError, err)
		}
	})
}

// TestSettingsDrift: somebody who takes a value back again and again is not fought over without bounds, and what he had set in
// the end is what he gets back.
func TestSettingsDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := strict(t)
		defer func() { b.stop() }()
		b.must(b.kernel.SetSetting("eth0", rpdb.ARPIgnore, 2))
		time.Sleep(2 * time.Minute) // there is no event: the look of every minute finds it
		b.wantValues("drift", strictValues())
		if n := b.logs.FilterMessage("drift repaired").Len(); n != 1 {
			t.Errorf("%d lines of drift", n)
		}
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			b.must(b.kernel.SetSetting("eth0", rpdb.ARPIgnore, 2))
			_ = b.kernel.PutRule(rpdb.Rule{Family: rpdb.IPv4, Priority: 1, Action: rpdb.ActNop, Mark: uint32(time.Now().UnixNano()), Mask: ^uint32(0)})
		}
		st, err := b.agent.Status(t.Context())
		if err != nil || st.Stats.Drift < 10 || st.Stats.Drift > 75 {
			t.Errorf("%d repairs in a minute, %v", st.Stats.Drift, err)
		}
		time.Sleep(2 * time.Minute)
		b.wantValues("after the fight", strictValues())
		b.must(b.agent.Flush(t.Context()))
		b.wantValues("flushed", [3]int{2, 0, 0})
	})
}

// TestNotesAreLoggedOnce, and make no uplink worse.
func TestNotesAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.kernel.AddLink(rpdb.Link{Name: "eth1"})
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.Addr("eth1", "192.0.2.11/24"))
		b.start()
		defer func() { b.stop() }()
		i, err := b.kernel.Index("eth1")
		b.must(err, b.hook("192.0.2.10", "192.0.2.1"), b.agent.Hook(t.Context(), bind("eth1", i, "192.0.2.11", "192.0.2.1")))
		time.Sleep(10 * time.Minute)
		st, err := b.agent.Status(t.Context())
		b.must(err)
		for _, u := range st.Uplinks {
			if u.State != uplink.Up || len(u.Problems) != 0 || len(u.Notes) != 1 {
				t.Errorf("%s is %s with problems %q and notes %q", u.Name, u.State, u.Problems, u.Notes)
			}
		}
		times := make(map[string]int)
		for _, line := range b.logs.FilterMessage("note").All() {
			times[line.ContextMap()["problem"].(string)]++
		}
		const text = "eth0 and eth1 are in one subnet, 192.0.2.0/24: unless these are two networks, each answers ARP for the other's address, and what " +
			"then comes in by the wrong one is lost where rp_filter is 1; the mend: arp = \"strict\" in the [[uplink]] section of eth0 and "
		want := map[string]int{text + "sysctl -w net.ipv4.conf.eth1.arp_ignore=1": 1, text + "that of eth1": 1} // before it is an uplink, and after
		if diff := cmp.Diff(want, times); diff != "" {
			t.Errorf("logged (-want +got):\n%s", diff)
		}
	})
}

// TestFilteredSinceTheFirstLook: what the reverse path filter dropped before this run says nothing about the present rules.
func TestFilteredSinceTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.kernel.Filtered(7)
		b.must(b.kernel.Addr("eth0", "192.0.2.10/24"), b.kernel.SetSetting("eth0", rpdb.RPFilter, 1))
		b.start()
		defer func() { b.stop() }()
		cfg := config.Default()
		cfg.Uplinks = []config.Uplink{{Interface: "eth0", Settings: config.Settings{Configured: true, Fence: true, Mark: 0x100, Mask: 0xf00}}}
		b.must(b.hook("192.0.2.10", "192.0.2.1"), b.agent.Reload(t.Context(), cfg, nil))
		b.wantDropped("before any", false)
		b.kernel.Filtered(1)
		b.must(b.agent.Reload(t.Context(), cfg, nil))
		b.wantDropped("after one", true)
	})
}

// wantDropped wants eth0's note about its strict filter to say whether packets were dropped.
func (b *bench) wantDropped(when string, want bool) {
	b.t.Helper()
	st, err := b.agent.Status(b.t.Context())
	b.must(err)
	notes := st.Uplinks[0].Notes
	if len(notes) != 1 || strings.Contains(notes[0], "packets have been dropped since uplinkd started") != want {
		b.t.Errorf("%s: notes %q", when, notes)
	}
}
