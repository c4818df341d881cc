package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

// The first port that is tried, PgBouncer's.
const firstPort = 6432

// StartFunc starts the pooler with a configuration file and returns when it accepts connections. stop ends
// it and waits until it has ended.
type StartFunc func(ctx context.Context, configPath string) (stop func(), err error)

// Run starts PostgreSQL and, by start, the pooler; prints to out what can be done with them; waits until ctx
// is done, and removes everything. It returns an error only if something could not be started or removed.
func Run(ctx context.Context, out io.Writer, start StartFunc) (err error) {
	p := &printer{w: out}
	p.line("Starting PostgreSQL; where it is missing, it is installed first …")
	server, err := startServer(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	dir, err := os.MkdirTemp("", "pgdrover-demo-")
	if err != nil {
		return fmt.Errorf("creating the demo's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	port, err := freePort(ctx, firstPort)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, configFile(dir, port, server.Port), 0o600); err != nil {
		return fmt.Errorf("writing the demo's configuration: %w", err)
	}
	conf, _, err := config.Load(path)
	if err != nil {
		return fmt.Errorf("reading the demo's configuration: %w", err)
	}
	if err := fillShards(ctx, server, conf.Databases[sharded]); err != nil {
		return explain(ctx, err)
	}
	stop, err := start(ctx, path)
	if err != nil {
		return explain(ctx, fmt.Errorf("starting pgdrover with %s: %w", path, err))
	}
	defer stop()
	p.guide(guide{
		version: server.Installation.Version, serverPort: server.Port, port: port,
		config: path, noPsql: psqlMissing(ctx),
	})
	<-ctx.Done()
	p.line("\nStopping, and removing %s.", dir)
	return p.err
}

// explain turns an error that only says that the user has had enough into none.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// startServer starts a PostgreSQL with the demo's users and the shop.
func startServer(ctx context.Context) (*pgtest.Cluster, error) {
	server, err := pgtest.New(ctx, pgtest.Options{
		Users: []pgtest.User{
			{Name: demoUser, Password: demoPassword}, {Name: appUser, Password: appPassword}, {Name: recoveryUser, Password: recoveryPassword},
		},
		Databases: append([]pgtest.Database{{Name: database, Owner: demoUser}}, shardDatabases()...),
		Settings:  map[string]string{"max_prepared_transactions": "20"}, // for transactions over several shards
	})
	if err != nil {
		return nil, err
	}
	// Created as demo, so that the tables are demo's.
	if err := server.ExecIn(ctx, database, "SET ROLE "+demoUser+";"+shop); err != nil {
		return nil, errors.Join(fmt.Errorf("creating the shop: %w", err), server.Close())
	}
	return server, nil
}

// freePort returns the first port from the given one on that nobody listens on.
func freePort(ctx context.Context, from int) (int, error) {
	var lc net.ListenConfig
	var first error
	for port := from; port < from+100; port++ {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		if first == nil {
			first = err
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d: %w", from, from+99, first)
}

// psqlMissing tells whether the user must install psql first, after an attempt to do it for them.
func psqlMissing(ctx context.Context) bool {
	_, err := pgtest.FindPsql(ctx)
	return err != nil
}
