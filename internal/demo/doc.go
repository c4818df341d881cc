// Package demo shows pgdrover at work on a machine that has nothing but this program: a throw-away
// PostgreSQL with a little shop in it, the same shop over two shards, a configuration to play with, and what to type.
//
// It owns the cluster and one folder, which it prints; both are gone when [Run] returns. It knows the pooler
// only as a function that starts it with a configuration file. It has no goroutines.
package demo
