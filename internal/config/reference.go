package config

import (
	"fmt"
	"strings"
)

// Reference returns docs/config.md: every key with kind, default, where a change applies, and meaning.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n### %s\n\n| setting | kind | default | a change applies | meaning |\n|---|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", mdName(&s), mdKind(&s), mdCode(s.Default), s.Applies, mdText(&s))
	}
	for _, o := range []struct {
		head string
		keys []Setting
	}{
		{referenceDatabases, DatabaseKeys()},
		{referenceSharding, ShardingKeys()},
		{referenceShards, ShardKeys()},
		{referenceReplicas, replicaTable.settings()},
		{referenceShardingKeys, keyTable.settings()},
		{referencePlacement, boundTable.settings()},
		{referenceUsers, UserKeys()},
		{referencePeers, PeerKeys()},
	} {
		b.WriteString(o.head)
		b.WriteString("\n| key | kind | default | a change applies | meaning |\n|---|---|---|---|---|\n")
		for _, s := range o.keys {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", mdName(&s), mdKind(&s), mdCode(s.Default), s.Applies, mdText(&s))
		}
	}
	b.WriteString(referenceTail)
	return b.String()
}

func mdName(s *Setting) string {
	name := mdCode(s.Name)
	if len(s.Aliases) > 0 {
		name += " (also " + mdCode(strings.Join(s.Aliases, ", ")) + ")"
	}
	return name
}

func mdKind(s *Setting) string {
	switch {
	case s.Kind == KindEnum:
		return strings.Join(s.Words, ", ")
	case (s.Kind == KindInt || s.Kind == KindSize) && (s.Min != 0 || s.Max != maxInt32):
		return fmt.Sprintf("%s, %d to %d", s.Kind, s.Min, s.Max)
	case s.File:
		return "file name"
	default:
		return s.Kind.String()
	}
}

func mdCode(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

func mdText(s *Setting) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`).Replace(s.Meaning)
}

const referenceHead = `# Configuration

This page is made from the tables in ` + "`internal/config`" + `; do not edit it by hand.

pgdrover reads one file, in TOML or as a ` + "`pgbouncer.ini`" + ` (told apart by content), and then
` + "`config.auto.toml`" + ` beside it, in which ` + "`ALTER SYSTEM`, `ALTER DATABASE` and `ALTER USER`" + ` keep their values. Settings
have PgBouncer's names and defaults. ` + "`pgdrover check FILE`" + ` lists all that is wrong with a file; unknown keys are errors.

The files are watched: a change is in force as soon as it is saved, if everything in it is valid; otherwise nothing
changes, the reason is logged and shown, and the next correct version is taken on. Certificates, password files,
` + "`auth_file`, `auth_hba_file` and `auth_ident_file`" + ` are watched too.

## Values

| kind | in TOML |
|---|---|
| integer | ` + "`20`" + `; in pgbouncer.ini also hexadecimal ` + "`0x14`" + ` and octal ` + "`024`" + ` |
| boolean | ` + "`true`, `false`, `1`, `0`" + ` |
| duration | seconds as a number (` + "`5`, `0.5`" + `), or a string with a unit: ` + "`\"500ms\"`, `\"30s\"`, `\"5min\"`, `\"2h\"`, `\"1d\"`" + ` |
| size | bytes as a number, or a string with a unit: ` + "`\"64kB\"`, `\"1MB\"`, `\"1GB\"`" + ` |
| list | an array of strings, or one string with commas |
| file mode | octal: ` + "`0o770`" + ` |
| file name | relative names count from the configuration file's folder; in pgbouncer.ini from the working directory |

Where a change applies: *live* at once; *new clients* and *new servers* for connections that come after it; *after
reconnect* server connections are replaced as they become idle; *after restart* not before the next start, until when the
old value stays in force and SHOW CONFIG tells of the new one.

## Global settings

They stand at the top of the file, above the first ` + "`[section]`" + `.
`

const referenceDatabases = `
## Databases: ` + "`[databases.NAME]`" + `

NAME is what clients ask for. ` + "`[databases.\"*\"]`" + ` stands for every name that is not listed. The names pgdrover and pgbouncer
belong to the admin database. Of ` + "`password`, `password_env` and `password_file`" + ` only one may be given, and so of ` + "`url` and `dsn`" + `.
`

const referenceSharding = `
### Sharding

A database with shards sends each statement to the shards that have its rows; see [sharding.md](sharding.md). These keys of
` + "`[databases.NAME]`" + ` say how. They can only be given in a TOML file, and commands of the admin database change them while running.
`

const referenceShards = `
### Shards: ` + "`[[databases.NAME.shards]]`" + `

What a shard does not say is as in ` + "`[databases.NAME]`" + `. Keys of a database that are not listed here are the same for all shards.
`

const referenceReplicas = `
` + "`replicas = [{ host = \"10.0.1.2\" }, { host = \"10.0.1.3\", weight = 2 }]`" + ` in a shard lists its standbys:
`

const referenceShardingKeys = `
### Sharding keys: ` + "`[databases.NAME.keys.KEY]`" + `

Tables that carry the same key are co-located: rows with equal values of it are on the same shard.
`

const referencePlacement = `
The elements of ` + "`placement`" + ` are PostgreSQL's partition bounds. Written as a table:
`

const referenceUsers = `
## Users: ` + "`[users.NAME]`" + `

A password here wins over the user's line in ` + "`auth_file`" + `. Limits and modes of a user win over those of the database.
`

const referencePeers = `
## Peers: ` + "`[peers.NUMBER]`" + `

NUMBER is the ` + "`peer_id`" + ` of another process behind the same address, to which cancel requests are passed on.
`

const referenceTail = `
## pgbouncer.ini

The sections are ` + "`[pgbouncer]`, `[databases]`, `[users]` and `[peers]`" + `; ` + "`%include FILE`" + ` reads another file in place. Comments are
whole lines that begin with ` + "`;` or `#`" + `. Databases are written ` + "`name = host=… dbname=…`" + `, values with blanks in single quotes,
names with unusual characters in single or double quotes. Durations are numbers of seconds. All keys of this page are understood.
`

// Example returns config.toml.example: a small working configuration, and below it every setting at its
// default, commented out.
func Example() string {
	var b strings.Builder
	b.WriteString(exampleHead)
	active := map[string]bool{}
	for line := range strings.Lines(exampleHead) {
		if name, _, ok := strings.Cut(line, " ="); ok && !strings.HasPrefix(line, "#") {
			active[name] = true
		}
	}
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n# --- %s ---\n", group)
		}
		if active[s.Name] {
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", exampleNote(&s), s.Name, exampleDefault(&s))
	}
	b.WriteString(exampleTail)
	for _, part := range []struct {
		title string
		keys  []Setting
	}{
		{"database", append(DatabaseKeys(), ShardingKeys()...)},
		{"shard", append(ShardKeys(), Setting{Name: "replicas", Meaning: "Its standbys, an array of tables with the keys of a replica."})},
		{"replica", replicaTable.settings()},
		{"sharding key", keyTable.settings()},
		{"bound in placement", boundTable.settings()},
		{"user", UserKeys()},
		{"peer", PeerKeys()},
	} {
		fmt.Fprintf(&b, "\n# All keys of a %s:\n", part.title)
		for _, s := range part.keys {
			fmt.Fprintf(&b, "#   %s: %s\n", s.Name, exampleNote(&s))
		}
	}
	return b.String()
}

func exampleNote(s *Setting) string {
	note := s.Meaning
	if s.Kind == KindEnum {
		note += " One of " + strings.Join(s.Words, ", ") + "."
	}
	return note
}

// exampleDefault writes the default as TOML.
func exampleDefault(s *Setting) string {
	v, err := s.parse(value{s.Default, dialectINI})
	if err != nil {
		return tomlString(s.Default)
	}
	switch {
	case s.Kind == KindMode:
		return fmt.Sprintf("0o%o", v)
	case s.Kind == KindList && s.Default == "":
		return "[]"
	}
	text, _ := tomlValue(tomlOf(v))
	return text
}

const exampleHead = `# pgdrover: an example configuration. This file is made from the settings table.
# Copy it to config.toml, change what is above the line of dashes, and save: changes are taken on while running.
# docs/config.md explains the values; "pgdrover check config.toml" finds mistakes.

listen_addr = "127.0.0.1"
listen_port = 6432
pool_mode = "transaction"
auth_type = "scram-sha-256"
admin_users = ["ops"]

# Every other setting, at its default. Settings must stand above the first [section].
# ------------------------------------------------------------------------------------
`

const exampleTail = `
# ------------------------------------------------------------------------------------

# Clients that ask for "blog" are connected to this server, each under its own name.
[databases.blog]
host = "127.0.0.1"
port = 5432
dbname = "blog"

# The same server as a connect string, always as one user, in pools of 40.
[databases.shop]
url = "postgres://shop@127.0.0.1:5432/shop?sslmode=prefer"
pool_size = 40
query_wait_timeout = "30s"

# A database whose rows are on two shards. docs/sharding.md explains it.
[databases.store]
reference_tables = ["countries"]  # the same rows on every shard
default_shard = "a"               # tables that are listed nowhere live here; without it they are refused

[[databases.store.shards]]
name = "a"
host = "10.0.1.1"
replicas = [{ host = "10.0.1.2" }, { host = "10.0.1.3", weight = 2 }]

[[databases.store.shards]]
name = "b"
host = "10.0.2.1"

[databases.store.keys.customer]   # the tables that carry a key are co-located
type = "bigint"
columns = { customers = "id", orders = "customer_id", order_items = "customer_id" }
# placement = [{ shard = "a", modulus = 2, remainder = 0 }, { shard = "b", modulus = 2, remainder = 1 }]

# Who may log in. A SCRAM secret, as in pg_authid.rolpassword, keeps the password out of this file.
[users.ops]
password = "change me"

[users.app]
password = "change me too"
max_user_connections = 50
`
