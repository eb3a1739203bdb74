package lease

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SourceNetworkd is systemd-networkd's DHCPv4 client, by the lease files that it leaves in /run/systemd/netif/leases.
const SourceNetworkd Source = "networkd"

// The limits of a lease file, those of a hook's message.
const (
	MaxNetworkdFile  = 64 << 10 // bytes of a file
	MaxNetworkdValue = 4 << 10  // bytes of one value
)

// ParseNetworkd understands a lease file of systemd-networkd: lines KEY=VALUE, of 252 as recorded and of others as their
// source has it (sd-dhcp-lease.c, dhcp_lease_save). The file names all that networkd's DHCPv4 client has on the link, so the
// event is a Replace; where there is nothing to learn, an Ignore. It bears no time: Lifetime counts from when it was written.
//
// The ifindex is the file's name, the interface's name is for people.
func ParseNetworkd(index int, name string, data []byte) Event {
	ev := Event{Source: SourceNetworkd, Interface: name, Index: index, Reason: "lease file"}
	var p problems
	if len(data) > MaxNetworkdFile {
		p.addf("lease file of %d bytes, at most %d are taken", len(data), MaxNetworkdFile)
		ev.ignore("too long")
		ev.Problems = p.list()
		return ev
	}
	in := networkdInput(data, &p)
	bind4(in, networkdKeys(in), &ev, &p)
	if ev.Verb == Bind {
		ev.Lease.Lifetime = timespan(in.Env["LIFETIME"], &p)
		ev.Verb, ev.Leases, ev.Lease, ev.Sole = Replace, []Lease{ev.Lease}, Lease{}, false
	}
	ev.Problems = p.list()
	return ev
}

// networkdInput reads the lines. A key that is there twice is none of networkd's doing: the first counts, which is before
// all text that a server may choose.
func networkdInput(data []byte, p *problems) Input {
	in := Input{Env: make(map[string]string)}
	for line := range strings.Lines(string(data)) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || !slices.Contains(networkdNames(), k) {
			continue // "# This is private data.", host names, client ids: not needed
		}
		if _, twice := in.Env[k]; twice || slices.Contains(in.Refused, k) {
			p.addf("%s is there twice", k)
			continue
		}
		if len(v) > MaxNetworkdValue {
			in.Refused = append(in.Refused, k)
			continue
		}
		in.Env[k] = v
	}
	return in
}

func networkdNames() []string {
	return []string{"ADDRESS", "NETMASK", "ROUTER", "DNS", "MTU", "LIFETIME", "CLASSLESS_ROUTES", "ROUTES"}
}

// networkdKeys says which key means what. Before 251 there was one ROUTES for options 33 and 121, in which only a default
// route tells that it is of option 121: then that counts, and otherwise the router option does, as if it were option 33.
func networkdKeys(in Input) keys4 {
	k := keys4{
		address: "ADDRESS", mask: "NETMASK", routers: "ROUTER", dns: "DNS", mtu: "MTU",
		classless: []spelling{{key: "CLASSLESS_ROUTES", routes: classlessCommas}},
	}
	old, err := classlessCommas(in.Env["ROUTES"])
	if err != nil || slices.ContainsFunc(old, func(r Route) bool { return r.Dst.Bits() == 0 }) || in.refused("ROUTES") {
		k.classless = append(k.classless, spelling{key: "ROUTES", routes: classlessCommas})
	}
	return k
}

// classlessCommas reads "10.1.2.0/24,192.0.2.1 0.0.0.0/0,192.0.2.7", all or nothing: option 121 as networkd writes it.
func classlessCommas(s string) ([]Route, error) {
	var routes []Route
	for _, w := range strings.Fields(s) {
		to, via, ok := strings.Cut(w, ",")
		dst, err := netip.ParsePrefix(to)
		if !ok || err != nil || !dst.Addr().Is4() {
			return nil, errForm
		}
		gw, err := inet.addr(via)
		if err != nil {
			return nil, errForm
		}
		routes = append(routes, Route{Dst: dst.Masked(), Gateway: gw})
	}
	return routes, nil
}

// timespan reads a lifetime: a number of seconds, or in newer versions "1d 2h 3min 4s" or "infinity" (systemd.time(7), which also
// gives the lengths of a month and a year).
func timespan(s string, p *problems) time.Duration {
	if !strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") {
		return lifetime("lease time", s, p)
	}
	if s == "infinity" {
		return Infinite
	}
	units := map[string]float64{"y": 31557600, "month": 2629800, "w": 604800, "d": 86400, "h": 3600, "min": 60, "s": 1}
	var sum float64
	for _, w := range strings.Fields(s) {
		digits := strings.TrimRight(w, "abcdefghijklmnopqrstuvwxyz")
		n, err := strconv.ParseUint(digits, 10, 32)
		unit, known := units[w[len(digits):]]
		if err != nil || !known {
			p.addf("lease time %s: not a time span", quote(s))
			return 0
		}
		sum += float64(n) * unit
	}
	if sum > 1<<32-1 {
		p.addf("lease time %s: more than 32 bits of seconds", quote(s))
		return 0
	}
	return time.Duration(sum) * time.Second
}
