// Package config turns configuration files into one validated [Config] and keeps it current.
//
// # What it owns
//
// Every key that may stand in a file is a row of a table (global settings, databases, users, peers; shards, replicas,
// sharding keys and bounds of a sharded database). A row carries the name, kind, default, range, where a change applies and the meaning; the
// parsers, the defaults, the validation, SHOW CONFIG, docs/config.md and config.toml.example are all made
// from the rows, so that they cannot disagree.
//
// A file is read in three steps: a reader (TOML, pgbouncer.ini, config.auto.toml) turns it into a document,
// which is a list of keys with positions; documents are merged (config.auto.toml over the main file, values
// from SET over both); the merged document is built into a [Config] and checked as a whole. Every problem
// is found in one go and is reported with file, line and column. Passwords are not part of any message.
//
// How a database is sharded is read by sharding_build.go; whether its bounds fit together depends on their types, which package shard
// knows: it is asked as a subscriber. Commands that change it (sharding_changes.go) work on a copy of what the files say, and what
// they have changed is kept whole in config.auto.toml.
//
// # Running
//
// [Manager] publishes the Config in force through an atomic pointer. A change (reload, SET, ALTER) is
// built and checked completely, shown to every subscriber, and only if none objects is it committed.
// Changes are serialised by one mutex; readers never wait. A published Config is never written again.
//
// # Goroutines
//
// [Manager.Watch] runs in the caller's goroutine and starts none that outlive it (fsnotify has one of its
// own, which ends with it). Nothing else in the package starts goroutines.
//
// # Imports
//
// The package knows nothing of the pooler, the admin database or the log.
package config
