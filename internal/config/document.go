package config

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in the file: line and column from 1, the column in bytes.
type position struct{ line, column int }

// value is one value of the file with its place. Decoding straight into structs would stop at the first value of a
// wrong type and lose the places of all others, so the file becomes a tree of these first.
type value struct {
	kind   unstable.Kind
	at     position
	text   string   // String: the string; else the value as it is written
	number int64    // Integer
	items  []*value // Array
	fields []field  // Table, InlineTable; in the order of the file
}

// field is one key of a table.
type field struct {
	name string
	at   position
	v    *value
}

// get finds a key of a table, or nil.
func (v *value) get(name string) *value {
	for _, f := range v.fields {
		if f.name == name {
			return f.v
		}
	}
	return nil
}

// parseDocument reads a whole file. The error is an *Error with one problem: after a mistake in TOML itself nothing that
// follows can be trusted.
func parseDocument(file string, data []byte) (*value, error) {
	// The decoder sees what the parser alone does not: keys given twice, numbers out of range, dates that do not exist.
	var all map[string]any
	if err := toml.Unmarshal(data, &all); err != nil {
		return nil, &Error{File: file, Problems: []Problem{syntaxProblem(err)}}
	}
	d := document{data: data, root: &value{kind: unstable.Table, at: position{1, 1}}}
	d.current = d.root
	d.parser.Reset(data)
	for d.parser.NextExpression() {
		d.expression(d.parser.Expression())
	}
	if err := d.parser.Error(); err != nil {
		return nil, &Error{File: file, Problems: []Problem{syntaxProblem(err)}}
	}
	return d.root, nil
}

func syntaxProblem(err error) Problem {
	p := Problem{Line: 1, Column: 1, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	if de, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.Line, p.Column = de.Position()
		p.Key = strings.Join(de.Key(), ".")
	}
	p.Text += "; allowed: TOML 1.0 (https://toml.io)"
	return p
}

// document builds the tree from the parser's expressions.
type document struct {
	data    []byte
	parser  unstable.Parser
	root    *value
	current *value // the table that key-values go into
}

func (d *document) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		keys := d.keys(n)
		parent := descend(d.root, keys[:len(keys)-1])
		d.current = enter(parent, keys[len(keys)-1], n.Kind == unstable.ArrayTable)
	case unstable.KeyValue:
		d.keyValue(d.current, n)
	}
}

// keys lists the parts of a dotted key, each as a field without a value.
func (d *document) keys(n *unstable.Node) []field {
	var keys []field
	for it := n.Key(); it.Next(); {
		k := it.Node()
		keys = append(keys, field{name: string(k.Data), at: d.at(k.Raw.Offset)})
	}
	return keys
}

// descend walks down a dotted key, making the tables that are not there yet.
func descend(table *value, keys []field) *value {
	for _, k := range keys {
		table = enter(table, k, false)
	}
	return table
}

// enter opens the table (or a new element of the array of tables) that a header names.
func enter(parent *value, key field, array bool) *value {
	v := parent.get(key.name)
	if v == nil {
		v = &value{kind: unstable.Table, at: key.at}
		if array {
			v.kind = unstable.Array
		}
		parent.fields = append(parent.fields, field{name: key.name, at: key.at, v: v})
	}
	if v.kind != unstable.Array {
		return v
	}
	if array || len(v.items) == 0 {
		v.items = append(v.items, &value{kind: unstable.Table, at: key.at})
	}
	return v.items[len(v.items)-1]
}

func (d *document) keyValue(table *value, n *unstable.Node) {
	keys := d.keys(n)
	last := n.Value()
	key := keys[len(keys)-1]
	key.v = d.value(last, d.afterEquals(n))
	table = descend(table, keys[:len(keys)-1])
	table.fields = append(table.fields, key)
}

// afterEquals is the place where the value of a key begins: arrays do not say themselves where they are.
func (d *document) afterEquals(n *unstable.Node) position {
	var end uint32
	for it := n.Key(); it.Next(); {
		end = it.Node().Raw.Offset + it.Node().Raw.Length
	}
	rest := d.data[end:]
	return d.at(end + uint32(len(rest)-len(bytes.TrimLeft(rest, " \t="))))
}

func (d *document) value(n *unstable.Node, at position) *value {
	v := &value{kind: n.Kind, at: at, text: string(n.Data)}
	switch n.Kind {
	case unstable.Integer:
		// Base 0 knows the prefixes and underscores of TOML; a leading zero was refused by the parser.
		v.number, _ = strconv.ParseInt(v.text, 0, 64)
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			item := it.Node()
			where := at
			if item.Raw.Length > 0 {
				where = d.at(item.Raw.Offset)
			}
			v.items = append(v.items, d.value(item, where))
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			d.keyValue(v, it.Node())
		}
	}
	return v
}

// at turns an offset into line and column.
func (d *document) at(offset uint32) position {
	before := d.data[:min(int(offset), len(d.data))]
	return position{
		line:   1 + bytes.Count(before, []byte{'\n'}),
		column: len(before) - bytes.LastIndexByte(before, '\n'),
	}
}
