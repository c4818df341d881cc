package config

import "context"

// Prepare checks whether the running process can take on next (loads certificates, binds what has to be
// bound) and returns the function that makes it so, or nil. An error rejects the whole change; commit cannot fail.
// By the time commit runs, next is the current configuration. It may be called for a change that another
// subscriber rejects, and for one that only touched the contents of a file, where old and next look alike.
type Prepare func(old, next *Config) (commit func(), err error)

// Status tells how the last reload went, for SHOW until it is mended.
type Status struct {
	Err string // empty when the file on disk is the one in force
	At  int64  // Unix seconds of the rejected reload
}

// Origin tells where a setting's value in force came from.
type Origin struct {
	Value   string // as SHOW CONFIG prints it; secrets are hidden
	Default string
	Source  string // "default", "file:line", "auto" (config.auto.toml), "SET" or "command line"
	Shadows string // for "auto" and "SET": the main file's "file:line" that it hides, if any

	// From the settings table.
	Changeable bool   // by RELOAD and SET, in PgBouncer's sense
	Applies    string // where a change takes effect: "live", "new clients", "new servers", "after reconnect", "after restart"
	Meaning    string // one line
	// Pending is the value that waits for a restart; "" if the value in force is the configured one.
	Pending string
}

// Controller is what the admin database needs of the configuration; *Manager is the only one.
type Controller interface {
	Current() *Config
	// Reload reads the files again; nothing changes unless everything is valid.
	Reload(ctx context.Context) error
	// Set changes one global setting of the running process only, until the next reload.
	Set(name, value string) error
	// AlterSystem, AlterDatabase and AlterUser change a setting and persist it in config.auto.toml.
	// A nil value means RESET; name "ALL" with a nil value resets everything of that object.
	AlterSystem(name string, value *string) error
	AlterDatabase(database, name string, value *string) error
	AlterUser(user, name string, value *string) error
	// AlterSharding changes the shards, keys or tables of a database and persists that. The notes are for who asked.
	AlterSharding(database string, change ShardingChange) (notes []string, err error)
	// Origins lists every global setting, in table order of names.
	Origins() map[string]Origin
	Status() Status
}
