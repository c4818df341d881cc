package main

import (
	"context"
	"fmt"
	"os/exec"

	"pgdrover/internal/pgtest"
)

// startCluster starts the PostgreSQL under all contenders. It trusts the poolers' account and asks one
// account for a password.
func startCluster(ctx context.Context) (*pgtest.Cluster, error) {
	return pgtest.New(ctx, pgtest.Options{
		Auth: "trust",
		HBA:  []string{fmt.Sprintf("host all %s %s/32 %s", scramUser, loopback, authSCRAM)},
		Settings: map[string]string{
			"max_connections": "400",
			"shared_buffers":  "256MB",
			// Nothing is to run in the background of a measurement.
			"autovacuum": "off",
			// INSERT over several shards.
			"max_prepared_transactions": "50",
		},
		Users:     []pgtest.User{{Name: benchUser, Password: benchPassword}, {Name: scramUser, Password: benchPassword}},
		Databases: []pgtest.Database{{Name: benchDB, Owner: benchUser}},
	})
}

// fillDatabase creates what the loads read: pgbench's tables, and the target of COPY.
func (b *bench) fillDatabase(ctx context.Context, c *pgtest.Cluster) error {
	cmd := exec.Command(b.pgbench, "--initialize", "--scale=5", "--quiet",
		"--host="+loopback, fmt.Sprintf("--port=%d", b.pgPort), "--username="+benchUser, benchDB)
	cmd.SysProcAttr = childAttributes(nil)
	if err := runLocked(ctx, cmd); err != nil {
		return fmt.Errorf("fill the database: %w", err)
	}
	err := c.ExecIn(ctx, benchDB,
		"GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+scramUser,
		"CREATE UNLOGGED TABLE bulk (payload text)",
		"ALTER TABLE bulk OWNER TO "+benchUser,
		"VACUUM ANALYZE")
	if err != nil {
		return fmt.Errorf("fill the database: %w", err)
	}
	return nil
}
