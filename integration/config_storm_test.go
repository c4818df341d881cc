package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// Clients that run transactions, prepared statements and logins must not notice that the configuration is read again
// and again, with changes that do not concern them and with some that do.
func TestManyReloadsUnderLoadDisturbNobody(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	pg.MustExec(t, "postgres", "CREATE TABLE account (id int PRIMARY KEY, n bigint)", "INSERT INTO account SELECT g, 0 FROM generate_series(1, 16) g", "GRANT ALL ON account TO app")
	tables := func(size int, app string) string {
		return trustUsers + pgDatabase("db", pg, fmt.Sprintf("pool_size = %d\napplication_name = %q", size, app)) + pgDatabase("other", pg, fmt.Sprintf("pool_size = %d", size))
	}
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	b := startBouncer(t, set, tables(4, "a"))
	ctx := testContext(t)
	load, stop := context.WithCancel(ctx)
	var rounds atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; load.Err() == nil; n++ {
				if err := storm(ctx, b, i+1, load); err != nil {
					errs <- err
					return
				}
				rounds.Add(1)
			}
		}()
	}
	for i := range 40 {
		b.Write(set, tables(2+i%4, fmt.Sprint("a", i/8)))
		b.Admin("RELOAD")
		for from := rounds.Load(); rounds.Load() == from && len(errs) == 0; {
			b.Admin("RELOAD")
		}
	}
	stop()
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if rounds.Load() == 0 {
		t.Error("no client got anything done")
	}
}

// storm logs in, runs some transactions and leaves.
func storm(ctx context.Context, b *bouncer, id int, load context.Context) error {
	conn, err := pgx.Connect(ctx, b.DSN("db", "app"))
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for range 10 {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "UPDATE account SET n = n + 1 WHERE id = $1", id); err != nil {
				return err
			}
			var n int64
			return tx.QueryRow(ctx, "SELECT n FROM account WHERE id = $1", id).Scan(&n)
		})
		if err != nil {
			return fmt.Errorf("transaction: %w", err)
		}
		if load.Err() != nil {
			return nil
		}
	}
	return nil
}
