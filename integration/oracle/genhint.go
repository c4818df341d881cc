package oracle

import (
	"fmt"
	"math/rand/v2"
)

// hintFamilies are keys whose values need no quotes in a hint.
var hintFamilies = []string{"customer", "customer", "event", "k_integer", "k_bigint", "k_smallint", "k_uuid"}

// leastBigint is not read as a key where it is written as a number, so that a hint contradicts nothing.
const leastBigint = "-9223372036854775808"

// hinted makes a statement that its key pins, and a hint in a comment that says the same: the answer is that of one PostgreSQL, which
// reads no comments. Now and then the hint is another key's, of the same shard or not.
func (g *gen) hinted(st *step) {
	hint := pick(g.s, []string{"/* shard_key=%s */ ", "/*shard_key=%s*/", "/* shard_key = %s */\n"})
	key, sql := g.ofKey()
	st.sql = fmt.Sprintf(hint, key) + sql
}

// ofKey is a statement about one key, and a value for a hint.
func (g *gen) ofKey() (key, sql string) {
	g.tag("routing hint")
	_, of := families()
	t := pick(g.s, of[pick(g.s, hintFamilies)])
	g.pin, g.free = g.drawPin(t.family), false
	f := g.tableFrom(t)
	s := &scope{}
	s.add(f)
	c := pick(g.s, s.cols)
	sql = "SELECT " + c.ref + " AS c1 FROM " + f.sql + " WHERE " + g.keyValue(f)
	other := g.drawPin(t.family)
	if g.chance(40) {
		return g.pin.values[0], sql + " AND " + g.predicate(s, 1)
	}
	if g.v.IntN(3) == 0 && g.pin.values[0] != leastBigint {
		return other.values[0], sql
	}
	return g.pin.values[0], sql
}

// hintedTransaction is a transaction in which a setting says where statements go. To PostgreSQL it is one that means nothing.
func hintedTransaction(r *rand.Rand) unit {
	g := newGen(r.Uint64(), r.Uint64(), r.IntN(2) == 0)
	key, sql := g.ofKey()
	command := func(sql string) step { return step{sql: sql, tags: []string{"transaction command"}} }
	st := step{sql: sql, extended: g.extended, params: g.params, tags: g.tags, pinned: true}
	u := unit{command("BEGIN"), command("SET LOCAL pgdrover.shard_key = " + quote(key)), st}
	if r.IntN(3) == 0 {
		u = append(u, command("SHOW pgdrover.shard_key"))
	}
	if r.IntN(2) == 0 {
		u = append(u, command("RESET pgdrover.shard_key"), st)
	}
	return append(u, command(pick(r, []string{"ROLLBACK", "COMMIT"})))
}
