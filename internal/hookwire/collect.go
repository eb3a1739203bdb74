package hookwire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrClient says that there is no such client in the table.
var ErrClient = errors.New("unknown client")

// Collect makes the message of one hook call out of the hook's arguments (the first that belongs to the client first)
// and its environment ("KEY=VALUE"), less Index, NetNS and Stamp. It takes allow-listed keys only, and of a key that is there
// twice the first value, as getenv(3) does.
//
// What is over a limit is left out and named in Refused: an argument becomes the empty string, a key is missing from Env.
// Arguments after MaxArgs are dropped. So the result always encodes.
func Collect(name string, args, environ []string) (Message, error) {
	c, ok := find(name)
	if !ok {
		return Message{}, fmt.Errorf("client %q: %w", cut(name), ErrClient)
	}
	m := Message{Client: name, Env: make(map[string]string)}
	pairs := c.pick(environ)
	if len(pairs) > MaxKeys {
		pairs = pairs[:MaxKeys]
		m.Refused = append(m.Refused, AllKeys)
	}
	// The room for all names is set aside first, so that no value can push out the word that another one was refused.
	room := &room{left: MaxMessage - fixedLen - len(name)}
	for _, p := range pairs {
		room.take(2 + len(p.key))
	}
	m.takeArgs(args, room)
	m.takeEnv(pairs, room)
	m.Interface = c.iface(m)
	if len(m.Interface) > MaxInterface {
		m.Interface = ""
	}
	slices.Sort(m.Refused)
	return m, nil
}

// fixedLen is what a message takes at most besides the client's name, its arguments, keys and values: the header, the
// numbers, the link's name, the counts, and for each argument its name where it is refused and its length where it is empty.
const fixedLen = headerLen + 2 + 2 + MaxInterface + 4 + 8 + 8 + 8 + 8 + 16 + 4 + 3*2 + (2 + len(AllKeys)) + MaxArgs*(2+3+2)

// room counts the bytes that are left in a message.
type room struct{ left int }

func (r *room) take(n int) bool {
	if n > r.left {
		return false
	}
	r.left -= n
	return true
}

type pair struct{ key, value string }

// pick gives the allowed keys with their values, sorted, each once.
func (c client) pick(environ []string) []pair {
	var pairs []pair
	for _, e := range environ {
		k, v, ok := strings.Cut(e, "=")
		if ok && isName(k) && len(k) <= MaxKey && c.allows(k) {
			pairs = append(pairs, pair{k, v})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return slices.CompactFunc(pairs, func(a, b pair) bool { return a.key == b.key })
}

func (m *Message) takeArgs(args []string, room *room) {
	for i, a := range args[:min(len(args), MaxArgs)] {
		if len(a) > MaxValue || !room.take(2+len(a)) {
			a = ""
			m.Refused = append(m.Refused, "$"+strconv.Itoa(i+1))
		}
		m.Args = append(m.Args, a)
	}
}

// takeEnv puts the pairs into Env, or their keys into Refused.
func (m *Message) takeEnv(pairs []pair, room *room) {
	for _, p := range pairs {
		if len(p.value) > MaxValue || !room.take(2+len(p.value)) {
			m.Refused = append(m.Refused, p.key)
			continue
		}
		m.Env[p.key] = p.value
	}
}
