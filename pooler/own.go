package pooler

import (
	"slices"

	"pgdrover/internal/config"
)

// Recovery keeps one connection of ours to each shard open between its rounds, so that a healthy database at rest sees no logins. It is in
// pool.own and not among the pool's servers: no client gets it, and nobody waits for it to go. Whoever needs it takes it, or opens another one if
// it is taken, and brings it back. It counts towards the limits that span pools, and goes first when a client needs the room.

// takeOwn returns the connection that is kept, if it is to the server that conf describes, or a new one. It is given back with keepOwn, or closed.
func (pl *pool) takeOwn(conf *config.Database) (*server, error) {
	pl.mu.Lock()
	s, mark := pl.own, pl.marks
	if s != nil && conf != nil && s.conf.SameServer(conf) {
		pl.own = nil
	} else {
		s = nil
	}
	pl.mu.Unlock()
	if s != nil {
		if !s.dead.Load() {
			s.state.Store(serverActive)
			s.linkedAt.Store(now())
			return s, nil
		}
		s.close("server closed the connection")
	}
	s, err := pl.openOwnAt(conf, true)
	if err != nil {
		return nil, err
	}
	s.mark = mark
	if err := pl.p.watch.add(s.conn.fd(), s); err != nil {
		s.close(err.Error())
		return nil, err
	}
	return s, nil
}

// keepOwn takes back a connection whose session is as it was after the login.
func (pl *pool) keepOwn(s *server) {
	p := pl.p
	why := ""
	conf := pl.config()
	switch {
	case p.shutdown.Load() != 0 || p.ctx.Err() != nil:
		why = "shutdown"
	case p.resting(pl.db):
		why = "paused"
	case p.blocked.Load() > 0:
		why = "evicted: a client waits for this connection"
	}
	pl.mu.Lock()
	switch {
	case why != "":
	case pl.own != nil:
		why = "another one is kept"
	case pl.dropped || s.mark != pl.marks || conf == nil || !s.conf.SameServer(conf):
		why = "close_needed"
	case now()-s.createdAt >= int64(pl.conf.Load().ServerLifetime):
		why = "server lifetime over"
	default:
		s.state.Store(serverIdle)
		pl.own = s
	}
	pl.mu.Unlock()
	switch {
	case why != "":
		s.close(why)
	case s.dead.Load():
		pl.dropIdle(s)
	}
}

// dropOwn closes the connection that is kept, and reports whether there was one.
func (pl *pool) dropOwn(why string) bool {
	pl.mu.Lock()
	s := pl.own
	pl.own = nil
	pl.mu.Unlock()
	if s == nil {
		return false
	}
	s.close(why)
	return true
}

// sweepOwn closes the connections that no round of recovery will use: the shard was taken out, or another role recovers now.
func (p *Pooler) sweepOwn() {
	for _, pl := range p.allPools() {
		sh := pl.db.sharding.Load()
		if sh == nil || pl.key.user != pl.db.conf.Load().RecoveryUser || !slices.Contains(sh.m.Shards(), pl.key.shard) ||
			p.shutdown.Load() != 0 || p.resting(pl.db) {
			pl.dropOwn("no longer needed")
		}
	}
}

// resting reports whether a database is paused, and nothing of it is left that PAUSE has waited for.
func (p *Pooler) resting(d *database) bool {
	return (p.paused.Load() || d.paused.Load()) && !p.busy(d.name)
}

// busy reports whether PAUSE has to wait for something of a database, "" for all of them.
func (p *Pooler) busy(name string) bool {
	return slices.ContainsFunc(p.poolsOf(name), func(pl *pool) bool {
		pl.mu.Lock()
		defer pl.mu.Unlock()
		return len(pl.servers) > 0 || pl.connecting > 0 || len(pl.allHubs) > 0
	})
}
