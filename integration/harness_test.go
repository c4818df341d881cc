package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"pgdrover/internal/app"
	"pgdrover/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bouncer is a pgdrover that runs inside the test's process, so that the race detector and the search for leaked
// goroutines see it.
type bouncer struct {
	*app.Process
	tb     testing.TB
	Port   int
	Dir    string // of its configuration file and Unix socket
	Config string // path of the configuration file
	Log    string // path of the log file
}

// freePort returns a TCP port that nobody listens on now.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// preamble is what every configuration begins with: where to listen, and an admin without a password is enough.
func preamble(port int, dir string) string {
	return fmt.Sprintf(`listen_addr = "127.0.0.1"
listen_port = %d
unix_socket_dir = %q
logfile = %q
admin_users = ["admin"]
stats_users = ["stats"]
`, port, dir, filepath.Join(dir, "log"))
}

// trustUsers is the [users] part of a configuration with auth_type = "trust".
const trustUsers = `
[users.admin]
password = "admin"
[users.stats]
password = "stats"
[users.postgres]
password = "postgres"
[users.app]
password = "app"
`

// startBouncer starts pgdrover with top-level settings and tables ("[databases.x] …", "[users.y] …").
func startBouncer(tb testing.TB, settings, tables string) *bouncer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pgdrover-it-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	var lastErr error
	for range 5 { // another process may take the port meanwhile
		port := freePort(tb)
		b := &bouncer{tb: tb, Port: port, Dir: dir, Config: filepath.Join(dir, "config.toml"), Log: filepath.Join(dir, "log")}
		b.Write(settings, tables)
		if b.Process, lastErr = app.Start(b.Config, app.Options{Version: "test", Quiet: true}); lastErr == nil {
			tb.Cleanup(func() {
				b.Close()
				if tb.Failed() {
					if text, err := os.ReadFile(b.Log); err == nil {
						tb.Logf("log of pgdrover:\n%s", tail(string(text), 60))
					}
				}
			})
			return b
		}
		if !strings.Contains(lastErr.Error(), "address already in use") {
			break
		}
	}
	tb.Fatal(lastErr)
	return nil
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Write replaces the configuration file.
func (b *bouncer) Write(settings, tables string) {
	b.tb.Helper()
	text := preamble(b.Port, b.Dir) + settings + "\n" + tables
	if err := os.WriteFile(b.Config, []byte(text), 0o600); err != nil {
		b.tb.Fatal(err)
	}
}

// DSN returns a keyword/value connection string.
func (b *bouncer) DSN(db, user string, extra ...string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s user=%s password=%s sslmode=disable %s", b.Port, db, user, user, strings.Join(extra, " "))
}

// Connect opens a connection that is closed at the end of the test.
func (b *bouncer) Connect(ctx context.Context, db, user string, extra ...string) *pgx.Conn {
	b.tb.Helper()
	conn, err := pgx.Connect(ctx, b.DSN(db, user, extra...))
	if err != nil {
		b.tb.Fatalf("connecting to %s as %s: %v", db, user, err)
	}
	b.tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Admin runs commands on the admin database and returns the rows of the last one, one map a row.
func (b *bouncer) Admin(sql ...string) []map[string]string {
	b.tb.Helper()
	rows, err := b.TryAdmin(sql...)
	if err != nil {
		b.tb.Fatal(err)
	}
	return rows
}

// TryAdmin is Admin for commands that may fail.
func (b *bouncer) TryAdmin(sql ...string) ([]map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, b.DSN("pgdrover", "admin"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	var out []map[string]string
	for _, s := range sql {
		out = nil
		results, err := conn.PgConn().Exec(ctx, s).ReadAll()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		for _, r := range results {
			for _, row := range r.Rows {
				m := map[string]string{}
				for i, f := range r.FieldDescriptions {
					m[f.Name] = string(row[i])
				}
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// pgDatabase is a [databases] entry for a cluster.
func pgDatabase(name string, c *pgtest.Cluster, extra string) string {
	return fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n%s\n", name, c.Port, extra)
}

// intOf reads a number of an admin row.
func intOf(tb testing.TB, row map[string]string, column string) int {
	tb.Helper()
	n, err := strconv.Atoi(row[column])
	if err != nil {
		tb.Fatalf("column %s of %v: %v", column, row, err)
	}
	return n
}

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	tb.Cleanup(cancel)
	return ctx
}
