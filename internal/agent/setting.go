package agent

import (
	"context"
	"fmt"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// A setting of a link bears no mark of who wrote it. What we wrote, and what was there before, is kept on disk before the first
// write, for as long as the link is there and until it has been put back.

// recall tells the snapshot which settings are ours. Those of links that are gone are forgotten, for a link takes its values
// along; so are those that somebody else has changed since, for his are the newer ones.
func (a *Agent) recall() {
	a.settings = slices.DeleteFunc(slices.Clone(a.settings), func(c state.Setting) bool {
		l, there := a.snap.Link(c.Index)
		// A link may be renamed, and may change its address; a new one that was given the number differs in both.
		return !there || l.Name != c.Interface && l.MAC != c.MAC || !rpdb.SettingName(c.Name).Known()
	})
	a.snap.Changed = nil
	for i := range a.settings {
		c := &a.settings[i]
		l, _ := a.snap.Link(c.Index)
		c.Interface, c.MAC = l.Name, l.MAC
		a.snap.Changed = append(a.snap.Changed, rpdb.Changed{Setting: rpdb.Setting{SettingKey: keyOf(*c), Value: c.Value}, Was: c.Was})
	}
}

func keyOf(c state.Setting) rpdb.SettingKey {
	return rpdb.SettingKey{Link: c.Index, Name: rpdb.SettingName(c.Name)}
}

// note remembers what the operations will overwrite. A value that is neither ours nor the one that we once found is
// somebody's newer will, and is what will be put back.
func (a *Agent) note(ops []rpdb.Op, desired rpdb.State) {
	wanted := func(c state.Setting) bool {
		return slices.ContainsFunc(desired.Settings, func(s rpdb.Setting) bool { return s.SettingKey == keyOf(c) })
	}
	a.settings = slices.DeleteFunc(a.settings, func(c state.Setting) bool {
		now, known := a.snap.Setting(keyOf(c))
		return known && now != c.Value && !wanted(c)
	})
	for _, o := range ops {
		if o.Verb != rpdb.SetSetting {
			continue
		}
		now, _ := a.snap.Setting(o.Setting.SettingKey)
		i := slices.IndexFunc(a.settings, func(c state.Setting) bool { return keyOf(c) == o.Setting.SettingKey })
		if i >= 0 && now == a.settings[i].Value {
			a.settings[i].Value = o.Setting.Value
			continue
		}
		l, _ := a.snap.Link(o.Setting.Link)
		c := state.Setting{Index: l.Index, Interface: l.Name, MAC: l.MAC, Name: string(o.Setting.Name), Value: o.Setting.Value, Was: now}
		if i >= 0 {
			a.settings[i] = c
		} else {
			a.settings = append(a.settings, c)
		}
	}
}

// carryOut is apply, but for settings while the state cannot be saved: nobody would know what to put back.
func (a *Agent) carryOut(ctx context.Context, ops []rpdb.Op) map[int]error {
	first := 0 // of the operations to be done: settings are the first (rpdb.Diff)
	for a.unsaved && first < len(ops) && ops[first].Verb == rpdb.SetSetting {
		first++
	}
	failed := make(map[int]error)
	for i := range first {
		failed[i] = fmt.Errorf("set %q: it has to wait, for what is there now cannot be kept on disk", a.opText(ops[i]))
	}
	for i, err := range a.apply(ctx, ops[first:]) {
		failed[first+i] = err
	}
	return failed
}

// settle forgets the settings that are put back, and has what the kernel would not set stand in the status alone: neither the
// answer to a hook nor the next look hang on it.
func (a *Agent) settle(v *uplink.View, ops []rpdb.Op, failed map[int]error) {
	back := false
	for i, o := range ops {
		err := failed[i]
		switch {
		case o.Verb == rpdb.PutBack && err == nil:
			back = true
			a.settings = slices.DeleteFunc(a.settings, func(c state.Setting) bool { return keyOf(c) == o.Setting.SettingKey })
		case o.Verb == rpdb.PutBack:
			v.Problems = append(v.Problems, fmt.Sprintf("what was set before cannot be put back: %v", err))
		}
		if o.Verb.Sets() {
			delete(failed, i)
		}
	}
	if back {
		a.persist()
	}
}

// filtered says whether the reverse path filter has dropped packets since the first look.
func (a *Agent) filtered() bool {
	if a.stats.Looks == 0 {
		a.unfiltered = a.snap.Filtered
	}
	return a.snap.Filtered > a.unfiltered
}
