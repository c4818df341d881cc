package oracle

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// mostLateReports is how many statements of a world are looked into; they are long.
const mostLateReports = 4

// lateReports returns what a session calls while a statement takes long: it writes down who does what, on all clusters and in
// pgdrover, before anything is cancelled. admin is how to connect to the admin database, "" without pgdrover.
func (s *stage) lateReports(t *testing.T, world string, top *topology, side, admin string, count *atomic.Int32) func(*session, []step) {
	return func(who *session, steps []step) {
		n := count.Add(1)
		if n > mostLateReports {
			t.Logf("%s, %s: another statement takes longer than %v", world, side, lateAfter)
			return
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s, %s: no answer after %v\n-- statement --\n%s-- before it --\n%s", world, side, lateAfter, unit(steps), who.trail())
		if load, err := os.ReadFile("/proc/loadavg"); err == nil {
			fmt.Fprintf(&b, "-- load --\n%s", load)
		}
		for i, c := range s.clusters {
			for _, q := range []struct{ title, sql string }{
				{"pg_stat_activity", "SELECT pid, datname, state, wait_event_type, wait_event, now() - xact_start AS xact, now() - query_start AS query, application_name, pg_blocking_pids(pid) AS blocked_by, query FROM pg_stat_activity WHERE backend_type IN ('client backend', 'autovacuum worker') AND pid <> pg_backend_pid() ORDER BY state, query_start"},
				{"locks that are waited for", "SELECT pid, locktype, relation::regclass, mode FROM pg_locks WHERE NOT granted"},
				{"pg_prepared_xacts", "SELECT gid, database, prepared FROM pg_prepared_xacts"},
			} {
				ask(&b, fmt.Sprintf("cluster %d: %s", i+1, q.title), c.DSN("postgres", "postgres"), step{sql: q.sql})
			}
		}
		if admin != "" {
			for _, view := range []string{"CLIENTS", "SERVERS", "POOLS", "WAITERS"} {
				ask(&b, "SHOW "+view, admin, step{sql: "SHOW " + view})
			}
		}
		for shard := -1; shard < top.shards; shard++ {
			dsn := s.of(shard).DSN(databaseName(world, shard), "app") + sessionSettings
			for i := range steps {
				for _, text := range statements(steps[i].sql) {
					explain := steps[i]
					explain.sql, explain.prepared, explain.binary = "EXPLAIN "+text, "", false
					ask(&b, "EXPLAIN on "+databaseName(world, shard), dsn, explain)
				}
			}
			ask(&b, "tables of "+databaseName(world, shard), dsn, step{sql: "SELECT relname, n_live_tup, n_dead_tup, greatest(last_analyze, last_autoanalyze) AS analyzed FROM pg_stat_user_tables WHERE n_dead_tup > 100 OR greatest(last_analyze, last_autoanalyze) IS NULL ORDER BY 1"})
		}
		fmt.Fprintf(&b, "-- goroutines --\n%s", stacks())
		t.Log(b.String())
	}
}

// ask puts the answer to a question into a report; without one, why there is none.
func ask(b *strings.Builder, title, dsn string, st step) {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	s := newSession(dsn)
	defer s.close()
	o := s.run(ctx, []step{st})
	fmt.Fprintf(b, "-- %s --\n", title)
	for _, r := range o.results {
		for _, c := range r.columns {
			name, _, _ := strings.Cut(c, " ")
			b.WriteString(name + " | ")
		}
		b.WriteByte('\n')
		for _, row := range r.rows {
			b.WriteString(row + "\n")
		}
	}
	if o.err != nil {
		fmt.Fprintf(b, "%v\n", o.err)
	}
}

// stacks are those of all goroutines: pgdrover runs in this process.
func stacks() []byte {
	const most = 8 << 20
	buf := make([]byte, 256<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= most {
			return buf[:n]
		}
		buf = make([]byte, 2*len(buf))
	}
}

// What takes long is looked into before it is given up: the report is finished when the exchange is.
func TestWhatTakesLongIsLookedInto(t *testing.T) {
	t.Parallel()
	ctx := testContext(t, time.Minute)
	c := pgtest.Start(t, pgtest.WithAuth("trust"))
	s := newSession(c.DSN("postgres", "postgres"))
	defer s.close()
	s.lateAfter = time.Millisecond
	var seen strings.Builder
	s.late = func(who *session, steps []step) {
		for ctx.Err() == nil && !strings.Contains(seen.String(), `"SELECT pg_sleep(60)", "t"`) {
			seen.Reset()
			ask(&seen, "activity", c.DSN("postgres", "postgres"), step{sql: "SELECT query, pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()"})
		}
		seen.WriteString(unit(steps).String())
	}
	if o := s.run(ctx, []step{{sql: "SELECT pg_sleep(60)"}}); o.code != "57014" {
		t.Errorf("got %q: %v", o.code, o.err)
	}
	if !strings.HasSuffix(seen.String(), "\nSELECT pg_sleep(60)\n") {
		t.Error(seen.String())
	}
	if got := s.trail(); !strings.HasSuffix(got, "57014:\nSELECT pg_sleep(60)\n") {
		t.Error(got)
	}
}
