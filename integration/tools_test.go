package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

// A toolbox runs PostgreSQL's own programs.
type toolbox struct {
	t  *testing.T
	in pgtest.Installation
}

// newToolbox skips the test if one of the programs is missing or too old for the server.
func newToolbox(t *testing.T, pg *pgtest.Cluster, programs ...string) toolbox {
	t.Helper()
	in, err := pgtest.Find(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := toolbox{t, in}
	for _, p := range programs {
		_, err := in.ProgramFor(t.Context(), p, pg.Installation.Major)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, pgtest.ErrOlder) {
			t.Skipf("not run: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// command prepares a program; the caller runs it.
func (b toolbox) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	b.t.Helper()
	path, err := b.in.Program(name)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = programEnv("PSQL_HISTORY=/dev/null")
	return cmd
}

// run runs a program and ends the test unless it succeeds.
func (b toolbox) run(name string, args ...string) ran {
	b.t.Helper()
	r, err := execute(b.command(testContext(b.t), name, args...))
	if err != nil || r.code != 0 {
		b.t.Fatalf("%s %q: %v: %s", name, args, err, r.everything())
	}
	return r
}

// dump returns a database as SQL, without the words that are random.
func (b toolbox) dump(dsn string, args ...string) string {
	b.t.Helper()
	out := b.run("pg_dump", append(args, "-d", dsn)...).stdout
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`).ReplaceAllString(out, "")
}

// TestPostgreSQLsOwnToolsWork uses what administrators use every day, on servers that change with every transaction too.
func TestPostgreSQLsOwnToolsWork(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	tools := newToolbox(t, l.pg, "pg_isready", "pgbench", "pg_dump", "pg_restore", "psql", "vacuumdb", "reindexdb", "clusterdb", "vacuumlo")
	for _, db := range []string{"session", "tx", "robin"} {
		t.Run(db, func(t *testing.T) {
			tools := toolbox{t, tools.in}
			dsn, direct, dir := l.b.DSN(db, "postgres"), l.pg.DSN(db, "postgres"), t.TempDir()

			if got := tools.run("pg_isready", "-d", dsn).stdout; !strings.Contains(got, "accepting connections") {
				t.Errorf("pg_isready: %s", got)
			}
			tools.run("pgbench", "-i", "-s", "1", "-q", "-I", "dtgvpf", dsn)
			tools.pgbench(db, dsn)

			// \copy and large objects: what comes back is what went in.
			file, big := filepath.Join(dir, "rows"), filepath.Join(dir, "object")
			var rows strings.Builder
			for i := range 20_000 {
				fmt.Fprintf(&rows, "%d\t%s\n", i, strings.Repeat("r", i%100))
			}
			write(t, file, []byte(rows.String()))
			write(t, big, bytes.Repeat([]byte("large\x00object"), 200_000))
			out, err := execute(tools.command(testContext(t), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", "DROP TABLE IF EXISTS c", "-c", "CREATE TABLE c (a int PRIMARY KEY, b text)",
				"-c", `\copy c from '`+file+`'`, "-c", `\copy (SELECT * FROM c ORDER BY a) to '`+file+`.out'`,
				"-c", `\lo_import '`+big+`' 'a comment'`, "-c", `\lo_export :LASTOID '`+big+`.out'`, "-c", `\lo_list`))
			if err != nil || out.code != 0 || !strings.Contains(out.stdout, "a comment") {
				t.Fatalf("psql: %v: %s", err, out.everything())
			}
			for _, f := range []string{file, big} {
				if !bytes.Equal(read(t, f), read(t, f+".out")) {
					t.Errorf("%s came back changed", f)
				}
			}

			// A dump through the pool is the dump, in every format, and can be restored through it.
			tools.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", `
				DROP SCHEMA IF EXISTS "S p" CASCADE; CREATE SCHEMA "S p"; CREATE TYPE "S p".mood AS ENUM ('a', 'b');
				CREATE TABLE "S p".t (id int GENERATED ALWAYS AS IDENTITY, m "S p".mood, f float8 DEFAULT 0.1, d timestamptz DEFAULT '2024-02-29 12:00+00', CHECK (id > 0)) PARTITION BY RANGE (id);
				CREATE TABLE "S p".t1 PARTITION OF "S p".t FOR VALUES FROM (1) TO (1000);
				CREATE FUNCTION "S p".f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW "S p".v AS SELECT "S p".f() AS one, f FROM "S p".t;
				INSERT INTO "S p".t (m, f) SELECT 'a', 1 / g::float8 FROM generate_series(1, 500) g`)
			l.pg.MustExec(t, db, "TRUNCATE pgbench_accounts, pgbench_tellers, pgbench_branches, pgbench_history")
			want := tools.dump(direct)
			if diff := cmp.Diff(want, tools.dump(dsn)); diff != "" {
				t.Errorf("plain dump (-PostgreSQL +pgdrover):\n%s", diff)
			}
			for _, format := range []string{"-Fc", "-Fd", "-Ft"} {
				archive := filepath.Join(dir, "dump"+format)
				dump, restore := []string{format, "-f", archive, "-d", dsn}, []string{"-c", "--if-exists", "--exit-on-error", "-d", dsn, archive}
				if format == "-Fd" && db != "tx" { // where there is but one server, the leader's transaction holds it
					dump = append(dump, "-j2")
				}
				if format != "-Ft" {
					restore = append(restore, "-j2")
				}
				tools.run("pg_dump", dump...)
				l.pg.MustExec(t, db, `DELETE FROM "S p".t`, "DROP TABLE c", "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
				tools.run("pg_restore", restore...)
				if diff := cmp.Diff(want, tools.dump(direct)); diff != "" {
					t.Errorf("restored from %s (-before +after):\n%s", format, diff)
				}
			}

			tools.run("vacuumdb", "-z", "-j2", "-d", dsn)
			tools.run("vacuumdb", "--analyze-in-stages", "-d", dsn)
			tools.run("reindexdb", "-t", "c", "-d", dsn)
			tools.run("reindexdb", "--concurrently", "-t", "c", "-d", dsn)
			l.pg.MustExec(t, db, "CLUSTER c USING c_pkey")
			tools.run("clusterdb", "-d", dsn)
			// It keeps its temporary table from one transaction to the next.
			tools.run("vacuumlo", "-h", "127.0.0.1", "-p", strconv.Itoa(l.b.Port), "-U", "postgres", db)
			l.b.awaitPool(db, "postgres", "sv_active=0", "cl_active=0", "cl_waiting=0")
		})
	}
}

// pgbench runs every protocol mode, with connections that stay and that do not, and a script that pipelines. It connects and prepares without
// looking at the other clients of the thread, one of which may hold the server meanwhile: only where servers go from client to client, and
// connections stay, do all have one thread.
func (b toolbox) pgbench(db, dsn string) {
	b.t.Helper()
	pipeline := filepath.Join(b.t.TempDir(), "pipeline.sql")
	write(b.t, pipeline, []byte("\\set a random(1, 100000)\n\\startpipeline\nSELECT 1;\nBEGIN;\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :a;\nSELECT abalance FROM pgbench_accounts WHERE aid = :a;\nCOMMIT;\nSELECT 2;\n\\endpipeline\n"))
	scripts := map[string][]string{
		"select": {"-b", "select-only"}, "tpcb": {"-b", "tpcb-like"}, "pipeline": {"-f", pipeline},
	}
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for name, script := range scripts {
			if name == "pipeline" && mode == "simple" {
				continue // pgbench refuses it
			}
			for _, connect := range []bool{false, true} {
				clients, transactions, threads := 4, 50, 1
				args := append([]string{"-n", "-M", mode}, script...)
				if connect {
					args, transactions = append(args, "-C"), 10
				}
				if connect || db == "session" {
					threads = clients
				}
				r := b.run("pgbench", append(args, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(threads), "-t", strconv.Itoa(transactions), dsn)...)
				want := fmt.Sprintf("processed: %d/%d", clients*transactions, clients*transactions)
				if !strings.Contains(r.stdout, want) {
					b.t.Errorf("%s: pgbench -M %s, %s, connecting each time %v: want %s in\n%s", db, mode, name, connect, want, r.everything())
				}
			}
		}
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
