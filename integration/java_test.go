package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgdrover/internal/pgtest"
)

// TestJDBCWorks compiles and runs testdata/java/JdbcClient.java with PostgreSQL's JDBC driver, which Maven fetches: in
// transaction mode with 20 clients on two servers, and in session mode.
func TestJDBCWorks(t *testing.T) {
	t.Parallel()
	javac, java := need(t, "javac", "compiles the client"), need(t, "java", "runs the client")
	mvn := need(t, "mvn", "fetches the driver")
	artifact, err := os.ReadFile("testdata/java/artifact.txt")
	if err != nil {
		t.Fatal(err)
	}
	lib := fetched(t, "jdbc", artifact, func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "dependency:copy", "-Dartifact="+strings.TrimSpace(string(artifact)), "-DoutputDirectory="+dir)
		cmd.Dir = dir
		r, err := execute(cmd)
		if err == nil && r.code != 0 {
			err = errors.New(r.everything())
		}
		return err
	})
	classes := t.TempDir()
	path := filepath.Join(lib, "*") + string(os.PathListSeparator) + classes
	r, err := execute(exec.CommandContext(testContext(t), javac, "-d", classes, "-cp", path, "testdata/java/JdbcClient.java"))
	if err != nil || r.code != 0 {
		t.Fatalf("javac: %v: %s", err, r.everything())
	}
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""), pgtest.WithDatabase("two", "app"), pgtest.WithDatabase("own", "app"))
	tables := trustUsers
	for db, settings := range map[string]string{"two": "pool_mode = \"transaction\"\npool_size = 2", "own": "pool_mode = \"session\"\npool_size = 20"} {
		tables += fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\n%s\n", db, pg.Port, settings)
	}
	b := startBouncer(t, "auth_type = \"trust\"\n", tables)
	for _, db := range []string{"two", "own"} {
		t.Run(db, func(t *testing.T) {
			r, err := execute(exec.CommandContext(testContext(t), java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "JdbcClient", strconv.Itoa(b.Port), db))
			if err != nil || r.code != 0 {
				t.Fatalf("%v: %s", err, r.everything())
			}
			b.awaitPool(db, "app", "sv_active=0", "cl_waiting=0", "cl_active=0")
		})
	}
	b.noLeaks(pg, "app")
}
