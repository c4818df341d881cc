// Command bench compares pgdrover with PgBouncer and with PostgreSQL alone, side by side.
//
// A number taken on a shared machine says little: two runs of the same program, a minute apart, differ
// by more than two poolers do. So nothing here is compared across time. The candidate and the reference
// (PgBouncer) are loaded at the same moment, each with half of the clients, in several short rounds with
// the order of starting swapped each time; each round yields a ratio, and the median and the range of the
// ratios are what counts. PgBouncer is also measured against a second PgBouncer in the same way: how far
// that ratio is from 1 is the noise of the day.
//
// CPU is the processor time of the pooler's process, all threads, between two instants in the middle of a
// round, divided by the transactions that pgbench logged between the same instants; connecting and
// winding down are therefore outside.
//
// The way of one measurement: scenarios (table) -> measure (starts the contenders, plays the rounds) ->
// load.run (pgbench, bulk or idle: loads all sides at once) -> sample -> report (text, markdown).
//
// Every process started here is the harness's own, has its own process group, and is stopped by its pid,
// also on an interrupt; if the harness itself is killed, the kernel kills them.
package main
