package pooler

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	conf  *config.Database // what the map was made of
	cache *shard.Cache     // of plans; outlives maps

	planner atomic.Pointer[planner]
	mu      sync.Mutex        // held while catalogs are read, so that one session does it for all
	down    map[string]string // why the catalogs of a shard could not be read last; guarded by mu

	ids idStock
}

type shardMap = shard.Map

func newMap(d *config.Database) (*shardMap, error) { return shard.NewMap(d) }

// planner plans with one state of the catalogs.
type planner struct {
	*shard.DB
	ddl      uint64 // database.ddl before the catalogs were read
	problems []catalog.Problem
	missing  bool                 // a shard was down
	pools    []*pool              // over which the catalogs were read, by shard
	empty    []catalog.Difference // reference tables that are empty on one shard and not on another
	unsure   bool                 // some could not be looked at
	lacking  bool                 // statements are refused because of them, or it is not known
	again    atomic.Int64         // when what was missing, empty or unsure is to be looked at again
}

// setMap puts a new map in force. Catalogs are read again for it; plans of the old one are of no use.
func (d *database) setMap(m *shardMap) {
	prev := d.sharding.Load()
	conf := d.conf.Load()
	switch {
	case m == nil:
		d.sharding.Store(nil)
	case prev == nil:
		d.sharding.Store(&sharding{m: m, conf: conf, cache: shard.NewCache(planCacheBytes)})
	default:
		d.sharding.Store(&sharding{m: m, conf: conf, cache: prev.cache})
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

// plannerFor returns the planner for the database as it is now. Inside a transaction block it stays what it was, but for what the transaction
// has changed itself.
func (c *client) plannerFor(sh *sharding) (*planner, error) {
	p := sh.planner.Load()
	tx := &c.router.tx
	switch {
	case tx.open && tx.unread && !tx.failed && c.replies.empty():
		return c.readWithin(sh)
	case tx.open && tx.planner != nil:
		return tx.planner, nil
	case p == nil || p.ddl != c.db.ddl.Load() && !c.router.tx.open:
		return c.p.readPlanner(c.db, sh, p, c.router.pools)
	case p.missing && p.again.Load() < now():
		if at := p.again.Load(); p.again.CompareAndSwap(at, now()+int64(catalogsAgain)) {
			pools := c.router.pools
			c.p.wg.Go(func() {
				_, _ = c.p.readPlanner(c.db, sh, p, pools) // it is tried again
			})
		}
	}
	return p, nil
}

// catalogsAgain is how long a shard whose catalogs could not be read is left alone.
const catalogsAgain = 5 * time.Second

// readPlanner makes the planner for the database as it is now, in place of old, unless another goroutine has. pools are those over which the shards
// are asked. A shard that is down is left out: statements that need it will find out by themselves, and the others go on.
func (p *Pooler) readPlanner(d *database, sh *sharding, old *planner, pools []*pool) (*planner, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ddl := d.ddl.Load()
	was := sh.planner.Load()
	if was != nil && was != old && was.ddl == ddl {
		return was, nil
	}
	full := fillings{pools: pools, tables: sh.referenceTables(), sizes: make([][]int64, len(pools))}
	cats := make([]*catalog.Catalog, len(pools))
	errs := make([]error, len(pools))
	var wg sync.WaitGroup
	for i := range pools {
		wg.Go(func() { cats[i], full.sizes[i], errs[i] = pools[i].ownCatalog(full.tables) })
	}
	wg.Wait()
	var failed error
	some := false
	for i, name := range sh.m.Shards() {
		if err := errs[i]; err != nil {
			if failed == nil {
				failed = err
			}
			if text := err.Error(); text != sh.down[name] { // it is tried again and again
				if sh.down == nil {
					sh.down = map[string]string{}
				}
				sh.down[name] = text
				p.log.Warn().Err(err).Str("database", d.name).Str("shard", name).Msg("the catalogs of a shard cannot be read")
			}
			continue
		}
		if sh.down[name] != "" {
			delete(sh.down, name)
			p.log.Info().Str("database", d.name).Str("shard", name).Msg("the catalogs of the shard can be read again")
		}
		some = true
	}
	if !some {
		return nil, failed
	}
	var known []catalog.Problem
	var empty []catalog.Difference
	if was == nil {
		empty = full.empty(nil)
	} else {
		known, empty = was.problems, full.empty(was.empty)
	}
	pl := sh.newPlanner(d.conf.Load(), cats, empty)
	for _, pr := range pl.problems {
		if slices.Contains(known, pr) {
			continue
		}
		p.log.Warn().Str("database", d.name).Str("table", pr.Relation.String()).Str("check", pr.Code).Msg(pr.Message)
	}
	pl.ddl, pl.missing, pl.pools, pl.unsure = ddl, failed != nil, pools, full.unsure
	pl.lacking = pl.unsure || slices.ContainsFunc(pl.problems, func(pr catalog.Problem) bool { return pr.Code == catalog.ProblemEmpty })
	pl.again.Store(now() + int64(catalogsAgain))
	sh.planner.Store(pl)
	return pl, nil
}

// newPlanner makes a planner of the catalogs of the shards, of which one that is not known is nil, and of the reference tables that lack rows.
func (sh *sharding) newPlanner(conf *config.Database, cats []*catalog.Catalog, empty []catalog.Difference) *planner {
	var known []catalog.Shard
	at := make([]int, len(cats)) // of each shard in known
	for i, name := range sh.m.Shards() {
		at[i] = -1
		if cats[i] != nil {
			at[i] = len(known)
			known = append(known, catalog.Shard{Name: name, Catalog: cats[i]})
		}
	}
	cat := catalog.Combine(func(n catalog.Name) int {
		if i := home(sh.m, n); i >= 0 {
			return at[i]
		}
		return -1
	}, known[0].Catalog, known[1:]...)
	cat.Differences = append(cat.Differences, empty...)
	problems := catalog.Check(cat, listed(sh.m), func(n catalog.Name) (catalog.Placement, bool) { return placement(sh.m, conf, n) }, conf.Waive)
	pl := &planner{DB: shard.NewDB(sh.m, cat, sh.cache, conf.ShardLocal...), problems: problems, empty: empty}
	pl.Refuse(problems)
	return pl
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

// ownCatalog reads the catalogs of a shard over a connection of our own, and the sizes of some tables.
func (pl *pool) ownCatalog(tables []catalog.Name) (cat *catalog.Catalog, sizes []int64, err error) {
	err = pl.askOwn(func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		if cat, err = catalog.Load(ctx, conn); err != nil {
			return err
		}
		sizes, err = catalog.Sizes(ctx, conn, tables)
		return err
	})
	if err != nil {
		return nil, nil, catalogError(pl.key.shard, err)
	}
	return cat, sizes, nil
}

// askOwn opens a connection of our own for some questions.
func (pl *pool) askOwn(use func(context.Context, *pgconn.PgConn) error) error {
	s, err := pl.openOwnAt(pl.config(), true)
	if err != nil {
		return err
	}
	defer s.close("the shard has answered")
	return s.lend(loadTimeout, use)
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
