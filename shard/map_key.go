package shard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"pgdrover/internal/config"
	"pgdrover/shard/hash"
)

// Key is a sharding key: its types, and the bounds that say which shard holds which values. It is immutable.
type Key struct {
	Name   string
	Types  []*hash.Type
	Kind   config.BoundKind // BoundHash, BoundRange or BoundList
	Bounds []Bound          // in order of declaration; the default one has kind BoundDefault

	names  []string // of the types as they were given, with modifiers
	shards []int
	hash   []hashLevel
	ranges []keyRange
	list   map[hash.Value]int
	null   int // list: shard of NULL; -1 for none
	rest   int // range and list: shard of DEFAULT; -1 for none
}

// Bound is a bound with the index of its shard.
type Bound struct {
	config.Bound
	Shard int
}

// hashLevel has the bounds of one modulus: remainder to shard.
type hashLevel struct {
	modulus uint64
	shards  map[uint64]int
}

// keyRange is a range bound: from is part of it, to is not.
type keyRange struct {
	from, to []rangeValue
	shard    int
}

// rangeValue is a value, or with end -1 MINVALUE and with 1 MAXVALUE.
type rangeValue struct {
	hash.Value
	end int
}

// Type returns the type of column i.
func (k *Key) Type(i int) *hash.Type { return k.Types[i] }

// TypeNames returns the types as the configuration names them, with their modifiers.
func (k *Key) TypeNames() []string { return k.names }

// Shards returns the shards that have a bound of the key, in the order of the map.
func (k *Key) Shards() []int { return k.shards }

// Locate returns the shard that holds rows with these values of the key, one for each type, parsed by them. It is not ok if no bound
// holds them, where PostgreSQL says "no partition of relation found for row". NULL is located as PostgreSQL does: by HASH like a value
// that hashes to 0, by LIST where a bound names it, otherwise in DEFAULT.
func (k *Key) Locate(values []hash.Value) (shard int, ok bool) {
	if len(values) != len(k.Types) {
		return -1, false
	}
	switch k.Kind {
	case config.BoundHash:
		row := hash.Row(values...)
		for i := range k.hash {
			if shard, ok = k.hash[i].shards[row%k.hash[i].modulus]; ok {
				return shard, true
			}
		}
		return -1, false
	case config.BoundRange:
		shard = k.locateRange(values)
	default:
		if values[0].IsNull() {
			shard = k.null
		} else if shard, ok = k.list[values[0]]; !ok {
			shard = -1
		}
	}
	if shard < 0 {
		shard = k.rest
	}
	return shard, shard >= 0
}

func (k *Key) locateRange(values []hash.Value) int {
	for i := range values {
		if values[i].IsNull() {
			return -1
		}
	}
	low, high := 0, len(k.ranges) // the first range that ends after the values
	for low < high {
		if mid := (low + high) / 2; compareRow(values, k.ranges[mid].to) < 0 {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low < len(k.ranges) && compareRow(values, k.ranges[low].from) >= 0 {
		return k.ranges[low].shard
	}
	return -1
}

// LocateText is Locate for values in text form. The error is one of package hash's, or says that their number is wrong.
func (k *Key) LocateText(texts ...string) (shard int, ok bool, err error) {
	if len(texts) != len(k.Types) {
		return -1, false, fmt.Errorf("key %q has %d columns, not %d", k.Name, len(k.Types), len(texts))
	}
	values := make([]hash.Value, len(texts))
	for i, text := range texts {
		if values[i], err = k.Types[i].ParseString(text); err != nil {
			return -1, false, err
		}
	}
	shard, ok = k.Locate(values)
	return shard, ok, nil
}

// compareRow orders a row against one side of a range (partition_rbound_datum_cmp).
func compareRow(values []hash.Value, side []rangeValue) int {
	for i := range values {
		if side[i].end != 0 {
			return -side[i].end
		}
		if c := values[i].Compare(side[i].Value); c != 0 {
			return c
		}
	}
	return 0
}

// compareSides orders two sides of ranges. What follows MINVALUE or MAXVALUE does not matter.
func compareSides(a, b []rangeValue) int {
	for i := range a {
		if c := cmp.Compare(a[i].end, b[i].end); c != 0 || a[i].end != 0 {
			return c
		}
		if c := a[i].Compare(b[i].Value); c != 0 {
			return c
		}
	}
	return 0
}

// maxKeyColumns is PostgreSQL's limit for partition keys (PARTITION_MAX_KEYS).
const maxKeyColumns = 32

// addKey compiles a key and its tables.
func (b *mapBuilder) addKey(c config.Key) {
	k := &Key{Name: c.Name, names: c.Types, null: -1, rest: -1}
	b.m.keys = append(b.m.keys, k)
	what := fmt.Sprintf("key %q", k.Name)
	if n := len(c.Types); n == 0 || n > maxKeyColumns {
		b.problem(c.Source, "%s has %d types; it must have from 1 to %d", what, n, maxKeyColumns)
		return
	}
	before := len(b.problems)
	for _, name := range c.Types {
		t, err := hash.TypeByName(name)
		if err != nil {
			b.problem(c.Source, "%s: %v", what, err)
		}
		k.Types = append(k.Types, t)
	}
	b.addKeyTables(k, c)
	if len(b.problems) == before { // bounds of an unknown type cannot be read
		b.addBounds(k, b.db.Placement(c))
	}
}

func (b *mapBuilder) addKeyTables(k *Key, c config.Key) {
	tables := slices.SortedFunc(maps.Keys(c.Columns), func(x, y config.TableName) int {
		return cmp.Or(cmp.Compare(x.Schema, y.Schema), cmp.Compare(x.Name, y.Name))
	})
	for _, name := range tables {
		columns := c.Columns[name]
		t := &Table{Schema: name.Schema, Name: name.Name, Kind: Sharded, Key: k, Columns: columns}
		b.addTable(c.Source, t)
		if len(columns) != len(c.Types) {
			b.problem(c.Source, "key %q has %d columns of types %q, but table %s gives %d: %q", k.Name, len(c.Types), c.Types, name, len(columns), columns)
		}
		for i, column := range columns {
			if slices.Contains(columns[:i], column) {
				b.problem(c.Source, "key %q: column %q of table %s is given twice", k.Name, column, name)
			}
		}
	}
}

// addBounds compiles the placement of a key.
func (b *mapBuilder) addBounds(k *Key, bounds []config.Bound) {
	before := len(b.problems)
	var rest *config.Bound
	k.Kind = config.BoundDefault
	for i := range bounds {
		c := &bounds[i]
		shard := b.shard(c.Source, fmt.Sprintf("key %q, %s", k.Name, c), c.Shard)
		k.Bounds = append(k.Bounds, Bound{Bound: *c, Shard: shard})
		if !slices.Contains(k.shards, shard) {
			k.shards = append(k.shards, shard)
		}
		switch {
		case c.Kind == config.BoundDefault && rest != nil:
			b.bad(k, c, "conflicts with another DEFAULT on shard %s", rest.Shard)
		case c.Kind == config.BoundDefault:
			rest, k.rest = c, shard
		case k.Kind == config.BoundDefault:
			k.Kind = c.Kind
		case c.Kind != k.Kind:
			b.bad(k, c, "is a bound of kind %s, and others of the key are of kind %s", c.Kind, k.Kind)
		}
	}
	slices.Sort(k.shards)
	if k.Kind == config.BoundDefault { // nothing but DEFAULT: everything is there
		k.Kind = config.BoundList
		if len(k.Types) > 1 {
			k.Kind = config.BoundRange
		}
	}
	if rest != nil && k.Kind == config.BoundHash {
		b.bad(k, rest, "cannot stand beside hash bounds, which hold every value")
	}
	if len(b.problems) > before {
		return
	}
	switch k.Kind {
	case config.BoundHash:
		b.addHash(k)
	case config.BoundRange:
		b.addRanges(k)
	default:
		b.addList(k)
	}
}

// bad reports a bound.
func (b *mapBuilder) bad(k *Key, c *config.Bound, format string, args ...any) {
	b.problem(c.Source, "key %q: %s on shard %s %s", k.Name, c, c.Shard, fmt.Sprintf(format, args...))
}

// value reads a value of a bound.
func (b *mapBuilder) value(k *Key, c *config.Bound, column int, v config.BoundValue) (hash.Value, bool) {
	parsed, err := k.Types[column].ParseString(v.Text)
	switch {
	case errors.Is(err, hash.ErrDepends):
		b.bad(k, c, "has the value %s, which not every server reads as the same %s; write it in full, as PostgreSQL prints it", v, k.Types[column])
	case err != nil:
		b.bad(k, c, "has the value %s, which is no %s", v, k.Types[column])
	}
	return parsed.Clone(), err == nil
}

func (b *mapBuilder) addList(k *Key) {
	if len(k.Types) > 1 {
		b.problem(k.Bounds[0].Source, "key %q: %s needs a key of one column, and it has %d", k.Name, k.Bounds[0].Bound, len(k.Types))
		return
	}
	k.list = map[hash.Value]int{}
	owner := map[hash.Value]*Bound{}
	for i := range k.Bounds {
		c := &k.Bounds[i]
		for _, v := range c.In {
			parsed := hash.Null()
			if v.Word == "" {
				var ok bool
				if parsed, ok = b.value(k, &c.Bound, 0, v); !ok {
					continue
				}
			}
			if before := owner[parsed]; before != nil && before != c {
				b.bad(k, &c.Bound, "would overlap %s on shard %s: both have %s", before.Bound, before.Bound.Shard, v)
				continue
			}
			owner[parsed] = c
			if parsed.IsNull() {
				k.null = c.Shard
			} else {
				k.list[parsed] = c.Shard
			}
		}
	}
}

func (b *mapBuilder) addRanges(k *Key) {
	type placed struct {
		keyRange
		bound *config.Bound
	}
	var ranges []placed
	for i := range k.Bounds {
		c := &k.Bounds[i].Bound
		if c.Kind == config.BoundDefault {
			continue
		}
		r := placed{keyRange{shard: k.Bounds[i].Shard}, c}
		var ok, okTo bool
		r.from, ok = b.side(k, c, "FROM", c.From)
		r.to, okTo = b.side(k, c, "TO", c.To)
		switch {
		case !ok || !okTo:
		case compareSides(r.from, r.to) >= 0:
			b.bad(k, c, "is empty: FROM must be less than TO")
		default:
			ranges = append(ranges, r)
		}
	}
	sort.SliceStable(ranges, func(i, j int) bool { return compareSides(ranges[i].from, ranges[j].from) < 0 })
	for i, r := range ranges {
		k.ranges = append(k.ranges, r.keyRange)
		if i == 0 {
			continue
		}
		before := ranges[i-1]
		switch c := compareSides(before.to, r.from); {
		case c > 0:
			b.bad(k, r.bound, "would overlap %s on shard %s", before.bound, before.bound.Shard)
		case c < 0 && k.rest < 0:
			b.bad(k, r.bound, "leaves a gap after %s on shard %s: add a bound for the values between them, or DEFAULT", before.bound, before.bound.Shard)
		}
	}
}

// side reads one side of a range.
func (b *mapBuilder) side(k *Key, c *config.Bound, word string, values []config.BoundValue) ([]rangeValue, bool) {
	if len(values) != len(k.Types) {
		b.bad(k, c, "must have %d values after %s, one for each type of the key, not %d", len(k.Types), word, len(values))
		return nil, false
	}
	out := make([]rangeValue, len(values))
	for i, v := range values {
		if i > 0 && values[i-1].Word != "" && v.Word != values[i-1].Word {
			b.bad(k, c, "has %s after %s in %s: only %[2]s may follow it", v, values[i-1].Word, word)
			return nil, false
		}
		switch v.Word {
		case "MINVALUE":
			out[i].end = -1
		case "MAXVALUE":
			out[i].end = 1
		default:
			var ok bool
			if out[i].Value, ok = b.value(k, c, i, v); !ok {
				return nil, false
			}
		}
	}
	return out, true
}
