package lease

// parseUdhcpc understands BusyBox's udhcpc: the argument is the action, and the variables have no prefix and no old values.
//
// deconfig comes at the start, and when a lease is lost, refused, released or given up: there is none of udhcpc's then.
func parseUdhcpc(in Input, ev *Event, p *problems) {
	ev.Reason = in.arg(0)
	switch ev.Reason {
	case "bound", "renew":
		bind4(in, udhcpcKeys(), ev, p)
	case "deconfig":
		ev.Verb = RemoveAll
	case "nak", "leasefail":
		ev.ignore("deconfig follows where there was a lease")
	case "":
		ev.ignore("no action named")
	default:
		ev.Reason = quote(ev.Reason)
		ev.ignore("unknown action")
	}
}

// udhcpcKeys are udhcpc's variables (networking/udhcp/common.c of BusyBox, dhcp_option_strings). Where option 121 begins
// with nonsense, staticroutes is set and empty.
func udhcpcKeys() keys4 {
	return keys4{
		address: "ip", mask: "subnet", bits: "mask", routers: "router", dns: "dns", mtu: "mtu", lifetime: "lease",
		classless: []spelling{{key: "staticroutes", routes: classlessPrefixes, empty: true}},
	}
}
