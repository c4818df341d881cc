package pooler

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/internal/wire"
)

// peerAddr is where a client comes from.
type peerAddr struct {
	unix      bool
	ip        netip.Addr
	port      int
	local     netip.Addr
	localPort int
	pid       int // of the peer process, over a Unix socket
	uid       int // -1 over TCP
	osUser    string
}

func (a peerAddr) String() string {
	if a.unix {
		return fmt.Sprintf("unix(%d)", a.pid)
	}
	return netip.AddrPortFrom(a.ip, uint16(a.port)).String()
}

func addrOf(nc net.Conn) peerAddr {
	a := peerAddr{uid: -1}
	switch t := nc.(type) {
	case *net.TCPConn:
		if r, ok := t.RemoteAddr().(*net.TCPAddr); ok {
			a.ip, a.port = r.AddrPort().Addr().Unmap(), r.Port
		}
		if l, ok := t.LocalAddr().(*net.TCPAddr); ok {
			a.local, a.localPort = l.AddrPort().Addr().Unmap(), l.Port
		}
	case *net.UnixConn:
		a.unix = true
		if cred, err := auth.PeerCredentials(t); err == nil {
			a.pid, a.uid = cred.PID, int(cred.UID)
			if name, err := cred.UserName(); err == nil {
				a.osUser = name
			}
		}
	}
	return a
}

// serveConn takes a connection from accept to its end.
func (p *Pooler) serveConn(nc net.Conn) {
	addr := addrOf(nc)
	l := p.live.Load()
	set := &l.cfg.Settings
	p.logins.Add(1)
	inLogin := true
	p.enterLogin(nc)
	endLogin := func() {
		if inLogin {
			inLogin = false
			p.leaveLogin(nc)
			p.logins.Add(-1)
		}
	}
	defer endLogin()
	if set.ClientLoginTimeout > 0 {
		_ = nc.SetDeadline(time.Now().Add(set.ClientLoginTimeout))
	}
	lc, err := newLoginConn(nc)
	if err != nil {
		_ = nc.Close()
		return
	}
	conn, st, err := readStartup(lc, l.clientTLS)
	if err == nil && st.cancel != nil {
		p.cancelRequest(st.cancel)
		_ = conn.Close()
		return
	}
	if err == nil {
		err = p.login(conn, st, addr, l, endLogin)
	}
	if err != nil {
		p.rejected(conn, st, addr, err, set)
		_ = conn.Close()
	}
}

// enterLogin and leaveLogin keep the list of connections that Close has to interrupt.
func (p *Pooler) enterLogin(nc net.Conn) {
	p.mu.Lock()
	p.entering[nc] = struct{}{}
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		_ = nc.SetDeadline(past)
	}
}

func (p *Pooler) leaveLogin(nc net.Conn) {
	p.mu.Lock()
	delete(p.entering, nc)
	p.mu.Unlock()
}

// rejected tells a client why it may not come in.
func (p *Pooler) rejected(conn net.Conn, st *startup, addr peerAddr, err error, set *config.Settings) {
	var f fatalError
	var ae *auth.Error
	e := (*Error)(nil)
	switch {
	case errors.As(err, &f):
		e = f.e
	case errors.As(err, &ae):
		e = &Error{Severity: "FATAL", Code: ae.Code, Message: ae.Message}
	case errors.Is(err, os.ErrDeadlineExceeded):
		e = errProtocol("client_login_timeout")
		e.Detail = fmt.Sprintf("The login took longer than %s.", set.ClientLoginTimeout)
	}
	if e != nil {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(e.message())
	}
	if !set.LogPoolerErrors && !errors.Is(err, errQuiet) {
		return
	}
	ev := p.log.Warn()
	if errors.Is(err, errQuiet) || errors.Is(err, errClientGone) {
		ev = p.log.Debug()
	}
	if st != nil {
		ev = ev.Str("user", st.user).Str("database", st.database)
	}
	if e != nil {
		ev.Str("addr", addr.String()).AnErr("cause", err).Msg("pooler error: " + e.Message)
		return
	}
	ev.Str("addr", addr.String()).Err(err).Msg("login failed")
}

// messenger carries authentication messages.
type messenger struct {
	nc net.Conn
	r  *wire.Reader
}

func (m *messenger) SendAuth(code uint32, data []byte) error {
	b := []byte{'R', 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, code)
	b = append(b, data...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	_, err := m.nc.Write(b)
	return err
}

func (m *messenger) RecvPassword() ([]byte, error) {
	typ, body, err := m.r.Next()
	if err != nil {
		return nil, err
	}
	if typ != 'p' {
		return nil, fatalError{errProtocol("unknown pkt")}
	}
	return body, nil
}

// maxPassword bounds messages before a client has proved who it is, in bytes.
const maxPassword = 65530 + 64

// login authenticates a client. One of the admin database it serves; for any other it starts the goroutine that does,
// so that the stack that a login needs is not kept.
func (p *Pooler) login(nc net.Conn, st *startup, addr peerAddr, l *live, loggedIn func()) (err error) {
	cfg := l.cfg
	c := p.newClient(st, addr)
	defer func() {
		if err != nil {
			c.left()
		}
	}()
	if err := connect.CheckClientTLS(l.clientTLS.mode, st.tls != nil, addr.unix); err != nil {
		return fatalError{errProtocol(err.Error())}
	}
	if st.negotiate {
		if _, err := nc.Write(st.negotiateMessage()); err != nil {
			return errQuiet
		}
	}
	isAdmin := config.IsAdminDatabase(st.database) && st.repl == "none"
	if !isAdmin {
		if p.shutdown.Load() != 0 {
			return fatalError{fatal("57P01", "pooler is shutting down")}
		}
		n, limit := int(p.slots.Add(1)), cfg.MaxClientConn
		c.onLeave(func() { p.slots.Add(-1) })
		if n > limit {
			e := fatal("53300", "no more connections allowed (max_client_conn)")
			e.Detail = fmt.Sprintf("%d clients are connected; max_client_conn is %d.", n-1, limit)
			return fatalError{e}
		}
	}
	// Whether the database exists is told only to those who have proved who they are.
	var d *database
	known := isAdmin
	if !isAdmin {
		d, known = p.findDatabase(st.database)
	}
	c.onLeave(func() { p.killErrs.Delete(c) })
	res, err := p.authenticate(c, nc, st, addr, l, d, isAdmin)
	if err != nil {
		return err
	}
	if !known {
		e := &Error{Severity: "FATAL", Code: "3D000", Message: "no such database: " + st.database}
		e.Hint = "SHOW DATABASES on the admin database lists those that are configured."
		return fatalError{e}
	}
	c.creds = res
	if isAdmin {
		loggedIn()
		if err := p.serveAdmin(c, nc, st, addr, l); err != nil {
			return err
		}
		c.left()
		return nil
	}
	if d.disabled.Load() {
		return fatalError{&Error{
			Severity: "FATAL", Code: "57P03", Message: fmt.Sprintf("database %q is disabled", d.name),
			Hint: "ENABLE it on the admin console.",
		}}
	}
	return p.serveClient(c, nc, st, l, d, loggedIn)
}

func (p *Pooler) newClient(st *startup, addr peerAddr) *client {
	c := &client{
		p: p, id: p.lastID.Add(1), loginName: st.user, addr: addr, connected: time.Now(), repl: st.repl,
		wakeCh: make(chan struct{}, 1),
	}
	c.wait.ch = make(chan grant, 1)
	c.in.pool, c.sin.pool = p.bufs, p.bufs
	c.stepFn, c.relayFn = c.step, c.relayStep
	if st.tls != nil {
		c.tls = tlsName(*st.tls)
	}
	return c
}

// authenticate finds out who the client is, by auth_type or the HBA file.
func (p *Pooler) authenticate(c *client, nc net.Conn, st *startup, addr peerAddr, l *live, d *database, isAdmin bool) (auth.Result, error) {
	cfg := l.cfg
	if isAdmin && st.user == "pgbouncer" && addr.unix && addr.uid == os.Getuid() {
		return auth.Result{Method: auth.MethodPeer}, nil // PgBouncer's own door for local scripts
	}
	var method auth.Method
	req := auth.Request{
		User: st.user, ScramIterations: cfg.ScramIterations, PeerUser: addr.osUser, Ident: l.ident, MockLike: l.mock.kind, MockIterations: l.mock.iterations,
	}
	if st.tls != nil {
		req.ChannelBinding = l.binding
		req.CertCN, req.CertVerified = connect.ClientCert(st.tls)
	}
	if cfg.AuthType == "hba" {
		rule, ok := l.hba.Match(auth.HBAConn{
			Local: addr.unix, TLS: st.tls != nil, Addr: addr.ip, Database: st.database, User: st.user,
			Replication: st.repl == "physical",
		})
		if !ok {
			return auth.Result{}, auth.ErrNoMethod
		}
		method, req.MapName, req.RequireCert = rule.Method, rule.MapName, rule.ClientCert
	} else {
		m, err := auth.ParseMethod(cfg.AuthType)
		if err != nil {
			return auth.Result{}, fatalError{errProtocol("bouncer config error")}
		}
		method = m
	}
	req.Method = method
	if u := cfg.Users[st.user]; u != nil {
		req.Known = true
		req.Secret = auth.ParseSecret(string(u.Password))
	} else if method != auth.MethodAny {
		secret, ok, err := p.askUser(c, nc, st, l, d)
		if err != nil {
			return auth.Result{}, err
		}
		req.Known, req.Secret = ok, secret
	}
	ctx := p.ctx
	if cfg.ClientLoginTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.ClientLoginTimeout)
		defer cancel()
	}
	res, err := p.verifier.Authenticate(ctx, &messenger{nc: nc, r: wire.NewReader(nc, maxPassword)}, req)
	if err == nil && res.Plain == "" && req.Secret.Kind() == auth.KindPlain {
		res.Plain = req.Secret.Reveal() // from auth_query; what auth_file holds is found anyway
	}
	return res, err
}

// serveClient finishes the login of a client of a pool, and serves it until it has gone.
func (p *Pooler) serveClient(c *client, nc net.Conn, st *startup, l *live, d *database, loggedIn func()) error {
	cfg := l.cfg
	conf := d.conf.Load()
	u := p.findUser(st.user)
	c.db, c.user = d, u
	inDB, inUser := int(d.clients.Add(1)), int(u.clients.Add(1))
	d.usedAt.Store(now())
	c.onLeave(func() {
		d.clients.Add(-1)
		u.clients.Add(-1)
		d.usedAt.Store(now())
	})
	if n := cfg.DatabaseClientLimit(conf); n > 0 && inDB > n {
		e := fatal("53300", "client connections exceeded (max_db_client_connections)")
		e.Detail = fmt.Sprintf("Database %q may have %d clients.", d.name, n)
		return fatalError{e}
	}
	if n := cfg.UserClientLimit(st.user); n > 0 && inUser > n {
		e := fatal("53300", "client connections exceeded (max_user_client_connections)")
		e.Detail = fmt.Sprintf("User %q may have %d clients.", st.user, n)
		return fatalError{e}
	}
	serverUser := st.user
	if conf.User != "" {
		serverUser = conf.User
	} else if cfg.AuthType == "any" {
		return fatalError{&Error{
			Severity: "FATAL", Code: "28000", Message: "no such user",
			Hint: "auth_type = any needs a user in the database's entry.",
		}}
	}
	c.pool = p.findPool(d, serverUser, st.repl)
	c.mode = c.pool.conf.Load().PoolMode
	if st.repl != "none" {
		c.mode = config.PoolSession
	}
	c.maxStmts = cfg.MaxPreparedStatements
	c.noPQExec = cfg.DisablePQExec
	c.tracking = c.mode != config.PoolSession && c.maxStmts > 0
	if serverUser == st.user {
		c.pool.creds.Store(&c.creds)
	}
	var err error
	if c.conn == nil {
		if c.conn, err = newConn(nc); err != nil {
			return fatalError{errProtocol("bouncer resources exhaustion")}
		}
	}
	c.pool.join(1)
	c.onLeave(func() { c.pool.join(-1) })
	welcome, err := c.welcome()
	if err != nil {
		return err
	}
	hello := c.hello(st, welcome, cfg)
	if lc, ok := nc.(*loginConn); ok && len(lc.excess()) > 0 {
		c.in.w = copy(c.in.room(), lc.excess())
	}
	_ = nc.SetDeadline(time.Time{})
	c.state.Store(stateIdle)
	c.idleAt.Store(now())
	if err := p.watch.add(c.conn.fd(), c); err != nil {
		p.forgetKey(c.cancelKey)
		return fatalError{errProtocol("bouncer resources exhaustion")}
	}
	// It is on the books before it hears that it is in: whoever knows of the client finds it there.
	p.mu.Lock()
	p.clients[c.id] = c
	p.mu.Unlock()
	if d.dropped.Load() {
		c.kill(errDatabaseGone(d.name))
	}
	if p.ctx.Err() != nil { // Close may not have seen it
		c.kill(errShutdown())
	}
	c.pool.counters.Logins.Add(1)
	loggedIn()
	p.logLogin(c)
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		c.run(hello)
		c.left()
	}()
	return nil
}

// onLeave adds to what is done when the client has gone, or could not come in.
func (c *client) onLeave(f func()) { c.leave = append(c.leave, f) }

func (c *client) left() {
	for _, f := range c.leave {
		f()
	}
	c.leave = nil
}

// welcome returns what the servers of the pool report at login. The first client waits for a server to learn it.
func (c *client) welcome() ([]connect.Param, error) {
	pl := c.pool
	pl.mu.Lock()
	w := pl.welcome
	pl.mu.Unlock()
	if w != nil {
		return w, nil
	}
	s, err := c.takeAtLogin()
	var e *Error
	var f fatalError
	if err != nil && !errors.As(err, &f) && errors.As(err, &e) {
		e.Severity = "FATAL"
		return nil, fatalError{e}
	}
	if err != nil {
		return nil, err
	}
	w = s.sc.Params
	pl.free(s)
	return w, nil
}

// takeAtLogin takes a server for a client that has not logged in yet. A client that leaves meanwhile gives up its place in
// the queue, and client_login_timeout goes on counting.
func (c *client) takeAtLogin() (*server, error) {
	s, err := c.pool.take(c)
	if err != nil || s != nil {
		return s, err
	}
	if err := c.p.watch.add(c.conn.fd(), c); err != nil {
		c.p.log.Error().Err(err).Msg("watching a client failed") // it waits all the same
	}
	defer c.p.watch.release(c.conn.fd())
	defer context.AfterFunc(c.p.ctx, func() { c.kill(errShutdown()) })()
	deadline := time.Time{}
	if limit := c.p.settings().ClientLoginTimeout; limit > 0 {
		deadline = c.connected.Add(limit)
		t := time.AfterFunc(time.Until(deadline), func() {
			e := errProtocol("client_login_timeout (server down)")
			e.Detail = fmt.Sprintf("The login took longer than %s, most of it waiting for a server connection.", limit)
			c.kill(e)
		})
		defer t.Stop()
	}
	s, err = c.waitForServer(now())
	if err == nil {
		_ = c.conn.netConn().SetDeadline(deadline) // waiting has cleared it
	}
	return s, err
}

// greeting is what every client of a pool with the same startup parameters begins with.
type greeting struct {
	session session
	app     string
	message []byte // AuthenticationOk and the ParameterStatus messages
}

// maxGreetings bounds how many a pool remembers.
const maxGreetings = 64

// hello builds everything from AuthenticationOk to ReadyForQuery, and sets what the session begins with.
func (c *client) hello(st *startup, welcome []connect.Param, cfg *config.Config) []byte {
	g := c.greeting(st, welcome, cfg)
	c.session = g.session
	c.appName.Store(&g.app)
	c.cancelKey = c.p.newKey(c, st.minor)
	b := make([]byte, 0, len(g.message)+64)
	b = appendBackendKey(append(b, g.message...), c.cancelKey)
	if m := cfg.LoginNotifyMessage; m != "" {
		b = append(b, (&Error{Severity: "NOTICE", Code: "00000", Message: m}).message()...)
	}
	return appendReady(b, 'I')
}

// greeting returns the pool's greeting for these parameters, making it if need be.
func (c *client) greeting(st *startup, welcome []connect.Param, cfg *config.Config) *greeting {
	own := slices.DeleteFunc(slices.Clone(st.params), func(q param) bool {
		return slices.ContainsFunc(cfg.IgnoreStartupParameters, func(n string) bool { return strings.EqualFold(n, q.name) })
	})
	if cfg.ApplicationNameAddHost {
		app := "app"
		for _, q := range own {
			if strings.EqualFold(q.name, "application_name") && q.value != "" {
				app = q.value
			}
		}
		return newGreeting(append(own, param{"application_name", app + " - " + c.addr.String()}), welcome, c.p.extra)
	}
	var key strings.Builder
	for _, q := range own {
		key.WriteString(q.name)
		key.WriteByte(0)
		key.WriteString(q.value)
		key.WriteByte(0)
	}
	pl := c.pool
	pl.mu.Lock()
	g := pl.greetings[key.String()]
	pl.mu.Unlock()
	if g != nil && len(g.welcome) == len(welcome) && (len(welcome) == 0 || &g.welcome[0] == &welcome[0]) {
		return g.greeting
	}
	fresh := newGreeting(own, welcome, c.p.extra)
	pl.mu.Lock()
	if pl.greetings == nil || len(pl.greetings) >= maxGreetings {
		pl.greetings = map[string]*knownGreeting{}
	}
	pl.greetings[key.String()] = &knownGreeting{fresh, welcome}
	pl.mu.Unlock()
	return fresh
}

// knownGreeting is a greeting with the welcome that it was made from.
type knownGreeting struct {
	*greeting
	welcome []connect.Param
}

func newGreeting(own []param, welcome []connect.Param, extra []string) *greeting {
	var ps []param
	for _, w := range welcome {
		if isFollowing(w.Name, extra) {
			ps = append(ps, param{w.Name, w.Value})
		}
	}
	g := &greeting{message: []byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}}
	for i, q := range own {
		if strings.EqualFold(q.name, "application_name") {
			g.app = q.value
		}
		for _, w := range welcome { // in the server's spelling, so that they are one
			if strings.EqualFold(w.Name, q.name) {
				own[i].name = w.Name
			}
		}
	}
	g.session = newSession(makeEnv(append(ps, own...)))
	for _, w := range welcome {
		v := w.Value
		if isFollowing(w.Name, extra) {
			if own, ok := envGet(g.session.all, w.Name); ok {
				v = own
			}
		}
		g.message = appendParameterStatus(g.message, w.Name, v)
	}
	return g
}

func appendBackendKey(b, key []byte) []byte {
	b = append(b, 'K')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(key)))
	return append(b, key...)
}

// Layout of cancel keys, in the 8 bytes of protocol 3.0: the sign bit of byte 0 is clear, bytes 1 and 2 hold the
// peer number (little-endian), the low two bits of byte 7 how many more peers may pass a request on. Protocol 3.2
// has 32 more random bytes behind them.
const (
	keyLen     = 8
	longKeyLen = keyLen + 28
	keyHops    = 3
)

// newKey makes a cancel key and enters it for c.
func (p *Pooler) newKey(c any, minor int) []byte {
	n := keyLen
	if minor >= 2 {
		n = longKeyLen
	}
	key := make([]byte, n)
	peer := p.settings().PeerID
	for {
		_, _ = rand.Read(key) // never fails
		key[0] &= 0x7f
		key[1], key[2] = byte(peer), byte(peer>>8)
		key[7] = key[7]&^3 | keyHops
		p.mu.Lock()
		_, taken := p.keys[string(key)]
		if !taken {
			p.keys[string(key)] = c
		}
		p.mu.Unlock()
		if !taken {
			return key
		}
	}
}

func (p *Pooler) forgetKey(key []byte) {
	p.mu.Lock()
	delete(p.keys, string(key))
	p.mu.Unlock()
}

// clientGone takes a client off the books.
func (p *Pooler) clientGone(c *client, err error) {
	p.forgetKey(c.cancelKey)
	p.killErrs.Delete(c)
	p.mu.Lock()
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
