package admin

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// psql runs psql on a script from its standard input and returns what it prints.
func (h *house) psql(t *testing.T, user, script string, flags ...string) string {
	t.Helper()
	bin, err := exec.LookPath("psql")
	if err != nil {
		if testing.Short() {
			t.Skip("no psql")
		}
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-X", h.dsn(user)}, flags...)...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PGTZ=UTC", "PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "PAGER=cat"}
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestPsql(t *testing.T) {
	t.Parallel()
	h := start(t)
	for name, out := range map[string]string{
		"psql_help.txt":     h.psql(t, "ops", "SHOW HELP;\n"),
		"psql_aligned.txt":  h.psql(t, "ops", "SHOW LISTS; SHOW POOLS; SHOW CONFIG; SHOW WAITERS;\n"),
		"psql_expanded.txt": h.psql(t, "ops", "\\x\nSHOW CLIENTS;\nSHOW STATE;\n"),
		"psql_tabs.txt":     h.psql(t, "ops", "SHOW CLIENTS; SHOW DATABASES;\n", "-A", "-F", "\t"),
		"psql_session.txt": h.psql(t, "ops", `
\d
\dt
\l
\conninfo
BEGIN;
PAUSE shop;
ROLLBACK;
SELECT database, sum(cl_waiting) AS waiting FROM pools GROUP BY 1 ORDER BY 2 DESC;
SELECT 1 AS a \gdesc
PAUSE pgdrover;
SET max_client_conn = 3;
NONSENSE;
SHOW POLLS;
`),
		"psql_stats_user.txt": h.psql(t, "exporter", "SHOW VERSION;\nPAUSE;\n"),
	} {
		// The port is another one each time.
		lines := strings.Split(out, "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, "You are connected") {
				lines[i] = "You are connected …"
			}
		}
		golden(t, name, strings.Join(lines, "\n"))
	}
}

// Every line of an unaligned table has as many tabs as its header.
func TestPsqlTabsLineUp(t *testing.T) {
	t.Parallel()
	h := start(t)
	for _, v := range h.srv.set.views {
		out := strings.Split(strings.TrimRight(h.psql(t, "ops", "SHOW "+v.name+";\n", "-A", "-F", "\t", "-P", "footer=off"), "\n"), "\n")
		for _, l := range out {
			if got := strings.Count(l, "\t"); got != len(v.cols)-1 {
				t.Errorf("SHOW %s: %d tabs in %q", v.name, got, l)
			}
		}
	}
}
