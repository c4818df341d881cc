package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
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
