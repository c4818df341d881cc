package admin

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "exporter")
	for _, tt := range []struct{ sql, cols, want string }{
		{"SELECT database, sum(cl_waiting) FROM pools GROUP BY 1 ORDER BY 2 DESC LIMIT 1", "database t, sum q", "shop|7"},
		{"select p.database, s.server_version as v from POOLS p join servers s using (database, user) where s.link <> ''", "database t, v t", "shop|17.2"},
		{`SELECT c.id, s.remote_pid FROM clients c JOIN servers s ON c.link = s.ptr`, "id i, remote_pid i", "17|4711"},
		{`SELECT "default" FROM config WHERE key = 'max_client_conn'`, "default t", "100"},
		{"WITH w AS (SELECT max(waited_s) AS m FROM waiters) SELECT m, m + 1 FROM w", "m f, ?column? f", "1.5|2.5"},
		{"VALUES (1, 'x')", "column1 q, column2 t", "1|x"},
		{"SELECT avg(cl_waiting) FROM pools WHERE 1 = 0", "avg f", "NULL"},
		{"SELECT total_xact_count FROM stats WHERE database = 'shop'", "total_xact_count N", "5000000000"},
		{"SELECT max(query_p50), min(database), count(DISTINCT user) total FROM pools", "max q, min t, total q", "250|blog|2"},
		{"SELECT CASE WHEN cl_waiting > 5 THEN 'busy' ELSE 'ok' END, cl_waiting / 2.0 FROM pools ORDER BY cl_waiting DESC LIMIT 1", "case t, ?column? f", "busy|3.5"},
		{"SELECT 1 /* one; two */ + 1, 'it''s', $q$;$q$", "?column? q, ?column? t, ?column? t", "2|it's|;"},
		{"SELECT (SELECT count(*) FROM clients), 1.5, NULL", "?column? q, ?column? f, null t", "3|1.5|NULL"},
		{"SELECT name FROM columns WHERE view = 'peers' AND type = 'text'", "name t", "host"},
		{"SELECT value FROM json_each('[7]')", "value q", "7"},
		{"SELECT user, version FROM pools, version LIMIT 1", "user t, version t", "app|PgBouncer 1.25.2 compatible; pgdrover 0.1.0"},
	} {
		m := c.Exec(testContext(t), tt.sql)
		if !m.NextResult() {
			t.Errorf("%s: %v", tt.sql, m.Close())
			continue
		}
		rr := m.ResultReader()
		cols := describeFields(rr.FieldDescriptions())
		var got string
		for rr.NextRow() {
			for i, v := range rr.Values() {
				if i > 0 {
					got += "|"
				}
				if v == nil {
					got += "NULL"
				}
				got += string(v)
			}
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: %v", tt.sql, err)
		}
		if cols != tt.cols || got != tt.want {
			t.Errorf("%s\n got %s: %s\nwant %s: %s", tt.sql, cols, got, tt.cols, tt.want)
		}
	}
}

func TestSelectErrors(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "ops")
	for _, tt := range []struct{ sql, code, message string }{
		{"SELECT * FROM nope", "42P01", `relation "nope" does not exist`},
		{"SELECT nope FROM pools", "42703", `column "nope" does not exist`},
		{`SELECT "x" FROM pools`, "42703", `column "x" does not exist`}, // no text for an unknown identifier
		{"SELECT user FROM pools, users, clients", "42702", `column reference "user" is ambiguous`},
		{"SELECT foo(1)", "42883", "function foo does not exist"},
		{"SELECT FROM WHERE", "42601", `syntax error at or near "FROM"`},
		{"SELECT (1", "42601", "syntax error at end of input"},
		{"SELECT 1::int", "42601", `syntax error at or near "::"`},
		{"SELECT [ ' ]; SELECT 1 -- ' ]", "42601", `syntax error at or near "["`},
		{"SELECT ?", "42601", `syntax error at or near "?"`},
		{"SELECT $1", "42601", "there is no parameter $1"},
		{"SELECT relname FROM pg_catalog.pg_class", "42P01", `relation "pg_catalog.pg_class" does not exist`},
		{"SELECT * FROM sqlite_master", "42501", "permission denied: access to sqlite_master.type is prohibited"},
		{"SELECT * FROM pragma_table_info('pools')", "42501", "permission denied: access to pragma_table_info.cid is prohibited"},
		{"SELECT load_extension('x')", "42501", "permission denied: not authorized to use function: load_extension"},
		{"WITH x AS (SELECT 1) DELETE FROM pools", "42501", "permission denied: not authorized"},
		{"WITH x AS (SELECT 1) INSERT INTO pools SELECT * FROM pools", "42501", "permission denied: not authorized"},
		{"SELECT zeroblob(1000000000)", "54000", "value too long"},
		{"SELECT * FROM dbstat", "42501", ""},
	} {
		_, e := run(t, c, tt.sql)
		if e == nil || e.Code != tt.code || tt.message != "" && e.Message != tt.message {
			t.Errorf("%s: got %v", tt.sql, e)
		}
	}
	for _, sql := range []string{"ATTACH 'x' AS y", "PRAGMA user_version = 3", "VACUUM", "CREATE TABLE x (a int)", "EXPLAIN SELECT 1", "COPY pools TO STDOUT"} {
		if _, e := run(t, c, sql); e == nil || e.Code != "08P01" {
			t.Errorf("%s: got %v", sql, e)
		}
	}
}

const forever = "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) "

func TestSelectIsStoppedByTime(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *Options) { o.Limits.Time = 100 * time.Millisecond })
	c, _ := h.connect(t, "ops")
	for _, sql := range []string{"SELECT count(*) FROM x", "SELECT 1 WHERE EXISTS (SELECT 1 FROM x WHERE i < 0)"} {
		if _, e := run(t, c, forever+sql); e == nil || e.Code != "57014" || e.Message != "canceling statement due to statement timeout" {
			t.Errorf("%s: got %v", sql, e)
		}
	}
}

func TestSelectIsCanceled(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *Options) { o.Limits.Time = time.Minute })
	c, _ := h.connect(t, "ops")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { // again and again: the first may come before the query
		for ctx.Err() == nil {
			_ = c.CancelRequest(ctx)
		}
	})
	_, e := run(t, c, forever+"SELECT count(*) FROM x")
	stop()
	wg.Wait()
	if e == nil || e.Code != "57014" || e.Message != "canceling statement due to user request" {
		t.Errorf("got %v", e)
	}
}

// Not parallel: the memory is that of all SELECTs of the process.
func TestSelectIsBoundedInRowsAndMemory(t *testing.T) {
	h := start(t, func(o *Options) { o.Limits.Rows, o.Limits.Time = 1000, time.Minute })
	c, _ := h.connect(t, "ops")
	for _, tt := range []struct{ sql, code, message string }{
		{"SELECT i FROM x LIMIT 1001", "54000", "result has more than 1000 rows"},
		{"SELECT hex(zeroblob(100000)) FROM x", "53200", "out of memory"},
		{"SELECT hex(zeroblob(100000)) || i FROM x ORDER BY 1", "53200", "out of memory"},
	} {
		if _, e := run(t, c, forever+tt.sql); e == nil || e.Code != tt.code || e.Message != tt.message {
			t.Errorf("%s: got %v", tt.sql, e)
		}
	}
	if tag, e := run(t, c, forever+"SELECT i FROM x LIMIT 1000"); e != nil || tag != "SELECT 1000" {
		t.Errorf("got %s %v", tag, e)
	}
}

func TestSelectOverManyClients(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *Options) { o.Limits.Time = time.Minute }) // the race detector is slow
	h.ctl.extra = 20_000
	c, _ := h.connect(t, "ops")
	rs, err := c.Exec(testContext(t), "SELECT count(*) FROM clients; SHOW CLIENTS").ReadAll()
	if err != nil || string(rs[0].Rows[0][0]) != "20003" || len(rs[1].Rows) != 20_003 {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentSessions(t *testing.T) {
	t.Parallel()
	h := start(t)
	var wg sync.WaitGroup
	for i := range 8 {
		user := "exporter"
		if i%2 == 0 {
			user = "ops"
		}
		c, _ := h.connect(t, user)
		wg.Go(func() {
			for j := range 10 {
				sql := fmt.Sprintf("SHOW POOLS; SHOW CLIENTS; SELECT count(*) + %d FROM clients JOIN pools USING (database); SHOW CONFIG; SELECT current_user", j)
				rs, err := c.Exec(context.Background(), sql).ReadAll()
				if err != nil {
					t.Error(err)
					return
				}
				if got := string(rs[4].Rows[0][0]); got != user {
					t.Errorf("current_user of %s is %s", user, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestClosedWithoutTerminate(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "ops")
	_ = c.Conn().Close()
	if err := <-h.ended; err != nil {
		t.Errorf("session ended with %v", err)
	}
}
