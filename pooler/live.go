package pooler

import (
	"crypto/tls"
	"fmt"
	"strings"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// live is everything that is derived from one configuration, replaced as a whole by a reload.
type live struct {
	cfg       *config.Config
	method    auth.Method // auth_type, unless that is hba
	hba       *auth.HBA
	ident     *auth.Ident
	clientTLS sideTLS
	binding   []byte               // channel binding data of our certificate, nil without one
	mock      mock                 // what users that do not exist look like
	serverTLS map[string]sideTLS   // by database, of a shard by shardKey; "" is the global one
	maps      map[string]*shardMap // of the databases that have shards
}

func (p *Pooler) settings() *config.Settings { return &p.live.Load().cfg.Settings }

// Prepare checks a configuration and returns the function that puts it in force. It is a [config.Prepare].
func (p *Pooler) Prepare(_, next *config.Config) (commit func(), err error) {
	l, err := derive(next)
	if err != nil {
		return nil, err
	}
	return func() { p.apply(l) }, nil
}

// derive makes everything that depends on one configuration, reading its TLS files.
func derive(next *config.Config) (_ *live, err error) {
	l := &live{cfg: next, serverTLS: map[string]sideTLS{}, maps: map[string]*shardMap{}, mock: mockOf(next)}
	if next.HBA != nil {
		if l.hba, err = auth.ParseHBA(next.AuthHBAFile, next.HBA); err != nil {
			return nil, err
		}
	}
	if next.Ident != nil {
		if l.ident, err = auth.ParseIdent(next.AuthIdentFile, next.Ident); err != nil {
			return nil, err
		}
	}
	if next.AuthType != "hba" {
		if l.method, err = auth.ParseMethod(next.AuthType); err != nil {
			return nil, err
		}
	}
	if l.clientTLS.cfg, l.clientTLS.mode, err = connect.ClientSideTLS(&next.Settings); err != nil {
		return nil, err
	}
	l.binding = connect.ChannelBinding(l.clientTLS.cfg)
	for name, d := range next.Databases {
		if l.serverTLS[name], err = serverTLS(&next.Settings, d); err != nil {
			return nil, fmt.Errorf("database %q: %w", name, err)
		}
		m, err := newMap(d)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		l.maps[name] = m
		for _, s := range d.Shards {
			key := shardKey(name, s.Name)
			if l.serverTLS[key], err = serverTLS(&next.Settings, d.ShardServer(s.Name)); err != nil {
				return nil, fmt.Errorf("database %q, shard %q: %w", name, s.Name, err)
			}
		}
	}
	if l.serverTLS[""], err = serverTLS(&next.Settings, nil); err != nil {
		return nil, err
	}
	return l, nil
}

// apply puts l in force. Pools that it does not concern keep their connections.
func (p *Pooler) apply(l *live) {
	prev := p.live.Swap(l)
	next := l.cfg
	p.maxPacket.Store(next.MaxPacketSize)
	p.logQueries.Store(next.LogQueries)
	p.resolver.SetTTL(next.DNSMaxTTL, next.DNSNXDomainTTL)
	if prev == nil {
		for name := range next.Databases {
			if name != "*" {
				_, _ = p.findDatabase(name)
			}
		}
		return
	}
	p.mu.Lock()
	var gone []*database
	var stale, removed []*pool
	var mapped []*database
	for name, d := range p.databases {
		conf, auto := next.FindDatabase(name)
		if conf == nil {
			gone = append(gone, d)
			delete(p.databases, name)
			continue
		}
		old := d.conf.Load()
		if old.Sharded() != conf.Sharded() { // sessions cannot change from one kind to the other: it is another database
			gone = append(gone, d)
			delete(p.databases, name)
			continue
		}
		d.auto = auto
		d.conf.Store(conf)
		d.setMap(l.maps[name])
		mapped = append(mapped, d)
		p.retire(d, old)
		for k, pl := range p.pools {
			switch {
			case k.database != name || l.sameServer(prev, old, conf, k.shard):
			case pl.config() == nil:
				removed = append(removed, pl)
			default:
				stale = append(stale, pl)
			}
		}
	}
	pools := make([]*pool, 0, len(p.pools))
	for _, pl := range p.pools {
		pools = append(pools, pl)
	}
	p.mu.Unlock()
	for name := range next.Databases {
		if name != "*" {
			_, _ = p.findDatabase(name)
		}
	}
	for _, d := range mapped {
		p.noteMoved(d, l.maps[d.name], next.RowsAccepted == d.name)
	}
	for _, d := range gone {
		p.removeDatabase(d, "database removed")
	}
	for _, pl := range removed {
		p.dropPool(pl, "shard removed")
		pl.dismiss()
	}
	for _, pl := range stale {
		pl.markStale()
	}
	for _, pl := range pools {
		set := next.PoolSettings(pl.db.conf.Load(), pl.key.user)
		pl.conf.Store(&set)
		pl.mu.Lock()
		if pl.loginErr { // it may be what the change has mended
			pl.retryAt, pl.failures, pl.loginErr = 0, 0, false
		}
		pl.grow()
		pl.mu.Unlock()
	}
	p.evictExcess(pools)
	p.shrink(pools)
	p.freed(nil)
}

// sideTLS is the TLS of one side: towards clients, or towards the servers of one database.
type sideTLS struct {
	mode     string
	cfg      *tls.Config // nil under "disable"
	settings string      // all settings that went in; the contents of files do not count as a change
}

func serverTLS(set *config.Settings, d *config.Database) (t sideTLS, err error) {
	t.cfg, t.mode, err = connect.ServerSideTLS(set, d)
	t.settings = strings.Join([]string{
		t.mode, set.ServerTLSCAFile, set.ServerTLSCertFile, set.ServerTLSKeyFile, set.ServerTLSProtocols,
		set.ServerTLSCiphers, set.ServerTLS13Ciphers,
	}, "\x00")
	if d != nil {
		t.settings += strings.Join([]string{"", d.ServerTLSCAFile, d.ServerTLSCertFile, d.ServerTLSKeyFile}, "\x00")
	}
	return t, err
}

// shardKey is the name of a shard's TLS in live.serverTLS.
func shardKey(database, shard string) string { return database + "\x00" + shard }

// sameServer reports whether what is open to the servers of a pool, or of a shard, stays as it is.
func (l *live) sameServer(prev *live, old, conf *config.Database, shard string) bool {
	if shard != "" {
		was, is := old.ShardServer(shard), conf.ShardServer(shard)
		return was != nil && is != nil && was.SameServer(is) && l.serverTLSFor(is, shard).settings == prev.serverTLSFor(was, shard).settings
	}
	return len(conf.Shards) == 0 && old.SameServer(conf) && l.serverTLSFor(conf, "").settings == prev.serverTLSFor(old, "").settings
}

func (l *live) serverTLSFor(d *config.Database, shard string) sideTLS {
	for _, name := range [...]string{shardKey(d.Name, shard), d.Name, "*"} {
		if t, ok := l.serverTLS[name]; ok {
			return t
		}
	}
	return l.serverTLS[""]
}

// evictExcess closes idle servers of pools that are larger than they may be now.
func (p *Pooler) evictExcess(pools []*pool) {
	for _, pl := range pools {
		pl.mu.Lock()
		set := pl.conf.Load()
		excess := len(pl.servers) - set.PoolSize - set.ReservePoolSize
		pl.mu.Unlock()
		if pl.key.replication != "none" {
			continue
		}
		for _, s := range pl.takeIdle(func(*server) bool { excess--; return excess >= 0 }) {
			s.close("pool_size was lowered")
		}
	}
}
