package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/uplinkd/uplinkd/internal/control"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// table is a status for people: 80 columns, no colours, nothing that a terminal would obey.
func table(st control.Status) string {
	var b strings.Builder
	if st.Suspended {
		wrap(&b, "SUSPENDED: ", `uplinkd was flushed and keeps its hands off the kernel until "systemctl reload uplinkd" or a restart`)
	}
	if len(st.Uplinks) == 0 {
		b.WriteString("There are no uplinks.\n")
	} else {
		writeUplinks(&b, st.Uplinks)
	}
	for _, p := range st.Problems {
		wrap(&b, "! ", p)
	}
	for _, n := range st.Notes {
		wrap(&b, "note: ", n)
	}
	if st.LastError != "" {
		wrap(&b, "! ", "the last reconciliation failed: "+st.LastError)
	}
	if st.Drift > 0 {
		wrap(&b, "", fmt.Sprintf("Repaired after other programs: %d times (the log says what).", st.Drift))
	}
	if st.Filtered > 0 {
		wrap(&b, "", fmt.Sprintf("Dropped by the reverse path filter (rp_filter 1) since the boot: %d packets from sources whose answer would leave by "+
			"another link. net.ipv4.conf.all.log_martians=1 has the kernel log them.", st.Filtered))
	}
	return b.String()
}

// columns are where the columns of the table begin.
type columns struct{ iface, state, table, address, gateway int }

func layout(uplinks []control.Uplink) columns {
	name, iface, number, address := len("UPLINK"), len("INTERFACE"), len("TABLE"), len("ADDRESS")
	for _, u := range uplinks {
		name = max(name, len(word(u.Name)))
		iface = max(iface, len(word(u.Interface)))
		number = max(number, len(strconv.Itoa(int(u.Table))))
		for _, a := range addressTexts(u, "inet") {
			address = max(address, len(a))
		}
	}
	// A single hostile name must not push everything to the right: what is longer gets lines of its own.
	const longestName = 15
	c := columns{iface: min(name, longestName) + 2}
	c.state = c.iface + min(iface, longestName) + 2
	c.table = c.state + len(control.Degraded) + 2
	c.address = c.table + number + 2
	c.gateway = c.address + address + 2
	return c
}

func writeUplinks(b *strings.Builder, uplinks []control.Uplink) {
	c := layout(uplinks)
	place(b, cell{0, "UPLINK", 0, ""}, cell{c.iface, "INTERFACE", 0, ""}, cell{c.state, "STATE", 0, ""},
		cell{c.table, "TABLE", 0, ""}, cell{c.address, "ADDRESS", 0, ""}, cell{c.gateway, "GATEWAY (BY)", 0, ""})
	for _, u := range uplinks {
		cells := []cell{
			{0, word(u.Name), 0, ""}, {c.iface, word(u.Interface), c.iface, ""}, {c.state, word(u.State), c.state, ""},
			{c.table, strconv.Itoa(int(u.Table)), c.table, ""},
		}
		for _, r := range rows(u) {
			cells = append(cells, cell{c.address, r[0], c.address, ""})
			if r[1] != "" {
				cells = append(cells, cell{c.gateway, r[1], c.address + 2, "via " + r[1]})
			}
			place(b, cells...)
			cells = nil
		}
		for _, p := range u.Delegated {
			wrap(b, "  ", "delegated: "+rpdb.Printable(p.String()))
		}
		for _, p := range u.Problems {
			wrap(b, "  ! ", p)
		}
		for _, n := range u.Notes {
			wrap(b, "  note: ", n)
		}
	}
}

// rows pairs the addresses of an uplink with the gateways of their family, and has at least one row.
func rows(u control.Uplink) [][2]string {
	var out [][2]string
	for _, family := range []string{"inet", "inet6"} {
		addresses, gateways := addressTexts(u, family), gatewayTexts(u, family)
		for i := range max(len(addresses), len(gateways)) {
			out = append(out, [2]string{element(addresses, i), element(gateways, i)})
		}
	}
	if len(out) == 0 {
		return [][2]string{{"-", "-"}}
	}
	return out
}

func element(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func addressTexts(u control.Uplink, family string) []string {
	var out []string
	for _, a := range u.Addresses {
		if a.Address.Is4() != (family == "inet") {
			continue
		}
		if a.Peer.IsValid() {
			out = append(out, rpdb.Printable(a.Address.String()), "peer "+rpdb.Printable(a.Peer.String()))
			continue
		}
		out = append(out, rpdb.Printable(fmt.Sprintf("%s/%d", a.Address, a.Bits)))
	}
	return out
}

func gatewayTexts(u control.Uplink, family string) []string {
	var out []string
	for _, g := range u.Gateways {
		if g.Family != family {
			continue
		}
		to := "on-link"
		if slices.ContainsFunc(u.Addresses, func(a control.Address) bool { return a.Peer.IsValid() }) {
			to = "the peer"
		}
		if g.Address.IsValid() {
			to = rpdb.Printable(g.Address.String())
		}
		if g.Onlink {
			to += " onlink"
		}
		source := printableText(g.Source)
		const longest = 26 // "route proto ra" and the like
		if len(source) > longest {
			source = source[:longest-3] + "..."
		}
		out = append(out, to+" ("+source+")")
	}
	return out
}
