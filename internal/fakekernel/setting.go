package fakekernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// SetSetting is sysctl(8): it gives a setting of a link, or of "all", a value. There is no event.
func (k *Kernel) SetSetting(dev string, name rpdb.SettingName, value int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	index := rpdb.AllLinks
	if dev != "all" {
		i, err := k.find(dev)
		if err != nil {
			return err
		}
		index = k.links[i].Index
	}
	return k.writeSetting(rpdb.Setting{SettingKey: rpdb.SettingKey{Link: index, Name: name}, Value: value})
}

// GetSetting is the value of a link's own setting, or of that of "all".
func (k *Kernel) GetSetting(dev string, name rpdb.SettingName) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if dev == "all" {
		return k.settings[rpdb.SettingKey{Name: name}], nil
	}
	i, err := k.find(dev)
	if err != nil {
		return 0, err
	}
	return k.settings[rpdb.SettingKey{Link: k.links[i].Index, Name: name}], nil
}

// Neighbor gives the kernel an ARP entry. There is no event.
func (k *Kernel) Neighbor(n rpdb.Neighbor) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.neighbors = append(k.neighbors, n)
}

// Filtered adds to the count of packets that the reverse path filter dropped.
func (k *Kernel) Filtered(n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.filtered += n
}

func (k *Kernel) writeSetting(s rpdb.Setting) error {
	if !s.Name.Known() {
		return fmt.Errorf("set %q: %w", s.Text(k.name), unix.ENOENT)
	}
	if k.settings == nil {
		k.settings = make(map[rpdb.SettingKey]int)
	}
	k.settings[s.SettingKey] = s.Value
	return nil
}

// applySetting does what Apply does with a setting.
func (k *Kernel) applySetting(o rpdb.Op) error {
	there := false
	for _, l := range k.links {
		there = there || l.Index == o.Setting.Link
	}
	switch {
	case !there && o.Verb == rpdb.PutBack:
		return nil
	case !there:
		return fmt.Errorf("set %q: %w", o.Setting.Text(k.name), unix.ENXIO)
	case o.Verb == rpdb.PutBack && k.settings[o.Setting.SettingKey] != o.Ours:
		return nil
	}
	return k.writeSetting(o.Setting)
}

// snapshotSettings are the settings that a snapshot holds, by the same choice as the real one's.
func (k *Kernel) snapshotSettings(s *rpdb.Snapshot) {
	add := func(link int, names ...rpdb.SettingName) {
		for _, n := range names {
			key := rpdb.SettingKey{Link: link, Name: n}
			s.Settings = append(s.Settings, rpdb.Setting{SettingKey: key, Value: k.settings[key]})
		}
	}
	add(rpdb.AllLinks, rpdb.RPFilter, rpdb.ARPIgnore, rpdb.ARPAnnounce)
	strict := false
	for _, l := range k.links {
		add(l.Index, rpdb.RPFilter)
		four := false
		for _, a := range k.addrs {
			four = four || a.Link == l.Index && a.Prefix.Addr().Is4()
		}
		if !four {
			continue
		}
		if !l.Loopback && !l.PointToPoint && l.Master == 0 {
			add(l.Index, rpdb.ARPIgnore, rpdb.ARPAnnounce)
		}
		if v, _ := s.Effective(rpdb.SettingKey{Link: l.Index, Name: rpdb.RPFilter}); v == 1 {
			strict = true
			add(l.Index, rpdb.SrcValidMark)
		}
	}
	if strict {
		add(rpdb.AllLinks, rpdb.SrcValidMark)
		s.Filtered = k.filtered
	}
}

// forget drops what goes with a link.
func (k *Kernel) forget(index int) {
	for key := range k.settings {
		if key.Link == index {
			delete(k.settings, key)
		}
	}
}
