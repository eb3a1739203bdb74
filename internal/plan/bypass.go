package plan

import "github.com/uplinkd/uplinkd/internal/rpdb"

// bypass keeps main from sending a source's packets by another uplink's gateway: a VPN's route to its server is such a one.
func (b *builder) bypass(from rpdb.Rule) {
	for _, host := range b.u.Bypass {
		if rpdb.FamilyOf(host.Addr()) == from.Family {
			r := from
			r.Dst, r.Table = host, b.u.Table
			b.rule(StepBypass, r, "main has it by another uplink's gateway")
		}
	}
}
