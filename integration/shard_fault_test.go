package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// tappedShop is a shop to whose shards one may listen. Any number of poolers with taps of their own may serve it.
type tappedShop struct {
	*shop
	keys map[string][]string // customers of each shard
}

// startTappedShop starts the shards of a shop with 200 customers, and no pooler.
func startTappedShop(ctx context.Context, tb testing.TB) *tappedShop {
	tb.Helper()
	s := &tappedShop{shop: startShop(tb, 3, "", ""), keys: map[string][]string{}}
	c := s.Connect(ctx, "shop", "app")
	values := make([]string, 200)
	for i := range values {
		values[i] = fmt.Sprintf("(%d,'x')", i+1)
	}
	mustRun(ctx, tb, c, "INSERT INTO customers VALUES "+strings.Join(values, ","))
	_ = c.Close(ctx)
	for _, name := range s.shards {
		s.keys[name] = strings.Fields(s.pg.MustValue(tb, "shop_"+name, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM customers"))
	}
	s.Close() // what it would recover, the others shall
	return s
}

// tap starts a pooler that reaches every shard through a wiretap.
func (s *tappedShop) tap(tb testing.TB, settings string) (*bouncer, map[string]*wiretap) {
	tb.Helper()
	taps := map[string]*wiretap{}
	ports := map[string]int{}
	for _, name := range s.shards {
		taps[name] = startWiretap(tb, s.pg)
		ports[name] = taps[name].Port
	}
	return startBouncer(tb, tapSettings+settings, s.tables(ports)), taps
}

const tapSettings = "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_connect_timeout = 1\n"

// tables is the configuration of the shop with the shards at the given ports.
func (s *tappedShop) tables(ports map[string]int) string {
	var toml strings.Builder
	toml.WriteString(trustUsers + "[databases.shop]\nhost = \"127.0.0.1\"\ndefault_shard = \"a\"\nrecovery_user = \"postgres\"\n")
	for _, name := range s.shards {
		if port := ports[name]; port != 0 {
			fmt.Fprintf(&toml, "[[databases.shop.shards]]\nname = %q\ndbname = %q\nport = %d\n", name, "shop_"+name, port)
		}
	}
	toml.WriteString("[databases.shop.keys.customer]\ntype = \"bigint\"\ncolumns = { customers = \"id\" }\n")
	return toml.String()
}

// update changes the i-th customer of a shard.
func (s *tappedShop) update(shard string, i int) string {
	return fmt.Sprintf("UPDATE customers SET name = name || '!' WHERE id = %s", s.keys[shard][i])
}

// settled waits until nobody holds the i-th customers of the shards, and returns their names.
func (s *tappedShop) settled(tb testing.TB, i int, shards ...string) (names []string) {
	tb.Helper()
	pgtest.Eventually(tb, 40*time.Second, func() error {
		names = nil
		for _, shard := range shards {
			ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
			c, err := s.pg.Connect(ctx, "shop_"+shard)
			if err == nil {
				var name string
				name, err = run(ctx, c, "SELECT name FROM customers WHERE id = "+s.keys[shard][i]+" FOR UPDATE NOWAIT")
				names = append(names, name)
				_ = c.Close(ctx)
			}
			stop()
			if err != nil {
				return fmt.Errorf("shard %s: %w", shard, err)
			}
		}
		return nil
	})
	return names
}

// serversRest waits until no server of a pooler is in use.
func (b *bouncer) serversRest() {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		for _, s := range b.rows("SERVERS", "user=app") {
			if s["state"] != "idle" && s["state"] != "used" {
				return fmt.Errorf("server %s of shard %s is %s", s["remote_pid"], s["shard"], s["state"])
			}
		}
		return nil
	})
}

// textOf is all that an error over the wire says.
func textOf(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return strings.Join([]string{pe.Code, pe.Message, pe.Detail, pe.Hint}, " ")
	}
	return fmt.Sprint(err)
}

// atRest waits until nothing is prepared, and no transaction is open.
func (s *tappedShop) atRest(tb testing.TB) {
	tb.Helper()
	atRest(tb, s.pg)
}

// silence is a client whose shard falls silent.
type silence struct {
	b    *bouncer
	taps map[string]*wiretap
	trap *trap
	c    *pgx.Conn
	done <-chan error // of the statement that it happens in
}

// fallSilent has a client in a transaction that has written for the i-th customer of a shard and is to run sql when the trap is sprung. Meanwhile
// others go on.
func (s *tappedShop) fallSilent(ctx context.Context, tb testing.TB, shared *bouncer, taps map[string]*wiretap, i int, shard string, tr trap, settings string, before []string, sql string) *silence {
	tb.Helper()
	q := &silence{b: shared, taps: taps}
	if tr.whole || settings != "" { // others are not to suffer
		q.b, q.taps = s.tap(tb, settings)
	}
	q.c = q.b.Connect(ctx, "shop", "app")
	other := q.b.Connect(ctx, "shop", "app")
	for _, name := range s.shards { // so that there are servers
		mustRun(ctx, tb, q.c, "SELECT name FROM customers WHERE id = "+s.keys[name][i])
	}
	for _, sql := range before {
		mustRun(ctx, tb, q.c, sql)
	}
	q.trap = q.taps[shard].set(tr)
	q.done = background(func() error { _, err := run(ctx, q.c, sql); return err })
	select {
	case <-q.trap.hit:
	case <-ctx.Done():
		tb.Fatal("it does not come there")
	}
	for _, name := range s.shards {
		if name != shard || !tr.whole {
			mustRun(ctx, tb, other, "SELECT name FROM customers WHERE id = "+s.keys[name][i])
			mustRun(ctx, tb, other, s.update(name, i+30))
		}
	}
	return q
}

// check waits for what the client is told.
func (q *silence) check(ctx context.Context, t *testing.T, shard, code string) {
	t.Helper()
	err := result(ctx, t, q.done)
	if err == nil != (code == "") || !strings.HasPrefix(codeOf(err), code) {
		t.Errorf("got %v, want %q", err, code)
	}
	if err != nil && !strings.Contains(textOf(err), strconv.Quote(shard)) {
		t.Errorf("%s does not name shard %s", textOf(err), shard)
	}
	q.taps[shard].open(q.trap)
}

// The cases wait side by side for their time limits, and so are no parallel subtests, of which there are as many as processors.

func TestAShardThatFallsSilentDuringCommit(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	const committed, rolledBack = "x!", "x"
	cases := []struct {
		name  string
		shard string // a decides, b takes part, c only reads
		trap  trap
		code  string // that COMMIT answers with; "" is success
		left  string // what is stored in the end; "" is either
	}{
		{"the question who wrote does not arrive", "c", trap{text: "txid_current_if_assigned"}, "08006", rolledBack},
		{"the decision does not arrive", "a", trap{text: "pgdrover.decide"}, "40000", rolledBack},
		{"the answer to the decision is lost", "a", trap{text: "pgdrover.decide", behind: true}, "40000", rolledBack},
		{"PREPARE does not arrive", "b", trap{text: "PREPARE TRANSACTION"}, "40000", rolledBack},
		{"the answer to PREPARE is lost", "b", trap{text: "PREPARE TRANSACTION", behind: true}, "40000", rolledBack},
		{"the shard is unreachable at PREPARE", "b", trap{text: "PREPARE TRANSACTION", whole: true}, "40000", rolledBack},
		{"COMMIT does not arrive", "a", trap{text: "COMMIT\x00"}, "40000", rolledBack},
		{"the answer to COMMIT is lost", "a", trap{text: "COMMIT\x00", behind: true}, "", committed},
		{"the decider is unreachable at COMMIT", "a", trap{text: "COMMIT\x00", whole: true}, "08007", ""},
		{"the decider is unreachable behind COMMIT", "a", trap{text: "COMMIT\x00", behind: true, whole: true}, "08007", committed},
		{"COMMIT PREPARED does not arrive", "b", trap{text: "COMMIT PREPARED"}, "", committed},
		{"the answer to COMMIT PREPARED is lost", "b", trap{text: "COMMIT PREPARED", behind: true}, "", committed},
		{"the shard is unreachable at COMMIT PREPARED", "b", trap{text: "COMMIT PREPARED", whole: true}, "", committed},
		{"a reader's COMMIT does not arrive", "c", trap{text: "COMMIT\x00"}, "", committed},
	}
	shared, taps := s.tap(t, "default_pool_size = 100\n")
	var silent []*silence
	for i, m := range cases {
		before := []string{"BEGIN", s.update("a", i), s.update("b", i), "SELECT name FROM customers WHERE id = " + s.keys["c"][i]}
		silent = append(silent, s.fallSilent(ctx, t, shared, taps, i, m.shard, m.trap, "", before, "COMMIT"))
	}
	for i, m := range cases {
		t.Run(m.name, func(t *testing.T) {
			q := silent[i]
			q.check(ctx, t, m.shard, m.code)
			names := s.settled(t, i, "a", "b")
			if names[0] != names[1] || m.left != "" && names[0] != m.left {
				t.Errorf("in the end there is %q, want %q", names, m.left)
			}
			if m.code != "08007" {
				for _, sql := range []string{"BEGIN", s.update("a", i), s.update("b", i), "COMMIT"} { // the session is well
					mustRun(ctx, t, q.c, sql)
				}
			}
		})
	}
	shared.serversRest()
	s.atRest(t)
}

func TestAShardThatFallsSilentDuringAStatement(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	const limited = "query_timeout = 2\n"
	cases := []struct {
		name     string
		shard    string
		trap     trap
		sql      string // "" for a write on b
		code     string
		settings string // "" to share a pooler
	}{
		{"BEGIN does not arrive", "b", trap{text: "BEGIN"}, "", "08006", "query_timeout = 0\n"},
		{"a write does not arrive", "b", trap{text: "UPDATE"}, "", "57014", ""},
		{"the answer to a write is lost", "b", trap{text: "UPDATE", behind: true}, "", "57014", ""},
		{"one of several does not arrive", "c", trap{text: "UPDATE"}, "UPDATE customers SET country = 'x' WHERE id > 1000", "57014", ""},
		{"the shard is unreachable", "b", trap{text: "UPDATE", whole: true}, "", "57014", limited},
		{"COMMIT takes longer than query_timeout", "a", trap{text: "COMMIT\x00"}, "COMMIT", "40000", ""},
		{"the answer to COMMIT takes longer than query_timeout", "a", trap{text: "COMMIT\x00", behind: true}, "COMMIT", "", ""},
	}
	shared, taps := s.tap(t, "default_pool_size = 100\n"+limited)
	var silent []*silence
	for i, m := range cases {
		before, sql := []string{"BEGIN", s.update("a", i)}, m.sql
		switch sql {
		case "":
			sql = s.update("b", i)
		case "COMMIT":
			before = append(before, s.update("b", i))
		}
		silent = append(silent, s.fallSilent(ctx, t, shared, taps, i, m.shard, m.trap, m.settings, before, sql))
	}
	for i, m := range cases {
		t.Run(m.name, func(t *testing.T) {
			q := silent[i]
			q.check(ctx, t, m.shard, m.code)
			if m.code == "08006" { // the session goes on
				mustRun(ctx, t, q.c, "ROLLBACK")
				mustRun(ctx, t, q.c, s.update("a", i+60))
			}
			if names := s.settled(t, i, "a", "b"); names[0] != names[1] {
				t.Errorf("half of it is stored: %q", names)
			}
		})
	}
	shared.serversRest()
	s.atRest(t)
}
