package catalog

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"pgdrover/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within returns a context that ends before the test's patience does.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// connect opens a session that ends with the test.
func connect(t testing.TB, dsn string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(within(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// run runs statements in one transaction.
func run(t testing.TB, conn *pgconn.PgConn, sql ...string) {
	t.Helper()
	if err := try(t, conn, sql...); err != nil {
		t.Fatal(err)
	}
}

func try(t testing.TB, conn *pgconn.PgConn, sql ...string) error {
	ctx := within(t)
	if _, err := conn.Exec(ctx, "BEGIN").ReadAll(); err != nil {
		return err
	}
	for _, s := range sql {
		if _, err := conn.Exec(ctx, s).ReadAll(); err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK").ReadAll()
			return err
		}
	}
	_, err := conn.Exec(ctx, "COMMIT").ReadAll()
	return err
}

// value returns the first value of a query.
func value(t testing.TB, conn *pgconn.PgConn, sql string) string {
	t.Helper()
	results, err := conn.Exec(within(t), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for _, r := range results {
		if len(r.Rows) > 0 {
			return string(r.Rows[0][0])
		}
	}
	t.Fatalf("%s: no row", sql)
	return ""
}

func mustLoad(t testing.TB, conn *pgconn.PgConn) *Catalog {
	t.Helper()
	c, err := Load(within(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// versions are those that tests of what differs between versions run on; 0 is the one that is installed.
var versions = [...]int{0, 14, 18}

// ctxPatience is how long a test waits for a state of a server.
const ctxPatience = 30 * time.Second

func startVersion(t testing.TB, version int, opts ...pgtest.Option) *pgtest.Cluster {
	t.Helper()
	if version != 0 {
		opts = append(opts, pgtest.WithVersion(version))
	}
	return pgtest.Start(t, opts...)
}
