package shard

import (
	"bytes"
	"math"
	"strconv"

	"pgdrover/shard/hash"
)

// intoShards adds the shards of the rows that INSERT … SELECT makes.
func (sh *shape) intoShards(b *binding, p *insertPlan, total shardSet) error {
	for k, pin := range p.into {
		if pin == nil {
			return p.unknown()
		}
		for i := range pin.values {
			if pin.values[i].array {
				continue
			}
			if v, out := b.value(sh, &pin.values[i]); out == readOK && v.IsNull() && len(pin.values) == 1 {
				return refuse(RefuseKeyNull, p.columns[k].name)
			}
		}
	}
	some, ok := sh.locateAll(b, p.table.Key, p.into)
	if !ok {
		return p.unknown()
	}
	if n, _ := some.count(); n == 0 {
		return refuse(RefuseKeyUnmapped, p.table.Name)
	}
	for n, in := range some {
		total[n] = total[n] || in
	}
	return nil
}

// unknown says that it is not known where the rows of INSERT … SELECT or MERGE go.
func (p *insertPlan) unknown() *Error {
	if p.merge {
		return refuse(RefuseMerge, "")
	}
	return refuse(RefuseInsertSelect, p.table.Name)
}

// bindLimit applies LIMIT and OFFSET to the whole: each shard is asked for as many rows as both together.
func (sh *shape) bindLimit(b *binding, plan Plan) (Plan, error) {
	if sh.limit == nil {
		return plan, nil
	}
	limit, hasLimit, ok := b.count(&sh.limit.limit)
	offset, _, ok2 := b.count(&sh.limit.offset)
	switch {
	case !ok || !ok2:
		return Plan{}, refuse(RefuseLimit, "")
	case limit < 0 || offset < 0:
		// Any shard raises the error.
		one := sh.plan
		one.Kind, one.Tier, one.Limit, one.Shard, one.Key = Forward, 1, -1, plan.Parts[0].Shard, sh.key
		return one, nil
	case hasLimit && limit > math.MaxInt64-offset:
		return Plan{}, refuse(RefuseLimit, "")
	}
	if hasLimit {
		plan.Limit = limit
	}
	plan.Offset = offset
	if sh.limit.offset.kind == sourceNone || sh.limit.offset.kind == sourceNull {
		return plan, nil
	}
	text := b.limitText(sh.limit)
	for i := range plan.Parts {
		plan.Parts[i].Text = text
	}
	return plan, nil
}

// count reads the value of LIMIT or OFFSET; has is false for none or NULL.
func (b *binding) count(s *source) (n int64, has, ok bool) {
	switch s.kind {
	case sourceNone, sourceNull:
		return 0, false, true
	case sourceFixed:
		n, err := strconv.ParseInt(s.text, 10, 64)
		return n, true, err == nil
	case sourceLiteral:
		l := b.literals[s.index]
		n, ok := integerValue(&l, b.text, s.negative)
		return n, true, ok
	case sourceParam:
		raw, binary, null, ok := b.param(s.index)
		switch {
		case !ok:
			return 0, false, false
		case null:
			return 0, false, true
		case !binary:
			n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
			return n, true, err == nil
		}
		n, ok := bigEndian(raw)
		return n, true, ok
	}
	return 0, false, false
}

func bigEndian(raw []byte) (int64, bool) {
	if len(raw) != 2 && len(raw) != 4 && len(raw) != 8 {
		return 0, false
	}
	var n uint64
	for _, c := range raw {
		n = n<<8 | uint64(c)
	}
	shift := 64 - 8*len(raw)
	return int64(n<<shift) >> shift, true
}

// array reads the elements of an array in text or binary form.
func (b *binding) array(sh *shape, s *source, values []hash.Value) ([]hash.Value, bool) {
	var raw []byte
	binary := false
	switch s.kind {
	case sourceLiteral:
		v, ok := b.stringValue(b.literals[s.index])
		if !ok {
			return values, sh.utf8 // every server rejects it
		}
		raw = v
	case sourceParam:
		v, isBinary, null, ok := b.param(s.index)
		if !ok || null {
			return values, true
		}
		raw, binary = v, isBinary
	default:
		return values, false
	}
	if binary {
		return binaryArray(sh, s.typ, raw, values)
	}
	return textArray(sh, s.typ, raw, values)
}
