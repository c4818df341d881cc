package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// listener is a client that listens, and the NOTIFYs of others beside it.
type listener struct {
	t  *testing.T
	pg *pgtest.Cluster
	*rawClient
}

// notify sends a notification from another session.
func (l listener) notify(channel, payload string) {
	l.t.Helper()
	l.pg.MustExec(l.t, "postgres", fmt.Sprintf("SELECT pg_notify('%s', '%s')", strings.ReplaceAll(channel, "'", "''"), payload))
}

// hears checks that a silent client gets the notification of a channel, or does not: then the next is one of the channel
// "marker", to which it must listen.
func (l listener) hears(channel string, want bool) {
	l.t.Helper()
	l.notify(channel, "p")
	if want {
		if got := l.until("A"); got != "A("+channel+",p)" {
			l.t.Errorf("NOTIFY %s: %s", channel, got)
		}
		return
	}
	l.notify("marker", "m")
	if got := l.until("A"); got != "A(marker,m)" {
		l.t.Errorf("NOTIFY %s was heard: %s", channel, got)
	}
}

func (l listener) ok(messages ...string) {
	l.t.Helper()
	if got := l.say(messages...); strings.Contains(got, "E(") || !strings.HasSuffix(got, "Z(I)") {
		l.t.Errorf("%s: %s", messages, got)
	}
}

// TestListenersHearInTransactionMode goes through LISTEN and UNLISTEN in all their ways, with two servers that are handed out in turn.
func TestListenersHearInTransactionMode(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"", "max_prepared_statements = 0\n"} {
		pg, b := startRounds(t, settings)
		l := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
		l.ok("Q LISTEN marker")
		l.hears("marker", true)
		l.hears("one", false)

		l.ok("Q LISTEN one")
		l.hears("one", true)
		l.ok(`Q LISTEN "Quoted ""Name"""; LISTEN Folded`)
		l.hears(`Quoted "Name"`, true)
		l.hears("folded", true)
		l.hears("Folded", false)
		l.ok("P - LISTEN two", "B - -", "E -", "S")
		l.hears("two", true)
		if settings == "" {
			l.ok("P l LISTEN three", "S")
			l.hears("three", false)
			l.ok("B - l", "E -", "S")
		} else {
			l.ok("P l LISTEN three", "B - l", "E -", "S")
		}
		l.hears("three", true)

		l.ok("Q UNLISTEN one")
		l.hears("one", false)
		l.hears("two", true)
		l.say("Q BEGIN")
		l.say("Q LISTEN one")
		l.say("Q UNLISTEN two")
		l.ok("Q ROLLBACK")
		l.hears("one", false)
		l.hears("two", true)
		l.say("Q BEGIN")
		l.say("Q SAVEPOINT s")
		l.say("Q LISTEN four")
		l.say("Q UNLISTEN *")
		l.say("Q ROLLBACK TO s")
		l.say("Q UNLISTEN two")
		l.ok("Q COMMIT")
		l.hears("four", false)
		l.hears("two", false)
		l.hears("three", true)

		l.ok("Q LISTEN " + strings.Repeat("x", 80))
		l.hears(strings.Repeat("x", 63), true)
		if got := l.say("Q LISTEN five; SELECT 1/0"); !strings.Contains(got, "22012") {
			t.Error(got)
		}
		l.hears("five", false)
		l.ok("Q DO 'BEGIN EXECUTE ''LISTEN six''; END'")
		l.hears("six", true)

		// To itself, and while it has a transaction open.
		if got := l.say("Q LISTEN seven; NOTIFY seven, 'self'"); !strings.Contains(got, "A(seven,self)") {
			t.Error(got)
		}
		l.ok("Q NOTIFY seven, 'again'")
		if got := l.until("A"); got != "A(seven,again)" {
			t.Error(got)
		}
		l.say("Q BEGIN")
		l.notify("seven", "later")
		if got := l.say("Q SELECT pg_sleep(0.2)"); strings.Contains(got, "A(") {
			t.Errorf("in a transaction: %s", got)
		}
		l.ok("Q COMMIT")
		if got := l.until("A"); got != "A(seven,later)" {
			t.Error(got)
		}
		// A pipeline that begins to listen in its middle.
		l.write(encode(t, "Q BEGIN", "Q LISTEN eight", "Q COMMIT", "Q SELECT 1"))
		if got := l.until("ZZZZ"); strings.Contains(got, "E(") {
			t.Error(got)
		}
		l.hears("eight", true)

		l.ok("Q DISCARD ALL")
		l.ok("Q LISTEN marker")
		l.hears("seven", false)
		if got := l.say("Q SELECT count(*) FROM pg_listening_channels()"); !strings.Contains(got, "D(0)") && !strings.Contains(got, "D(1)") {
			t.Error(got)
		}
		other := startRaw(t, b.Port, "db", "postgres")
		for range 2 {
			if got := other.say("Q SELECT count(*) FROM pg_listening_channels()"); !strings.Contains(got, "D(0)") {
				t.Errorf("a server listens for nobody: %s", got)
			}
		}
		if r := b.row("SERVERS", "pinned=LISTEN"); r == nil || r["state"] != "active" {
			t.Errorf("SHOW SERVERS: %v", b.rows("SERVERS"))
		}
		_ = l.nc.Close()
		_ = other.nc.Close()
	}
}

// TestManyListenersOfAPoolShareOneConnection has drivers listen, with one server in the pool.
func TestManyListenersOfAPoolShareOneConnection(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "pool_size = 1")
	var conns []*pgx.Conn
	for i := range 10 {
		c := b.Connect(ctx, "db", "postgres")
		for _, ch := range []string{"everybody", fmt.Sprintf("c%d", i)} {
			if _, err := c.Exec(ctx, "LISTEN "+ch); err != nil {
				t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	if n := len(b.rows("SERVERS", "pinned=LISTEN")); n != 1 {
		t.Errorf("%d connections listen", n)
	}
	sender := b.Connect(ctx, "db", "postgres")
	for round := range 20 {
		for i := range conns {
			if _, err := sender.Exec(ctx, fmt.Sprintf("BEGIN; NOTIFY c%d, '%d'; COMMIT", i, round)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sender.Exec(ctx, fmt.Sprintf("NOTIFY everybody, '%d'", round)); err != nil {
			t.Fatal(err)
		}
		for i, c := range conns {
			if i%2 == 0 { // some are busy meanwhile
				if _, err := c.Exec(ctx, "SELECT 1"); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range []string{fmt.Sprintf("c%d", i), "everybody"} {
				n, err := c.WaitForNotification(ctx)
				if err != nil || n.Channel != want || n.Payload != fmt.Sprint(round) {
					t.Fatalf("client %d, round %d: %v, %v; want %s", i, round, n, err, want)
				}
			}
		}
	}
}

// TestLosingTheListeningConnectionIsToldToListeners kills it, and restarts listening.
func TestLosingTheListeningConnectionIsToldToListeners(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := newPool(t, pg, "server_fast_close = true\n", "pool_size = 2")
	for _, lose := range []func(){
		func() {
			pg.MustExec(t, "postgres", "SELECT pg_terminate_backend("+b.row("SERVERS", "pinned=LISTEN")["remote_pid"]+")")
		},
		func() { b.Admin("RECONNECT db") },
	} {
		l := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
		l.ok("Q LISTEN a")
		l.hears("a", true)
		idle := startRaw(t, b.Port, "db", "postgres")
		lose()
		if got := l.until("\x00"); !strings.Contains(got, "C57P01") || !strings.HasSuffix(got, "EOF") {
			t.Errorf("the listener hears %s", got)
		}
		if got := idle.say("Q SELECT 1"); !strings.Contains(got, "D(1)") {
			t.Errorf("a client that does not listen: %s", got)
		}
		_ = idle.nc.Close()
	}
	l := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
	l.ok("Q LISTEN a")
	l.hears("a", true)

	// PAUSE waits for listeners, as it does in session mode.
	paused := background(func() error { _, err := b.TryAdmin("PAUSE db"); return err })
	pgtest.Eventually(t, patience, func() error {
		if b.row("DATABASES", "name=db", "paused=1") == nil {
			return fmt.Errorf("not paused yet")
		}
		return nil
	})
	noResult(t, paused)
	_ = l.nc.Close()
	if err := result(testContext(t), t, paused); err != nil {
		t.Fatal(err)
	}
}

// TestAListenerIsGivenAnotherConnectionWhenOneIsDying has a client begin to listen while the connection that listens for others is lost: it has not
// been told yet that it listens, so it has missed nothing.
func TestAListenerIsGivenAnotherConnectionWhenOneIsDying(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := newPool(t, pg, "", "pool_size = 2")
	first := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
	first.ok("Q LISTEN a")
	hub := b.row("SERVERS", "pinned=LISTEN")["remote_pid"]
	second := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
	second.ok("Q SELECT 1")
	thaw := freeze(t, hub)
	listens := background(func() error { second.ok("Q LISTEN b"); return nil })
	// Its own server has said what it listens to, and our connection is asked next.
	pgtest.Eventually(t, patience, func() error {
		got, err := pg.Value(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UNLISTEN%' OR query LIKE '%pg_listening_channels()' AND state = 'idle'")
		if err == nil && got == "0" {
			err = errors.New("LISTEN has not come to the server")
		}
		return err
	})
	pg.MustExec(t, "postgres", "SELECT pg_terminate_backend("+hub+")")
	thaw()
	if err := result(testContext(t), t, listens); err != nil {
		t.Fatal(err)
	}
	second.hears("b", true)
	if got := first.until("\x00"); !strings.Contains(got, "C57P01") {
		t.Errorf("the first listener hears %s", got)
	}
}

// TestListenersThatDoNotReadAreClosed sends more than may wait for one client, which has a transaction open.
func TestListenersThatDoNotReadAreClosed(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := newPool(t, pg, "", "pool_size = 2")
	l := listener{t, pg, startRaw(t, b.Port, "db", "postgres")}
	l.ok("Q LISTEN a")
	l.say("Q BEGIN")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := pg.Exec(ctx, "SELECT pg_notify('a', i || repeat('x', 7000)) FROM generate_series(1, 200) i"); err != nil {
		t.Fatal(err)
	}
	if got := l.until("\x00"); !strings.Contains(got, "C53400") {
		t.Errorf("it hears %.500s", got)
	}
}

// TestListenersWithOtherEncodingsHearTheirOwn has one client of UTF-8 and one of LATIN1.
func TestListenersWithOtherEncodingsHearTheirOwn(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := newPool(t, pg, "", "pool_size = 1")
	utf := startRaw(t, b.Port, "db", "postgres", "client_encoding", "UTF8")
	latin := startRaw(t, b.Port, "db", "postgres", "client_encoding", "LATIN1")
	for i, c := range []*rawClient{utf, latin} {
		if got := c.say("Q LISTEN " + []string{"gr\u00fcn", "gr\xfcn"}[i]); !strings.Contains(got, "C(LISTEN) Z(I)") {
			t.Fatal(got)
		}
	}
	pg.MustExec(t, "postgres", "NOTIFY gr\u00fcn, '\u00e4'")
	if got := utf.until("A"); got != "A(gr\u00fcn,\u00e4)" {
		t.Errorf("UTF-8: %q", got)
	}
	if got := latin.until("A"); got != "A(gr\xfcn,\xe4)" {
		t.Errorf("LATIN1: %q", got)
	}
	if got := latin.say("Q SET client_encoding = 'UTF8'"); !strings.Contains(got, "C(SET)") {
		t.Error(got)
	}
	pg.MustExec(t, "postgres", "NOTIFY gr\u00fcn, '\u00e4'")
	if got := latin.until("\x00"); !strings.Contains(got, "C0A000") {
		t.Errorf("after a change of client_encoding: %s", got)
	}
}
