package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/pgtest"
)

// txScripts are sessions that must look the same through a sharded database and through one PostgreSQL. Keys 1 to 9 are spread over all
// shards. A step that begins with "x " goes through the extended protocol, one that begins with "| " is a pipeline of statements up to
// one Sync.
var txScripts = map[string][]string{
	"commit over shards":          {"BEGIN", "INSERT INTO customers VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d')", "COMMIT"},
	"rollback over shards":        {"BEGIN", "INSERT INTO customers VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d')", "ROLLBACK"},
	"an error fails every shard":  {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (2,'a')", "INSERT INTO customers VALUES (3,'a')", "INSERT INTO customers VALUES (2,'again')", "SELECT name FROM customers WHERE id = 1", "COMMIT"},
	"END of a failed transaction": {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "SELECT 1/0", "END"},
	"savepoints": {
		"BEGIN", "INSERT INTO customers VALUES (1,'a')", "SAVEPOINT s", "INSERT INTO customers VALUES (2,'b')", "INSERT INTO customers VALUES (3,'c')",
		"SAVEPOINT t", "INSERT INTO customers VALUES (4,'d')", "INSERT INTO customers VALUES (1,'dup')", "ROLLBACK TO t", "INSERT INTO customers VALUES (5,'e')",
		"RELEASE t", "ROLLBACK TO SAVEPOINT s", "INSERT INTO customers VALUES (6,'f')", "COMMIT",
	},
	"savepoint before the first shard": {
		"BEGIN", "SAVEPOINT a", "INSERT INTO customers VALUES (1,'a')", "ROLLBACK TO a", "INSERT INTO customers VALUES (2,'b')", "ROLLBACK TO a", "INSERT INTO customers VALUES (3,'c')", "RELEASE a", "RELEASE a", "ROLLBACK",
	},
	"an unknown savepoint":           {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (2,'a')", "ROLLBACK TO nowhere", "COMMIT"},
	"savepoint names are reused":     {"BEGIN", "SAVEPOINT a", "INSERT INTO customers VALUES (1,'a')", "SAVEPOINT a", "INSERT INTO customers VALUES (2,'b')", "ROLLBACK TO a", "RELEASE a", "ROLLBACK TO a", "INSERT INTO customers VALUES (3,'c')", "COMMIT"},
	"COMMIT AND CHAIN":               {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (2,'b')", "COMMIT AND CHAIN", "INSERT INTO customers VALUES (3,'c')", "INSERT INTO customers VALUES (4,'d')", "ROLLBACK AND CHAIN", "INSERT INTO customers VALUES (5,'e')", "COMMIT"},
	"chain keeps READ ONLY":          {"BEGIN READ ONLY", "SELECT name FROM customers WHERE id = 8", "COMMIT AND CHAIN", "SHOW transaction_read_only", "SELECT name FROM customers WHERE id = 9", "INSERT INTO customers VALUES (3,'c')", "ROLLBACK AND CHAIN", "SHOW transaction_read_only", "COMMIT"},
	"chain without a block":          {"COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "COMMIT", "ROLLBACK"},
	"READ ONLY":                      {"BEGIN READ ONLY", "SELECT name FROM customers WHERE id = 8", "SELECT name FROM customers WHERE id = 9", "INSERT INTO customers VALUES (1,'a')", "COMMIT"},
	"SET TRANSACTION READ ONLY":      {"BEGIN", "SET TRANSACTION READ ONLY", "SELECT name FROM customers WHERE id = 8", "INSERT INTO customers VALUES (1,'a')", "ROLLBACK"},
	"one shard, REPEATABLE READ":     {"BEGIN ISOLATION LEVEL REPEATABLE READ", "INSERT INTO customers VALUES (1,'a')", "COMMIT"},
	"deferrable":                     {"START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SHOW transaction_deferrable", "SELECT name FROM customers WHERE id = 8", "COMMIT"},
	"SET LOCAL before the first":     {"BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", "INSERT INTO customers VALUES (1, current_setting('TimeZone'))", "INSERT INTO customers VALUES (2, current_setting('TimeZone'))", "COMMIT", "SHOW TimeZone"},
	"SET LOCAL between":              {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "SET LOCAL TimeZone = 'Asia/Tokyo'", "INSERT INTO customers VALUES (2, current_setting('TimeZone'))", "INSERT INTO customers VALUES (3, current_setting('TimeZone'))", "ROLLBACK", "SHOW TimeZone"},
	"SET is rolled back":             {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (2,'a')", "SET TimeZone = 'Asia/Tokyo'", "SET work_mem = '1234kB'", "INSERT INTO customers VALUES (3, current_setting('TimeZone'))", "ROLLBACK", "SHOW TimeZone", "SHOW work_mem", "INSERT INTO customers VALUES (4, current_setting('work_mem'))"},
	"SET is committed":               {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (2,'a')", "SET TimeZone = 'Asia/Tokyo'", "SET work_mem = '1234kB'", "SET my.own = 'x'", "COMMIT", "SHOW TimeZone", "INSERT INTO customers VALUES (3, current_setting('TimeZone') || current_setting('work_mem') || current_setting('my.own'))", "INSERT INTO customers VALUES (4, current_setting('TimeZone') || current_setting('work_mem') || current_setting('my.own'))", "INSERT INTO customers VALUES (5, current_setting('TimeZone') || current_setting('work_mem') || current_setting('my.own'))"},
	"SET and ROLLBACK TO":            {"BEGIN", "SAVEPOINT s", "SET LOCAL TimeZone = 'Asia/Tokyo'", "INSERT INTO customers VALUES (1, current_setting('TimeZone'))", "INSERT INTO customers VALUES (2, current_setting('TimeZone'))", "ROLLBACK TO s", "INSERT INTO customers VALUES (1, current_setting('TimeZone'))", "INSERT INTO customers VALUES (2, current_setting('TimeZone'))", "INSERT INTO customers VALUES (3, current_setting('TimeZone'))", "COMMIT"},
	"SET outside":                    {"SET statement_timeout = '71s'", "SET my.own = 'y'", "INSERT INTO customers VALUES (1, current_setting('statement_timeout') || current_setting('my.own'))", "INSERT INTO customers VALUES (2, current_setting('statement_timeout') || current_setting('my.own'))", "INSERT INTO customers VALUES (3, current_setting('statement_timeout') || current_setting('my.own'))", "INSERT INTO customers VALUES (4, current_setting('statement_timeout') || current_setting('my.own'))", "RESET statement_timeout", "INSERT INTO customers VALUES (5, current_setting('statement_timeout'))", "INSERT INTO customers VALUES (6, current_setting('statement_timeout'))"},
	"search_path in a transaction":   {"BEGIN", "SET search_path = nowhere", "SHOW search_path", "ROLLBACK", "SHOW search_path", "SELECT name FROM customers WHERE id = 8"},
	"search_path in a text":          {"SET search_path = nowhere; SET search_path = public; INSERT INTO customers VALUES (1,'a')", "SHOW search_path"},
	"texts of several":               {"INSERT INTO customers VALUES (1,'a'); INSERT INTO customers VALUES (2,'b'); INSERT INTO customers VALUES (3,'c')", "INSERT INTO customers VALUES (4,'d'); INSERT INTO customers VALUES (5,'e'); SELECT 1/0", "SELECT 1; SELECT 1/0; SELECT 2"},
	"a text with a block":            {"BEGIN; INSERT INTO customers VALUES (1,'a'); INSERT INTO customers VALUES (2,'b'); COMMIT", "BEGIN; INSERT INTO customers VALUES (3,'a'); INSERT INTO customers VALUES (4,'b')", "INSERT INTO customers VALUES (5,'c'); COMMIT", "BEGIN; INSERT INTO customers VALUES (6,'c'); ROLLBACK; INSERT INTO customers VALUES (7,'d')"},
	"BEGIN behind others":            {"INSERT INTO customers VALUES (1,'a'); INSERT INTO customers VALUES (2,'b'); BEGIN READ ONLY; SELECT name FROM customers WHERE id = 8", "INSERT INTO customers VALUES (3,'c')", "COMMIT"},
	"COMMIT in a text without BEGIN": {"INSERT INTO customers VALUES (1,'a'); INSERT INTO customers VALUES (2,'b'); COMMIT; INSERT INTO customers VALUES (3,'c'); INSERT INTO customers VALUES (4,'c'); SELECT 1/0"},
	"a failed block and a text":      {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "INSERT INTO customers VALUES (1,'dup')", "SELECT 1; COMMIT", "ROLLBACK; INSERT INTO customers VALUES (2,'b')", "INSERT INTO customers VALUES (3,'b')", "COMMIT"},
	"BEGIN in a block":               {"BEGIN", "BEGIN", "INSERT INTO customers VALUES (1,'a')", "BEGIN", "INSERT INTO customers VALUES (2,'a')", "BEGIN", "COMMIT"},
	"control through the extended protocol": {
		"x BEGIN", "x INSERT INTO customers VALUES (1,'a')", "x SAVEPOINT s", "x INSERT INTO customers VALUES (2,'b')", "x SET LOCAL TimeZone = 'Asia/Tokyo'", "x ROLLBACK TO s",
		"x INSERT INTO customers VALUES (3, current_setting('TimeZone'))", "x COMMIT", "x BEGIN", "x INSERT INTO customers VALUES (4,'d')", "x INSERT INTO customers VALUES (1,'dup')", "x SELECT 1", "x COMMIT", "x SELECT 1",
	},
	"pipelines": {
		"| INSERT INTO customers VALUES (1,'a') | INSERT INTO customers VALUES (2,'b') | INSERT INTO customers VALUES (3,'c')",
		"| INSERT INTO customers VALUES (4,'a') | INSERT INTO customers VALUES (5,'b') | SELECT 1/0 | INSERT INTO customers VALUES (6,'b')",
		"| BEGIN | INSERT INTO customers VALUES (4,'a') | INSERT INTO customers VALUES (5,'b')", "INSERT INTO customers VALUES (6,'c')", "x COMMIT",
		"| BEGIN | INSERT INTO customers VALUES (7,'a') | COMMIT | INSERT INTO customers VALUES (17,'b') | INSERT INTO customers VALUES (18,'b') | SELECT 1/0",
		"| SET TimeZone = 'Asia/Tokyo' | INSERT INTO customers VALUES (21, current_setting('TimeZone')) | INSERT INTO customers VALUES (22, current_setting('TimeZone'))", "SHOW TimeZone",
	},
	"a flush in a block": {
		"BEGIN", "x- INSERT INTO customers VALUES (1,'a')", "x- INSERT INTO customers VALUES (2,'b')", "x INSERT INTO customers VALUES (3,'c')", "COMMIT",
		"BEGIN", "x- INSERT INTO customers VALUES (4,'a')", "x- SELECT 1/0", "xs INSERT INTO customers VALUES (5,'c')", "SELECT 1", "COMMIT",
	},
	"deferred constraints":                {"BEGIN", "INSERT INTO order_items VALUES (1, 1, 1)", "INSERT INTO order_items VALUES (1, 2, 1)", "INSERT INTO order_items VALUES (2, 1, 1)", "COMMIT", "SELECT count(*) FROM order_items WHERE customer_id = 1"},
	"SET CONSTRAINTS":                     {"BEGIN", "INSERT INTO order_items VALUES (1, 1, 1)", "INSERT INTO order_items VALUES (2, 1, 1)", "SET CONSTRAINTS ALL IMMEDIATE", "INSERT INTO order_items VALUES (3, 1, 1)", "INSERT INTO order_items VALUES (3, 2, 1)", "ROLLBACK"},
	"statement_timeout":                   {"BEGIN", "SET LOCAL statement_timeout = '30ms'", "INSERT INTO customers VALUES (1,'a')", "SELECT pg_sleep(10)", "ROLLBACK", "SHOW statement_timeout"},
	"rows of other sessions":              {"BEGIN", "UPDATE customers SET name = 'changed' WHERE id = 8", "UPDATE customers SET name = 'changed' WHERE id = 9", "SELECT name FROM customers WHERE id = 8", "COMMIT"},
	"update of all":                       {"UPDATE customers SET name = name || '!'", "BEGIN", "UPDATE customers SET name = name || '?'", "DELETE FROM customers WHERE id = 8", "COMMIT"},
	"reference tables are written":        {"INSERT INTO countries VALUES ('de', 'Germany')", "BEGIN", "UPDATE countries SET name = 'x'", "INSERT INTO customers VALUES (1,'a')", "ROLLBACK", "SELECT name FROM countries"},
	"DISCARD ALL":                         {"SET work_mem = '1234kB'", "DISCARD ALL", "INSERT INTO customers VALUES (1, current_setting('work_mem'))", "INSERT INTO customers VALUES (2, current_setting('work_mem'))", "INSERT INTO customers VALUES (3, current_setting('work_mem'))"},
	"empty statements":                    {"", ";", "BEGIN", "", "COMMIT"},
	"PREPARE TRANSACTION of a failed one": {"BEGIN", "INSERT INTO customers VALUES (1,'a')", "SELECT 1/0", "PREPARE TRANSACTION 'x'", "SELECT 1"},
}

// deferred gives a table a constraint that is checked at COMMIT.
const deferred = "ALTER TABLE order_items ADD UNIQUE (customer_id, line) DEFERRABLE INITIALLY DEFERRED"

func TestTransactionsOverShardsLookLikeThoseOfOneServer(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	for _, db := range append([]string{"one"}, s.databases()...) {
		s.pg.MustExec(t, db, deferred)
	}
	names := make([]string, 0, len(txScripts))
	for name := range txScripts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			script := txScripts[name]
			var said [2][]string
			var left [2]string
			for i, db := range []string{"one", "shop"} {
				for _, d := range append([]string{"one"}, s.databases()...) {
					s.pg.MustExec(t, d, "TRUNCATE customers, countries, order_items")
				}
				c := s.direct(ctx, t, db)
				if _, err := c.Exec(ctx, "INSERT INTO customers VALUES (8, 'eight'), (9, 'nine')"); err != nil {
					t.Fatal(err)
				}
				for _, step := range script {
					said[i] = append(said[i], converse(ctx, t, c.PgConn(), step))
				}
				_ = c.Close(ctx)
				left[i] = s.contents(t, db == "shop")
			}
			for i, step := range script {
				if said[0][i] != said[1][i] {
					t.Errorf("step %d, %s\nshards say %s\none says    %s", i+1, step, said[1][i], said[0][i])
				}
			}
			if left[0] != left[1] {
				t.Errorf("contents\nof shards %s\nof one    %s", left[1], left[0])
			}
		})
	}
	if n := s.onShards(t, "SELECT count(*) FROM pg_prepared_xacts"); n[0] != "0" {
		t.Errorf("prepared transactions are left: %v", n)
	}
	if n := s.onShards(t, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"); n[0] != "0" {
		t.Errorf("transactions are open: %v", n)
	}
}

// direct connects to the sharded database, or to PostgreSQL itself.
func (s *shop) direct(ctx context.Context, tb testing.TB, db string) *pgx.Conn {
	tb.Helper()
	if db == "shop" {
		return s.Connect(ctx, db, "app")
	}
	c, err := pgx.Connect(ctx, s.pg.DSN(db, "app"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// databases are those of the shards.
func (s *shop) databases() []string {
	var out []string
	for _, name := range s.shards {
		out = append(out, "shop_"+name)
	}
	return out
}

// contents are the rows that a test has left.
func (s *shop) contents(tb testing.TB, sharded bool) string {
	tb.Helper()
	dbs := []string{"one"}
	if sharded {
		dbs = s.databases()
	}
	var rows []string
	for _, db := range dbs {
		all := s.pg.MustValue(tb, db, "SELECT coalesce(string_agg(r, E'\\n'), '') FROM (SELECT c::text r FROM customers c UNION ALL SELECT i::text FROM order_items i) x")
		if all != "" {
			rows = append(rows, strings.Split(all, "\n")...)
		}
	}
	slices.Sort(rows)
	return strings.Join(rows, " ")
}

// converse takes one step of a script and returns what the client sees of it.
func converse(ctx context.Context, tb testing.TB, c *pgconn.PgConn, step string) string {
	tb.Helper()
	var out []string
	note := func(err error) {
		var pe *pgconn.PgError
		switch {
		case errors.As(err, &pe):
			out = append(out, fmt.Sprintf("%s %s %s %d", pe.Severity, pe.Code, pe.Message, pe.Position))
		case err != nil:
			tb.Fatalf("%s: %v", step, err)
		}
	}
	text := step
	switch {
	case strings.HasPrefix(step, "x- "):
		return flushed(tb, c, strings.TrimPrefix(step, "x- "), &pgproto3.Flush{})
	case strings.HasPrefix(step, "xs "):
		return flushed(tb, c, strings.TrimPrefix(step, "xs "), &pgproto3.Sync{})
	case strings.HasPrefix(step, "x "):
		r := c.ExecParams(ctx, strings.TrimPrefix(step, "x "), nil, nil, nil, nil).Read()
		out = append(out, resultText(r))
		note(r.Err)
	case strings.HasPrefix(step, "| "):
		p := c.StartPipeline(ctx)
		for _, sql := range strings.Split(strings.TrimPrefix(step, "| "), " | ") {
			p.SendQueryParams(sql, nil, nil, nil, nil)
		}
		if err := p.Sync(); err != nil {
			tb.Fatal(err)
		}
		for {
			r, err := p.GetResults()
			if err != nil {
				note(err)
				if c.IsClosed() {
					tb.Fatal(err)
				}
				continue
			}
			if _, ok := r.(*pgconn.PipelineSync); ok || r == nil {
				break
			}
			if rr, ok := r.(*pgconn.ResultReader); ok {
				read := rr.Read()
				out = append(out, resultText(read))
				note(read.Err)
			}
		}
		note(p.Close())
	default:
		results, err := c.Exec(ctx, text).ReadAll()
		for _, r := range results {
			if r.Err == nil {
				out = append(out, resultText(r))
			}
		}
		note(err)
	}
	return fmt.Sprintf("%s [%c]", strings.Join(out, "; "), c.TxStatus())
}

// flushed runs a statement that Flush or Sync ends, and returns what the server answers to it.
func flushed(tb testing.TB, c *pgconn.PgConn, sql string, end pgproto3.FrontendMessage) string {
	tb.Helper()
	f := c.Frontend()
	f.Send(&pgproto3.Parse{Query: sql})
	f.Send(&pgproto3.Bind{})
	f.Send(&pgproto3.Execute{})
	f.Send(end)
	if err := f.Flush(); err != nil {
		tb.Fatal(err)
	}
	_, isFlush := end.(*pgproto3.Flush)
	out := ""
	for {
		m, err := f.Receive()
		if err != nil {
			tb.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.CommandComplete:
			out += string(m.CommandTag)
		case *pgproto3.ErrorResponse:
			out += m.Code + " " + m.Message
		case *pgproto3.ReadyForQuery:
			return fmt.Sprintf("%s [%c]", out, m.TxStatus)
		default:
			continue
		}
		if isFlush {
			return out
		}
	}
}

func resultText(r *pgconn.Result) string {
	var rows []string
	for _, row := range r.Rows {
		rows = append(rows, string(row[0]))
	}
	slices.Sort(rows)
	return strings.Join(append([]string{r.CommandTag.String()}, rows...), ",")
}

// Rows of pgdrover.decision go when they are of no use any more, long before recovery would remove them, whoever made them.
func TestDecisionsThatAreCarriedOutAreRemoved(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	s.pg.MustExec(t, "postgres", "CREATE ROLE boss; GRANT boss TO app; GRANT boss TO postgres")
	for _, db := range s.databases() {
		s.pg.MustExec(t, db, "GRANT ALL ON ALL TABLES IN SCHEMA public TO boss; GRANT USAGE ON SCHEMA pgdrover TO boss",
			"GRANT EXECUTE ON FUNCTION pgdrover.decide(text, text[]), pgdrover.forget(text[]) TO boss")
	}
	plain, boss := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, boss, "SET ROLE boss")
	for i := range 50 {
		for j, c := range []*pgx.Conn{plain, boss} {
			id := 10 * (2*i + j)
			mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO customers (id) VALUES (%d), (%d), (%d), (%d)", id, id+1, id+2, id+3))
		}
	}
	pgtest.Eventually(t, patience, func() error {
		if left := s.onShards(t, "SELECT count(*) FROM pgdrover.decision"); !slices.Equal(left, []string{"0", "0", "0"}) {
			return fmt.Errorf("decisions are left: %v", left)
		}
		return nil
	})
	if got := mustRun(ctx, t, plain, "SELECT current_user"); got != "app" {
		t.Errorf("a session without SET ROLE runs as %s", got)
	}
	s.atRest(t)
}

// A COMMIT in a pipeline whose other statements are for a shard that was not yet in the transaction went to that shard alone: the client was
// told COMMIT, and what it had written was rolled back.
func TestACommitInAPipelineForAnotherShardCommits(t *testing.T) {
	t.Parallel()
	s := startShop(t, 3, "", "")
	c := startRaw(t, s.Port, "shop", "app")
	for i := range 10 {
		c.say(fmt.Sprintf("Q INSERT INTO customers (id, name) VALUES (%d, 'before')", i))
	}
	for i := range 10 {
		for _, end := range []string{"COMMIT", "ROLLBACK"} {
			other := (i + 1) % 10
			c.say("Q BEGIN")
			c.say(fmt.Sprintf("Q UPDATE customers SET name = '%s' WHERE id = %d", end, i))
			got := c.say("P - "+end, "B - -", "E -", fmt.Sprintf("P - SELECT id FROM customers WHERE id = %d", other), "B - -", "E -", "S")
			if want := fmt.Sprintf("1 2 C(%s) 1 2 D(%d) C(SELECT 1) Z(I)", end, other); got != want {
				t.Errorf("%s and customer %d: got %s, want %s", end, other, got, want)
			}
			got = c.say(fmt.Sprintf("Q SELECT name FROM customers WHERE id = %d", i))
			if want := "T(name:25) D(COMMIT) C(SELECT 1) Z(I)"; got != want {
				t.Errorf("after %s of customer %d: %s, want %s", end, i, got, want)
			}
		}
	}
}
