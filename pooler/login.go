package pooler

import (
	"errors"
	"fmt"
	"os"
	"time"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// serveConn takes a connection from accept to its end.
func (p *Pooler) serveConn(nc *accepted) {
	if c, hello := p.enter(nc); c != nil {
		c.run(hello)
		c.left()
	}
}

// enter logs a client in and returns it, with what it is told then. Requests to cancel and sessions of the admin database end here; nil is returned
// for those, and for who may not come in.
func (p *Pooler) enter(nc *accepted) (c *client, hello []byte) {
	in := p.openEntrance(nc)
	defer in.close()
	lc, err := newLoginConn(nc)
	if err != nil {
		_ = nc.Close()
		return nil, nil
	}
	in.nc, in.st, err = readStartup(lc, in.live.clientTLS)
	if err == nil && in.st.cancel != nil {
		p.cancelRequest(in.st.cancel)
		_ = in.nc.Close()
		return nil, nil
	}
	if err == nil {
		c, hello, err = in.login()
	}
	if err != nil {
		in.reject(err)
		return nil, nil
	}
	return c, hello
}

// reject tells a client why it may not come in, and closes its connection.
func (in *entrance) reject(err error) {
	defer func() { _ = in.nc.Close() }()
	var f fatalError
	var ae *auth.Error
	e := (*Error)(nil)
	switch {
	case errors.As(err, &f):
		e = f.e
	case errors.As(err, &ae):
		e = &Error{Severity: "FATAL", Code: ae.Code, Message: ae.Message}
	case errors.Is(err, os.ErrDeadlineExceeded):
		e = in.ended()
	}
	in.close()
	if e != nil {
		_ = in.nc.SetDeadline(time.Now().Add(time.Second))
		_, _ = in.nc.Write(append(in.unsaid, e.message()...))
	}
	if !in.live.cfg.LogPoolerErrors && !errors.Is(err, errQuiet) {
		return
	}
	ev := in.p.log.Warn()
	if errors.Is(err, errQuiet) || errors.Is(err, errClientGone) {
		ev = in.p.log.Debug()
	}
	if in.st != nil {
		ev = ev.Str("user", in.st.user).Str("database", in.st.database)
	}
	if e != nil {
		ev.Str("addr", in.addr.String()).AnErr("cause", err).Msg("pooler error: " + e.Message)
		return
	}
	ev.Str("addr", in.addr.String()).Err(err).Msg("login failed")
}

// login authenticates a client, and serves it if it wants the admin database: then it returns nil.
func (in *entrance) login() (_ *client, hello []byte, err error) {
	p, st, cfg := in.p, in.st, in.live.cfg
	c := p.newClient(st, in.addr)
	defer func() {
		if err != nil {
			c.left()
		}
	}()
	if err := connect.CheckClientTLS(in.live.clientTLS.mode, st.tls != nil, in.addr.unix); err != nil {
		return nil, nil, fatalError{errProtocol(err.Error())}
	}
	if st.negotiate {
		if _, err := in.nc.Write(st.negotiateMessage()); err != nil {
			return nil, nil, errQuiet
		}
	}
	isAdmin := config.IsAdminDatabase(st.database) && st.repl == "none"
	if !isAdmin {
		if p.shutdown.Load() != 0 {
			return nil, nil, fatalError{fatal("57P01", "pooler is shutting down")}
		}
		n, limit := int(p.slots.Add(1)), cfg.MaxClientConn
		c.counted.total = true
		if n > limit {
			e := fatal("53300", "no more connections allowed (max_client_conn)")
			e.Detail = fmt.Sprintf("%d clients are connected; max_client_conn is %d.", n-1, limit)
			return nil, nil, fatalError{e}
		}
	}
	// Whether the database exists is told only to those who have proved who they are.
	var d *database
	known := isAdmin
	if !isAdmin {
		d, known = p.peekDatabase(st.database)
	}
	res, err := in.authenticate(c, d, isAdmin)
	if err != nil {
		return nil, nil, err
	}
	if !known {
		e := &Error{Severity: "FATAL", Code: "3D000", Message: "no such database: " + st.database}
		e.Hint = "SHOW DATABASES on the admin database lists those that are configured."
		return nil, nil, fatalError{e}
	}
	c.creds = res
	if isAdmin {
		in.close()
		if err := in.serveAdmin(c); err != nil {
			return nil, nil, err
		}
		c.left()
		return nil, nil, nil
	}
	if d, known = p.findDatabase(st.database); !known { // a reload has taken it away meanwhile
		return nil, nil, fatalError{errDatabaseGone(st.database)}
	}
	if d.disabled.Load() {
		return nil, nil, fatalError{&Error{
			Severity: "FATAL", Code: "57P03", Message: fmt.Sprintf("database %q is disabled", d.name),
			Hint: "ENABLE it on the admin console.",
		}}
	}
	if hello, err = in.joinPool(c, d); err != nil {
		return nil, nil, err
	}
	return c, hello, nil
}

func (p *Pooler) newClient(st *startup, addr peerAddr) *client {
	c := &client{
		p: p, id: p.lastID.Add(1), loginName: st.user, addr: addr, connected: time.Now(), repl: st.repl,
		bell: make(chan struct{}, 1), initial: noEnv,
	}
	c.in.pool, c.sin.pool = p.bufs, p.bufs
	c.replies.init()
	c.stepFn = func(uintptr) bool { return c.step() }
	c.relayFn = func(uintptr) bool { return c.relayStep() }
	if st.tls != nil {
		c.tls = tlsName(*st.tls)
	}
	return c
}

// joinPool finishes the login of a client of a pool, and returns what it is told.
func (in *entrance) joinPool(c *client, d *database) (hello []byte, err error) {
	p, st, cfg := in.p, in.st, in.live.cfg
	conf := d.conf.Load()
	u := p.findUser(st.user)
	c.db, c.user = d, u
	inDB, inUser := int(d.clients.Add(1)), int(u.clients.Add(1))
	d.usedAt.Store(now())
	c.counted.names = true
	if n := cfg.DatabaseClientLimit(conf); n > 0 && inDB > n {
		e := fatal("53300", "client connections exceeded (max_db_client_connections)")
		e.Detail = fmt.Sprintf("Database %q may have %d clients.", d.name, n)
		return nil, fatalError{e}
	}
	if n := cfg.UserClientLimit(st.user); n > 0 && inUser > n {
		e := fatal("53300", "client connections exceeded (max_user_client_connections)")
		e.Detail = fmt.Sprintf("User %q may have %d clients.", st.user, n)
		return nil, fatalError{e}
	}
	serverUser := u.name
	if conf.User != "" {
		serverUser = conf.User
	} else if cfg.AuthType == "any" {
		return nil, fatalError{&Error{
			Severity: "FATAL", Code: "28000", Message: "no such user",
			Hint: "auth_type = any needs a user in the database's entry.",
		}}
	}
	key := poolKey{database: d.name, shard: d.firstShard(), user: serverUser, replication: st.repl}
	if st.repl != "none" {
		key.startup = makeEnv(c.startupParams(st, cfg))
	}
	c.pool = p.poolOf(d, key)
	c.home = c.pool
	c.mode = c.pool.conf.Load().PoolMode
	if st.repl != "none" {
		c.mode = config.PoolSession
	}
	c.maxStmts = cfg.MaxPreparedStatements
	c.noPQExec = cfg.DisablePQExec
	if d.sharding.Load() != nil {
		if st.repl != "none" {
			return nil, fatalError{errShardedReplication(d.name)}
		}
		c.mode = config.PoolTransaction
		c.router = newRouter(c, d)
		c.pool = c.router.greeter()
		c.home = c.pool
	}
	c.tracking = c.mode != config.PoolSession && c.maxStmts > 0
	if serverUser == u.name && c.router == nil {
		c.pool.learn(&c.creds)
	}
	if c.conn == nil {
		if c.conn, err = newConn(in.nc); err != nil {
			return nil, fatalError{errProtocol("bouncer resources exhaustion")}
		}
	}
	c.home.join(1)
	c.counted.pool = true
	welcome, err := c.welcome(in)
	if err != nil {
		return nil, err
	}
	hello = c.hello(in, welcome)
	if lc, ok := in.nc.(*loginConn); ok && len(lc.excess()) > 0 {
		c.in.w = copy(c.in.room(), lc.excess())
	}
	_ = in.nc.SetDeadline(time.Time{})
	c.state.Store(stateIdle)
	c.idleAt.Store(now())
	// It is on the books before it hears that it is in: whoever knows of the client finds it there.
	p.mu.Lock()
	p.clients[c.id] = c
	delete(p.entrances, in)
	p.mu.Unlock()
	in.closed = true
	if d.dropped.Load() {
		c.kill(errDatabaseGone(d.name))
	}
	if e := in.ended(); e != nil { // at this very moment
		c.kill(e)
	}
	c.pool.counters.Logins.Add(1)
	p.logLogin(c)
	return hello, nil
}

// counted says in which numbers of clients one is counted.
type counted struct {
	total bool // max_client_conn
	names bool // its database's and its user's
	pool  bool
}

// left takes the client, which has gone or could not come in, out of all numbers.
func (c *client) left() {
	in := c.counted
	c.counted = counted{}
	if in.total {
		c.p.slots.Add(-1)
	}
	if in.names {
		c.db.clients.Add(-1)
		c.user.clients.Add(-1)
		c.db.usedAt.Store(now())
	}
	if in.pool {
		c.home.join(-1)
		if c.repl != "none" { // what the login has opened and nobody has used
			for _, s := range c.home.takeIdle(func(*server) bool { return true }) {
				s.close("replication connection done")
			}
		}
	}
}

// clientGone takes a client off the books.
func (p *Pooler) clientGone(c *client, err error) {
	p.mu.Lock()
	delete(p.keys, string(c.cancelKey))
	delete(p.clients, c.id)
	p.mu.Unlock()
	p.logLogout(c, err)
	p.changed()
}

// join counts a client of the pool in or out.
func (pl *pool) join(n int) {
	pl.mu.Lock()
	pl.nclients += n
	pl.mu.Unlock()
}
