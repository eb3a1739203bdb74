package lease

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// ErrClient says that no parser is known for a client.
var ErrClient = errors.New("unknown client")

// Input is one call of a client's hook.
type Input struct {
	Client    string            // "dhclient"
	Args      []string          // what the hook was called with after the client's name
	Env       map[string]string // the client's variables
	Refused   []string          // keys and arguments ("$1") that were there but over a limit; "*": any other key may have been
	Interface string            // the link's name, by the client's word
	Index     int               // its ifindex; 0: there is no such link
}

// refused says whether one of the keys was there, but over a limit.
func (in Input) refused(keys ...string) bool {
	for _, k := range keys {
		if slices.Contains(in.Refused, k) {
			return true
		}
		if _, ok := in.Env[k]; !ok && slices.Contains(in.Refused, "*") {
			return true
		}
	}
	return false
}

// parser understands one client's calls. It gets an event in which Source, Interface and Index are filled in, and gives
// that one, or one for each source that the call is about. Parse cuts the problems.
type parser func(in Input, ev Event, p *problems) []Event

// one is the parser of a client whose calls are about one source each.
func one(parse func(in Input, ev *Event, p *problems)) parser {
	return func(in Input, ev Event, p *problems) []Event {
		parse(in, &ev, p)
		return []Event{ev}
	}
}

// parsers is the table of clients. A new client is a file with its parser, a line here, and one in hookwire's table.
func parsers() map[string]parser {
	return map[string]parser{
		"dhclient": one(parseDhclient),
		"dhcpcd":   parseDhcpcd,
		"udhcpc":   one(parseUdhcpc),
		"ppp":      one(parsePPP),

		"networkmanager":      one(parseNetworkManager),
		"networkd-dispatcher": one(parseNetworkdDispatcher),
		"ifupdown":            one(parseIfupdown),
		"openvpn":             one(parseOpenVPN),
		"wg-quick":            one(parseWGQuick),
		"generic":             one(parseGeneric),
	}
}

// Clients lists the names of all clients that are understood, sorted.
func Clients() []string {
	var names []string
	for n := range parsers() {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Parse understands one call of a client's hook: it gives at least one event, and more where the call is about several
// sources (a client that stops gives up the leases of both families). The first has the problems of all. It fails for an
// unknown client only (ErrClient): what a known client says in a form that makes no sense is an Ignore with its Why, or
// an event with Problems.
func Parse(in Input) ([]Event, error) {
	parse, ok := parsers()[in.Client]
	if !ok {
		return nil, fmt.Errorf("hook of client %s: %w", quote(in.Client), ErrClient)
	}
	var p problems
	evs := parse(in, Event{Source: Source(in.Client), Interface: in.Interface, Index: in.Index}, &p)
	for i, ev := range evs {
		if in.Interface == "" && ev.Verb != Ignore {
			evs[i] = Event{Source: ev.Source, Index: in.Index, Reason: ev.Reason}
			evs[i].ignore("no interface named")
		}
	}
	evs[0].Problems = p.list()
	return evs, nil
}

// ignore makes the event one from which there is nothing to learn.
func (e *Event) ignore(why string) { e.Verb, e.Why = Ignore, why }

// Of problems, the first maxProblems are told one by one.
const maxProblems = 12

// problems collects what was refused.
type problems struct {
	lines []string
	more  int
}

func (p *problems) addf(format string, args ...any) {
	if len(p.lines) == maxProblems {
		p.more++
		return
	}
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

func (p *problems) list() []string {
	if p.more == 0 {
		return p.lines
	}
	return append(p.lines, fmt.Sprintf("and %d more", p.more))
}

// maxQuoted is how much of a value a line shows.
const maxQuoted = 48

// quote is a value made fit for a log line: quoted, printable ASCII only, and cut.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
