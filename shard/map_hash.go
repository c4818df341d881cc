package shard

import (
	"maps"
	"slices"

	"pgdrover/internal/config"
)

// hashBounds are the bounds of one modulus while they are checked.
type hashBounds struct {
	modulus uint64
	bounds  map[uint64]*Bound // by remainder
	// below has the remainders that bounds of larger moduli come from.
	below map[uint64]bool
}

// addHash compiles hash bounds by PostgreSQL's rules, and demands in addition that every remainder has a place: a hash placement
// with a hole would refuse rows by chance.
func (b *mapBuilder) addHash(k *Key) {
	levels := map[uint64]*hashBounds{}
	before := len(b.problems)
	for i := range k.Bounds {
		c := &k.Bounds[i]
		switch {
		case c.Modulus <= 0:
			b.bad(k, &c.Bound, "must have a modulus greater than zero")
			continue
		case c.Remainder < 0 || c.Remainder >= c.Modulus:
			b.bad(k, &c.Bound, "must have a remainder from 0 to %d, less than its modulus", c.Modulus-1)
			continue
		}
		m, r := uint64(c.Modulus), uint64(c.Remainder)
		if levels[m] == nil {
			levels[m] = &hashBounds{modulus: m, bounds: map[uint64]*Bound{}, below: map[uint64]bool{}}
		}
		if twice := levels[m].bounds[r]; twice != nil {
			b.bad(k, &c.Bound, "is also on shard %s", twice.Bound.Shard)
		}
		levels[m].bounds[r] = c
	}
	if len(b.problems) > before {
		return
	}
	var moduli []*hashBounds
	for _, m := range slices.Sorted(maps.Keys(levels)) {
		moduli = append(moduli, levels[m])
	}
	for i, l := range moduli[1:] {
		if smaller := moduli[i]; l.modulus%smaller.modulus != 0 {
			b.bad(k, &firstOf(l).Bound, "does not go with MODULUS %d: every modulus must divide the next larger one", smaller.modulus)
			return
		}
	}
	for i, l := range moduli {
		for _, r := range slices.Sorted(maps.Keys(l.bounds)) {
			for _, smaller := range moduli[:i] {
				if over := smaller.bounds[r%smaller.modulus]; over != nil {
					b.bad(k, &l.bounds[r].Bound, "would overlap %s on shard %s", over.Bound, over.Bound.Shard)
				}
				smaller.below[r%smaller.modulus] = true
			}
		}
	}
	if len(b.problems) > before {
		return
	}
	if m, r, found := hole(moduli, 1, 0); found {
		gap := config.Bound{Kind: config.BoundHash, Modulus: int(m), Remainder: int(r)}
		b.problem(k.Bounds[0].Source, "key %q: there is a gap: no shard has %s", k.Name, gap)
		return
	}
	for _, l := range moduli {
		level := hashLevel{modulus: l.modulus, shards: make(map[uint64]int, len(l.bounds))}
		for r, c := range l.bounds {
			level.shards[r] = c.Shard
		}
		k.hash = append(k.hash, level)
	}
}

func firstOf(l *hashBounds) *Bound { return l.bounds[slices.Min(slices.Collect(maps.Keys(l.bounds)))] }

// hole returns the first part of (modulus, remainder) that no bound holds. There are at most as many steps as bounds, whatever
// the moduli.
func hole(levels []*hashBounds, modulus, remainder uint64) (m, r uint64, found bool) {
	if len(levels) == 0 {
		return modulus, remainder, true
	}
	l := levels[0]
	for r := remainder; r < l.modulus; r += modulus {
		switch {
		case l.bounds[r] != nil:
		case !l.below[r]:
			return l.modulus, r, true
		default:
			if m, r, found := hole(levels[1:], l.modulus, r); found {
				return m, r, true
			}
		}
	}
	return 0, 0, false
}
