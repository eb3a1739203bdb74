package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/plan"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// TestSettings: a link's settings are planned whatever else of the uplink is, and belong to it.
func TestSettings(t *testing.T) {
	s := rpdb.Setting{SettingKey: rpdb.SettingKey{Link: 7, Name: rpdb.ARPIgnore}, Value: 1}
	for name, u := range map[string]uplink.Uplink{
		"up":            {Name: "dsl", Table: 7000, State: uplink.Up},
		"down":          {Name: "dsl", Table: 7000, State: uplink.Down},
		"without table": {Name: "dsl", State: uplink.Degraded},
	} {
		u.Sysctls = []rpdb.Setting{s}
		p := plan.Make([]uplink.Uplink{u}, uplink.Others{}, config.Default())
		want := []plan.Setting{{Setting: s, Uplink: "dsl", Why: `arp = "strict" of the configuration`}}
		if diff := cmp.Diff(want, p.Settings); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]rpdb.Setting{s}, p.State().Settings); diff != "" {
			t.Errorf("%s: state (-want +got):\n%s", name, diff)
		}
		other := s
		other.Value = 2
		if p.Owner(rpdb.Op{Verb: rpdb.SetSetting, Setting: s}) != "dsl" || p.Owner(rpdb.Op{Verb: rpdb.SetSetting, Setting: other}) != "" ||
			p.Owner(rpdb.Op{Verb: rpdb.PutBack, Setting: s}) != "" {
			t.Errorf("%s: the wrong owner", name)
		}
	}
}
