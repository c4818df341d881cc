package integration

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// interrupted makes what a pgdrover leaves on shard b if it ends in the middle of a COMMIT that shard a decides, decided or not.
func (s *tappedShop) interrupted(tb testing.TB, i int, decided bool) (gid string) {
	tb.Helper()
	const identity = `SELECT to_hex(system_identifier) || '.' || (SELECT to_hex(oid::int8) FROM pg_database WHERE datname = current_database()) FROM pg_control_system()`
	decision := fmt.Sprintf("pgdrover/%016x-%08x/a", i, crc32.ChecksumIEEE([]byte("shop")))
	gid = decision + "/" + s.pg.MustValue(tb, "shop_a", identity) + "/b"
	s.pg.MustExec(tb, "shop_b", "BEGIN; SET LOCAL ROLE app; "+s.update("b", i)+"; PREPARE TRANSACTION '"+gid+"'")
	if decided {
		s.pg.MustExec(tb, "shop_a", "BEGIN; SET LOCAL ROLE app; "+s.update("a", i)+"; SELECT pgdrover.decide('"+decision+"', '{b}'); COMMIT")
	}
	return gid
}

func (s *tappedShop) node(tb testing.TB, tables string) *bouncer {
	tb.Helper()
	return startBouncer(tb, tapSettings, tables)
}

func TestTwoNodesRecoverTheSameTransactionsAtOnce(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	const n = 20
	var flying []string
	for i := range n {
		if gid := s.interrupted(t, i, i%2 == 1); i%2 == 0 {
			flying = append(flying, "('"+strings.Join(strings.Split(gid, "/")[:3], "/")+"', '{b}')")
		}
	}
	s.pg.MustExec(t, "shop_a", "UPDATE pgdrover.decision SET created = created - interval '1 hour'")
	gate, err := s.pg.Connect(ctx, "shop_a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Close(context.Background()) }()
	mustRun(ctx, t, gate, "BEGIN; INSERT INTO pgdrover.decision VALUES "+strings.Join(flying, ","))
	tables := s.tables(map[string]int{"a": s.pg.Port, "b": s.pg.Port, "c": s.pg.Port})
	nodes := []*bouncer{s.node(t, tables), s.node(t, tables)}
	pgtest.Eventually(t, patience, func() error {
		if got := s.pg.MustValue(t, "shop_a", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO pgdrover.decision%'"); got != "2" {
			return errors.New(got + " nodes want to know what was decided")
		}
		return nil
	})
	mustRun(ctx, t, gate, "ROLLBACK")
	s.atRest(t)
	for i := range n {
		want := "x"
		if i%2 == 1 {
			want = "x!"
		}
		if names := s.settled(t, i, "a", "b"); names[0] != want || names[1] != want {
			t.Errorf("transaction %d has left %q, want %q on both", i, names, want)
		}
	}
	pgtest.Eventually(t, patience, func() error { // and decisions that nobody needs go
		if got := s.pg.MustValue(t, "shop_a", "SELECT count(*) FROM pgdrover.decision"); got != "0" {
			return errors.New(got + " decisions are left")
		}
		return nil
	})
	for _, b := range nodes {
		if log := b.logText(); strings.Contains(log, "does not exist") || strings.Contains(log, "panic") {
			t.Errorf("log:\n%s", log)
		}
	}
}

func TestRecoveryBelievesOnlyTheServerThatHasDecided(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	gid := s.interrupted(t, 0, true)
	s.create(t, "shop_new") // what the configuration calls shard a now
	ports := map[string]int{"a": s.pg.Port, "b": s.pg.Port, "c": s.pg.Port}
	right := s.tables(ports)
	b := s.node(t, strings.Replace(right, "shop_a", "shop_new", 1))
	b.awaitLog("not the one that is configured now", 1)
	if got := s.pg.MustValue(t, "shop_b", "SELECT gid FROM pg_prepared_xacts"); got != gid {
		t.Fatalf("prepared is %q, want %q", got, gid)
	}
	b.Write(tapSettings, right)
	b.Admin("RELOAD")
	if names := s.settled(t, 0, "a", "b"); names[0] != "x!" || names[1] != "x!" {
		t.Errorf("stored is %q, want x! on both", names)
	}
}

func TestAReloadInTheMiddleOfATransaction(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	s.create(t, "shop_new")
	old := s.tables(map[string]int{"a": s.pg.Port, "b": s.pg.Port, "c": s.pg.Port})
	cases := []struct {
		name, next string
		leaves     bool // b is not where it was
	}{
		{"a shard is removed", s.tables(map[string]int{"a": s.pg.Port, "c": s.pg.Port}), true},
		{"a shard is moved", strings.Replace(old, "shop_b", "shop_new", 1), true},
		{"placement changes", old + "placement = [{ shard = \"c\", modulus = 2, remainder = 0 }, { shard = \"a\", modulus = 2, remainder = 1 }]\n", false},
		{"a pool is enlarged", strings.Replace(old, "recovery_user", "pool_size = 7\nrecovery_user", 1), false},
	}
	nodes := make([]*bouncer, len(cases))
	holders := make([]*pgx.Conn, len(cases))
	left := make([]string, len(cases))
	change := func(n int) {
		m := &cases[n]
		t.Run(m.name, func(st *testing.T) {
			i := 6 * n
			b := s.node(t, old) // which the second half needs too
			nodes[n] = b
			joined, late, between := b.Connect(ctx, "shop", "app"), b.Connect(ctx, "shop", "app"), b.Connect(ctx, "shop", "app")
			holders[n] = b.Connect(ctx, "shop", "app")
			take(ctx, st, holders[n], []step{{sql: "BEGIN"}, {sql: s.update("b", i+5)}})
			take(ctx, st, joined, []step{{sql: "BEGIN"}, {sql: s.update("a", i)}, {sql: s.update("b", i)}})
			take(ctx, st, late, []step{{sql: "BEGIN"}, {sql: s.update("a", i+1)}})
			take(ctx, st, between, []step{{sql: s.update("b", i+2)}})
			b.Write(tapSettings, m.next)
			b.Admin("RELOAD")
			left[n] = s.interrupted(st, i+3, true)
			take(ctx, st, joined, []step{{sql: s.update("b", i)}, {sql: "COMMIT"}})
			if names := s.settled(st, i, "a", "b"); names[0] != "x!" || names[1] != "x!!" {
				st.Errorf("stored is %q, want x! and x!!", names)
			}
			_, err := run(ctx, late, s.update("b", i+1))
			switch {
			case m.name == "a shard is removed":
				pe := wantError(st, err, "55000", `shard "b"`)
				if pe.Severity != "ERROR" || !strings.Contains(pe.Message, "taken out") {
					st.Errorf("%s %s", pe.Severity, pe.Message)
				}
			case err != nil:
				st.Error(err)
			}
			take(ctx, st, late, []step{{sql: "ROLLBACK"}})
			for _, c := range []*pgx.Conn{joined, late, between} { // on the new map
				mustRun(ctx, st, c, s.update("a", i+4))
			}
		})
	}
	recovers := func(n int) {
		m := &cases[n]
		t.Run("what is left when "+m.name, func(t *testing.T) {
			pgtest.Eventually(t, patience, func() error {
				if got := s.pg.MustValue(t, "shop_b", "SELECT count(*) FROM pg_prepared_xacts WHERE gid = '"+left[n]+"'"); got != "0" {
					return errors.New("nobody finishes what is prepared on the shard")
				}
				return nil
			})
			if names := s.settled(t, 6*n+3, "a", "b"); names[0] != "x!" || names[1] != "x!" {
				t.Errorf("recovery has left %q, want x! on both", names)
			}
			take(ctx, t, holders[n], []step{{sql: "COMMIT"}})
			nodes[n].serversRest()
			if !m.leaves {
				return
			}
			pgtest.Eventually(t, patience, func() error {
				for _, r := range nodes[n].rows("SERVERS", "shard=b") {
					if where := s.pg.MustValue(t, "postgres", "SELECT coalesce(max(datname), '') FROM pg_stat_activity WHERE pid = "+r["remote_pid"]); where == "shop_b" {
						return fmt.Errorf("somebody stays on a shard that is not there any more: %v", r)
					}
				}
				return nil
			})
		})
	}
	for _, group := range [][]int{{0, 1}, {2, 3}} { // those that still have the shard must not do the work of the others
		for _, n := range group {
			change(n)
		}
		for _, n := range group {
			recovers(n)
		}
		for _, n := range group {
			nodes[n].Close()
		}
	}
	s.atRest(t)
}

func TestAPipelinedClientDoesNotNoticeThatAShardMoves(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	other := startWiretap(t, s.pg)
	there := []string{
		s.tables(map[string]int{"a": s.pg.Port, "b": s.pg.Port, "c": s.pg.Port}),
		s.tables(map[string]int{"a": s.pg.Port, "b": other.Port, "c": s.pg.Port}),
	}
	b := s.node(t, there[0])
	moves, done := 0, make(chan struct{})
	updates := 0
	piping := background(func() error {
		conn, err := pgx.Connect(ctx, b.DSN("shop", "app"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.Background()) }()
		for {
			select {
			case <-done:
				return nil
			default:
			}
			p := conn.PgConn().StartPipeline(ctx)
			for range 20 { // a write to one shard, and one to two shards, each with a Sync of its own
				p.SendQueryParams(s.update("b", 0), nil, nil, nil, nil)
				if err := p.Sync(); err != nil {
					return err
				}
				p.SendQueryParams(s.update("a", 1), nil, nil, nil, nil)
				p.SendQueryParams(s.update("b", 1), nil, nil, nil, nil)
				if err := p.Sync(); err != nil {
					return err
				}
			}
			if err := p.Close(); err != nil {
				return err
			}
			updates += 20
		}
	})
	for ; moves < 10; moves++ {
		b.Write(tapSettings, there[(moves+1)%2])
		b.Admin("RELOAD")
		s.pg.MustExec(t, "postgres", "SELECT 1")
	}
	close(done)
	if err := result(ctx, t, piping); err != nil {
		t.Fatal(err)
	}
	for i, shards := range [][]string{{"b"}, {"a", "b"}} {
		for j, name := range s.settled(t, i, shards...) {
			if len(name) != 1+updates {
				t.Errorf("customer %d of shard %s was changed %d times, want %d", i, shards[j], len(name)-1, updates)
			}
		}
	}
	b.serversRest()
	s.atRest(t)
}
