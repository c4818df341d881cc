package oracle

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"pgdrover/internal/app"
	"pgdrover/internal/catalog"
	"pgdrover/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A stage has the clusters that the worlds are on, with a database to copy.
type stage struct {
	clusters [2]*pgtest.Cluster
}

const template = "seedling"

// sessionSettings are what results depend on besides the rows.
const sessionSettings = " TimeZone=UTC DateStyle=ISO,MDY extra_float_digits=1"

func startStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	for i := range s.clusters {
		c := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithSetting("max_prepared_transactions", "50"), pgtest.WithSetting("max_connections", "200"),
			pgtest.WithSetting("plan_cache_mode", "force_custom_plan")) // otherwise it depends on how often a server has run a statement whether it can plan some
		s.clusters[i] = c
		c.MustExec(t, "postgres", "CREATE ROLE app LOGIN", "CREATE DATABASE "+template)
		c.MustExec(t, template, createSQL(), "GRANT ALL ON ALL TABLES IN SCHEMA public TO app", templateSQL(), dataSQL())
		c.MustExec(t, template, catalog.TwoPhaseSQL("postgres", []string{"app"})...)
	}
	return s
}

// of is the cluster of a shard; the plain database is on the first.
func (s *stage) of(shard int) *pgtest.Cluster { return s.clusters[max(shard, 0)%2] }

// databaseName is the name of a database on its cluster.
func databaseName(world string, shard int) string {
	if shard < 0 {
		return world + "_plain"
	}
	return world + "_" + shardName(shard)
}

// world makes the databases of a topology. sharded says how to connect to the side that is to be tested, once they are there.
func (s *stage) world(ctx context.Context, t *testing.T, name string, top *topology, tally *tally, sharded func(*stage) string) *World {
	t.Helper()
	connect := func(shard int) (*pgx.Conn, string, error) {
		c, db := s.of(shard), databaseName(name, shard)
		if err := c.Exec(ctx, "CREATE DATABASE "+db+" TEMPLATE "+template); err != nil {
			return nil, db, err
		}
		conn, err := c.Connect(ctx, db)
		return conn, db, err
	}
	plain := s.clusters[0].DSN(databaseName(name, -1), "app") + sessionSettings
	w, err := openWorld(ctx, top, connect, "", plain, tally)
	if w != nil {
		t.Cleanup(w.close)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	w.duel.sharded.dsn = sharded(s)
	admin, _, _ := strings.Cut(strings.Replace(w.duel.sharded.dsn, "dbname=shop user=app", "dbname=pgdrover user=admin", 1), sessionSettings)
	if !strings.Contains(admin, "user=admin") {
		admin = ""
	}
	w.duel.routed = admin != ""
	reports := new(atomic.Int32)
	w.duel.sharded.late = s.lateReports(t, name, top, "sharded", admin, reports)
	w.duel.plain.late = s.lateReports(t, name, top, "plain", "", reports)
	return w
}

// throughPgdrover starts pgdrover in front of a topology's shards.
func throughPgdrover(t *testing.T, name string, top *topology) func(*stage) string {
	return func(s *stage) string {
		t.Helper()
		var ports []int
		for i := range top.shards {
			ports = append(ports, s.of(i).Port)
		}
		dir, err := os.MkdirTemp("", "pgdrover-oracle-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		config, logFile := filepath.Join(dir, "config.toml"), filepath.Join(dir, "log")
		for range 5 { // another process may take the port meanwhile
			port := freePort(t)
			text := fmt.Sprintf("listen_addr = \"127.0.0.1\"\nlisten_port = %d\nunix_socket_dir = %q\nlogfile = %q\nadmin_users = [\"admin\"]\nauth_type = \"trust\"\npool_mode = \"transaction\"\n[users.admin]\n[users.app]\n[users.postgres]\n%s",
				port, dir, logFile, top.toml("shop", name+"_", ports))
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var p *app.Process
			if p, err = app.Start(config, app.Options{Version: "test", Quiet: true}); err == nil {
				t.Cleanup(func() {
					p.Close()
					if t.Failed() {
						text, _ := os.ReadFile(logFile)
						var lines []string
						for line := range strings.Lines(string(text)) {
							if !strings.Contains(line, " LOG ") && !strings.Contains(line, " check=") {
								lines = append(lines, line)
							}
						}
						t.Logf("the end of pgdrover's log, without LOG:\n%s", strings.Join(lines[max(0, len(lines)-20):], ""))
					}
				})
				dsn := fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop user=app sslmode=disable%s", port, sessionSettings)
				pgtest.Eventually(t, time.Minute, func() error { // on a busy machine the catalogs take their time
					probe := newSession(dsn)
					defer probe.close()
					return probe.run(context.Background(), []step{{sql: "SELECT id FROM customers WHERE id = 1"}}).err
				})
				return dsn
			}
			if !strings.Contains(err.Error(), "address already in use") {
				break
			}
		}
		t.Fatal(err)
		return ""
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func testContext(t *testing.T, d time.Duration) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), d)
	t.Cleanup(stop)
	return ctx
}
