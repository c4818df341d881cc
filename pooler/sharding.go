package pooler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// sharding is what a sharded database has for one map: a planner, made when the first statement comes, because the catalogs are read
// over a client's own server. A reload makes a new one, so that the catalogs are read again.
type sharding struct {
	m     *shard.Map
	cache *shard.Cache // of plans; outlives maps

	planner atomic.Pointer[planner]
	mu      sync.Mutex // held while catalogs are read, so that one session does it for all
}

type shardMap = shard.Map

func newMap(d *config.Database) (*shardMap, error) { return shard.NewMap(d) }

// planner plans with one state of the catalogs.
type planner struct {
	*shard.DB
	ddl      uint64 // database.ddl before the catalogs were read
	problems []catalog.Problem
}

// setMap puts a new map in force. Catalogs are read again for it; plans of the old one are of no use.
func (d *database) setMap(m *shardMap) {
	prev := d.sharding.Load()
	switch {
	case m == nil:
		d.sharding.Store(nil)
	case prev == nil:
		d.sharding.Store(&sharding{m: m, cache: shard.NewCache(planCacheBytes)})
	default:
		d.sharding.Store(&sharding{m: m, cache: prev.cache})
	}
}

// planCacheBytes bounds the plans of one database.
const planCacheBytes = 32 << 20

// firstShard is the shard whose servers greet clients, "" for a database without shards.
func (d *database) firstShard() string {
	if sh := d.sharding.Load(); sh != nil {
		return sh.m.Shards()[0]
	}
	return ""
}

// shardNames lists the shards, or "" alone for a database without.
func (d *database) shardNames() []string {
	if sh := d.sharding.Load(); sh != nil {
		return sh.m.Shards()
	}
	return []string{""}
}

// loadTimeout bounds how long reading the catalogs of one shard may take.
const loadTimeout = 30 * time.Second

// plannerFor returns the planner for the database as it is now. No server may be linked.
func (c *client) plannerFor(sh *sharding) (*planner, error) {
	if p := sh.planner.Load(); p != nil && (p.ddl == c.db.ddl.Load() || c.router.tx.open) {
		return p, nil
	}
	return c.p.readPlanner(c.db, sh, func(i int) (*catalog.Catalog, error) { return c.loadCatalog(c.router.pool(i)) })
}

// readPlanner makes the planner for the database as it is now, unless another goroutine has. read returns the catalogs of a shard.
func (p *Pooler) readPlanner(d *database, sh *sharding, read func(i int) (*catalog.Catalog, error)) (*planner, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ddl := d.ddl.Load()
	if pl := sh.planner.Load(); pl != nil && pl.ddl == ddl {
		return pl, nil
	}
	cats := make([]catalog.Shard, len(sh.m.Shards()))
	for i, name := range sh.m.Shards() {
		cat, err := read(i)
		if err != nil {
			return nil, err
		}
		cats[i] = catalog.Shard{Name: name, Catalog: cat}
	}
	conf := d.conf.Load()
	cat := catalog.Combine(func(n catalog.Name) int { return home(sh.m, n) }, cats[0].Catalog, cats[1:]...)
	problems := catalog.Check(cat, listed(sh.m), func(n catalog.Name) (catalog.Placement, bool) { return placement(sh.m, conf, n) }, conf.Waive)
	for _, pr := range problems {
		p.log.Warn().Str("database", d.name).Str("table", pr.Relation.String()).Str("check", pr.Code).Msg(pr.Message)
	}
	pl := &planner{DB: shard.NewDB(sh.m, cat, sh.cache, conf.ShardLocal...), ddl: ddl, problems: problems}
	pl.Refuse(problems)
	sh.planner.Store(pl)
	return pl, nil
}

func listed(m *shard.Map) []catalog.Name {
	var out []catalog.Name
	for _, t := range m.Tables() {
		out = append(out, catalog.Name{Schema: t.Schema, Name: t.Name})
	}
	return out
}

// placement is where a table's rows are, as the checks need to know it.
func placement(m *shard.Map, conf *config.Database, n catalog.Name) (catalog.Placement, bool) {
	t := m.Table(n.Schema, n.Name)
	if t == nil {
		return catalog.Placement{}, false
	}
	switch t.Kind {
	case shard.Sharded:
		return catalog.Placement{Kind: catalog.Sharded, Key: t.Key.Name, Types: conf.Keys[t.Key.Name].Types, Columns: t.Columns}, true
	case shard.Reference:
		return catalog.Placement{Kind: catalog.Reference}, true
	}
	return catalog.Placement{Kind: catalog.Single, Shard: t.Shard}, true
}

// home is the shard that has all rows of a table, -1 if there is none.
func home(m *shard.Map, n catalog.Name) int {
	if t := m.Table(n.Schema, n.Name); t != nil && t.Kind == shard.Single {
		return t.Shard
	}
	return -1
}

// loadCatalog reads the catalogs over a server of the client's own.
func (c *client) loadCatalog(pl *pool) (*catalog.Catalog, error) {
	home, held := c.pool, c.srv
	c.park()
	c.pool = pl
	defer func() {
		c.pool = home
		if held != nil {
			c.relink(held)
		}
	}()
	if err := c.checkout(); err != nil {
		return nil, err
	}
	s := c.srv
	c.queryAt.Store(now()) // nobody is to listen for what the server says meanwhile
	defer c.queryAt.Store(0)
	var cat *catalog.Catalog
	err := s.lend(loadTimeout, func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		cat, err = catalog.Load(ctx, conn)
		return err
	})
	c.unlink()
	if err != nil {
		s.close("reading the catalogs failed: " + err.Error())
		return nil, catalogError(pl.key.shard, err)
	}
	pl.release(s)
	return cat, nil
}

func catalogError(shard string, err error) error {
	var pe *pgconn.PgError
	var se *connect.ServerError
	e := &Error{Severity: "ERROR"}
	switch {
	case errors.As(err, &pe):
		e.Code, e.Message, e.Detail, e.Hint = pe.Code, pe.Message, pe.Detail, pe.Hint
	case errors.As(err, &se):
		e = fromServer(se)
	default:
		return errShardGone(shard, err)
	}
	e.Message = fmt.Sprintf("the catalogs of shard %q cannot be read: %s", shard, e.Message)
	return e
}

// lend lends the connection to a driver.
func (s *server) lend(timeout time.Duration, use func(context.Context, *pgconn.PgConn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	nc := s.conn.netConn()
	cfg, err := pgconn.ParseConfig("host=/ user=x sslmode=disable passfile=/dev/null servicefile=/dev/null")
	if err != nil {
		return fmt.Errorf("driver configuration: %w", err)
	}
	params := map[string]string{}
	for _, p := range s.sc.Params {
		params[p.Name] = p.Value
	}
	conn, err := pgconn.Construct(&pgconn.HijackedConn{
		Conn: nc, PID: uint32(s.sc.PID), SecretKey: s.sc.SecretKey, ParameterStatuses: params, TxStatus: 'I',
		Frontend: pgproto3.NewFrontend(nc, nc), Config: cfg,
	})
	if err != nil {
		return err
	}
	s.unOwner = 0
	if err := use(ctx, conn); err != nil {
		return err
	}
	if err := conn.SyncConn(ctx); err != nil {
		return err
	}
	h, err := conn.Hijack()
	if err != nil {
		return err
	}
	if h.TxStatus != 'I' {
		return fmt.Errorf("%w: transaction status %q after reading the catalogs", errOutOfStep, h.TxStatus)
	}
	s.conn.resume()
	return nil
}
