package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// TestPipelinesOnShardsAreLikeThoseOnOneServer has clients say random things without waiting for answers, in packets that begin and end anywhere, to a
// sharded database and to one PostgreSQL behind the same pgdrover. Every answer has to be the same, message by message. COUNT is how many scripts each
// client says, SEED repeats a run.
func TestPipelinesOnShardsAreLikeThoseOnOneServer(t *testing.T) {
	t.Parallel()
	s := startShop(t, 3, "", "")
	for _, db := range append(s.databases(), "one") {
		s.pg.MustExec(t, db, "GRANT CREATE ON SCHEMA public TO app")
	}
	count, seed := 150, uint64(time.Now().UnixNano())
	if n, err := strconv.Atoi(os.Getenv("COUNT")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("SEED=%d", seed)
	t.Run("clients", func(t *testing.T) {
		for id := range 4 {
			t.Run(fmt.Sprint(id), func(t *testing.T) {
				t.Parallel()
				g := &pipelineScript{rnd: rand.New(rand.NewPCG(seed, uint64(id))), id: id}
				one, shop := startRaw(t, s.Port, "one", "app"), startRaw(t, s.Port, "shop", "app")
				for scripts := 0; scripts < count && !t.Failed(); scripts++ {
					messages := g.next()
					closing := fmt.Sprintf("end %d of %d", scripts, id)
					messages = append(messages, "S", "Q ROLLBACK", "Q SHOW application_name", "Q SELECT '"+closing+"' AS x")
					cuts := g.rnd.Uint64()
					want := g.exchange(one, messages, closing, cuts)
					if got := g.exchange(shop, messages, closing, cuts); got != want {
						t.Errorf("script %d:\n%s\ngot        %s\nPostgreSQL %s", scripts, strings.Join(messages, "\n"), got, want)
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	const all = "SELECT coalesce(string_agg(id || ':' || name, E'\\n'), '') FROM customers"
	got := strings.Fields(strings.Join(s.onShards(t, all), "\n"))
	want := strings.Fields(s.pg.MustValue(t, "one", all))
	slices.Sort(got)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the customers on the shards and on one PostgreSQL differ:\n%s\n%s", got, want)
	}
}

// errorText is an error, of which the code has to be the same: a shard counts the lines of a COPY, and the rows of an INSERT, that it has itself.
// What has been answered to the messages that it is the error of does not count: a command that PostgreSQL looks at when it is executed is planned before.
var errorText = regexp.MustCompile(`(?:(?:[123nt]|T\([^()]*\)) )*E\(S[A-Z]+; C(\w+);[^()]*(?:\([^()]*\)[^()]*)*\)`)

// parameterStatus comes before the command's tag, not behind it, where several shards are told.
var parameterStatus = regexp.MustCompile(`S\(\w+=[^()]*\) `)

// anyOrder is rows of several shards, which are marked.
var anyOrder = regexp.MustCompile(`(?:D\(any\|[^()]*\) ?)+`)

// sortRows sorts such rows, so that those of one server may be compared with them.
func sortRows(answers string) string {
	return anyOrder.ReplaceAllStringFunc(answers, func(rows string) string {
		list := strings.SplitAfter(strings.TrimSuffix(rows, " "), ") ")
		for i := range list {
			list[i] = strings.TrimSuffix(list[i], " ")
		}
		slices.Sort(list)
		return strings.Join(list, " ") + " "
	})
}

// pipelineScript makes up what one client says. Its customers are its own, and so are its settings.
type pipelineScript struct {
	rnd *rand.Rand
	id  int
	n   int
}

// exchange says the messages in packets that the cuts decide on, and returns the answers up to that to the closing query.
func (g *pipelineScript) exchange(c *rawClient, messages []string, closing string, cuts uint64) string {
	rnd := rand.New(rand.NewPCG(cuts, 0))
	var packet []byte
	for i, m := range messages {
		packet = append(packet, encode(c.tb, m)...)
		switch {
		case i == len(messages)-1, rnd.IntN(3) == 0:
			c.write(packet)
			packet = packet[:0]
		case rnd.IntN(8) == 0: // in the middle of a message
			n := rnd.IntN(len(packet))
			c.write(packet[:n])
			packet = append(packet[:0], packet[n:]...)
		}
	}
	return answersUpTo(c, closing)
}

// exchangeUpTo sends messages and returns the answers up to that to the closing query.
func exchangeUpTo(c *rawClient, messages []string, closing string) string {
	c.write(encode(c.tb, messages...))
	return answersUpTo(c, closing)
}

// answersUpTo reads the answers up to that to the closing query, without what may differ between shards and one server.
func answersUpTo(c *rawClient, closing string) string {
	var out []string
	for {
		got := c.until("Z")
		out = append(out, got)
		if strings.Contains(got, "D("+closing+")") || strings.HasSuffix(got, "EOF") || strings.HasSuffix(got, "TIMEOUT") {
			return sortRows(errorText.ReplaceAllString(parameterStatus.ReplaceAllString(strings.Join(out, " "), ""), "E($1)"))
		}
	}
}

// next is one script: some units, and perhaps a transaction block around some of them.
func (g *pipelineScript) next() []string {
	var out []string
	for range 1 + g.rnd.IntN(6) {
		switch g.rnd.IntN(20) {
		case 0:
			out = append(out, "Q "+g.one("BEGIN", "BEGIN", "BEGIN READ ONLY", "START TRANSACTION ISOLATION LEVEL READ COMMITTED"))
		case 1:
			out = append(out, "Q "+g.one("COMMIT", "ROLLBACK", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"))
		case 2:
			out = append(out, g.copyIn()...)
		case 3:
			out = append(out, fmt.Sprintf("Q %s; %s", g.statement(), g.statement()))
		case 4, 5, 6:
			out = append(out, g.extended()...)
		case 12:
			out = append(out, "Q "+g.one("SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "SAVEPOINT s; ROLLBACK TO s", "SAVEPOINT r", "ROLLBACK TO r", "RELEASE r"))
		case 13:
			out = append(out, "Q "+g.one("SELEC", "SHOW application_name", ""))
		case 14:
			out = append(out, fmt.Sprintf("Q SET %sapplication_name = 'n%d'", g.one("", "LOCAL "), g.rnd.IntN(3)))
		case 15:
			out = append(out, fmt.Sprintf("P - SELECT g FROM generate_series(1, 3) g, customers WHERE id = %d", g.key()), "B p -", "DP p", "E p 1", "E p 1", "CP p", "S")
		case 16: // a portal over several shards
			out = append(out, fmt.Sprintf("P - SELECT 'x' FROM generate_series(1, %d) g, customers WHERE id IN (%d, %d, %d)", 1+g.rnd.IntN(3), g.key(), g.key(), g.key()),
				"B p -", g.one("DP p", "DS -", "CP q"), g.one("E p", "CP p"), g.one("CP p", "E p"), "S")
		case 17:
			out = append(out, fmt.Sprintf("Q %s; %s; %s; %s", g.one("BEGIN", "COMMIT", "SAVEPOINT s"), g.statement(), g.statement(), g.one("COMMIT", "ROLLBACK", "ROLLBACK TO s", "BEGIN")))
		case 18:
			out = append(out, "Q "+g.session())
		default:
			out = append(out, "Q "+g.statement())
		}
	}
	return out
}

// one is one of some texts.
func (g *pipelineScript) one(texts ...string) string { return texts[g.rnd.IntN(len(texts))] }

// session is a command about the session or the transaction.
func (g *pipelineScript) session() string {
	return g.one("RESET ALL", "DISCARD ALL", "DISCARD PLANS", "DEALLOCATE ALL", "RESET application_name", "RESET search_path", "SET search_path = nowhere", "SET LOCAL search_path = nowhere",
		"BEGIN; SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET LOCAL statement_timeout = '1min'", "SHOW statement_timeout", "SET ROLE app", "RESET ROLE",
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET nonsense = 1", "SET TIME ZONE 'Asia/Tokyo'", "SHOW TimeZone",
		fmt.Sprintf("DECLARE c CURSOR FOR SELECT g, name FROM generate_series(1, 5) g, customers WHERE id = %d", g.key()), "FETCH 2 FROM c", "FETCH c", "MOVE c", "CLOSE c", "CLOSE ALL",
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", g.id), fmt.Sprintf("SELECT pg_try_advisory_xact_lock(%d)", g.id),
		fmt.Sprintf("CREATE TABLE t%d (id bigint PRIMARY KEY, name text)", g.id), fmt.Sprintf("CREATE TABLE IF NOT EXISTS t%d (id bigint PRIMARY KEY, name text)", g.id),
		fmt.Sprintf("DROP TABLE IF EXISTS t%d", g.id), fmt.Sprintf("INSERT INTO t%d VALUES (%d, 'x')", g.id, g.n), fmt.Sprintf("SELECT count(*) FROM t%d", g.id),
		fmt.Sprintf("ALTER TABLE t%d ADD COLUMN IF NOT EXISTS more int", g.id), fmt.Sprintf("CREATE INDEX ON t%d (name)", g.id), fmt.Sprintf("TRUNCATE t%d", g.id))
}

func (g *pipelineScript) key() int { return 1000*g.id + g.rnd.IntN(20) }

// statement is one that shards answer as one server does.
func (g *pipelineScript) statement() string {
	g.n++
	switch g.rnd.IntN(32) {
	case 0:
		return fmt.Sprintf("INSERT INTO customers (id, name) VALUES (%d, 'n%d') ON CONFLICT (id) DO UPDATE SET name = excluded.name", g.key(), g.n)
	case 1:
		a := g.key()
		return fmt.Sprintf("INSERT INTO customers (id, name) VALUES (%d, 'n%d'), (%d, 'm%[2]d')", a, g.n, a+1)
	case 2:
		return fmt.Sprintf("UPDATE customers SET name = 'u%d' WHERE id = %d RETURNING name", g.n, g.key())
	case 3:
		return fmt.Sprintf("DELETE FROM customers WHERE id IN (%d, %d)", g.key(), g.key())
	case 4:
		return fmt.Sprintf("INSERT INTO settings VALUES ('c%d.%d', '%d') ON CONFLICT (name) DO NOTHING", g.id, g.rnd.IntN(20), g.n)
	case 5:
		return fmt.Sprintf("SELECT count(*) FROM settings WHERE name LIKE 'c%d.%%'", g.id)
	case 6:
		return fmt.Sprintf("COPY (SELECT name FROM customers WHERE id = %d) TO STDOUT", g.key())
	case 7:
		return fmt.Sprintf("SELECT 1 / (id - id) FROM customers WHERE id = %d", g.key())
	case 8:
		return fmt.Sprintf("SELECT repeat(name, %d) FROM customers WHERE id = %d", 1+g.rnd.IntN(20_000), g.key())
	case 12:
		return fmt.Sprintf("UPDATE customers SET name = 'w%d' WHERE id IN (%d, %d)", g.n, g.key(), g.key())
	case 13:
		return fmt.Sprintf("INSERT INTO countries VALUES ('%d.%d', 'x') ON CONFLICT (code) DO UPDATE SET name = countries.name || '%d'", g.id, g.rnd.IntN(5), g.rnd.IntN(10))
	case 14:
		return fmt.Sprintf("SELECT name FROM countries WHERE code = '%d.%d'", g.id, g.rnd.IntN(5))
	case 15:
		return fmt.Sprintf("SELECT name FROM customers WHERE id = %d FOR UPDATE", g.key())
	case 16:
		a := g.key()
		return fmt.Sprintf("INSERT INTO customers (id, name) VALUES (%d, 'r%d'), (%d, 's%[2]d') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id, name", a, g.n, a+1)
	case 17:
		return g.one("SHOW search_path", "SHOW transaction_isolation", "SHOW DateStyle", "SET search_path = public, pg_catalog", "SET DateStyle = 'German'", "SET DateStyle = 'ISO, MDY'", "SHOW application_name", "SELECT date '2020-01-02'")
	case 18:
		return g.one("SELECT 7", "SELECT current_setting('transaction_isolation')", "SELECT 1", "VALUES (1), (2)", "SELECT current_user")
	case 19:
		return fmt.Sprintf("UPDATE customers SET id = %d WHERE id = %d", g.key(), g.key())
	case 20:
		return fmt.Sprintf("INSERT INTO orders (customer_id, id, note) VALUES (%d, %d, 'o')", g.key(), g.n)
	case 22:
		return fmt.Sprintf("SELECT 'any', id, name FROM customers WHERE id IN (%d, %d, %d)", g.key(), g.key(), g.key())
	case 23:
		return fmt.Sprintf("DELETE FROM customers WHERE id IN (%d, %d) RETURNING 'any', id", g.key(), g.key())
	case 24:
		return fmt.Sprintf("UPDATE customers SET name = name || 'y' WHERE id IN (%d, %d) RETURNING 'any', name", g.key(), g.key())
	case 25:
		return fmt.Sprintf("SELECT 'any', id, g, repeat('z', %d) FROM customers, generate_series(1, %d) g WHERE id IN (%d, %d)", g.rnd.IntN(3000), 1+g.rnd.IntN(50), g.key(), g.key())
	case 26:
		return fmt.Sprintf("SELECT 'x' FROM customers WHERE id BETWEEN %d AND %d LIMIT %d", g.key(), g.key(), g.rnd.IntN(5))
	case 27:
		return fmt.Sprintf("WITH a AS (SELECT id, name FROM customers WHERE id = %d) SELECT name, count(*) OVER () FROM a UNION ALL SELECT 'k', 1", g.key())
	case 28:
		return fmt.Sprintf("INSERT INTO order_items SELECT customer_id, id, %d, note FROM orders WHERE customer_id = %d", g.n, g.key())
	case 29:
		return fmt.Sprintf("UPDATE customers SET name = 1 / (id - %d) WHERE id IN (%d, %[1]d)", g.key(), g.key())
	case 30:
		return g.session()
	case 21:
		return fmt.Sprintf("SELECT c.name, o.note FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = %d ORDER BY o.id", g.key())
	}
	return fmt.Sprintf("SELECT id, name FROM customers WHERE id = %d", g.key())
}

// extended is some statements up to a Sync.
func (g *pipelineScript) extended() []string {
	var out []string
	n := 1 + g.rnd.IntN(3)
	for i := range n {
		switch g.rnd.IntN(9) {
		case 6:
			name := fmt.Sprintf("m%d", g.rnd.IntN(3))
			out = append(out, "CS "+name, "P "+name+" SELECT 'any', id, name FROM customers WHERE id = ANY($1)", fmt.Sprintf("B - %s {%d,%d,%d}", name, g.key(), g.key(), g.key()))
		case 7: // one that an earlier unit may have prepared
			out = append(out, fmt.Sprintf("B - m%d {%d}", g.rnd.IntN(3), g.key()))
		case 8:
			out = append(out, fmt.Sprintf("B - s%d %d|w%d", g.rnd.IntN(3), g.key(), g.n))
		case 0:
			out = append(out, "P - SELECT name FROM customers WHERE id = $1", fmt.Sprintf("B - - %d", g.key()))
		case 1:
			name := fmt.Sprintf("s%d", g.rnd.IntN(3))
			out = append(out, "CS "+name, "P "+name+" UPDATE customers SET name = $2 WHERE id = $1", fmt.Sprintf("B - %s %d|v%d", name, g.key(), g.n))
		case 2:
			out = append(out, "P - "+g.one("", "SELEC", "ROLLBACK", "COMMIT", "BEGIN", "SAVEPOINT s", "ROLLBACK TO s", "SHOW application_name"), "B - -")
		default:
			text := g.statement()
			for strings.Contains(text, "search_path") { // behind it, in one packet, a known text is not parsed again: docs/pooling.md
				text = g.statement()
			}
			out = append(out, "P - "+text, "B - -")
		}
		if g.rnd.IntN(2) == 0 {
			out = append(out, "DP -")
		}
		out = append(out, "E -")
		if g.rnd.IntN(8) == 0 {
			out = append(out, "E -")
		}
		if i == n-1 && g.rnd.IntN(4) == 0 { // behind it, a statement for another shard would be refused
			out = append(out, "H")
		}
	}
	return append(out, "S")
}

// copyIn is a COPY FROM STDIN to one shard or to several, which may fail.
func (g *pipelineScript) copyIn() []string {
	text := "COPY settings FROM STDIN"
	row := func() string { g.n++; return fmt.Sprintf("d c%d.x%d\t1\\n", g.id, g.n) }
	extended := g.rnd.IntN(2) == 0
	if !extended && g.rnd.IntN(2) == 0 { // over several shards it is refused in the extended protocol
		text = "COPY customers (id, name) FROM STDIN"
		row = func() string { return fmt.Sprintf("d %d\tc\\n", g.key()) } // there may be one
	}
	out := []string{"Q " + text}
	if extended {
		out = []string{"P - " + text, "B - -", "E -", g.one("H", "S")}
	}
	for range g.rnd.IntN(3) {
		out = append(out, row())
	}
	if g.rnd.IntN(4) == 0 {
		out = append(out, "d too\tmany\tcolumns\\n")
	}
	out = append(out, g.one("c", "c", "c", "f no more"))
	if extended {
		out = append(out, "S")
	}
	return out
}

// TestCornersOfPipelinesOnShards keeps what the random pipelines have found.
// Packets that break the protocol close their client, of a sharded database and over TLS too, and its server serves the next one.
func TestABrokenPacketLeavesTheShardsUsable(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer("localhost"))
	s := startShop(t, 2, fmt.Sprintf("default_pool_size = 1\nclient_tls_sslmode = \"allow\"\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", pair.CertFile, pair.KeyFile), "")
	for _, db := range []string{"shop", "one"} {
		for _, packet := range []string{"raw 48 00000006 7878", "raw 53 00000006 7878"} {
			c := startRawTLS(t, s.Port, ca, db, "app")
			c.write(encode(t, "Q SELECT 'before' FROM customers", packet, "Q SELECT 1", "S"))
			if got := c.eof(); !strings.Contains(got, "C(SELECT 0) Z(I) E(SFATAL; C08P01; Mbad packet header") {
				t.Errorf("%s, %s: %s", db, packet, got)
			}
			if got := startRaw(t, s.Port, db, "app").say("Q SELECT id FROM customers"); !strings.Contains(got, "C(SELECT 0) Z(I)") {
				t.Errorf("%s, the next client after %s: %s", db, packet, got)
			}
		}
	}
	s.noLeaks(s.pg, "app")
}

func TestCornersOfPipelinesOnShards(t *testing.T) {
	t.Parallel()
	s := startShop(t, 3, "", "")
	one, shop := startRaw(t, s.Port, "one", "app"), startRaw(t, s.Port, "shop", "app")
	const all = "(1, 2, 3, 4, 5, 6)" // on every shard
	fill := "Q INSERT INTO customers (id, name) VALUES (1, 'a'), (2, 'a'), (3, 'a'), (4, 'a'), (5, 'a'), (6, 'a') ON CONFLICT DO NOTHING"
	for name, script := range map[string][]string{
		"a portal that is executed again":   {"P - SELECT 'x' FROM customers WHERE id IN " + all, "B p -", "E p", "E p", "S"},
		"a write that is executed again":    {"P - UPDATE customers SET name = name || 'b' WHERE id IN " + all, "B - -", "E -", "E -", "S", "Q SELECT 'any', id, name FROM customers WHERE id IN " + all},
		"RETURNING that is executed again":  {"P - UPDATE customers SET name = name || 'b' WHERE id IN " + all + " RETURNING 'any', id", "B - -", "E -", "E -", "S"},
		"COMMIT that is executed again":     {"Q BEGIN", "P - UPDATE customers SET name = 'c' WHERE id IN " + all, "B - -", "E -", "P - COMMIT", "B - -", "E -", "E -", "S"},
		"a portal of the same name":         {"Q BEGIN", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B p -", "E p", "S", "B p -", "S", "Q ROLLBACK"},
		"a portal behind a savepoint":       {"Q BEGIN", "Q SAVEPOINT s", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B p -", "E p", "S", "Q ROLLBACK TO s", "P - SELECT 'y' FROM customers WHERE id IN " + all, "B p -", "E p", "S", "Q ROLLBACK"},
		"a portal of a transaction before":  {"Q BEGIN", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B p -", "S", "Q COMMIT", "Q BEGIN", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B p -", "E p", "S", "Q COMMIT"},
		"DEALLOCATE ALL":                    {"P s SELECT name FROM customers WHERE id = $1", "B - s 1", "E -", "B - s 2", "E -", "B - s 3", "E -", "S", "P - DEALLOCATE ALL", "B - -", "E -", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B - -", "E -", "S", "B - s 1", "E -", "S", "P s SELECT name FROM customers WHERE id = $1", "B - s 1", "E -", "S", "B - s 2", "E -", "S", "CS s", "S"},
		"DEALLOCATE of a statement":         {"P s SELECT name FROM customers WHERE id = $1", "B - s 1", "E -", "B - s 2", "E -", "B - s 3", "E -", "S", "P - DEALLOCATE s", "B - -", "DP -", "E -", "P s SELECT 'x' FROM customers WHERE id IN " + all, "B - s", "E -", "S", "Q DEALLOCATE s", "B - s", "E -", "S", "P s SELECT name FROM customers WHERE id = $1", "S", "P d DEALLOCATE s", "B - d", "E -", "S", "Q DEALLOCATE s", "Q BEGIN", "P s SELECT name FROM customers WHERE id = $1", "B - s 1", "E -", "B - s 2", "E -", "B - s 3", "E -", "S", "Q DEALLOCATE s", "B - s 1", "S", "B - d", "E -", "S", "Q ROLLBACK", "P s SELECT name FROM customers WHERE id = $1", "S", "Q DEALLOCATE s", "Q DEALLOCATE s"},
		"a statement that is missing":       {"Q BEGIN", "Q SELECT name FROM customers WHERE id = 1", "B - missing", "E -", "S", "Q SELECT name FROM customers WHERE id = 2", "Q SELECT name FROM customers WHERE id = 3", "Q COMMIT"},
		"BEGIN with modes in a block":       {"Q BEGIN", "Q BEGIN READ ONLY", "Q UPDATE customers SET name = 'd' WHERE id = 1", "Q ROLLBACK", "Q BEGIN", "Q SELECT 'any', id FROM customers WHERE id IN " + all, "Q BEGIN READ ONLY", "Q DELETE FROM customers WHERE id = 2", "Q ROLLBACK"},
		"modes of a chain":                  {"Q BEGIN READ ONLY", "Q SELECT 1 / 0", "Q ROLLBACK AND CHAIN", "Q UPDATE customers SET name = 'e' WHERE id IN " + all, "Q COMMIT", "Q BEGIN READ ONLY", "Q ROLLBACK AND CHAIN", "Q SELECT 1 / 0", "Q ROLLBACK AND CHAIN", "Q UPDATE customers SET name = 'f' WHERE id IN " + all, "Q ROLLBACK"},
		"parameters of a chain":             {"Q BEGIN", "Q SET application_name = 'chained'", "Q SELECT name FROM customers WHERE id = 1", "Q COMMIT AND CHAIN", "Q UPDATE customers SET name = 'g' WHERE id IN " + all, "Q ROLLBACK", "Q SHOW application_name"},
		"parameters behind a COPY":          {"Q SET application_name = 'before'", "Q BEGIN", "Q SET application_name = 'within'", "Q COPY customers (id, name) FROM STDIN", "d 7\tx\\n", "f no more", "Q ROLLBACK", "Q SHOW application_name"},
		"SET LOCAL without a block":         {"P - SET LOCAL statement_timeout = '1min'", "B - -", "E -", "P - UPDATE customers SET name = 'h' WHERE id IN " + all, "B - -", "E -", "S"},
		"DECLARE without a block":           {"P - UPDATE customers SET name = 'i' WHERE id IN " + all, "B - -", "E -", "P - DECLARE c CURSOR FOR SELECT name FROM customers WHERE id = 1", "B - -", "E -", "S"},
		"DISCARD ALL when all is lost":      {"Q BEGIN", "Q SELECT 1 / 0", "Q DISCARD ALL; SELECT 1", "Q ROLLBACK"},
		"an unknown table in a transaction": {"Q BEGIN", "Q SELECT 1 / 0", "P - SELECT * FROM missing", "B - -", "E -", "S", "Q ROLLBACK"},
		"ROLLBACK TO and another shard":     {"Q BEGIN", "Q SELECT name FROM customers WHERE id = 1", "Q SAVEPOINT s", "Q SELECT 1 / (id - 1) FROM customers WHERE id = 1", "P - ROLLBACK TO s", "B - -", "E -", "P - SELECT 'x' FROM customers WHERE id IN " + all, "B - -", "E -", "S", "Q COMMIT"},
		"what is missing comes first":       {"B - missing", "E -", "P - SELECT * FROM missing", "B - -", "E -", "S"},
	} {
		t.Run(name, func(t *testing.T) {
			messages := append([]string{fill}, script...)
			messages = append(messages, "Q SELECT '"+name+"' AS x")
			want := exchangeUpTo(one, messages, name)
			if got := exchangeUpTo(shop, messages, name); got != want {
				t.Errorf("%s\ngot        %s\nPostgreSQL %s", strings.Join(messages, "\n"), got, want)
			}
		})
	}
}
