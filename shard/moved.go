package shard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"

	"pgdrover/internal/config"
	"pgdrover/shard/hash"
)

// Moved is something whose rows a map looks for elsewhere than the map before it did.
type Moved struct {
	Schema, Table string // of a table; "" if it is about more
	Object        string // the sharding key, or what else it is about
	Message       string
}

// maxMoved bounds the bounds of one key that MovedFrom names.
const maxMoved = 10

// MovedFrom returns what m looks for elsewhere than before. Shards are known by their names. What has no place any more is not in it, but for bounds
// of a key: statements that need it are refused.
func (m *Map) MovedFrom(before *Map) []Moved {
	c := comparison{before: before, after: m, keys: map[[2]*Key]bool{}}
	names := maps.Clone(before.tables)
	maps.Copy(names, m.tables)
	for _, name := range slices.SortedFunc(maps.Keys(names), func(a, b config.TableName) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	}) {
		if was, is := before.Table(name.Schema, name.Name), m.Table(name.Schema, name.Name); was != nil && is != nil {
			c.table(name, was, is)
		}
	}
	schemas := before.Schemas()
	maps.Copy(schemas, m.schemas)
	for _, s := range slices.Sorted(maps.Keys(schemas)) {
		c.unlisted("schema "+s, "tables of schema "+s, before.schemaShard(s), m.schemaShard(s))
	}
	c.unlisted("", "tables that are listed nowhere", before.rest, m.rest)
	return c.found
}

// schemaShard is the shard of the tables of a schema that are not listed, -1 for none.
func (m *Map) schemaShard(schema string) int {
	if s, ok := m.schemas[schema]; ok {
		return s
	}
	return m.rest
}

// comparison collects what has moved.
type comparison struct {
	before, after *Map
	keys          map[[2]*Key]bool // those that were compared
	found         []Moved
}

func (c *comparison) table(name config.TableName, was, is *Table) {
	switch {
	case was.Kind == Sharded && is.Kind == Sharded && slices.Equal(was.Columns, is.Columns):
		if pair := [2]*Key{was.Key, is.Key}; !c.keys[pair] {
			c.keys[pair] = true
			c.key(was.Key, is.Key)
		}
	case was.Kind == Reference && is.Kind == Reference:
	case was.Kind == Single && is.Kind == Single && c.before.shards[was.Shard] == c.after.shards[is.Shard]:
	default:
		c.found = append(c.found, Moved{
			Schema: name.Schema, Table: name.Name,
			Message: fmt.Sprintf("rows of table %s are looked for %s now, and were %s", name, c.after.place(is), c.before.place(was)),
		})
	}
}

// place says where the rows of a table are.
func (m *Map) place(t *Table) string {
	switch t.Kind {
	case Sharded:
		return fmt.Sprintf("by key %q in %q", t.Key.Name, t.Columns)
	case Reference:
		return "on every shard"
	}
	return fmt.Sprintf("on shard %q", m.shards[t.Shard])
}

func (c *comparison) unlisted(object, what string, was, is int) {
	if was >= 0 && is >= 0 && c.before.shards[was] != c.after.shards[is] {
		c.found = append(c.found, Moved{
			Object: object, Message: fmt.Sprintf("%s are looked for on shard %q now, and were on shard %q", what, c.after.shards[is], c.before.shards[was]),
		})
	}
}

// key compares the placement of a key that tables carry.
func (c *comparison) key(was, is *Key) {
	add := func(format string, args ...any) {
		c.found = append(c.found, Moved{Object: is.Name, Message: fmt.Sprintf("key %q: ", is.Name) + fmt.Sprintf(format, args...)})
	}
	switch {
	case !slices.Equal(was.names, is.names):
		add("it is of type %q now, and was of %q, whose values have other places", is.names, was.names)
		return
	case slices.EqualFunc(was.Bounds, is.Bounds, func(o, n Bound) bool { return o.Same(n.Bound) && o.Bound.Shard == n.Bound.Shard }):
		return
	case was.Kind != is.Kind:
		add("it is placed by %s now, and was by %s", is.Kind, was.Kind)
		return
	}
	type change struct {
		bound *Bound // the new one, or the old one of what has no place now
		from  string
	}
	seen := map[change]bool{}
	more := 0
	c.pairs(was, is, func(o, n *Bound) {
		ch := change{n, c.before.shards[o.Shard]}
		if n == nil {
			ch.bound = o
		}
		if n != nil && c.after.shards[n.Shard] == ch.from || seen[ch] {
			return
		}
		seen[ch] = true
		switch {
		case len(seen) > maxMoved:
			more++
		case n == nil:
			add("%s has no shard now, and was on shard %q", o.Bound, ch.from)
		default:
			add("%s is on shard %q now, and rows of it were on shard %q", n.Bound, n.Bound.Shard, ch.from)
		}
	})
	if more > 0 {
		add("%d further bounds have rows that were on other shards", more)
	}
}

// pairs calls f for each old bound and each new one that have values in common; the new one is nil for values that have none.
func (c *comparison) pairs(was, is *Key, f func(o, n *Bound)) {
	switch is.Kind {
	case config.BoundHash:
		for i := range is.Bounds {
			for j := range was.Bounds {
				o, n := &was.Bounds[j], &is.Bounds[i]
				if g := gcd(o.Modulus, n.Modulus); o.Remainder%g == n.Remainder%g {
					f(o, n)
				}
			}
		}
	case config.BoundRange:
		rangePairs(was, is, f)
	default:
		before, after := was.listed(), is.listed()
		values := maps.Clone(before)
		maps.Copy(values, after)
		for _, v := range slices.SortedFunc(maps.Keys(values), hash.Value.Compare) {
			o, n := before[v], after[v]
			if o == nil {
				o = was.defaultBound()
			}
			if n == nil {
				n = is.defaultBound()
			}
			if o != nil {
				f(o, n)
			}
		}
	}
	if o := was.defaultBound(); o != nil {
		f(o, is.defaultBound())
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// listed returns the bounds of a list by value.
func (k *Key) listed() map[hash.Value]*Bound {
	out := map[hash.Value]*Bound{}
	for i := range k.Bounds {
		for _, v := range k.Bounds[i].In {
			value := hash.Null()
			if v.Word == "" {
				value, _ = k.Types[0].ParseString(v.Text) // it was read before
				value = value.Clone()
			}
			out[value] = &k.Bounds[i]
		}
	}
	return out
}

func (k *Key) defaultBound() *Bound {
	if i := slices.IndexFunc(k.Bounds, func(b Bound) bool { return b.Bound.Kind == config.BoundDefault }); i >= 0 {
		return &k.Bounds[i]
	}
	return nil
}

// rangePairs is pairs for ranges: from each side that there is up to the next one, there is one old bound and one new one.
func rangePairs(was, is *Key, f func(o, n *Bound)) {
	before, after := was.sides(), is.sides()
	var cuts [][]rangeValue
	for _, s := range slices.Concat(before, after) {
		cuts = append(cuts, s.from, s.to)
	}
	sort.Slice(cuts, func(i, j int) bool { return compareSides(cuts[i], cuts[j]) < 0 })
	cuts = slices.CompactFunc(cuts, func(a, b []rangeValue) bool { return compareSides(a, b) == 0 })
	at := func(k *Key, all []sides, low []rangeValue) *Bound {
		for _, s := range all {
			if compareSides(s.from, low) <= 0 && compareSides(low, s.to) < 0 {
				return s.bound
			}
		}
		return k.defaultBound()
	}
	for _, low := range cuts {
		if o := at(was, before, low); o != nil && low[0].end <= 0 { // nothing is above MAXVALUE
			f(o, at(is, after, low))
		}
	}
}

// sides is a range bound with its values read.
type sides struct {
	from, to []rangeValue
	bound    *Bound
}

func (k *Key) sides() []sides {
	var out []sides
	for i := range k.Bounds {
		b := &k.Bounds[i]
		if b.Bound.Kind != config.BoundRange {
			continue
		}
		read := func(values []config.BoundValue) []rangeValue {
			side := make([]rangeValue, len(values))
			for i, v := range values {
				switch v.Word {
				case "MINVALUE":
					side[i].end = -1
				case "MAXVALUE":
					side[i].end = 1
				default:
					value, _ := k.Types[i].ParseString(v.Text) // it was read before
					side[i].Value = value.Clone()
				}
			}
			return side
		}
		out = append(out, sides{read(b.From), read(b.To), b})
	}
	return out
}
