package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// soakEnv is the environment variable that says how long TestManyClientsForAWhile goes on ("10m").
const soakEnv = "PGDROVER_SOAK"

// TestManyClientsForAWhile lets many clients do everything that clients do, in each of pgx's modes, on few servers that are
// terminated now and then. Whatever is answered carries the mark of its question. In the end nothing is left over.
func TestManyClientsForAWhile(t *testing.T) {
	t.Parallel()
	length := 2 * time.Second
	if v := os.Getenv(soakEnv); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""), pgtest.WithDatabase("soak", "app"))
	entry := func(name, mode string, size int) string {
		return fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"soak\"\npool_mode = %q\npool_size = %d\n", name, pg.Port, mode, size)
	}
	b := startBouncer(t, "auth_type = \"trust\"\nmax_prepared_statements = 20\nserver_round_robin = true\n", trustUsers+entry("db", "transaction", 4)+entry("own", "session", 4))
	pg.MustExec(t, "soak", "CREATE TABLE seen (who int, n int, PRIMARY KEY (who, n)); ALTER TABLE seen OWNER TO app")
	ctx, cancel := context.WithTimeout(context.Background(), length+time.Minute)
	defer cancel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := &soak{tb: t, b: b, until: time.Now().Add(length)}
	var wg sync.WaitGroup
	for id := range 24 {
		db := "db"
		if id%8 == 7 {
			db = "own"
		}
		wg.Go(func() { (&soaker{soak: s, id: id, db: db, rnd: rand.New(rand.NewPCG(seed, uint64(id)))}).run(ctx) })
	}
	wg.Go(func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for !s.over() {
			<-tick.C
			if err := pg.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' ORDER BY random() LIMIT 1"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	t.Logf("%d things done, %d connections", s.done.Load(), s.connects.Load())
	if s.done.Load() == 0 {
		t.Error("nothing was done")
	}
	for _, db := range []string{"db", "own"} {
		b.awaitPool(db, "app", "sv_active=0", "cl_active=0", "cl_waiting=0", "sv_active_cancel=0", "sv_being_canceled=0")
	}
	b.noLeaks(pg, "app")
}

// A soak is what its clients share.
type soak struct {
	tb             testing.TB
	b              *bouncer
	until          time.Time
	done, connects atomic.Int64
}

func (s *soak) over() bool { return s.tb.Failed() || time.Now().After(s.until) }

// A soaker is one client, which connects again when it has lost its connection.
type soaker struct {
	*soak
	id      int
	db      string
	rnd     *rand.Rand
	n       int // of the last mark
	conn    *pgx.Conn
	notices []string
	applied string // application_name
}

var soakModes = [...]pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

func (c *soaker) run(ctx context.Context) {
	things := []func(context.Context) error{c.one, c.one, c.one, c.batch, c.fail, c.transaction, c.failInTransaction, c.cancel, c.notice, c.copy, c.prepare, c.parameter, c.rows, c.vanish}
	for !c.over() {
		if c.conn == nil || c.conn.IsClosed() {
			if err := c.connect(ctx); err != nil {
				if pe := new(pgconn.PgError); errors.As(err, &pe) && pe.Code != "57P01" {
					c.tb.Errorf("client %d cannot connect: %v", c.id, err)
				}
				continue
			}
		}
		i := c.rnd.IntN(len(things))
		if err := things[i](ctx); err != nil && !c.conn.IsClosed() {
			// The server may be terminated at any moment; that ends the connection, too.
			c.tb.Errorf("client %d of %s, thing %d, mode %v: %v", c.id, c.db, i, c.conn.Config().DefaultQueryExecMode, err)
		}
		c.done.Add(1)
	}
	if c.conn != nil {
		_ = c.conn.Close(ctx)
	}
}

func (c *soaker) connect(ctx context.Context) error {
	c.applied = fmt.Sprintf("soaker %d", c.id)
	cfg, err := pgx.ParseConfig(c.b.DSN(c.db, "app", "application_name='"+c.applied+"'"))
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = soakModes[c.rnd.IntN(len(soakModes))]
	cfg.StatementCacheCapacity = 5
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if !strings.HasPrefix(n.Message, "No server connection available") {
			c.notices = append(c.notices, n.Message)
		}
	}
	c.connects.Add(1)
	c.conn, err = pgx.ConnectConfig(ctx, cfg)
	return err
}

// mark is a value that nobody else asks for.
func (c *soaker) mark() string {
	c.n++
	return fmt.Sprintf("%d.%d", c.id, c.n)
}

// ask runs a query that answers with its mark. Texts are few, so that clients share prepared statements, and servers evict.
func (c *soaker) ask(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) error {
	want := c.mark()
	var got string
	if err := q.QueryRow(ctx, fmt.Sprintf("SELECT $1::text || repeat('', %d)", c.rnd.IntN(30)), want).Scan(&got); err != nil {
		return err
	}
	return equal(got, want)
}

func equal(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// wants checks that err is an error of the server's with this code.
func wants(err error, code string) error {
	if pe := new(pgconn.PgError); errors.As(err, &pe) && pe.Code == code {
		return nil
	}
	return fmt.Errorf("got error %w, want %s", err, code)
}

func (c *soaker) one(ctx context.Context) error { return c.ask(ctx, c.conn) }

func (c *soaker) batch(ctx context.Context) error {
	batch := &pgx.Batch{}
	for range 1 + c.rnd.IntN(20) {
		want := c.mark()
		batch.Queue("SELECT $1::text", want).QueryRow(func(row pgx.Row) error {
			var got string
			if err := row.Scan(&got); err != nil {
				return err
			}
			return equal(got, want)
		})
	}
	return c.conn.SendBatch(ctx, batch).Close()
}

func (c *soaker) fail(ctx context.Context) error {
	if err := wants(c.conn.QueryRow(ctx, "SELECT 1 / $1::int", 0).Scan(new(int)), "22012"); err != nil {
		return err
	}
	_, err := c.conn.Exec(ctx, "SELECT nothing FROM nowhere")
	return wants(err, "42P01")
}

// transaction writes, and finds what it has written iff it has committed.
func (c *soaker) transaction(ctx context.Context) error {
	commit := c.rnd.IntN(2) == 0
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	c.n++
	n := c.n
	if _, err := tx.Exec(ctx, "INSERT INTO seen VALUES ($1, $2)", c.id, n); err != nil {
		return err
	}
	for range c.rnd.IntN(4) {
		if err := c.ask(ctx, tx); err != nil {
			return err
		}
	}
	if !commit {
		err = tx.Rollback(ctx)
	} else {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return err
	}
	var found int
	if err := c.conn.QueryRow(ctx, "SELECT count(*) FROM seen WHERE who = $1 AND n = $2", c.id, n).Scan(&found); err != nil {
		return err
	}
	return equal(fmt.Sprint(found == 1), fmt.Sprint(commit))
}

func (c *soaker) failInTransaction(ctx context.Context) error {
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT 1 / 0")
	if err := wants(err, "22012"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT 1")
	if err := wants(err, "25P02"); err != nil {
		return err
	}
	return tx.Rollback(ctx)
}

// cancel asks until the query is over: a request that comes before the query does nothing, one that comes behind it may hit
// the next.
func (c *soaker) cancel(ctx context.Context) error {
	ended := background(func() error {
		_, err := c.conn.Exec(ctx, "SELECT pg_sleep(60)")
		return err
	})
	for {
		err := c.conn.PgConn().CancelRequest(ctx)
		select {
		case end := <-ended:
			if err := wants(end, "57014"); err != nil {
				return err
			}
			if _, err := c.conn.Exec(ctx, "SELECT 1"); err != nil {
				return wants(err, "57014")
			}
			return nil
		default:
		}
		if err != nil && ctx.Err() != nil {
			return <-ended
		}
	}
}

func (c *soaker) notice(ctx context.Context) error {
	c.notices = nil
	want := c.mark()
	if _, err := c.conn.Exec(ctx, "DO $$BEGIN RAISE NOTICE '"+want+"'; END$$"); err != nil {
		return err
	}
	return equal(strings.Join(c.notices, " "), want)
}

func (c *soaker) copy(ctx context.Context) error {
	var text strings.Builder
	want := c.mark()
	size := c.rnd.IntN(2000)
	if _, err := c.conn.PgConn().CopyTo(ctx, &text, fmt.Sprintf("COPY (SELECT '%s' FROM generate_series(1, %d)) TO STDOUT", want, size)); err != nil {
		return err
	}
	if err := equal(text.String(), strings.Repeat(want+"\n", size)); err != nil {
		return err
	}
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	n, err := tx.CopyFrom(ctx, pgx.Identifier{"seen"}, []string{"who", "n"}, pgx.CopyFromSlice(size, func(i int) ([]any, error) { return []any{-1 - c.id, i}, nil }))
	if err != nil {
		return err
	}
	if err := equal(fmt.Sprint(n), fmt.Sprint(size)); err != nil {
		return err
	}
	return tx.Rollback(ctx)
}

// prepare uses a name that the others use too, for another text.
func (c *soaker) prepare(ctx context.Context) error {
	want := c.mark()
	if _, err := c.conn.Prepare(ctx, "mine", "SELECT '"+want+"' || $1::text"); err != nil {
		return err
	}
	for range 3 {
		var got string
		if err := c.conn.QueryRow(ctx, "mine", "!").Scan(&got); err != nil {
			return err
		}
		if err := equal(got, want+"!"); err != nil {
			return err
		}
	}
	return c.conn.Deallocate(ctx, "mine")
}

func (c *soaker) parameter(ctx context.Context) error {
	var got string
	if err := c.conn.QueryRow(ctx, "SHOW application_name").Scan(&got); err != nil {
		return err
	}
	if err := equal(got, c.applied); err != nil {
		return err
	}
	name := "renamed " + c.mark()
	if _, err := c.conn.Exec(ctx, "SET application_name = '"+name+"'"); err != nil {
		return err
	}
	c.applied = name
	return nil
}

func (c *soaker) rows(ctx context.Context) error {
	want := c.mark()
	rows, err := c.conn.Query(ctx, "SELECT $1::text || ':' || g, repeat('r', 200) FROM generate_series(1, $2) g", want, 1+c.rnd.IntN(3000))
	if err != nil {
		return err
	}
	n := 0
	var mark, filler string
	_, err = pgx.ForEachRow(rows, []any{&mark, &filler}, func() error {
		n++
		return equal(mark, fmt.Sprintf("%s:%d", want, n))
	})
	return err
}

// vanish leaves without a word, most often in the middle of an answer.
func (c *soaker) vanish(ctx context.Context) error {
	ended := background(func() error {
		_, err := c.conn.PgConn().Exec(ctx, "BEGIN; SELECT repeat('v', 100) FROM generate_series(1, 5000)").ReadAll()
		return err
	})
	for range c.rnd.IntN(3) { // other questions pass meanwhile
		if _, err := c.b.TryAdmin("SHOW VERSION"); err != nil {
			return err
		}
	}
	_ = c.conn.PgConn().Conn().Close()
	<-ended
	return c.conn.Close(ctx)
}
