package pooler

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
	"pgdrover/shard"
)

// shardedRig is a rig with a sharded database "shop" of the shards a and b, whose plans need no server: its catalog is a real one.
func shardedRig(tb testing.TB) (*rig, *database) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pg := pgtest.Start(tb)
	pg.MustExec(tb, "postgres", "CREATE TABLE customers (id bigint PRIMARY KEY, name text)")
	conn, err := pg.Connect(ctx, "postgres")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	cat, err := catalog.Load(ctx, conn.PgConn())
	if err != nil {
		tb.Fatal(err)
	}
	r := newRig(tb, `[databases.shop]
host = "127.0.0.1"
[[databases.shop.shards]]
name = "a"
dbname = "a"
[[databases.shop.shards]]
name = "b"
dbname = "b"
[databases.shop.keys.customer]
type = "bigint"
columns = { customers = "id" }
`)
	d, _ := r.p.findDatabase("shop")
	sh := d.sharding.Load()
	sh.planner.Store(&planner{DB: shard.NewDB(sh.m, cat, sh.cache), ddl: d.ddl.Load()})
	return r, d
}

// shardPool is the pool of one shard.
func (r *rig) shardPool(d *database, name string) *fakePool {
	pl := r.p.findPool(d, name, "app", "none")
	set := *pl.conf.Load()
	set.PoolMode, set.ServerRoundRobin = config.PoolTransaction, true
	pl.conf.Store(&set)
	return &fakePool{r, pl}
}

// routedUnits is what a statement by key looks like in each protocol: what is sent once, and then again and again.
func routedUnits() []routedUnit {
	done := string(msg('T', "\x00\x01c\x00", strings.Repeat("\x00", 18))) + string(msg('D', "\x00\x01\x00\x00\x00\x011")) + string(msg('C', "SELECT 1\x00")) + string(msg('Z', "I"))
	bind := func(name string) []byte {
		return bytes.Join([][]byte{
			msg('B', "\x00", name, "\x00\x00\x00\x00\x01\x00\x00\x00\x0242\x00\x00"), msg('D', "P\x00"), msg('E', "\x00\x00\x00\x00\x00"), msg('S'),
		}, nil)
	}
	const sql = "select name from customers where id = "
	return []routedUnit{
		{name: "simple", unit: msg('Q', sql+"42\x00"), reply: done},
		{
			name: "extended", unit: append(msg('P', "\x00"+sql+"$1\x00\x00\x00"), bind("")...),
			reply: string(msg('1')) + string(msg('2')) + done,
		},
		{
			name: "prepared", first: string(msg('P', "s\x00"+sql+"$1\x00\x00\x00")) + string(msg('S')),
			firstReply: string(msg('1')) + string(msg('Z', "I")), unit: bind("s"), reply: string(msg('2')) + done,
		},
	}
}

type routedUnit struct {
	name, first, firstReply string
	unit                    []byte
	reply                   string
}

// A routedClient is a session of a database whose servers are in memory.
type routedClient struct {
	*fakeClient
	servers []*fakeServer
}

// routedClient returns a session with one server on each of the pools.
func (r *rig) routedClient(tb testing.TB, d *database, u routedUnit, pools ...*fakePool) *routedClient {
	tb.Helper()
	rc := &routedClient{}
	for _, f := range pools {
		rc.servers = append(rc.servers, f.server(nil))
	}
	rc.fakeClient = pools[0].client(10, nil)
	if d != nil {
		rc.home = rc.pool
		rc.router = newRouter(rc.client, d)
	}
	for _, s := range rc.servers {
		s.mem.answer = replyOnce([]byte(u.firstReply))
	}
	if u.first != "" {
		if err := rc.drive([]byte(u.first)); err != errIdle {
			tb.Fatal(err)
		}
	}
	for _, s := range rc.servers {
		s.mem.answer = replyOnce([]byte(u.reply))
	}
	return rc
}

func (c *routedClient) run(tb testing.TB, u routedUnit) {
	c.fakeClient.mem.feed(u.unit)
	if c.step() {
		tb.Fatal(c.relayErr)
	}
}

// end takes the servers out of their pools.
func (c *routedClient) end() {
	c.leave()
	for _, s := range c.servers {
		s.pool.takeIdle(func(o *server) bool { return o == s.server })
		s.close("the session is over")
	}
}

// A statement that its key pins to one shard costs no allocation once its form has been planned.
func TestARoutedStatementAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	r, d := shardedRig(t)
	for _, u := range routedUnits() {
		t.Run(u.name, func(t *testing.T) {
			c := r.routedClient(t, d, u, r.shardPool(d, "a"), r.shardPool(d, "b"))
			c.run(t, u)
			if got := c.fakeClient.mem.got(); !bytes.HasSuffix(got, []byte(u.reply)) {
				t.Fatalf("the client got %q, want %q at the end", got, u.reply)
			}
			if got := c.servers[0].mem.got(); !strings.Contains(string(got), "42") {
				t.Fatalf("shard a got %q", got)
			}
			if got := c.servers[1].mem.got(); strings.Contains(string(got), "42") {
				t.Fatalf("shard b got %q", got)
			}
			c.fakeClient.mem.keep = false
			for _, s := range c.servers {
				s.mem.keep = false
			}
			pgtest.AllocsAtMost(t, 0, 500, func() { c.run(t, u) })
			c.end()
		})
	}
}

// BenchmarkRouting compares what a statement by key costs in a plain pool and through the router, without the system calls.
func BenchmarkRouting(b *testing.B) {
	r, d := shardedRig(b)
	for _, u := range routedUnits() {
		for _, sharded := range []bool{false, true} {
			name, pools, of := u.name+"/plain", []*fakePool{r.pool(config.PoolTransaction)}, (*database)(nil)
			if sharded {
				name, pools, of = u.name+"/sharded", []*fakePool{r.shardPool(d, "a"), r.shardPool(d, "b")}, d
			}
			b.Run(name, func(b *testing.B) {
				c := r.routedClient(b, of, u, pools...)
				c.run(b, u)
				c.fakeClient.mem.keep = false
				for _, s := range c.servers {
					s.mem.keep = false
				}
				b.ReportAllocs()
				for b.Loop() {
					c.run(b, u)
				}
				c.end()
			})
		}
	}
}
