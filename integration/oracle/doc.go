// Package oracle compares a sharded database with one PostgreSQL that has the same rows.
//
// A seed makes SQL from a grammar that knows the schema. Each statement runs through pgdrover on several shards and on
// one plain PostgreSQL. Either the sharded side refuses it, or rows, columns, command tags, SQLSTATEs, the status of the
// transaction, and, looked at every so often, the contents of all tables must be equal, with every row on the shard that its
// key says. Order is compared where the statement asks for a total one.
//
//	schema.go, types.go    tables, keys, placements, values
//	gen*.go                the grammar
//	step.go, session.go    one exchange with a server and what came of it
//	copy.go                the same of COPY
//	duel.go                the same exchanges on both sides, and the verdict
//	world.go, content.go   clusters, shards, pgdrover; data, and the check of tables
//	shrink.go              makes a found difference small
//	tally.go, floors.go    what was answered and refused, by construct, and the floors
//	late_test.go           what is written down of a statement that takes long, before it is given up
//
// A difference is printed as a case in the form of testdata/*.sql, where cases that were found once are kept; they run
// before anything is made up. The run is repeatable: the seed is printed, and worlds do not influence one another.
//
// That the comparison can find errors is tested as well: rules of the planner are switched off one at a time, and each time
// the oracle must find a difference.
package oracle
