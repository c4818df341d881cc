package oracle

import (
	"fmt"
	"maps"
	"slices"
)

// enough is how many statements of a construct must have run before its share counts.
const enough = 150

// floors are the shares, in percent, of statements of a construct that must be answered when they have the sharding key at the top.
// What is not listed must reach defaultFloor. A construct whose statements are taken apart by the rows of several shards has no key
// there and no floor, but "scan": what needs no more than to be sent one after the other.
var floors = map[string]int{
	"INSERT SELECT":          30,
	"WITH":                   70,
	"CTE":                    70,
	"CTE that hides a table": 70,
	"recursive CTE":          70,
	"write in WITH":          60,
	"INSERT of many rows":    75,
	"INSERT":                 80,
	"ON CONFLICT":            70,
	"odd value":              80,
	"reference table write":  40,
	"FOR UPDATE":             50,
	"single table write":     60,
}

const defaultFloor = 80

// restFloors are floors of statements without a key at the top.
var restFloors = map[string]int{"scan": 55, "transaction command": 99, "all": 25}

// belowFloor says which constructs were refused too often.
func (t *tally) belowFloor() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	check := func(what, tag string, c *count, floor int) {
		if c.all() >= enough && 100*c.answered < floor*c.all() {
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
