package rpdb

// Verb says what an operation does.
type Verb uint8

// The verbs, in the order in which Diff puts them.
const (
	AddRoute     Verb = iota + 1 // fails where a route of the same key exists
	ReplaceRoute                 // changes the route of the same key in place, without a moment in between
	AddRule
	DelRule
	DelRoute
)

// String is the verb as in "ip route replace".
func (v Verb) String() string {
	switch v {
	case AddRoute:
		return "route add"
	case ReplaceRoute:
		return "route replace"
	case AddRule:
		return "rule add"
	case DelRule:
		return "rule del"
	case DelRoute:
		return "route del"
	}
	return "nothing"
}

// Op is one change of the kernel's state: Route is set for the route verbs, Rule for the others.
type Op struct {
	Verb  Verb
	Route Route
	Rule  Rule
}
