package plan

import (
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// Setting is a setting of a link with its reason.
type Setting struct {
	rpdb.Setting
	Uplink string
	Why    string
}

// settings plans the settings of an uplink's link, whether it has a table or not, and while it is down too: the other link is
// not to answer for it then.
func (b *builder) settings(u uplink.Uplink) {
	for _, s := range u.Sysctls {
		b.plan.Settings = append(b.plan.Settings, Setting{Setting: s, Uplink: u.Name, Why: `arp = "strict" of the configuration`})
	}
}
