package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func TestCancelReachesARunningQueryAndNoOther(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "", "", "[users.bob]\npassword = \"b\"\n")
	victim, neighbour, other := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "bob")
	var running []<-chan error
	for _, c := range []*pgx.Conn{neighbour, other} {
		running = append(running, background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err }))
	}
	hit := background(func() error { _, err := run(ctx, victim, "SELECT pg_sleep(1000)"); return err })
	awaitSleepers(t, pg, "postgres", 2)
	awaitSleepers(t, pg, "bob", 1)
	if err := victim.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, result(ctx, t, hit), "57014", "canceling statement due to user request")
	mustRun(ctx, t, victim, "SELECT 1")
	for i, c := range []*pgx.Conn{neighbour, other} {
		noResult(t, running[i])
		if err := c.PgConn().CancelRequest(ctx); err != nil {
			t.Fatal(err)
		}
		wantError(t, result(ctx, t, running[i]), "57014", "canceling statement")
	}
	b.awaitPool("db", "postgres", "sv_active=0", "sv_being_canceled=0", "sv_active_cancel=0")
}

func TestCancelOfAQueryThatWaitsKeepsTheConnection(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 1", "")
	holder, simple, extended := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, holder, "BEGIN")
	for _, m := range []struct {
		c     *pgx.Conn
		query func() error
	}{
		{simple, func() error { _, err := run(ctx, simple, "SELECT 1"); return err }},
		{extended, func() error { _, err := extended.Exec(ctx, "SELECT $1::int", 1); return err }},
	} {
		waiting := background(m.query)
		b.awaitWaiters(1)
		if err := m.c.PgConn().CancelRequest(ctx); err != nil {
			t.Fatal(err)
		}
		wantError(t, result(ctx, t, waiting), "57014", "canceling statement due to user request")
		b.awaitWaiters(0)
		again := background(m.query)
		b.awaitWaiters(1)
		mustRun(ctx, t, holder, "COMMIT")
		if err := result(ctx, t, again); err != nil {
			t.Error(err)
		}
		mustRun(ctx, t, holder, "BEGIN")
	}
}

// A cancel request that arrives late used to hit whoever got the server next.
func TestCancelStormHitsOnlyItsOwnQueries(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 3", "")
	stop, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var innocent, hits atomic.Int64
	for range 4 { // they cancel themselves all the time
		c := b.Connect(ctx, "db", "postgres")
		wg.Go(func() {
			for stop.Err() == nil {
				_ = c.PgConn().CancelRequest(ctx)
			}
		})
		wg.Go(func() {
			for stop.Err() == nil {
				_, err := run(ctx, c, "SELECT 1")
				if err != nil {
					if !isRefused(err, "canceling statement due to user request") {
						t.Error(err)
						return
					}
					hits.Add(1)
				}
			}
		})
	}
	for i := range 4 { // they never do
		c := b.Connect(ctx, "db", "postgres")
		wg.Go(func() {
			for stop.Err() == nil {
				want := fmt.Sprint(i, "-", innocent.Add(1))
				got, err := run(ctx, c, "SELECT '"+want+"'")
				if err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
	if innocent.Load() == 0 {
		t.Error("no innocent query ran")
	}
	t.Logf("%d innocent queries, %d of the others cancelled", innocent.Load(), hits.Load())
	b.awaitPool("db", "postgres", "sv_active=0", "sv_being_canceled=0", "sv_active_cancel=0")
}

func TestServerWithACancelInFlightIsNotHandedOut(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	proxy := pg.Proxy(t)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\ndefault_pool_size = 1",
		trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", proxy.Port))
	one, two := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	running := background(func() error { _, err := run(ctx, one, "SELECT pg_sleep(1)"); return err })
	b.awaitPool("db", "postgres", "sv_active=1")
	proxy.Hold(pgtest.ToServer, true) // the request gets no further
	request := background(func() error { return one.PgConn().CancelRequest(ctx) })
	b.awaitPool("db", "postgres", "sv_active_cancel=1")
	if err := result(ctx, t, running); err != nil { // it ends by itself
		t.Fatal(err)
	}
	b.awaitPool("db", "postgres", "sv_being_canceled=1", "sv_idle=0")
	second := background(func() error { _, err := run(ctx, two, "SELECT pg_sleep(0.1)"); return err })
	b.awaitWaiters(1)
	noResult(t, second)
	proxy.Hold(pgtest.ToServer, false)
	if err := result(ctx, t, second); err != nil {
		t.Errorf("the next client's query: %v", err)
	}
	if err := result(ctx, t, request); err != nil {
		t.Error(err)
	}
	b.awaitPool("db", "postgres", "sv_being_canceled=0", "sv_active_cancel=0", "sv_idle=1")
}

func TestCancelKeyThatIsWrongIsSilentlyClosed(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	c := b.Connect(ctx, "db", "postgres")
	running := background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(0.3)"); return err })
	b.awaitPool("db", "postgres", "sv_active=1")
	pid, key := c.PgConn().PID(), append([]byte(nil), c.PgConn().SecretKey()...)
	key[0] ^= 1
	for _, k := range [][]byte{key, nil, make([]byte, 100)} {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
		if err != nil {
			t.Fatal(err)
		}
		msg := binary.BigEndian.AppendUint32(nil, uint32(12+len(k)))
		msg = binary.BigEndian.AppendUint32(msg, 80877102)
		msg = binary.BigEndian.AppendUint32(msg, pid)
		if _, err := nc.Write(append(msg, k...)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if said, err := io.ReadAll(nc); len(said) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("key of %d bytes: it said %q, %v", len(k), said, err)
		}
		_ = nc.Close()
	}
	if err := result(ctx, t, running); err != nil {
		t.Errorf("the query was cancelled: %v", err)
	}
}

func TestCancelWithALongKeyOfProtocol32(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	c := b.Connect(ctx, "db", "postgres", "max_protocol_version=3.2")
	if n := len(c.PgConn().SecretKey()); n != 32 {
		t.Errorf("the key has %d bytes, want 32", n)
	}
	running := background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err })
	awaitSleepers(t, pg, "postgres", 1) // a cancel request that overtakes its query finds nothing
	if err := c.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, result(ctx, t, running), "57014", "canceling statement due to user request")
	mustRun(ctx, t, c, "SELECT 1")
}

func TestControlCInPsqlCancels(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	psql, err := pgtest.FindPsql(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, psql, "-X", "-w", "-d", b.DSN("db", "postgres"))
	var out strings.Builder
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("SELECT pg_sleep(1000);\nSELECT 'still here';\n"), &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitSleepers(t, pg, "postgres", 1)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if !strings.Contains(out.String(), "canceling statement due to user request") {
		t.Errorf("psql ended with %v and said\n%s", err, &out)
	}
	b.awaitPool("db", "postgres", "sv_active=0", "cl_active=0")
}
