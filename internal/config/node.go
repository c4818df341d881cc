package config

import (
	"cmp"
	"slices"
	"strconv"
)

// node is a value inside an entry, with its place as far as it is known.
type node struct {
	raw    any
	at     position
	source source
	places *tomlPlaces
	path   string
}

func (e entry) node() node {
	return node{raw: e.value.raw, at: e.at, source: e.source, places: e.places, path: e.path}
}

func (n node) child(raw any, key string) node {
	c := node{raw: raw, at: n.at, source: n.source, places: n.places, path: n.path + "\x00" + key}
	if n.places != nil {
		if at, ok := n.places.places[c.path]; ok {
			c.at = at
		}
	}
	return c
}

// elements returns the elements of an array; of anything else, the value itself.
func (n node) elements() []node {
	list, ok := n.raw.([]any)
	if !ok {
		return []node{n}
	}
	out := make([]node, len(list))
	for i := range list {
		out[i] = n.child(list[i], strconv.Itoa(i))
	}
	return out
}

// field is a key of a table with its value.
type field struct {
	key string
	node
}

// fields returns the keys of a table in the order of the file; ok is false if it is none.
func (n node) fields() (out []field, ok bool) {
	m, ok := n.raw.(map[string]any)
	for k, v := range m {
		out = append(out, field{k, n.child(v, k)})
	}
	slices.SortFunc(out, func(a, b field) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col), cmp.Compare(a.key, b.key))
	})
	return out, ok
}

// entries returns the keys of a table as a reader would.
func (n node) entries() []entry {
	fields, _ := n.fields()
	out := make([]entry, len(fields))
	for i, f := range fields {
		out[i] = entry{key: f.key, value: value{f.raw, dialectTOML}, at: f.at, source: f.source, places: f.places, path: f.path}
	}
	return out
}
