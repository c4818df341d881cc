// Package shard decides where a statement goes. It is pure: no sockets, no clocks.
//
// A [Map] says which shard holds which rows, in PostgreSQL's own terms: the bounds of a declaratively partitioned table whose
// partitions live on other servers. A [DB] joins a map with the shards' [catalog.Catalog] and plans statements:
//
//	db := shard.NewDB(m, cat, plans)
//	stmts, err := db.Query(ctx, env, text)      // a simple query: one Statement for each statement of the text
//	st, err := db.Prepare(ctx, env, text, oids) // a Parse message
//	plan, err := st.Plan(params)                // where this execution goes
//
// The rule above all others: a plan is made only where the answer is certain to be what one PostgreSQL with all the rows would
// give. Whatever is not understood is refused, with the construct's name and the way out. Nothing is broadcast because
// nobody knew better.
//
// # How a statement is planned
//
// A statement's text is folded (package sqlparse), so that texts that differ in literals only share a plan, and looked up in the
// [Cache]. On a miss it is parsed, and compared with the allow-list of nodes and fields in tree.go. Then it is visited (query.go,
// from.go, write.go, expr.go): every mention of a table becomes a rel, and conditions that must hold for every row (conjunct.go) say
// which of its columns have which values, or those of another table's column. The visit counts the nodes that matter; a tree that has
// more of them than were visited is refused. facts.go says what is proved, and why it may be carried along.
//
// What remains is a shape (shape.go): for each sharded table the values that pin it, where they come from, and by which table's rows the
// statement can be taken apart. Each execution reads the values (bind.go) and puts the shards of all tables together: one shard forwards the
// statement, several gather, split, or are refused by the table in refusals.go.
//
// A write of a reference table that does the same wherever it runs goes to every shard. Any other runs on the first one, and the others get the rows
// that it has written (reference.go, replay.go).
//
// The package starts no goroutines.
//
// Maps, catalogs and statements are immutable once made and shared by all sessions; a change makes new ones.
package shard
