package oracle

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// makeUnit makes a unit from a seed.
func makeUnit(seed uint64) unit {
	r := rand.New(rand.NewPCG(seed, 3))
	switch n := r.IntN(100); {
	case n < 45:
		return repeated(r, want{extended: r.IntN(2) == 0}, "")
	case n < 55:
		return executions(r)
	case n < 63:
		return unit{text(r)}
	case n < 69:
		return pipeline(r)
	case n < 70:
		return explainedUnit(r)
	case n < 72:
		return hintedTransaction(r)
	case n < 78:
		return repeated(r, want{extended: r.IntN(2) == 0, write: true}, "autocommit")
	}
	return transaction(r)
}

// explainedUnit is a statement behind its EXPLAIN.
func explainedUnit(r *rand.Rand) unit {
	st := statement(r.Uint64(), r.Uint64(), want{extended: r.IntN(2) == 0, write: r.IntN(3) == 0})
	if strings.HasPrefix(st.sql, "COPY ") || strings.HasPrefix(st.sql, "/*") {
		return unit{st}
	}
	explain := step{sql: "EXPLAIN " + st.sql, extended: st.extended, params: st.params, planned: true, loose: true, pinned: st.pinned, tags: []string{"EXPLAIN"}}
	return unit{explain, st}
}

// repeated is one structure with several values.
func repeated(r *rand.Rand, w want, tag string) unit {
	var u unit
	structure := r.Uint64()
	for range 1 + r.IntN(4) {
		st := statement(structure, r.Uint64(), w)
		if tag != "" {
			st.tags = append(st.tags, tag)
		}
		u = append(u, st)
	}
	return u
}

// executions are one prepared statement with other values each time.
func executions(r *rand.Rand) unit {
	var st step
	for range 20 { // one with parameters
		st = statement(r.Uint64(), r.Uint64(), want{extended: true, write: r.IntN(6) == 0})
		if len(st.params) > 0 && !slices.Contains(st.tags, "routing hint") { // which would not change with the values
			break
		}
	}
	st.prepared = pick(r, []string{"p1", "p2", "p3"})
	st.tags = append(st.tags, "prepared statement")
	u := unit{st}
	if slices.Contains(st.tags, "routing hint") {
		return u
	}
	for range 1 + r.IntN(7) {
		again := st
		again.params = nil
		other := map[param]string{} // the same value changes alike
		for _, p := range st.params {
			if p.of != nil {
				id := param{of: p.of, text: p.text}
				if other[id] == "" {
					other[id] = pick(r, p.of.pool)
				}
				p.text, p.null = other[id], r.IntN(30) == 0
			}
			again.params = append(again.params, p)
		}
		u = append(u, again)
	}
	return u
}

// text is several statements in one simple query, sometimes with transaction commands between them.
func text(r *rand.Rand) step {
	var out step
	var parts []string
	for range 2 + r.IntN(3) {
		if r.IntN(8) == 0 {
			parts = append(parts, pick(r, []string{"BEGIN", "COMMIT", "ROLLBACK", "SELECT 1/0", "", "SAVEPOINT s", "SET LOCAL extra_float_digits = 1"}))
			continue
		}
		st := statement(r.Uint64(), r.Uint64(), want{write: r.IntN(3) == 0})
		for st.full != "" || strings.HasPrefix(st.sql, "COPY ") {
			st = statement(r.Uint64(), r.Uint64(), want{})
		}
		parts = append(parts, st.sql)
		out.write = out.write || st.write
	}
	out.sql = strings.Join(parts, pick(r, []string{"; ", ";", " ;\n"}))
	out.tags, out.loose = []string{"text of several statements"}, true
	return out
}

// pipeline is several statements up to one Sync.
func pipeline(r *rand.Rand) unit {
	var u unit
	n := 2 + r.IntN(3)
	for i := range n {
		st := statement(r.Uint64(), r.Uint64(), want{extended: true, write: r.IntN(3) == 0})
		for st.full != "" {
			st = statement(r.Uint64(), r.Uint64(), want{extended: true})
		}
		st.more = i < n-1
		st.tags, st.pinned = []string{"pipeline"}, false
		u = append(u, st)
	}
	return u
}

// transaction is a transaction block with savepoints and errors, mostly rolled back.
func transaction(r *rand.Rand) unit {
	command := func(sql string) step { return step{sql: sql, tags: []string{"transaction command"}} }
	u := unit{command(pick(r, []string{"BEGIN", "BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN READ WRITE"}))}
	inside := func() {
		st := statement(r.Uint64(), r.Uint64(), want{extended: r.IntN(2) == 0, write: r.IntN(10) < 7})
		st.tags = append(st.tags, "in a transaction")
		u = append(u, st)
	}
	for range 1 + r.IntN(3) {
		inside()
	}
	for range r.IntN(3) {
		u = append(u, command("SAVEPOINT s1"))
		inside()
		if r.IntN(4) == 0 {
			u = append(u, step{sql: pick(r, []string{"SELECT 1/0", "SELECT * FROM no_such_table", "SELEC 1", "INSERT INTO settings VALUES (NULL)"}), tags: []string{"error"}})
		}
		if r.IntN(3) > 0 {
			u = append(u, command("ROLLBACK TO SAVEPOINT s1"))
		} else {
			u = append(u, command("RELEASE SAVEPOINT s1"))
		}
		inside()
	}
	return append(u, command(pick(r, []string{"ROLLBACK", "ROLLBACK", "COMMIT", "ABORT", "END"})))
}

// writes says whether a unit may change tables.
func (u unit) writes() bool {
	for i := range u {
		if u[i].write {
			return true
		}
	}
	return false
}
