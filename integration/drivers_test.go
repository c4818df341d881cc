package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// TestPgxWorksInEveryMode runs the same work in all of pgx's ways to run a query, on servers that change with every transaction.
func TestPgxWorksInEveryMode(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		for _, db := range []string{"robin", "session"} {
			t.Run(db+" "+strings.ReplaceAll(mode.String(), " ", "_"), func(t *testing.T) {
				ctx := testContext(t)
				cfg, err := pgx.ParseConfig(l.b.DSN(db, "postgres"))
				if err != nil {
					t.Fatal(err)
				}
				cfg.DefaultQueryExecMode = mode
				conn, err := pgx.ConnectConfig(ctx, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close(ctx) }()
				table := fmt.Sprintf("m%d", mode)
				for i := range 3 {
					if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
						t.Fatal(err)
					}
					if _, err := conn.Exec(ctx, "CREATE TABLE "+table+" (a int, b text)"); err != nil {
						t.Fatal(err)
					}
					batch := &pgx.Batch{}
					for j := range 100 {
						batch.Queue("INSERT INTO "+table+" VALUES ($1, $2)", int32(j), fmt.Sprint(j))
					}
					if err := conn.SendBatch(ctx, batch).Close(); err != nil {
						t.Fatalf("batch: %v", err)
					}
					n, err := conn.CopyFrom(ctx, pgx.Identifier{table}, []string{"a", "b"}, pgx.CopyFromSlice(1000, func(j int) ([]any, error) { return []any{int32(j), "c"}, nil }))
					if err != nil || n != 1000 {
						t.Fatalf("CopyFrom: %d, %v", n, err)
					}
					var sum int
					if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table+" WHERE a >= $1", int32(i)).Scan(&sum); err != nil || sum != 1100-2*i {
						t.Fatalf("got %d, %v; want %d", sum, err, 1100-2*i)
					}
					var pe *pgconn.PgError
					if err := conn.QueryRow(ctx, "SELECT 1 / $1::int", int32(0)).Scan(&sum); !errors.As(err, &pe) || pe.Code != "22012" {
						t.Fatalf("division: %v", err)
					}
					err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
						los := tx.LargeObjects()
						oid, err := los.Create(ctx, 0)
						if err != nil {
							return err
						}
						o, err := los.Open(ctx, oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
						if err != nil {
							return err
						}
						if _, err := o.Write([]byte(strings.Repeat("o", 100_000))); err != nil {
							return err
						}
						return los.Unlink(ctx, oid)
					})
					if err != nil {
						t.Fatalf("large object: %v", err)
					}
				}
			})
		}
	}
}

// TestPgxWaitsForNotifications uses LISTEN in session mode.
func TestPgxWaitsForNotifications(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	ctx := testContext(t)
	conn := l.b.Connect(ctx, "session", "postgres")
	if _, err := conn.Exec(ctx, "LISTEN ch"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		go func() { _ = l.pg.ExecIn(ctx, "session", fmt.Sprintf("NOTIFY ch, '%d'", i)) }()
		n, err := conn.WaitForNotification(ctx)
		if err != nil || n.Payload != fmt.Sprint(i) {
			t.Fatalf("got %v, %v", n, err)
		}
	}
}

// TestPsqlShowsWhatItShowsAtPostgreSQL gives the same script to psql in front of PostgreSQL and of the pool.
func TestPsqlShowsWhatItShowsAtPostgreSQL(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	script := `CREATE TABLE p (a int PRIMARY KEY, b text DEFAULT 'x');
\copy p from stdin
1	one
2	two
\.
\copy p to stdout
\d p
\dt
SELECT 1 / 0;
SELECT 1 \; SELECT 2;
BEGIN;
INSERT INTO p VALUES (1);
SELECT 'ignored';
ROLLBACK;
\set VERBOSITY verbose
SELECT nothing;
SELECT g, repeat('x', g) FROM generate_series(1, 200) g;
SELECT 'bound' AS b \gdesc
\encoding LATIN1
\encoding
DROP TABLE p;
`
	want := pgtest.Psql(t, l.pg.DSN("plain", "postgres"), script)
	for _, db := range []string{"session", "tx", "robin", "pieces"} {
		got := pgtest.Psql(t, l.b.DSN(db, "postgres"), script)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-PostgreSQL +pgdrover):\n%s", db, diff)
		}
	}
}

// TestPsycopgWorks runs testdata/psycopg3_client.py. psycopg comes from PyPI into a folder that stays; where that cannot be had, the test
// says so.
func TestPsycopgWorks(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("not run: there is no python3")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	lib := filepath.Join(cache, "pgdrover", "psycopg")
	if _, err := os.Stat(filepath.Join(lib, "psycopg")); err != nil {
		out, err := exec.CommandContext(testContext(t), python, "-m", "pip", "install", "-q", "--target", lib, "psycopg[binary]").CombinedOutput()
		if err != nil {
			t.Skipf("not run: psycopg cannot be installed: %v: %s", err, tail(string(out), 3))
		}
	}
	l := newLab(t, "")
	for _, db := range []string{"robin", "session", "tx"} {
		start := time.Now()
		cmd := exec.CommandContext(testContext(t), python, "testdata/psycopg3_client.py", l.b.DSN(db, "postgres"))
		cmd.Env = append(os.Environ(), "PYTHONPATH="+lib)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s after %v: %v\n%s", db, time.Since(start), err, out)
		}
	}
}
