// Package plan says what the kernel should hold for a set of uplinks, and why: rules and routes, each with its reason.
//
// It is pure: no clock, no log, no I/O.
package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The steps of our block of priorities, as offsets from its base. Each has room after it. A is an address, or a prefix of them
// with "iif lo": see uplink.Source.
const (
	StepLocal      = 0   // lookup local, where somebody has moved that behind our block
	StepMark       = 10  // fwmark M/MASK lookup T: what the user said explicitly wins
	StepIIFMain    = 100 // iif IF lookup main, less its default route: the LANs still see each other
	StepIIF        = 110 // iif IF lookup T
	StepOwn        = 180 // from A to DST lookup T, less its default route: what main has closer by the uplink's own link
	StepNested     = 182 // the two steps of nested prefixes, the innermost first: see builder.closer
	StepCloser     = 190 // from A to SUBNET lookup main, less SUBNET: what main knows closer, as a virtual machine's address
	StepSubnet     = 200 // from A lookup T, less its default route: two NICs in one subnet stay apart
	StepBypass     = 250 // from A to DST lookup T: main has DST by another uplink's gateway, as a VPN's server
	StepMain       = 300 // from A lookup main, less its default routes: LAN, VPN and containers keep working
	StepBeside     = 310 // from A lookup X, less its default routes: tables that somebody else has looked up beside main
	StepDefault    = 400 // from A lookup T: a reply leaves by the link that it came in on
	StepDelegated  = 410 // from P lookup T: what hosts of a delegated prefix send leaves by its uplink
	StepFence      = 500 // from A unreachable: never by another uplink
	StepDeviceMain = 600 // oif IF lookup main, less its default routes: what is routed by IF stays so
	StepDevice     = 610 // oif IF lookup T: bound to the device
	StepTo         = 700 // to A lookup T
	StepDNS        = 710 // to DNS lookup T
)

// subnetSuppress is how much of an uplink's own table its subnets leave out.
const subnetSuppress = 0

// mainSuppress is how much of table main is left out, and of what others have asked beside it: a VPN's 0.0.0.0/1 and 128.0.0.0/1
// are a default route by another name, and so are the ::/3, 2000::/4 and 3000::/4 that OpenVPN takes for IPv6
// (redirect-gateway ipv6). They must not swallow replies either.
func mainSuppress(f rpdb.Family) rpdb.Limit {
	if f == rpdb.IPv6 {
		return rpdb.Suppress(4)
	}
	return rpdb.Suppress(1)
}

// metricIPv6 is what the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER in linux/ipv6_route.h).
const metricIPv6 = 1024

// Rule is a rule with its reason.
type Rule struct {
	rpdb.Rule
	Uplink string
	Why    string
}

// Route is a route with its reason.
type Route struct {
	rpdb.Route
	Uplink string
	Why    string
}

// Plan is what the kernel should hold, each rule and each route key once.
type Plan struct {
	Rules    []Rule
	Routes   []Route
	Settings []Setting
}

// Owner is the name of the uplink that an operation is for; empty where the plan has nothing of the kind.
func (p Plan) Owner(op rpdb.Op) string {
	switch op.Verb {
	case rpdb.AddRule:
		if i := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Rule == op.Rule }); i >= 0 {
			return p.Rules[i].Uplink
		}
	case rpdb.AddRoute, rpdb.ReplaceRoute:
		if i := slices.IndexFunc(p.Routes, func(r Route) bool { return r.Route == op.Route }); i >= 0 {
			return p.Routes[i].Uplink
		}
	case rpdb.SetSetting:
		if i := slices.IndexFunc(p.Settings, func(s Setting) bool { return s.Setting == op.Setting }); i >= 0 {
			return p.Settings[i].Uplink
		}
	}
	return ""
}

// State is the plan without its reasons.
func (p Plan) State() rpdb.State {
	s := rpdb.State{Rules: make([]rpdb.Rule, len(p.Rules)), Routes: make([]rpdb.Route, len(p.Routes))}
	for i, r := range p.Rules {
		s.Rules[i] = r.Rule
	}
	for i, r := range p.Routes {
		s.Routes[i] = r.Route
	}
	for _, o := range p.Settings {
		s.Settings = append(s.Settings, o.Setting)
	}
	return s
}

// maxBeside is how many foreign tables are asked for each source: each costs every packet a rule, and there is room for
// no more before StepDefault.
const maxBeside = 8

// Make plans for uplinks that have their table numbers. An uplink without one is left out, but for its link's settings.
func Make(us []uplink.Uplink, others uplink.Others, cfg config.Config) Plan {
	b := builder{cfg: cfg, others: others, rules: make(map[rpdb.Rule]bool), routes: make(map[rpdb.RouteKey]bool)}
	for _, u := range us {
		b.settings(u)
		if u.Table == 0 {
			continue
		}
		b.u = u
		if u.State != uplink.Down {
			b.planRoutes()
			b.local()
			b.steering()
			b.device()
		}
		for _, s := range u.Sources {
			b.source(s)
		}
		for _, p := range u.Delegated {
			b.delegated(p)
		}
		b.to()
	}
	return b.plan
}

// builder collects the plan of one uplink after another.
type builder struct {
	cfg    config.Config
	others uplink.Others
	u      uplink.Uplink
	plan   Plan
	rules  map[rpdb.Rule]bool
	routes map[rpdb.RouteKey]bool
}

// planRoutes fills the uplink's table: its subnets and peers, then its default routes.
func (b *builder) planRoutes() {
	for _, a := range b.u.Addresses {
		if a.Subnet.IsValid() {
			b.route(rpdb.Route{RouteKey: rpdb.RouteKey{Dst: a.Subnet}, Src: a.Addr}, fmt.Sprintf("the subnet of %s", a.Addr))
		}
		if a.Peer.IsValid() {
			b.route(rpdb.Route{RouteKey: rpdb.RouteKey{Dst: a.Peer.Masked()}, Src: a.Addr}, fmt.Sprintf("the other end of %s", a.Addr))
		}
	}
	for _, r := range b.u.Routes {
		b.route(rpdb.Route{RouteKey: rpdb.RouteKey{Dst: r.Dst}, Via: r.Via, Src: r.Src, Onlink: r.Onlink}, "classless route by "+r.Source)
	}
	for _, g := range b.u.Gateways {
		b.route(rpdb.Route{
			RouteKey: rpdb.RouteKey{Dst: g.Family.Any()}, Via: g.Via.WithZone(""), Src: g.Src, Onlink: g.Onlink, Metrics: g.Metrics,
		}, "gateway by "+g.Source)
	}
}

// route adds a route of the uplink's table; what all of them have in common is filled in.
func (b *builder) route(r rpdb.Route, why string) {
	r.Table, r.Type, r.OIF, r.Protocol = b.u.Table, rpdb.Unicast, b.u.Link.Index, b.cfg.Protocol
	if r.Family() == rpdb.IPv6 {
		r.Metric = metricIPv6
		if r.Dst.Bits() != 0 {
			r.Src = netip.Addr{} // the kernel's own choice within the subnet is the better one (RFC 6724)
		}
	} else if !r.Via.IsValid() {
		r.Scope = rpdb.ScopeLink
	}
	if !b.routes[r.RouteKey] {
		b.routes[r.RouteKey] = true
		b.plan.Routes = append(b.plan.Routes, Route{Route: r, Uplink: b.u.Name, Why: why})
	}
}

const whyLocal = "the rule of table local stands behind ours"

// local puts table local before our rules where it is not: packets between the host's own addresses would leave it.
func (b *builder) local() {
	for _, f := range b.others.NoLocal {
		if _, ok := b.u.Gateway(f); ok {
			b.rule(StepLocal, rpdb.Rule{Family: f, Table: rpdb.TableLocal}, whyLocal)
		}
	}
}

// steering plans what the configuration sends into the uplink's table whatever its source address.
func (b *builder) steering() {
	s := b.u.Settings
	for _, g := range b.u.Gateways {
		if s.Mask != 0 {
			b.rule(StepMark, rpdb.Rule{Family: g.Family, Mark: s.Mark, Mask: s.Mask, Table: b.u.Table}, "fwmark of the configuration")
		}
		for _, iif := range s.IIF {
			why := fmt.Sprintf("what arrives on %s leaves by this uplink", rpdb.Printable(iif))
			b.rule(StepIIFMain, rpdb.Rule{Family: g.Family, IIF: iif, Table: rpdb.TableMain, Suppress: mainSuppress(g.Family)}, why)
			b.rule(StepIIF, rpdb.Rule{Family: g.Family, IIF: iif, Table: b.u.Table}, why)
		}
		if s.DNSRules {
			b.dns(g.Family)
		}
	}
}

func (b *builder) dns(f rpdb.Family) {
	for _, dns := range b.u.DNS {
		if rpdb.FamilyOf(dns) == f {
			b.rule(StepDNS, rpdb.Rule{Family: f, Dst: rpdb.HostPrefix(dns), Table: b.u.Table}, "name server of the lease")
		}
	}
}

// device plans the rules for sockets that are bound to the link and not to an address. Table main is asked first:
// it knows link-local destinations, and what else the user routes by the link.
func (b *builder) device() {
	if !b.u.Primary {
		return
	}
	why := fmt.Sprintf("bound to device %s", rpdb.Printable(b.u.Link.Name))
	for _, g := range b.u.Gateways {
		b.rule(StepDeviceMain, rpdb.Rule{Family: g.Family, OIF: b.u.Link.Name, Table: rpdb.TableMain, Suppress: mainSuppress(g.Family)}, why)
		b.rule(StepDevice, rpdb.Rule{Family: g.Family, OIF: b.u.Link.Name, Table: b.u.Table}, why)
	}
}

// source plans the rules of one source: an address, or a prefix of them. While the link is down only the fence stands.
func (b *builder) source(s uplink.Source) {
	from := rpdb.Rule{Family: rpdb.FamilyOf(s.Prefix.Addr()), Src: s.Prefix}
	if s.Local {
		from.IIF = rpdb.Loopback
	}
	if b.u.State != uplink.Down {
		b.near(from)
		r := from
		r.Table = b.u.Table
		b.rule(StepDefault, r, "replies leave by the link that they came in on")
	}
	if b.u.Settings.Fence {
		r := from
		r.Action = rpdb.ActUnreachable
		b.rule(StepFence, r, "the fence: never by another uplink")
	}
}

// to plans what leads to the uplink's own addresses. A prefix would not do here: neighbours live in it, and are reached as
// main says.
func (b *builder) to() {
	if !b.u.Settings.ToRules || b.u.State == uplink.Down {
		return
	}
	for _, a := range b.u.Addresses {
		if !a.Left {
			b.rule(StepTo, rpdb.Rule{Family: rpdb.FamilyOf(a.Addr), Dst: rpdb.HostPrefix(a.Addr), Table: b.u.Table}, "to_rules of the configuration")
		}
	}
}

// near plans the rules of a source for all that is closer than the Internet: the uplink's own subnets, unless main
// knows a part of them better, and then what is beyond.
func (b *builder) near(from rpdb.Rule) {
	b.closer(from)
	r := from
	for _, own := range b.u.Own {
		if rpdb.FamilyOf(own.Addr()) == from.Family {
			r.Dst, r.Table, r.Suppress = own, b.u.Table, rpdb.Suppress(subnetSuppress)
			b.rule(StepOwn, r, "main has it by this link, and perhaps by another one too")
		}
	}
	r = from
	r.Table, r.Suppress = b.u.Table, rpdb.Suppress(subnetSuppress)
	b.rule(StepSubnet, r, "its own subnets by its own link")
	b.beyond(from)
}

// beyond plans the rules of a source for what main, and the tables that others have beside it, know.
func (b *builder) beyond(from rpdb.Rule) {
	b.bypass(from)
	r := from
	r.Table, r.Suppress = rpdb.TableMain, mainSuppress(from.Family)
	b.rule(StepMain, r, "LAN, VPN and containers stay in reach")
	step := uint32(StepBeside)
	for _, t := range b.others.Tables {
		if t.Family == from.Family && step < StepBeside+maxBeside {
			r.Table = t.Number
			b.rule(step, r, "somebody else has this table asked beside main")
			step++
		}
	}
}

// rule adds a rule at a step; its action is a lookup where none is given.
func (b *builder) rule(step uint32, r rpdb.Rule, why string) {
	r.Priority = b.priority(step)
	r.Protocol = b.cfg.Protocol
	if r.Action == 0 {
		r.Action = rpdb.ActLookup
	}
	if !b.rules[r] {
		b.rules[r] = true
		b.plan.Rules = append(b.plan.Rules, Rule{Rule: r, Uplink: b.u.Name, Why: why})
	}
}
