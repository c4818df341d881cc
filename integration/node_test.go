package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"pgdrover/internal/pgtest"
)

// TestNodeDriversWork runs the scripts of testdata/node with the drivers that package.json there names: 20 connections of
// each on two servers, and on one server each.
func TestNodeDriversWork(t *testing.T) {
	t.Parallel()
	node, npm := need(t, "node", "runs the drivers' scripts"), need(t, "npm", "fetches the drivers")
	manifest, err := os.ReadFile("testdata/node/package.json")
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(fetched(t, "node", manifest, func(ctx context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = dir
		r, err := execute(cmd)
		if err == nil && r.code != 0 {
			err = errors.New(r.everything())
		}
		return err
	}), "node_modules")
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""), pgtest.WithDatabase("two", "app"), pgtest.WithDatabase("own", "app"))
	tables := trustUsers
	for db, settings := range map[string]string{"two": "pool_mode = \"transaction\"\npool_size = 2", "own": "pool_mode = \"session\"\npool_size = 40"} {
		tables += fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\n%s\n", db, pg.Port, settings)
	}
	b := startBouncer(t, "auth_type = \"trust\"\n", tables)
	for _, script := range []string{"pg_client.js", "postgresjs_client.js"} {
		for db, mode := range map[string]string{"two": "transaction", "own": "session"} {
			t.Run(script+" "+mode, func(t *testing.T) {
				cmd := exec.CommandContext(testContext(t), node, filepath.Join("testdata/node", script), strconv.Itoa(b.Port), db, mode)
				cmd.Env = programEnv("NODE_PATH=" + modules)
				r, err := execute(cmd)
				if err != nil || r.code != 0 {
					t.Fatalf("%v: %s", err, r.everything())
				}
				b.awaitPool(db, "app", "sv_active=0", "cl_waiting=0", "cl_active=0")
			})
		}
	}
	b.noLeaks(pg, "app")
}
