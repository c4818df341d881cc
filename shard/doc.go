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
// Maps, catalogs and statements are immutable once made and shared by all sessions; a change makes new ones.
package shard
