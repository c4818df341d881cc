package integration

import (
	"fmt"
	"strings"
	"testing"
)

// ddlScripts are sequences of statements of which later ones need what earlier ones have created, altered or dropped.
var ddlScripts = [][]string{
	{"CREATE TABLE notes (id int PRIMARY KEY, note text)", "CREATE INDEX ON notes (note)", "INSERT INTO notes VALUES (1, 'a')", "ALTER TABLE notes ADD COLUMN more int DEFAULT 7", "SELECT * FROM notes"},
	{"SELECT * FROM notes", "ALTER TABLE notes RENAME TO remarks", "INSERT INTO remarks VALUES (2, 'b', 8)", "SELECT count(*) FROM remarks", "SELECT * FROM notes"},
	{"ALTER TABLE notes RENAME TO remarks", "SELECT count(*) FROM remarks", "DROP TABLE remarks", "SELECT count(*) FROM remarks"},
	{"ALTER TABLE orders ADD COLUMN extra int", "INSERT INTO orders (customer_id, id, extra) VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3)", "SELECT extra FROM orders WHERE customer_id = 2", "UPDATE orders SET extra = 9 WHERE customer_id IN (1, 3) AND extra > 0"},
	{"ALTER TABLE orders DROP COLUMN extra", "ALTER TABLE orders ADD COLUMN extra int", "SELECT sum(extra) FROM orders WHERE customer_id = 1", "ALTER TABLE orders RENAME COLUMN extra TO other", "SELECT other FROM orders WHERE customer_id = 1"},
	{"DROP TABLE order_items", "CREATE TABLE order_items (customer_id bigint, line int, PRIMARY KEY (customer_id, line))", "INSERT INTO order_items VALUES (1, 1), (2, 1), (3, 1), (4, 1)", "SELECT line FROM order_items WHERE customer_id = 3", "DELETE FROM order_items WHERE line = 1"},
	{"CREATE TABLE kinds (code text PRIMARY KEY)", "SAVEPOINT s", "ALTER TABLE kinds ADD COLUMN name text", "INSERT INTO kinds VALUES ('a', 'b')", "ROLLBACK TO s", "INSERT INTO kinds VALUES ('c')", "SELECT * FROM kinds"},
	{"CREATE SCHEMA tenant", "CREATE TABLE tenant.jobs (id int)", "SET LOCAL search_path = tenant", "INSERT INTO jobs VALUES (5)", "SELECT * FROM jobs", "RESET search_path", "SELECT * FROM tenant.jobs"},
	{"DROP TABLE IF EXISTS nothing", "ALTER TABLE order_items DROP COLUMN IF EXISTS nothing", "CREATE TABLE IF NOT EXISTS orders (customer_id bigint)"},
	{"CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE TABLE people (m mood)", "INSERT INTO people VALUES ('ok')", "SELECT m::text FROM people"},
	{"CREATE TABLE public.wide (a int)", "CREATE SCHEMA early", "SET LOCAL search_path = early, public", "INSERT INTO wide VALUES (1)", "CREATE TABLE early.wide (a text)", "INSERT INTO wide VALUES ('x')", "SELECT a FROM wide"},
	{"SET search_path = tenant", "SELECT count(*) FROM jobs", "RESET search_path"},
	{"CREATE TABLE gone (a int)", "INSERT INTO gone VALUES (1)", "SELECT 1 / (a - 1) FROM gone", "SELECT * FROM gone"},
}

func TestStatementsSeeWhatTheirTransactionHasCreated(t *testing.T) {
	t.Parallel()
	forms := map[string]func(script []string, end string) []string{
		"one by one": func(script []string, end string) []string {
			out := []string{"Q BEGIN"}
			for _, sql := range script {
				out = append(out, "Q "+sql)
			}
			return append(out, "Q "+end)
		},
		"one text": func(script []string, end string) []string {
			return []string{"Q BEGIN; " + strings.Join(script, "; ") + "; " + end, "Q ROLLBACK"}
		},
		"one text, implicit": func(script []string, _ string) []string { return []string{"Q " + strings.Join(script, "; ")} },
		"extended": func(script []string, end string) []string {
			out := []string{"Q BEGIN"}
			for _, sql := range script {
				out = append(out, "P - "+sql, "B - -", "DP -", "E -", "S")
			}
			return append(out, "Q "+end)
		},
		"one pipeline": func(script []string, end string) []string {
			var out []string
			for _, sql := range append(append([]string{"BEGIN"}, script...), end) {
				out = append(out, "P - "+sql, "B - -", "DP -", "E -")
			}
			return append(out, "S", "Q ROLLBACK")
		},
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startShop(t, 3, "", "")
			for _, db := range append(s.databases(), "one") {
				s.pg.MustExec(t, db, "GRANT CREATE ON SCHEMA public TO app", fmt.Sprintf("GRANT CREATE ON DATABASE %s TO app", db),
					"ALTER TABLE orders OWNER TO app", "ALTER TABLE order_items OWNER TO app")
			}
			one, shop := startRaw(t, s.Port, "one", "app"), startRaw(t, s.Port, "shop", "app")
			other := startRaw(t, s.Port, "shop", "app")
			for _, end := range []string{"ROLLBACK", "COMMIT"} {
				for i, script := range ddlScripts {
					messages := append(form(script, end), fmt.Sprintf("Q SELECT 'end %d' AS x", i))
					want := exchangeUpTo(one, messages, fmt.Sprintf("end %d", i))
					if got := exchangeUpTo(shop, messages, fmt.Sprintf("end %d", i)); got != want {
						t.Errorf("%s\ngot        %s\nPostgreSQL %s", strings.Join(messages, "\n"), got, want)
					}
				}
			}
			// Others have learned of it.
			const sql = "Q SELECT count(*) FROM people"
			if got, want := other.say(sql), one.say(sql); got != want {
				t.Errorf("another session: got %s, want %s", got, want)
			}
		})
	}
}
