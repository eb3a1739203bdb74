package rpdb

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func set(link int, n SettingName, v int) Setting { return Setting{SettingKey{link, n}, v} }

func TestDiffSettings(t *testing.T) {
	wanted := set(2, ARPIgnore, 1)
	ours := Changed{Setting: wanted, Was: 0}
	put, back := Op{Verb: SetSetting, Setting: wanted}, Op{Verb: PutBack, Setting: set(2, ARPIgnore, 0), Ours: 1}
	for name, c := range map[string]struct {
		wanted []Setting
		actual []Setting
		ours   []Changed
		want   []Op
	}{
		"nothing":                               {},
		"another value":                         {wanted: []Setting{wanted}, actual: []Setting{set(2, ARPIgnore, 0)}, want: []Op{put}},
		"as wanted":                             {wanted: []Setting{wanted}, actual: []Setting{wanted}},
		"not known: what would be put back?":    {wanted: []Setting{wanted}, actual: []Setting{set(AllLinks, ARPIgnore, 0), set(3, ARPIgnore, 0), set(2, RPFilter, 0)}},
		"as wanted, and ours":                   {wanted: []Setting{wanted}, actual: []Setting{wanted}, ours: []Changed{ours}},
		"ours, and changed by somebody":         {wanted: []Setting{wanted}, actual: []Setting{set(2, ARPIgnore, 0)}, ours: []Changed{ours}, want: []Op{put}},
		"ours, and not wanted any more":         {actual: []Setting{wanted}, ours: []Changed{ours}, want: []Op{back}},
		"not wanted any more, and not known":    {ours: []Changed{ours}, want: []Op{back}},
		"not wanted any more, and not ours":     {actual: []Setting{set(2, ARPIgnore, 2)}, ours: []Changed{ours}},
		"the same value, but nothing of ours":   {actual: []Setting{wanted}},
		"all is above: the link's is set":       {wanted: []Setting{wanted}, actual: []Setting{set(AllLinks, ARPIgnore, 1), set(2, ARPIgnore, 0)}, want: []Op{put}},
		"ours of one setting, another's wanted": {wanted: []Setting{set(2, RPFilter, 2)}, actual: []Setting{wanted, set(2, RPFilter, 2)}, ours: []Changed{ours}, want: []Op{back}},
	} {
		got, _ := Diff(State{Settings: c.wanted}, &Snapshot{Settings: c.actual, Changed: c.ours})
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b Op) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDiffOrderOfSettings: settings are set before anything comes, and put back after everything went.
func TestDiffOrderOfSettings(t *testing.T) {
	rule := Rule{Family: IPv4, Priority: 4400, Action: ActLookup, Table: 7000, Protocol: 117}
	old := Rule{Family: IPv4, Priority: 4500, Action: ActLookup, Table: 7000, Protocol: 117}
	route := Route{RouteKey: RouteKey{Table: 7000, Dst: IPv4.Any()}, Type: Unicast, OIF: 2, Protocol: 117}
	gone := Route{RouteKey: RouteKey{Table: 7001, Dst: IPv4.Any()}, Type: Unicast, OIF: 3, Protocol: 117}
	ops, _ := Diff(
		State{Rules: []Rule{rule}, Routes: []Route{route}, Settings: []Setting{set(2, RPFilter, 2), set(2, ARPIgnore, 1)}},
		&Snapshot{
			Rules: []Rule{old}, Routes: []Route{gone}, Settings: []Setting{set(2, RPFilter, 1), set(2, ARPIgnore, 0), set(3, RPFilter, 2)},
			Changed: []Changed{{set(3, RPFilter, 2), 1}},
		}, 117)
	var got []string
	for _, o := range ops {
		got = append(got, o.Verb.String())
		if o.Verb.Removes() != (o.Verb == DelRule || o.Verb == DelRoute || o.Verb == PutBack) || o.Verb.Sets() != (o.Setting != Setting{}) {
			t.Errorf("%s: removes %v, sets %v", o.Verb, o.Verb.Removes(), o.Verb.Sets())
		}
	}
	want := []string{"setting set", "setting set", "route add", "rule add", "rule del", "route del", "setting put back"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ops[0].Setting.Name != ARPIgnore {
		t.Errorf("the order of settings is not fixed: %v first", ops[0].Setting)
	}
}

func TestSettingText(t *testing.T) {
	names := func(i int) string { return map[int]string{2: "wan.100", 3: "a\x1b"}[i] }
	for want, s := range map[string]Setting{
		"net.ipv4.conf.wan/100.arp_ignore = 1": set(2, ARPIgnore, 1),
		`net.ipv4.conf.a\x1b.rp_filter = 2`:    set(3, RPFilter, 2),
		"net.ipv4.conf.all.arp_announce = 0":   set(AllLinks, ARPAnnounce, 0),
	} {
		if got := s.Text(names); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestEffective(t *testing.T) {
	s := Snapshot{Settings: []Setting{set(AllLinks, RPFilter, 1), set(2, RPFilter, 2), set(3, RPFilter, 0)}}
	for _, c := range []struct {
		link, value int
		known       bool
	}{{2, 2, true}, {3, 1, true}, {4, 1, false}} {
		if v, known := s.Effective(SettingKey{c.link, RPFilter}); v != c.value || known != c.known {
			t.Errorf("link %d: %d %v, want %d %v", c.link, v, known, c.value, c.known)
		}
	}
	for name, known := range map[SettingName]bool{ARPIgnore: true, ARPAnnounce: true, RPFilter: true, SrcValidMark: true, "forwarding": false, "../x": false} {
		if name.Known() != known {
			t.Errorf("%s: known %v", name, name.Known())
		}
	}
}
