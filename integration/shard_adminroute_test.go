package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func TestRouteExplainsWithoutRunning(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	route := func(sql string) string {
		var lines []string
		for _, r := range s.Admin("ROUTE shop $$" + sql + "$$") {
			line := fmt.Sprint(r["statement"], " ", r["tier"], " ", r["kind"], " ", r["shard"], " ", r["key"], " ")
			if r["kind"] == "refused" {
				line = r["code"] + " " + r["construct"]
				if r["message"] == "" || r["hint"] == "" {
					t.Errorf("%s: %v", sql, r)
				}
			} else if r["text"] != sql {
				line += r["text"]
			}
			lines = append(lines, strings.TrimSpace(line))
		}
		return strings.Join(lines, "\n")
	}
	// Nobody has connected yet: the catalogs are read for this.
	if got := s.Admin("ROUTE shop 'SELECT name FROM customers WHERE id = 1'"); len(got) != 1 || got[0]["key"] != "customer = 1" || got[0]["text"] != "SELECT name FROM customers WHERE id = 1" {
		t.Fatalf("got %v", got)
	}
	c := s.Connect(ctx, "shop", "app")
	for id := range 20 {
		mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO customers (id) VALUES (%d)", id))
		at := slices.Index(s.onShards(t, fmt.Sprintf("SELECT count(*) FROM customers WHERE id = %d", id)), "1")
		if got, want := route(fmt.Sprintf("UPDATE customers SET name = 'x' WHERE id = %d", id)), fmt.Sprintf("1 1 forward %s customer = %d", s.shards[at], id); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	before := s.onShards(t, "SELECT count(*) FROM customers")
	for sql, want := range map[string]string{
		"SELECT name FROM customers":               "1 2 gather a customer\n1 2 gather b customer",
		"SELECT name FROM countries":               "1 1 anywhere",
		"SELECT value FROM settings":               "1 1 forward a",
		"INSERT INTO countries VALUES ('x', 'y')":  "1 2 everywhere a\n1 2 everywhere b",
		"SELECT count(*) FROM customers":           "0A000 aggregate over several shards",
		"SELECT nonsense FROM customers":           "0A000 unknown column",
		"LISTEN x":                                 "0A000 LISTEN and NOTIFY",
		"SELECT name FROM customers /* shard=b */": "1 1 forward b hint SELECT name FROM customers",
		"EXPLAIN SELECT name FROM customers":       "1 2 explain a customer\n1 2 explain b customer",
		"DELETE FROM customers; BEGIN":             "1 2 gather a customer DELETE FROM customers\n1 2 gather b customer DELETE FROM customers\n2 0 command   BEGIN",
	} {
		if got := route(sql); got != want {
			t.Errorf("%s\n got %q\nwant %q", sql, got, want)
		}
	}
	if got := s.onShards(t, "SELECT count(*) FROM customers"); !slices.Equal(got, before) {
		t.Errorf("ROUTE has run something: %v, were %v", got, before)
	}
	rows := 0
	for _, r := range s.Admin("ROUTE shop 'INSERT INTO customers (id) VALUES (101), (102), (103), (104), (105), (106)'") {
		if r["kind"] != "split" {
			t.Errorf("an INSERT of six rows: %v", r)
		}
		rows += strings.Count(r["text"], "(10")
	}
	if rows != 6 {
		t.Errorf("the shards get %d rows, want 6", rows)
	}
	for sql, want := range map[string]string{
		"ROUTE one 'SELECT 1'":              `55000 database "one" is not sharded`,
		"ROUTE nix 'SELECT 1'":              "3D000 no such database: nix",
		"ROUTE shop AS app 'SELECT 1'":      "",
		"ROUTE shop AS \"no one\" 'SELECT'": "",
	} {
		if _, err := s.TryAdmin(sql); codeOf(err) != want && !strings.Contains(codeOf(err), want) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	s.Admin("RELOAD")
	if _, err := s.TryAdmin("ROUTE shop AS nobody 'SELECT 1'"); codeOf(err) != `28000 the catalogs of shard "a" cannot be read: role "nobody" does not exist` {
		t.Errorf("as a role that may not log in: %v", err)
	}
}

func TestRouteOnTheCommandLineNeedsNoRunningPooler(t *testing.T) {
	t.Parallel()
	s := startShop(t, 2, "", "")
	path := buildProgram(t)
	out, errs, code := runProgram(t, path, "route", "-c", s.Config, "--sql", "SELECT name FROM customers WHERE id = 7; SELECT 1")
	if code != 0 || errs != "" || !strings.Contains(out, ", key customer = 7\n    SELECT name FROM customers WHERE id = 7\nstatement 2: tier 1, anywhere, any shard, or none\n    SELECT 1\n") {
		t.Errorf("code %d, %s\n%s", code, errs, out)
	}
	out, errs, code = runProgram(t, path, "route", "--config", s.Config, "--database=shop", "--as", "app", "--json", "--sql", "DELETE FROM customers WHERE name < 'x'")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 2 || rows[1]["shard"] != "b" || rows[1]["tier"] != 2.0 || !strings.Contains(out, "<") {
		t.Errorf("code %d, %v, %s\n%s", code, err, errs, out)
	}
	out, errs, code = runProgram(t, path, "route", "-c", s.Config, "--sql", "SELECT count(*) FROM customers")
	if code != 1 || out != "refused: aggregate over several shards\n" || !strings.HasPrefix(errs, "ERROR:  0A000: an aggregate") || !strings.Contains(errs, "HINT:  ") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	out, _, code = runProgram(t, path, "route", "-c", s.Config, "--json", "--sql", "SELECT 1 +")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 1 || rows[0]["refused"].(map[string]any)["code"] != "42601" {
		t.Errorf("code %d, %v\n%s", code, err, out)
	}
	plain := filepath.Join(t.TempDir(), "plain.toml")
	save(t, plain, "[databases.db]\nhost = \"127.0.0.1\"\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"route"}, "need --config and --sql"},
		{[]string{"route", "-c", s.Config, "--sql", "SELECT 1", "more"}, `unexpected argument "more"`},
		{[]string{"route", "-c", s.Config, "--sql", "SELECT 1", "--database", "one"}, `database "one" is not sharded`},
		{[]string{"route", "-c", s.Config, "--sql", "SELECT 1", "--as", "nobody"}, `role "nobody" does not exist`},
		{[]string{"route", "-c", plain, "--sql", "SELECT 1"}, "no database of the configuration has shards"},
		{[]string{"route", "-c", plain + "x", "--sql", "SELECT 1"}, "no such file"},
		{[]string{"route", "--nonsense"}, "unknown flag"},
	} {
		if _, errs, code := runProgram(t, path, c.args...); code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: code %d, %s", c.args, code, errs)
		}
	}
	if err := s.pg.Stop(t.Context(), pgtest.Immediate); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProgram(t, path, "route", "-c", s.Config, "--sql", "SELECT 1"); code != 1 || !strings.Contains(errs, `shard "a" is not available`) {
		t.Errorf("without shards: code %d, %s", code, errs)
	}
}

func TestExplainShowsTierShardsAndTheirPlans(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	for _, mode := range []string{"simple_protocol", "exec", "describe_exec", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+mode)
			explain := func(sql string, args ...any) ([]string, error) {
				rows, err := c.Query(ctx, sql, args...)
				if err != nil {
					return nil, err
				}
				return pgx.CollectRows(rows, pgx.RowTo[string])
			}
			for _, e := range []struct {
				sql  string
				args []any
				want []string // the beginning of each line
			}{
				{"EXPLAIN (COSTS OFF) SELECT name FROM customers WHERE id = $1", []any{7}, []string{"Shard ", "Index Scan using", "  Index Cond"}},
				{"EXPLAIN (COSTS OFF, ANALYZE, BUFFERS OFF) UPDATE customers SET name = 'x' WHERE id = $1", []any{7}, []string{"Shard ", "Update on customers", "  ->  Index Scan"}},
				{"EXPLAIN SELECT value FROM settings", nil, []string{"Shard a  (tier=1)", "Seq Scan on settings"}},
				{"EXPLAIN SELECT 1", nil, []string{"Any Shard, here ", "Result "}},
				{"EXPLAIN (COSTS OFF) SELECT name FROM customers", nil, []string{"Gather on Shards a, b  (tier=2 key=customer)", "  ->  Shard a", "        Seq Scan on customers", "  ->  Shard b", "        Seq Scan on customers"}},
				{"EXPLAIN (COSTS OFF) SELECT name FROM customers /* shard=b */", nil, []string{"Shard b  (tier=1 key=hint)", "Seq Scan on customers"}},
				{"EXPLAIN (COSTS OFF) UPDATE customers SET name = 'x'", nil, []string{"Gather on Shards a, b", "  ->  Shard a", "        Update on customers", "          ->  Seq Scan", "  ->  Shard b", "        Update on customers"}},
				{"EXPLAIN (COSTS OFF) INSERT INTO countries VALUES ('x', 'y')", nil, []string{"Everywhere on Shards a, b  (tier=2)", "  ->  Shard a", "        Insert on countries", "          ->  Result", "  ->  Shard b"}},
				{"EXPLAIN (FORMAT YAML) SELECT value FROM settings", nil, []string{"- Plan: \n    Node Type"}},
				{"EXPLAIN (FORMAT YAML) SELECT name FROM customers /* shard=a */", nil, []string{"- Plan: \n    Node Type"}},
			} {
				got, err := explain(e.sql, e.args...)
				if err != nil || len(got) < len(e.want) {
					t.Errorf("%s: %v\n%s", e.sql, err, strings.Join(got, "\n"))
					continue
				}
				for i, want := range e.want {
					if !strings.HasPrefix(got[i], want) {
						t.Errorf("%s: line %d is %q, want %q\n%s", e.sql, i, got[i], want, strings.Join(got, "\n"))
					}
				}
			}
			for sql, want := range map[string]string{
				"EXPLAIN (FORMAT JSON) SELECT name FROM customers":                                          "0A000 EXPLAIN (FORMAT JSON) over several shards",
				"EXPLAIN (FORMAT 'xml') SELECT name FROM customers":                                         "0A000 EXPLAIN (FORMAT XML) over several shards",
				"EXPLAIN ANALYZE DELETE FROM customers":                                                     "0A000 EXPLAIN ANALYZE of a write on several shards",
				"EXPLAIN INSERT INTO customers (id) VALUES (1), (2), (3), (4)":                              "0A000",
				"EXPLAIN SELECT count(*) FROM customers":                                                    "0A000 an aggregate over rows of several shards",
				"EXPLAIN ANALYZE SELECT name FROM customers WHERE 1/(id-id) = 1 AND id = 3 /* shard=nix */": "22023",
			} {
				if _, err := explain(sql); !strings.HasPrefix(codeOf(err), want) {
					t.Errorf("%s: %v, want %s", sql, err, want)
				}
			}
			tx, err := c.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var line string
			if err := tx.QueryRow(ctx, "EXPLAIN SELECT name FROM customers WHERE id = 1").Scan(&line); err != nil || !strings.HasPrefix(line, "Shard ") {
				t.Errorf("in a transaction: %q, %v", line, err)
			}
			if err := tx.QueryRow(ctx, "EXPLAIN SELECT name FROM customers").Scan(&line); err != nil || !strings.HasPrefix(line, "Gather ") {
				t.Errorf("in a transaction: %q, %v", line, err)
			}
			if err := tx.Commit(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	if n := s.onShards(t, "SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM countries)"); n[0] != "0" || n[1] != "0" {
		t.Errorf("EXPLAIN has written: %v", n)
	}
}
