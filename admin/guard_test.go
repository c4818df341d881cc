package admin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
	"pgdrover/shard"
)

// What INSTALL GUARD runs on the shards makes each of them refuse the rows of the others, and REMOVE GUARD undoes it.
func TestInstallGuardOnRealShards(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	tables := []string{"CREATE TABLE customers (id bigint)", "CREATE TABLE orders (customer_id bigint)", "CREATE SCHEMA log", `CREATE TABLE log."Hits" (day date, host text)`}
	for _, db := range []string{"a", "b"} {
		pg.MustExec(t, "postgres", "CREATE DATABASE "+db)
		pg.MustExec(t, db, tables...)
	}
	h := start(t, func(o *Options) {
		o.RunOnShard = func(ctx context.Context, database, name string, oneTransaction bool, statements []string) error {
			conn, err := pg.Connect(ctx, name)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			if oneTransaction {
				return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					for _, sql := range statements {
						if _, err := tx.Exec(ctx, sql); err != nil {
							return err
						}
					}
					return nil
				})
			}
			for _, sql := range statements {
				if _, err := conn.Exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		}
	})
	c, told := h.connect(t, "ops")
	if tag, failed := run(t, c, "ALTER DATABASE shop INSTALL GUARD"); failed != nil || tag != "ALTER DATABASE" {
		t.Fatal(tag, failed)
	}
	if n := told.take(); len(n) != 2 || n[0].Message != `shard "a": guard installed` {
		t.Errorf("notices %+v", n)
	}
	k := guardedKey(t)
	for id := range 40 {
		want, _, err := k.LocateText(fmt.Sprint(id))
		if err != nil {
			t.Fatal(err)
		}
		for i, db := range []string{"a", "b"} {
			err := pg.ExecIn(t.Context(), db, fmt.Sprintf("INSERT INTO orders VALUES (%d)", id))
			if (err == nil) != (i == want) {
				t.Errorf("%d belongs to shard %d, shard %d says %v", id, want, i, err)
			}
		}
	}
	if _, failed := run(t, c, "ALTER DATABASE shop REMOVE GUARD"); failed != nil {
		t.Fatal(failed)
	}
	pg.MustExec(t, "a", "INSERT INTO orders SELECT generate_series(1, 40)")
	// Now there are rows that do not belong there.
	if _, failed := run(t, c, "ALTER DATABASE shop INSTALL GUARD"); failed == nil || failed.Code != "23514" || !strings.HasPrefix(failed.Message, `shard "a": `) {
		t.Errorf("got %+v", failed)
	}
}

// guardedKey is the key customer of the configuration that the tests have.
func guardedKey(t *testing.T) *shard.Key {
	t.Helper()
	m, err := shard.NewMap(fakeDatabases()["shop"])
	if err != nil {
		t.Fatal(err)
	}
	return m.Key("customer")
}

func TestInstallGuardNamesTheShardThatFailed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var did []string
	h := start(t, func(o *Options) {
		o.RunOnShard = func(_ context.Context, database, name string, oneTransaction bool, statements []string) error {
			mu.Lock()
			defer mu.Unlock()
			did = append(did, fmt.Sprintf("%s %s %v %v", database, name, oneTransaction, len(statements) > 0))
			if name == "b" {
				return fmt.Errorf("running: %w", &pgconn.PgError{Code: "42501", Message: "permission denied", Hint: "Ask."})
			}
			return nil
		}
	})
	c, _ := h.connect(t, "ops")
	_, failed := run(t, c, "ALTER DATABASE shop INSTALL GUARD")
	if failed == nil || failed.Code != "42501" || failed.Message != `shard "b": permission denied` || failed.Hint != "The shards before it are done; the command can be given again. Ask." {
		t.Errorf("got %+v", failed)
	}
	if diff := cmp.Diff([]string{"shop a true true", "shop a false true", "shop b true true"}, did); diff != "" {
		t.Error(diff)
	}
	for sql, want := range map[string]string{
		"ALTER DATABASE blog INSTALL GUARD": `55000 database "blog" is not sharded`,
		"ALTER DATABASE nix INSTALL GUARD":  `3D000 no such database: nix`,
	} {
		if _, e := run(t, c, sql); e == nil || e.Code+" "+e.Message != want {
			t.Errorf("%s: %+v", sql, e)
		}
	}
}
