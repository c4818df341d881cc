package pooler

import (
	"slices"
	"strings"
	"sync/atomic"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/stats"
)

// poolCounters belong to a pool's name.
type poolCounters struct {
	counters                        stats.Counters
	queries, xacts, waits, connects stats.Histogram
}

// database is what belongs to a database's name and survives reloads.
type database struct {
	name string
	conf atomic.Pointer[config.Database]
	auto bool // registered through "*"
	pause
	disabled atomic.Bool
	clients  atomic.Int32
	usedAt   atomic.Int64 // for autodb_idle_timeout
	dropped  atomic.Bool
	looking  atomic.Bool                       // for deadlocks
	ddl      atomic.Uint64                     // counts commands seen that may change what a statement returns
	sharding atomic.Pointer[sharding]          // nil without shards
	settled  *shardMap                         // the last map that the rows are known to be placed by; of reloads, which come one after the other
	moved    atomic.Pointer[[]catalog.Problem] // what the map in force looks for elsewhere
	retired  []*retired                        // servers that were its shards before; guarded by Pooler.mu
}

// user is what belongs to a user's name, as a login or on servers.
type user struct {
	name    string
	clients atomic.Int32
	seen    atomic.Bool // through auth_query
}

// findDatabase returns the database of that name, registering it if the configuration has it or a template.
func (p *Pooler) findDatabase(name string) (*database, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.databaseLocked(name)
	if ok && p.databases[name] == nil {
		p.databases[d.name] = d
		if d.auto {
			p.log.Info().Str("database", d.name).Msg("registered new auto-database: " + d.name)
		}
	}
	return d, ok
}

// peekDatabase is findDatabase for somebody who has yet to prove who he is: a name that "*" stands for is not registered, which would let him
// fill our memory.
func (p *Pooler) peekDatabase(name string) (*database, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.databaseLocked(name)
}

// databaseLocked is findDatabase without registering anything. The caller holds mu.
func (p *Pooler) databaseLocked(name string) (*database, bool) {
	if d := p.databases[name]; d != nil {
		return d, true
	}
	conf, auto := p.live.Load().cfg.FindDatabase(name)
	if conf == nil || config.IsAdminDatabase(name) {
		return nil, false
	}
	name = strings.Clone(name) // it is part of a startup packet
	d := &database{name: name, auto: auto}
	d.conf.Store(conf)
	d.settled = p.live.Load().maps[name]
	d.setMap(d.settled)
	d.usedAt.Store(now())
	return d, true
}

func (p *Pooler) findUser(name string) *user {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.userLocked(name)
}

func (p *Pooler) userLocked(name string) *user {
	u := p.users[name]
	if u == nil {
		name = strings.Clone(name) // it is part of a startup packet
		u = &user{name: name}
		p.users[name] = u
	}
	return u
}

// findPool returns the pool for clients of d that use the server user. A sharded database has one for each shard; shard is
// "" for others.
func (p *Pooler) findPool(d *database, shard, serverUser, replication string) *pool {
	return p.poolOf(d, poolKey{database: d.name, shard: shard, user: serverUser, replication: replication})
}

// poolOf is findPool by key.
func (p *Pooler) poolOf(d *database, k poolKey) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.pools[k]; pl != nil && pl.db == d {
		return pl
	}
	counted := k
	counted.startup = env{} // clients make these up, and counters stay for ever
	pc := p.counters[counted]
	if pc == nil {
		pc = &poolCounters{}
		p.counters[counted] = pc
	}
	pl := &pool{
		p: p, key: k, db: d, user: p.userLocked(k.user), log: p.log,
		counters: &pc.counters, queries: &pc.queries, xacts: &pc.xacts, waits: &pc.waits, connects: &pc.connects,
		servers: map[*server]struct{}{}, readied: map[*client]struct{}{},
	}
	set := p.live.Load().cfg.PoolSettings(d.conf.Load(), k.user)
	pl.conf.Store(&set)
	p.pools[k] = pl
	return pl
}

// config is what the configuration says of the pool's servers; nil if it does not have the shard any more.
func (pl *pool) config() *config.Database {
	d := pl.db.conf.Load()
	if pl.key.shard != "" {
		return d.ShardServer(pl.key.shard)
	}
	return d
}

func (p *Pooler) allPools() []*pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*pool, 0, len(p.pools))
	for _, pl := range p.pools {
		out = append(out, pl)
	}
	return out
}

// poolsOf returns the pools of a database, of all of them for "".
func (p *Pooler) poolsOf(name string) []*pool {
	return slices.DeleteFunc(p.allPools(), func(pl *pool) bool { return name != "" && pl.key.database != name })
}

func (p *Pooler) allClients() []*client {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*client, 0, len(p.clients))
	for _, c := range p.clients {
		out = append(out, c)
	}
	return out
}

// removeDatabase closes everything of a database.
func (p *Pooler) removeDatabase(d *database, why string) {
	d.dropped.Store(true)
	for _, c := range p.allClients() {
		if c.db == d {
			c.kill(errDatabaseGone(d.name))
		}
	}
	for _, pl := range p.allPools() {
		if pl.db == d {
			p.dropPool(pl, why)
		}
	}
}

// dropPool takes a pool out of service; servers that are in use close when they come back.
func (p *Pooler) dropPool(pl *pool, why string) {
	pl.mu.Lock()
	pl.dropped = true
	for s := range pl.servers {
		s.closeNeeded.Store(true)
	}
	pl.mu.Unlock()
	p.mu.Lock()
	if p.pools[pl.key] == pl {
		delete(p.pools, pl.key)
	}
	p.mu.Unlock()
	pl.retireHubs(why)
	pl.dropOwn(why)
	for _, s := range pl.takeIdle(func(*server) bool { return true }) {
		s.close(why)
	}
}
