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
// as a client's own role. A reload makes a new one, so that the catalogs are read again.
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
	missing  bool         // a shard was down
	again    atomic.Int64 // when that is to be looked at again
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

// plannerFor returns the planner for the database as it is now. Inside a transaction block it stays what it was.
func (c *client) plannerFor(sh *sharding) (*planner, error) {
	read := func(i int) (*catalog.Catalog, error) { return c.router.pool(i).ownCatalog() }
	p := sh.planner.Load()
	switch {
	case p == nil || p.ddl != c.db.ddl.Load() && !c.router.tx.open:
		return c.p.readPlanner(c.db, sh, read)
	case p.missing && p.again.Load() < now():
		if at := p.again.Load(); p.again.CompareAndSwap(at, now()+int64(catalogsAgain)) {
			pools := c.router.pools
			c.p.wg.Go(func() {
				_, _ = c.p.readPlanner(c.db, sh, func(i int) (*catalog.Catalog, error) { return pools[i].ownCatalog() }) // it is tried again
			})
		}
	}
	return p, nil
}

// catalogsAgain is how long a shard whose catalogs could not be read is left alone.
const catalogsAgain = 5 * time.Second

// readPlanner makes the planner for the database as it is now, unless another goroutine has. read returns the catalogs of a shard. A shard that
// is down is left out: statements that need it will find out by themselves, and the others go on.
func (p *Pooler) readPlanner(d *database, sh *sharding, read func(i int) (*catalog.Catalog, error)) (*planner, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ddl := d.ddl.Load()
	if pl := sh.planner.Load(); pl != nil && pl.ddl == ddl && !pl.missing {
		return pl, nil
	}
	var cats []catalog.Shard
	var failed error
	at := make([]int, len(sh.m.Shards())) // of each shard in cats
	for i, name := range sh.m.Shards() {
		cat, err := read(i)
		if err != nil {
			at[i] = -1
			if failed == nil {
				failed = err
			}
			p.log.Warn().Err(err).Str("database", d.name).Str("shard", name).Msg("the catalogs of a shard cannot be read")
			continue
		}
		at[i] = len(cats)
		cats = append(cats, catalog.Shard{Name: name, Catalog: cat})
	}
	if len(cats) == 0 {
		return nil, failed
	}
	conf := d.conf.Load()
	cat := catalog.Combine(func(n catalog.Name) int {
		if i := home(sh.m, n); i >= 0 {
			return at[i]
		}
		return -1
	}, cats[0].Catalog, cats[1:]...)
	problems := catalog.Check(cat, listed(sh.m), func(n catalog.Name) (catalog.Placement, bool) { return placement(sh.m, conf, n) }, conf.Waive)
	for _, pr := range problems {
		p.log.Warn().Str("database", d.name).Str("table", pr.Relation.String()).Str("check", pr.Code).Msg(pr.Message)
	}
	pl := &planner{DB: shard.NewDB(sh.m, cat, sh.cache, conf.ShardLocal...), ddl: ddl, problems: problems, missing: failed != nil}
	pl.again.Store(now() + int64(catalogsAgain))
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

// ownCatalog reads the catalogs of a shard over a connection of our own.
func (pl *pool) ownCatalog() (*catalog.Catalog, error) {
	s, err := pl.openOwn()
	if err != nil {
		return nil, catalogError(pl.key.shard, err)
	}
	defer s.close("reading the catalogs is done")
	var cat *catalog.Catalog
	err = s.lend(loadTimeout, func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		cat, err = catalog.Load(ctx, conn)
		return err
	})
	if err != nil {
		return nil, catalogError(pl.key.shard, err)
	}
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

// lend lends a connection of our own to a driver, which is its last user.
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
	return use(ctx, conn)
}
