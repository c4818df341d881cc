package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// ownServers waits until SHOW SERVERS has the connection of recovery to each shard, but for those that are in not, and returns their processes by shard.
func (s *shop) ownServers(tb testing.TB, not map[string]string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	pgtest.Eventually(tb, patience, func() error {
		clear(out)
		for _, r := range s.rows("SERVERS", "pinned=recovery", "state=idle") {
			if not[r["shard"]] != r["remote_pid"] {
				out[r["shard"]] = r["remote_pid"]
			}
		}
		if len(out) != len(s.shards) {
			return fmt.Errorf("there are connections %v", out)
		}
		return nil
	})
	return out
}

// Symptom: on every node, a database at rest logged in to each shard every three seconds, and the log had two lines for each.
// Cause: recovery opened a connection for each question that it asked, and closed it behind the answer.
func TestAShardedDatabaseAtRestIsQuiet(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	mustRun(ctx, t, s.Connect(ctx, "shop", "app"), "SELECT count(*) FROM settings")
	own := s.ownServers(t, nil)
	pids := strings.Join(slices.Sorted(maps.Values(own)), ", ")
	asked := func() string {
		return s.pg.MustValue(t, "postgres", "SELECT string_agg(state_change::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE pid IN ("+pids+")")
	}
	log := func() string { // without the test's own questions to the admin database
		return strings.Join(slices.DeleteFunc(strings.Split(s.logText(), "\n"), func(l string) bool { return strings.Contains(l, "user=admin") }), "\n")
	}
	was := log()
	for range 2 {
		before := strings.Fields(asked())
		pgtest.Eventually(t, patience, func() error {
			if after := strings.Fields(asked()); len(after) != len(before) || slices.ContainsFunc(before, func(f string) bool { return strings.Contains(f, ":") && slices.Contains(after, f) }) {
				return fmt.Errorf("recovery has asked at %q, and then at %q", before, after)
			}
			return nil
		})
	}
	if diff := cmp.Diff(was, log()); diff != "" {
		t.Errorf("the log goes on (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(own, s.ownServers(t, nil)); diff != "" {
		t.Errorf("the connections are others (-before +after):\n%s", diff)
	}
}

func TestConnectionsOfRecoveryGoWhenOthersGo(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	sessions := func(where string, want int) {
		t.Helper()
		pgtest.Eventually(t, patience, func() error {
			got := s.pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'shop_%' AND "+where)
			if got != strconv.Itoa(want) {
				return fmt.Errorf("PostgreSQL has %s sessions where %s, want %d", got, where, want)
			}
			return nil
		})
	}
	own := s.ownServers(t, nil)
	s.Admin("RECONNECT shop", "WAIT_CLOSE shop")
	own = s.ownServers(t, own)

	s.pg.MustExec(t, "postgres", "SELECT pg_terminate_backend("+own["a"]+")")
	own = s.ownServers(t, map[string]string{"a": own["a"]})

	if err := s.pg.Restart(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	own = s.ownServers(t, own)

	for _, of := range []string{"", " shop"} {
		s.Admin("PAUSE" + of)
		sessions("true", 0)
		s.Admin("RESUME" + of)
		own = s.ownServers(t, own)
	}
	s.Admin("KILL shop")
	sessions("true", 0)
	s.Admin("RESUME shop")
	s.ownServers(t, own)

	s.Admin("ALTER DATABASE shop SET recovery_user = 'app'")
	sessions("usename = 'postgres'", 0)
	sessions("usename = 'app'", 2)
	s.Close()
	sessions("true", 0)
}

// The connections of recovery count, but a client never waits because of them.
func TestConnectionsOfRecoveryMakeRoomForClients(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "query_wait_timeout = 10\n", "max_db_connections = 2")
	s.ownServers(t, nil)
	keys := s.keysOf(ctx, t)
	c := s.Connect(ctx, "shop", "app")
	for range 3 {
		mustRun(ctx, t, c, "BEGIN")
		mustRun(ctx, t, c, update(keys["a"]))
		mustRun(ctx, t, c, update(keys["b"]))
		mustRun(ctx, t, c, "COMMIT")
		s.Admin("RECONNECT shop") // the next transaction needs new ones
	}
	s.atRest(t)
}

// Symptom: PAUSE hung until query_wait_timeout, and so did a transaction that it waited for.
// Cause: the transaction, open on one shard, wanted another one, whose pool was paused for it as for everybody.
func TestPauseLetsOpenTransactionsReachFurtherShards(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 3, "", "pool_size = 1")
	keys := s.keysOf(ctx, t)
	for _, of := range []string{"", " shop"} {
		holder, c, other := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
		mustRun(ctx, t, holder, "BEGIN")
		mustRun(ctx, t, holder, update(keys["b"]))
		mustRun(ctx, t, c, "BEGIN")
		mustRun(ctx, t, c, update(keys["a"]))
		before := background(func() error { _, err := run(ctx, c, update(keys["b"])); return err }) // in the queue when PAUSE comes
		s.awaitWaiters(1)
		ops := s.admin(ctx)
		pause := background(func() error { _, err := run(ctx, ops, "PAUSE"+of); return err })
		pgtest.Eventually(t, patience, func() error {
			if got := s.row("DATABASES", "name=shop")["paused"]; got != "1" {
				return fmt.Errorf("paused is %q", got)
			}
			return nil
		})
		mustRun(ctx, t, other, "BEGIN") // has nothing yet that PAUSE would wait for
		held := background(func() error { _, err := run(ctx, other, update(keys["c"])); return err })
		s.awaitWaiters(2)
		reasons := map[string]int{}
		for _, w := range s.Admin("SHOW WAITERS") {
			reasons[w["reason"]]++
		}
		if diff := cmp.Diff(map[string]int{"pool_size": 1, "paused": 1}, reasons); diff != "" {
			t.Errorf("what is waited for (-want +got):\n%s", diff)
		}
		mustRun(ctx, t, holder, "COMMIT")
		if err := result(ctx, t, before); err != nil {
			t.Fatal(err)
		}
		mustRun(ctx, t, c, update(keys["c"])) // past the one that is held
		noResult(t, pause)
		mustRun(ctx, t, c, "COMMIT")
		if err := result(ctx, t, pause); err != nil {
			t.Fatal(err)
		}
		noResult(t, held)
		s.Admin("RESUME" + of)
		if err := result(ctx, t, held); err != nil {
			t.Fatal(err)
		}
		mustRun(ctx, t, other, "COMMIT")
		for _, conn := range []*pgx.Conn{holder, c, other} {
			_ = conn.Close(ctx)
		}
		s.atRest(t)
	}
}

// startHeldUp starts a shop where c has a transaction on shard a, and waits in it for the one server of shard b, which holder has.
func startHeldUp(ctx context.Context, t *testing.T) (s *shop, keys map[string]int, holder, c *pgx.Conn, waits <-chan error) {
	t.Helper()
	s = startShop(t, 2, "", "pool_size = 1")
	keys = s.keysOf(ctx, t)
	holder, c = s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, holder, "BEGIN")
	mustRun(ctx, t, holder, update(keys["b"]))
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	waits = background(func() error { _, err := run(ctx, c, update(keys["b"])); return err })
	s.awaitWaiters(1)
	return s, keys, holder, c, waits
}

func TestKillDoesNotLetOpenTransactionsGoOn(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s, _, _, _, waits := startHeldUp(ctx, t)
	s.Admin("KILL shop")
	wantError(t, result(ctx, t, waits), "57P01", "database removed")
	awaitCount(t, s.pg, 0, "pg_stat_activity WHERE datname LIKE 'shop_%'")
	if got := s.onShards(t, "SELECT count(*) FROM customers WHERE name <> 'x'"); slices.Contains(got, "1") {
		t.Errorf("rows changed on the shards: %q", got)
	}
}

func TestShutdownThatWaitsForServersLetsTransactionsReachFurtherShards(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s, keys, holder, c, waits := startHeldUp(ctx, t)
	s.Admin("SHUTDOWN WAIT_FOR_SERVERS")
	mustRun(ctx, t, holder, "COMMIT")
	if err := result(ctx, t, waits); err != nil {
		t.Fatal(err)
	}
	mustRun(ctx, t, c, "COMMIT")
	if got := s.pg.MustValue(t, "shop_a", fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys["a"])); got != "x!" {
		t.Errorf("the row is %q, want x!", got)
	}
}

// Symptom: while a shard was down, the log had the same warning every five seconds, and two lines for each shard that was up.
// Cause: catalogs are looked for again and again, and each attempt logged all that it found and did.
func TestAShardThatIsDownIsLoggedOnce(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	up, down, b := startOneDown(ctx, t, "recovery_user = \"postgres\"\n")
	c := b.Connect(ctx, "shop", "app")
	direct, err := up.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Close(context.Background()) })
	logins := func() string {
		return mustRun(ctx, t, direct, "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'")
	}
	const cannot, can = "the catalogs of a shard cannot be read", "the catalogs of the shard can be read again"
	mustRun(ctx, t, c, "SELECT n FROM items WHERE id = 2")
	for range 2 {
		before := logins()
		pgtest.Eventually(t, patience, func() error { // those of the shard that is up are read each time, too
			mustRun(ctx, t, c, "SELECT n FROM items WHERE id = 2")
			if logins() == before {
				return errors.New("the catalogs are not read again")
			}
			return nil
		})
	}
	if n := strings.Count(b.logText(), cannot); n != 1 { // another cause, as while it starts, is another line
		t.Errorf("%q is logged %d times, want once", cannot, n)
	}
	if err := down.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error {
		_, err := run(ctx, c, "SELECT n FROM items WHERE id = 2")
		if err == nil && !strings.Contains(b.logText(), can) {
			err = errors.New("the catalogs have not been read yet")
		}
		return err
	})
	if n := strings.Count(b.logText(), can); n != 1 {
		t.Errorf("%q is logged %d times, want once", can, n)
	}
}

// Symptom: with query_timeout set, every replication stream ended after that time.
// Cause: START_REPLICATION is one query, which has no end.
func TestTimeoutsOfQueriesDoNotEndReplicationStreams(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithSetting("wal_level", "logical"))
	const limits = "query_timeout = 0.5\ntransaction_timeout = 0.5\nidle_transaction_timeout = 0.5\n"
	b := newPool(t, pg, limits, "")
	pg.MustExec(t, "postgres", "CREATE TABLE r (a int PRIMARY KEY, b text)", "CREATE PUBLICATION p FOR TABLE r", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
	tx := startRaw(t, b.Port, "db", "postgres", "replication", "database")
	if got := tx.say("Q BEGIN"); !strings.Contains(got, "Z(T)") {
		t.Fatalf("BEGIN: %s", got)
	}
	stream := startRaw(t, b.Port, "db", "postgres", "replication", "database")
	stream.write(encode(t, "Q START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')"))
	if typ, _, err := stream.next(); typ != 'W' || err != nil {
		t.Fatalf("got %q, %v; want CopyBothResponse", typ, err)
	}
	// All limits have been applied to what came after the stream.
	c := b.Connect(ctx, "db", "postgres")
	_, err := run(ctx, c, "SELECT pg_sleep(1000)")
	wantError(t, err, "57014", "query timeout")
	c = b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, c, "BEGIN")
	err = c.PgConn().WaitForNotification(ctx)
	if code := codeOf(err); !strings.HasPrefix(code, "25P0") {
		t.Fatalf("a silent transaction: %v", err)
	}
	pg.MustExec(t, "postgres", "INSERT INTO r VALUES (1, 'one')")
	if diff := cmp.Diff([]string{"insert 1|one", "commit"}, streamed(t, stream, 1)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if got := tx.say("Q COMMIT"); !strings.Contains(got, "COMMIT") {
		t.Errorf("COMMIT: %s", got)
	}
	// RECONNECT cannot wait for its end either.
	b.Admin("RECONNECT db", "WAIT_CLOSE db")
	var last string
	for {
		typ, body, err := stream.next()
		if err != nil {
			break
		}
		if typ == 'E' {
			last = describe(typ, body)
		}
	}
	if !strings.Contains(last, "57P01") {
		t.Errorf("the stream ends with %q, want 57P01", last)
	}
	noStreams(t, pg, b)
}

// With a default shard a table that is listed nowhere is created there, and every shard has one that is listed before it is created.
func TestWhereTablesAreCreated(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "GRANT CREATE ON SCHEMA public TO app")
	}
	c := s.Connect(ctx, "shop", "app")
	has := func(relation string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, s.onShards(t, "SELECT to_regclass('"+relation+"') IS NOT NULL")); diff != "" {
			t.Errorf("which shards have %s (-want +got):\n%s", relation, diff)
		}
	}
	mustRun(ctx, t, c, "CREATE TABLE notes (id int PRIMARY KEY)")
	has("notes", "t", "f")
	mustRun(ctx, t, c, "ALTER TABLE notes ADD text text")
	mustRun(ctx, t, c, "CREATE INDEX notes_text ON notes (text)")
	has("notes_text", "t", "f")
	mustRun(ctx, t, c, "INSERT INTO notes VALUES (1, 'one')")
	if got := mustRun(ctx, t, c, "SELECT text FROM notes"); got != "one" {
		t.Errorf("the note is %q", got)
	}
	mustRun(ctx, t, c, "DROP TABLE notes")
	has("notes", "f", "f")

	s.Admin("CREATE TABLE visits ON DATABASE shop KEY customer (customer_id)")
	mustRun(ctx, t, c, "CREATE TABLE visits (customer_id bigint, at timestamptz)")
	has("visits", "t", "t")
	mustRun(ctx, t, c, "INSERT INTO visits SELECT 1, now()")
	mustRun(ctx, t, c, "ALTER TABLE visits ADD note text")
	mustRun(ctx, t, c, "CREATE INDEX visits_at ON visits (at)")
	has("visits_at", "t", "t")
	mustRun(ctx, t, c, "DROP TABLE visits")
	has("visits", "f", "f")

	s.Admin("ALTER DATABASE shop PLACE OTHER TABLES NOWHERE WITHOUT MOVING ROWS")
	mustRun(ctx, t, c, "CREATE TABLE later (id bigint PRIMARY KEY)")
	has("later", "t", "t")
	_, err := run(ctx, c, "SELECT * FROM later")
	wantError(t, err, "0A000", "listed nowhere")
	s.Admin("CREATE TABLE later ON DATABASE shop REFERENCE")
	mustRun(ctx, t, c, "SELECT * FROM later")
	mustRun(ctx, t, c, "DROP TABLE later")
	has("later", "f", "f")
}

// Symptom: a reload of a file that placed bounds on other shards was applied in silence, and rows were not found any more.
// Cause: only commands ask whether rows have to move; now the log and SHOW CHECKS tell of what the file has changed.
func TestAReloadThatChangesPlacementWarns(t *testing.T) {
	t.Parallel()
	s := startShop(t, 2, "", "")
	file, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	placed := func(placement string) {
		t.Helper()
		text := strings.Replace(string(file), "type = \"bigint\"\n", "type = \"bigint\"\n"+placement+"\n", 1)
		if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Admin("RELOAD")
	}
	moved := func(want ...string) {
		t.Helper()
		var got []string
		for _, r := range s.rows("CHECKS", "check=moved") {
			if r["refuses"] != "0" || r["hint"] == "" {
				t.Errorf("a check that warns is %v", r)
			}
			got = append(got, r["message"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("SHOW CHECKS (-want +got):\n%s", diff)
		}
	}
	const (
		split  = `placement = ["a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "b FOR VALUES WITH (MODULUS 4, REMAINDER 3)"]`
		toA    = `placement = ["a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "a FOR VALUES WITH (MODULUS 4, REMAINDER 3)"]`
		saysIt = `key "customer": FOR VALUES WITH (MODULUS 4, REMAINDER 3) is on shard "a" now, and rows of it were on shard "b"`
	)
	placed(split)
	moved()
	placed(toA)
	moved(saysIt)
	placed(toA + "\n")
	moved(saysIt)
	placed(split)
	moved()
	placed(toA)
	moved(saysIt)
	s.awaitLog(saysIt, 2)
	placed(split)
	s.Admin("ALTER KEY customer ON DATABASE shop PLACE ON a FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITHOUT MOVING ROWS")
	moved()
	if n := strings.Count(s.logText(), saysIt); n != 2 {
		t.Errorf("the log has it %d times, want twice", n)
	}
}
