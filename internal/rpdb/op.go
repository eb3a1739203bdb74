package rpdb

// Verb says what an operation does.
type Verb uint8

// The verbs, in the order in which Diff puts them.
const (
	SetSetting   Verb = iota + 1
	AddRoute          // fails where a route of the same key exists
	ReplaceRoute      // changes the route of the same key in place, without a moment in between
	AddRule
	DelRule
	DelRoute
	PutBack // gives a setting the value that it had before us, where it has the one that we wrote
)

// String is the verb as in "ip route replace".
func (v Verb) String() string {
	switch v {
	case SetSetting:
		return "setting set"
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
	case PutBack:
		return "setting put back"
	}
	return "nothing"
}

// Removes says whether the verb takes away what there is: what has to wait until all is heard.
func (v Verb) Removes() bool { return v == DelRule || v == DelRoute || v == PutBack }

// Sets says whether the verb is about a setting.
func (v Verb) Sets() bool { return v == SetSetting || v == PutBack }

// Op is one change of the kernel's state: Route is set for the route verbs, Rule for the rule verbs, Setting for the others.
type Op struct {
	Verb    Verb
	Route   Route
	Rule    Rule
	Setting Setting
	Ours    int // PutBack: the value that we wrote
}
