// Package catalog holds what pgdrover knows of the tables, types, functions and operators of a sharded database: a snapshot of
// PostgreSQL's system catalogs, the queries that load it, what follows from it, and the SQL that pgdrover installs on shards.
//
//	lead, err := catalog.Load(ctx, conn)                        // one round trip; any role may do it
//	cat := catalog.Combine(home, lead, catalog.Shard{"b", other}) // and what only others have, with the differences
//	problems := catalog.Check(cat, listed, place, waive)        // what stops being global under a shard map
//	install, validate, err := catalog.GuardSQL("a", keys)       // the placement guard of a shard
//
// A Catalog is immutable; a refresh makes a new one. Planning reads it and nothing else, so what is missing in it is unknown
// and not assumed: a relation, function or operator that it does not list makes a statement refused.
//
// What a function may do besides computing is its Category. PostgreSQL's own have theirs from one table, which a test compares with
// every function of every version; a function that is not immutable and not in the table is unknown, and so is what users
// write. Expressions of defaults and checks are judged by the functions in their stored trees, because pg_depend has no rows for
// PostgreSQL's own functions.
//
// The SQL is data: this package opens no connection, and starts no goroutine.
package catalog
