package oracle

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// enough is how many statements of a construct must have run before its share counts.
const enough = 150

// floors are the shares, in percent, of statements of a construct that must be answered when they have the sharding key at the top: what was
// measured in a long run, less two. What is not listed must reach defaultFloor. A construct whose statements are taken apart by the rows of
// several shards has no key there; restFloors has some of those.
var floors = map[string]int{
	"CTE":                      87,
	"CTE that hides a table":   88,
	"EXPLAIN":                  89,
	"INSERT":                   83,
	"INSERT SELECT":            35,
	"INSERT of many rows":      82,
	"LATERAL":                  88,
	"ON CONFLICT":              82,
	"WITH":                     87,
	"autocommit":               89,
	"cross join":               88,
	"parameter of a near type": 88,
	"reference table write":    89,
	"routing hint":             87,
	"type-prefixed constant":   89,
	"write in WITH":            81,
}

const defaultFloor = 90

// restFloors are floors of statements without a key at the top.
var restFloors = map[string]int{
	"scan":                  74,
	"transaction command":   99,
	"all":                   77,
	"COPY FROM":             91,
	"COPY TO":               85,
	"UPDATE":                90,
	"DELETE":                90,
	"INSERT":                77,
	"UPDATE of the key":     83,
	"reference table write": 89,
	"single table write":    94,
	"VALUES":                98,
	"in a transaction":      79,
}

// alike is how many statements tell as much as one: those of one unit are much the same.
const alike = 6

// under says that a share is below a floor by more than chance explains.
func (c *count) under(floor int) bool {
	p, n := float64(floor)/100, float64(c.all())
	return float64(c.answered)/n < p-3*math.Sqrt(p*(1-p)*alike/n)
}

// belowFloor says which constructs were refused too often.
func (t *tally) belowFloor() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	check := func(what, tag string, c *count, floor int) {
		if c.all() >= enough && c.under(floor) {
			out = append(out, fmt.Sprintf("%s %q: %s of %d statements answered, the floor is %d %%: %v", what, tag, share(c.answered, c.all()), c.all(), floor, c.reasons))
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(t.pinned)) {
		floor, ok := floors[tag]
		if !ok {
			floor = defaultFloor
		}
		check("with the key,", tag, t.pinned[tag], floor)
	}
	for tag, floor := range restFloors {
		if c := t.rest[tag]; c != nil {
			check("without a key,", tag, c, floor)
		}
	}
	return out
}
