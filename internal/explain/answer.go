package explain

import (
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Schema is the version of Answer's JSON. It grows when a field goes or means something else, not when one is added.
const Schema = 1

// Answer is a walk for people and programs: rules and routes as ip(8) prints them, devices and tables by name.
type Answer struct {
	Schema   int       `json:"schema"`
	Packet   Packet    `json:"packet"`
	Before   string    `json:"before,omitempty"` // decided before any rule
	Rules    []RuleRow `json:"rules"`
	After    string    `json:"after,omitempty"` // what came after the rules
	Ends     []End     `json:"ends"`            // several: a hash or a neighbor decides
	Unjudged []string  `json:"unjudged,omitempty"`
	Kernel   Kernel    `json:"kernel"`
	// Agrees says that the kernel's own answer is one of Ends; Differs says how it is not.
	Agrees  bool   `json:"agrees"`
	Differs string `json:"differs,omitempty"`
}

// Packet is the question.
type Packet struct {
	Dst     string `json:"dst"`
	From    string `json:"from,omitempty"`
	OIF     string `json:"oif,omitempty"`
	IIF     string `json:"iif,omitempty"`
	Mark    uint32 `json:"mark"`
	UID     uint32 `json:"uid"`
	IPProto string `json:"ipproto"`
	SrcPort uint16 `json:"sport,omitempty"`
	DstPort uint16 `json:"dport,omitempty"`
	TOS     uint8  `json:"tos"`
}

// RuleRow is a Step.
type RuleRow struct {
	Priority uint32     `json:"priority"`
	Rule     string     `json:"rule"` // less its priority
	Protocol uint8      `json:"protocol"`
	Matches  bool       `json:"matches"`
	Why      string     `json:"why,omitempty"`
	Table    uint32     `json:"table,omitempty"`
	Name     string     `json:"table_name,omitempty"`
	Routes   []RouteRow `json:"routes,omitempty"`
	Result   string     `json:"result,omitempty"`
	Decides  bool       `json:"decides"`
}

// RouteRow is a Considered.
type RouteRow struct {
	Route    string `json:"route"`
	Protocol uint8  `json:"protocol"`
	Wins     bool   `json:"wins"`
	Why      string `json:"why"`
}

// End is an Outcome.
type End struct {
	Error  string   `json:"error,omitempty"` // as ENETUNREACH; empty: the packet goes out
	Text   string   `json:"text,omitempty"`  // the error for people
	Reason string   `json:"reason,omitempty"`
	Type   string   `json:"type,omitempty"`
	Table  string   `json:"table,omitempty"`
	Route  string   `json:"route,omitempty"`
	Hops   []HopRow `json:"hops,omitempty"` // one of them
	Src    string   `json:"src,omitempty"`
	SrcBy  string   `json:"src_by,omitempty"` // packet, route or kernel: who chose it
}

// HopRow is a next hop.
type HopRow struct {
	Via string `json:"via,omitempty"` // empty: the destination itself
	Dev string `json:"dev"`
}

// Kernel is what RTM_GETROUTE says.
type Kernel struct {
	Asked bool   `json:"asked"`
	Why   string `json:"why,omitempty"` // it could not be asked; or what it means
	Error string `json:"error,omitempty"`
	Text  string `json:"text,omitempty"`
	Type  string `json:"type,omitempty"`
	Via   string `json:"via,omitempty"`
	Dev   string `json:"dev,omitempty"`
	Src   string `json:"src,omitempty"`
}

// Report makes an answer of a walk; asked is why the kernel could not be asked, or nil.
func Report(db *rpdb.Database, q Question, walk *Walk, kernel rpdb.Found, asked error, table func(uint32) string) Answer {
	link := func(i int) string { return linkName(db, i) }
	a := Answer{
		Schema: Schema, Packet: packet(q), Before: walk.Before, After: walk.After, Unjudged: walk.Unjudged, Rules: []RuleRow{},
		Kernel: kernelRow(kernel, asked, link),
	}
	for i := range walk.Steps {
		a.Rules = append(a.Rules, ruleRow(&walk.Steps[i], table, link))
	}
	for i := range walk.Outcomes {
		a.Ends = append(a.Ends, end(q, &walk.Outcomes[i], kernel, table, link))
	}
	if asked != nil {
		return a
	}
	a.Differs = Compare(db, q.Flow, walk, kernel)
	if a.Differs != "" && SourceCheck(q.Flow, walk, kernel) {
		a.Differs = ""
		a.Kernel.Why = "There is a way, but the kernel drops what comes in on " + rpdb.Printable(q.IIFName) + " from " + q.Src.String() +
			": its answer would leave by another link (rp_filter), would find no way at all, or the source is this host's own. " +
			"\"uplinkctl explain " + q.Src.String() + " from " + q.Dst.String() + " iif DEV\" shows the way back."
	}
	a.Agrees = a.Differs == ""
	return a
}

func packet(q Question) Packet {
	p := Packet{
		Dst: q.Dst.String(), OIF: q.OIFName, IIF: q.IIFName, Mark: q.Mark, UID: q.UID, IPProto: rpdb.IPProtoText(q.Proto),
		SrcPort: q.SrcPort, DstPort: q.DstPort, TOS: q.TOS,
	}
	if q.Src.IsValid() {
		p.From = q.Src.String()
	}
	return p
}

func ruleRow(s *Step, table func(uint32) string, link func(int) string) RuleRow {
	r := RuleRow{
		Priority: s.Rule.Priority, Rule: s.Rule.Body(table), Protocol: s.Rule.Protocol, Matches: s.Matches, Why: s.Why,
		Table: s.Table, Result: s.Result, Decides: s.Decides,
	}
	if s.Table != 0 {
		r.Name = table(s.Table)
	}
	for i := range s.Routes {
		c := &s.Routes[i]
		r.Routes = append(r.Routes, RouteRow{Route: c.Route.Text(link), Protocol: c.Route.Protocol, Wins: c.Wins, Why: c.Why})
	}
	return r
}

func end(q Question, o *Outcome, kernel rpdb.Found, table func(uint32) string, link func(int) string) End {
	e := End{Reason: o.Reason}
	if o.Route != nil {
		e.Type, e.Table, e.Route = o.Route.Type.String(), table(o.Route.Table), o.Route.Text(link)
	}
	if o.Errno != 0 {
		e.Error, e.Text = unix.ErrnoName(o.Errno), errnoText(o.Errno)
		return e
	}
	for _, h := range o.Hops {
		row := HopRow{Dev: link(h.OIF)}
		if h.Via.IsValid() {
			row.Via = h.Via.String()
		}
		e.Hops = append(e.Hops, row)
	}
	switch {
	case q.Src.IsValid():
		e.Src, e.SrcBy = q.Src.String(), "packet"
	case o.Route != nil && o.Route.Src.IsValid():
		e.Src, e.SrcBy = o.Route.Src.String(), "route"
	case kernel.Src.IsValid():
		e.Src, e.SrcBy = kernel.Src.String(), "kernel"
	}
	return e
}

func kernelRow(k rpdb.Found, asked error, link func(int) string) Kernel {
	if asked != nil {
		return Kernel{Why: asked.Error()}
	}
	if k.Errno != 0 {
		return Kernel{Asked: true, Error: unix.ErrnoName(k.Errno), Text: errnoText(k.Errno)}
	}
	row := Kernel{Asked: true, Type: k.Type.String(), Dev: link(k.OIF)}
	if k.Via.IsValid() {
		row.Via = k.Via.String()
	}
	if k.Src.IsValid() {
		row.Src = k.Src.String()
	}
	return row
}
