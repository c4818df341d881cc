package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
	"pgdrover/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunShowsWhatWorksAndLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	var dir string
	var serverPort int
	stopped := false
	err := Run(ctx, &out, func(_ context.Context, path string) (func(), error) {
		dir = filepath.Dir(path)
		cfg, warnings, err := config.Load(path)
		if err != nil {
			return nil, err
		}
		if len(warnings) > 0 {
			t.Errorf("the configuration has warnings: %v", warnings)
		}
		db := cfg.Databases[database]
		serverPort = db.Port
		if cfg.ListenAddr != "127.0.0.1" || cfg.ListenPort < firstPort || len(db.Hosts) != 1 {
			t.Errorf("listens on %s:%d, hosts %v", cfg.ListenAddr, cfg.ListenPort, db.Hosts)
		}
		for _, user := range []string{demoUser, appUser} {
			dsn := pgtest.ConnString([][2]string{
				{"host", db.Hosts[0]},
				{"port", fmt.Sprint(db.Port)},
				{"dbname", database},
				{"user", user},
				{"password", string(cfg.Users[user].Password)},
			})
			got := pgtest.MustPsql(t, dsn, "SELECT count(*) FROM orders JOIN order_items ON order_id = orders.id", "-At")
			if got != "2000\n" {
				t.Errorf("%s sees %q rows, want 2000", user, got)
			}
		}
		checkShards(t, cfg)
		cancel()
		return func() { stopped = true }, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !stopped {
		t.Error("the pooler was not stopped")
	}
	for _, want := range []string{
		"PGPASSWORD=demo psql -h 127.0.0.1 -p ", " -U demo demo\n", " -U admin pgdrover -c 'SHOW POOLS'\n",
		" -U demo shop\n", "CREATE SHARD c ON DATABASE shop (dbname 'shop_c');",
		"$EDITOR " + filepath.Join(dir, "config.toml"), "^C stops both",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing is said of %q in:\n%s", want, out.String())
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", serverPort)); err == nil {
		_ = c.Close()
		t.Error("PostgreSQL still runs")
	}
}

// checkShards looks whether the shards hold together what they should, and nothing that is not theirs.
func checkShards(t *testing.T, cfg *config.Config) {
	db := cfg.Databases[sharded]
	m, err := shard.NewMap(db)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Shards(); !slices.Equal(got, shardNames[:len(shardNames)-1]) {
		t.Errorf("the map has the shards %v", got)
	}
	on := func(name, sql string) string {
		return strings.TrimSpace(pgtest.MustPsql(t, pgtest.ConnString([][2]string{
			{"host", db.Hosts[0]},
			{"port", fmt.Sprint(db.Port)},
			{"dbname", sharded + "_" + name},
			{"user", demoUser},
			{"password", demoPassword},
		}), sql, "-At", "-F", " "))
	}
	var sum [3]int
	for _, name := range shardNames {
		var n [3]int
		_, err := fmt.Sscan(on(name, "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items)"), &n[0], &n[1], &n[2])
		if empty := n[0] == 0; err != nil || empty != (name == "c") {
			t.Errorf("shard %s has %v rows, %v", name, n, err)
		}
		for i := range sum {
			sum[i] += n[i]
		}
		if got := on(name, "SELECT count(*) FROM pg_constraint WHERE conname = 'pgdrover_key' AND convalidated"); got != "3" {
			t.Errorf("shard %s guards %s tables, want 3", name, got)
		}
	}
	if want := [3]int{200, 1000, 2000}; sum != want {
		t.Errorf("the shards have %v rows together, want %v", sum, want)
	}
	var updated []int
	for _, s := range statements {
		var id string
		if _, err := fmt.Sscanf(s, "UPDATE customers SET name = '%3s' WHERE id = %1s;", new(string), &id); err == nil {
			at, ok, err := m.Key("customer").LocateText(id)
			if err != nil || !ok {
				t.Fatalf("customer %s: %v, %v", id, ok, err)
			}
			updated = append(updated, at)
		}
	}
	if len(updated) != 2 || updated[0] == updated[1] {
		t.Errorf("the transaction over two shards updates customers of the shards %v", updated)
	}
}

func TestRunReportsAPoolerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	want := errors.New("address in use")
	var path string
	err := Run(t.Context(), new(bytes.Buffer), func(_ context.Context, p string) (func(), error) {
		path = p
		return nil, want
	})
	if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want the error with the file's name", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the demo's folder is still there: %v", err)
	}
}

func TestRunInterruptedWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Run(ctx, new(bytes.Buffer), func(context.Context, string) (func(), error) {
		t.Error("the pooler was started")
		return func() {}, nil
	})
	if err != nil {
		t.Errorf("got %v", err)
	}
}

func TestFreePortSkipsTakenOnes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	got, err := freePort(t.Context(), taken)
	if err != nil || got <= taken {
		t.Errorf("got %d and %v, want a port above %d", got, err, taken)
	}
}
