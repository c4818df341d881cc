package pooler

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/internal/stats"
)

// Pooler is the data plane: listeners, clients, pools, servers.
type Pooler struct {
	cfg      config.Controller
	log      zerolog.Logger
	admin    AdminServer
	watch    *watcher
	bufs     *bufPool
	stmts    *stmtTable
	ledger   *ledger
	hasher   *auth.Hasher
	verifier *auth.Verifier
	resolver *connect.Resolver
	extra    []string // track_extra_parameters; fixed at start

	live       atomic.Pointer[live]
	maxPacket  atomic.Int64
	logQueries atomic.Bool
	paused     atomic.Bool // PAUSE without a database
	blocked    atomic.Int32
	shutdown   atomic.Uint32 // 0, or 1 + ShutdownMode
	lastID     atomic.Uint64
	trimmedAt  uint64       // lastID when memory was last given back; of the janitor
	logins     atomic.Int32 // clients that have not logged in yet
	slots      atomic.Int32 // clients counted against max_client_conn
	killErrs   sync.Map     // *client -> *Error

	mu        sync.Mutex
	databases map[string]*database      // guarded by mu
	users     map[string]*user          // guarded by mu
	pools     map[poolKey]*pool         // guarded by mu
	counters  map[poolKey]*poolCounters // outlive pools; guarded by mu
	clients   map[uint64]*client        // that have logged in; guarded by mu
	admins    map[uint64]*adminClient   // guarded by mu
	entering  map[net.Conn]struct{}     // in login; guarded by mu
	keys      map[string]any            // cancel keys -> *client or *adminClient; guarded by mu
	change    chan struct{}             // closed and replaced when servers or clients go; guarded by mu
	listeners []net.Listener            // guarded by mu
	last      map[string]stats.Totals   // by database, at the start of the statistics period; guarded by mu
	averages  map[string]stats.Averages // of the last period; guarded by mu
	statsAt   int64                     // guarded by mu

	stop     context.CancelFunc
	ctx      context.Context
	done     chan struct{} // closed when the process may end
	doneOnce sync.Once
	wg       sync.WaitGroup
}

// poolCounters belong to a pool's name.
type poolCounters struct {
	counters                        stats.Counters
	queries, xacts, waits, connects stats.Histogram
}

// live is everything that is derived from one configuration, replaced as a whole by a reload.
type live struct {
	cfg       *config.Config
	hba       *auth.HBA
	ident     *auth.Ident
	clientTLS sideTLS
	binding   []byte             // channel binding data of our certificate, nil without one
	mock      mock               // what users that do not exist look like
	serverTLS map[string]sideTLS // by database; "" is the global one
}

// database is what belongs to a database's name and survives reloads.
type database struct {
	name     string
	conf     atomic.Pointer[config.Database]
	auto     bool // registered through "*"
	paused   atomic.Bool
	disabled atomic.Bool
	clients  atomic.Int32
	usedAt   atomic.Int64 // for autodb_idle_timeout
	dropped  atomic.Bool
	ddl      atomic.Uint64 // counts commands seen that may change what a statement returns
}

// user is what belongs to a user's name, as a login or on servers.
type user struct {
	name    string
	clients atomic.Int32
	seen    atomic.Bool // through auth_query
}

// Options are what a Pooler is made of.
type Options struct {
	Config config.Controller
	Log    zerolog.Logger
}

// New returns a Pooler for the current configuration. It does nothing until Start.
func New(o Options) (*Pooler, error) {
	w, err := newWatcher()
	if err != nil {
		return nil, err
	}
	cfg := o.Config.Current()
	hasher := auth.NewHasher(auth.HasherOptions{})
	p := &Pooler{
		cfg: o.Config, log: o.Log, watch: w, bufs: &bufPool{}, stmts: newStmtTable(), ledger: newLedger(),
		hasher: hasher, verifier: auth.NewVerifier(auth.VerifierOptions{Hasher: hasher}),
		extra:     slices.Clone(cfg.TrackExtraParameters),
		databases: map[string]*database{}, users: map[string]*user{}, pools: map[poolKey]*pool{},
		counters: map[poolKey]*poolCounters{}, clients: map[uint64]*client{}, admins: map[uint64]*adminClient{},
		keys: map[string]any{}, entering: map[net.Conn]struct{}{}, change: make(chan struct{}),
		last: map[string]stats.Totals{}, averages: map[string]stats.Averages{}, statsAt: now(),
		done: make(chan struct{}),
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.resolver, err = connect.NewResolver(connect.ResolverOptions{
		MaxTTL: cfg.DNSMaxTTL, NXDomainTTL: cfg.DNSNXDomainTTL, ResolvConf: cfg.ResolvConf,
	})
	if err != nil {
		w.close()
		return nil, err
	}
	commit, err := p.Prepare(nil, cfg)
	if err != nil {
		w.close()
		return nil, err
	}
	commit()
	return p, nil
}

// SetAdmin gives the pooler its admin database. It must be called before Start.
func (p *Pooler) SetAdmin(a AdminServer) { p.admin = a }

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
	l := &live{cfg: next, serverTLS: map[string]sideTLS{}, mock: mockOf(next)}
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
		if _, err := auth.ParseMethod(next.AuthType); err != nil {
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
	var stale []*pool
	for name, d := range p.databases {
		conf, auto := next.FindDatabase(name)
		if conf == nil {
			gone = append(gone, d)
			delete(p.databases, name)
			continue
		}
		old := d.conf.Load()
		d.auto = auto
		d.conf.Store(conf)
		if !old.SameServer(conf) || l.serverTLSFor(conf).settings != prev.serverTLSFor(old).settings {
			for k, pl := range p.pools {
				if k.database == name {
					stale = append(stale, pl)
				}
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
	for _, d := range gone {
		p.removeDatabase(d, "database removed")
	}
	for _, pl := range stale {
		pl.markStale()
	}
	for _, pl := range pools {
		set := next.PoolSettings(pl.db.conf.Load(), pl.key.user)
		pl.conf.Store(&set)
		pl.mu.Lock()
		pl.grow()
		pl.mu.Unlock()
	}
	p.evictExcess(pools)
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

func (l *live) serverTLSFor(d *config.Database) sideTLS {
	for _, name := range [...]string{d.Name, "*"} {
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

// findDatabase returns the database of that name, registering it if the configuration has it or a template.
func (p *Pooler) findDatabase(name string) (*database, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.databases[name]; d != nil {
		return d, true
	}
	conf, auto := p.live.Load().cfg.FindDatabase(name)
	if conf == nil || config.IsAdminDatabase(name) {
		return nil, false
	}
	d := &database{name: name, auto: auto}
	d.conf.Store(conf)
	d.usedAt.Store(now())
	p.databases[name] = d
	if auto {
		p.log.Info().Str("database", name).Msg("registered new auto-database: " + name)
	}
	return d, true
}

func (p *Pooler) findUser(name string) *user {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[name]
	if u == nil {
		u = &user{name: name}
		p.users[name] = u
	}
	return u
}

// findPool returns the pool for clients of d that use the server user.
func (p *Pooler) findPool(d *database, serverUser, replication string) *pool {
	u := p.findUser(serverUser)
	p.mu.Lock()
	defer p.mu.Unlock()
	k := poolKey{d.name, serverUser, replication}
	if pl := p.pools[k]; pl != nil && pl.db == d {
		return pl
	}
	pc := p.counters[k]
	if pc == nil {
		pc = &poolCounters{}
		p.counters[k] = pc
	}
	pl := &pool{
		p: p, key: k, db: d, user: u, log: p.log,
		counters: &pc.counters, queries: &pc.queries, xacts: &pc.xacts, waits: &pc.waits, connects: &pc.connects,
		servers: map[*server]struct{}{},
	}
	set := p.live.Load().cfg.PoolSettings(d.conf.Load(), serverUser)
	pl.conf.Store(&set)
	p.pools[k] = pl
	return pl
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

// changed tells those who wait for servers or clients to go that one has gone.
func (p *Pooler) changed() {
	p.mu.Lock()
	close(p.change)
	p.change = make(chan struct{})
	p.mu.Unlock()
}

func (p *Pooler) changes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.change
}

// markStale has every server of the pool closed when it is next idle.
func (pl *pool) markStale() {
	pl.mu.Lock()
	for s := range pl.servers {
		s.closeNeeded.Store(true)
	}
	pl.welcome = nil
	pl.retryAt, pl.failures, pl.loginErr = 0, 0, false
	pl.mu.Unlock()
	for _, s := range pl.takeIdle(func(*server) bool { return true }) {
		s.close("close_needed")
	}
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
	for _, s := range pl.takeIdle(func(*server) bool { return true }) {
		s.close(why)
	}
}

// openServer logs in to PostgreSQL for a pool.
func (p *Pooler) openServer(pl *pool) (*server, error) {
	l := p.live.Load()
	d := pl.db.conf.Load()
	set := &l.cfg.Settings
	ctx, cancel := context.WithCancel(p.ctx)
	if set.ServerConnectTimeout > 0 {
		ctx, cancel = context.WithTimeout(p.ctx, set.ServerConnectTimeout)
	}
	defer cancel()
	side := l.serverTLSFor(d)
	t := connect.Target{
		Hosts: pl.hostOrder(d), Port: d.Port, SocketDir: set.UnixSocketDir, DBName: d.DBName, User: pl.key.user,
		Credentials: p.credentials(l.cfg, d, pl), SSLMode: side.mode, TLS: side.cfg,
		TCPKeepalive: set.TCPKeepalive, TCPKeepcnt: set.TCPKeepcnt, TCPKeepidle: set.TCPKeepidle, TCPKeepintvl: set.TCPKeepintvl,
		TCPUserTimeout: set.TCPUserTimeout, TCPSocketBuffer: set.TCPSocketBuffer,
		Resolver: p.resolver, Hasher: p.hasher,
	}
	for _, kv := range [...]connect.Param{
		{Name: "client_encoding", Value: d.ClientEncoding},
		{Name: "datestyle", Value: d.DateStyle},
		{Name: "timezone", Value: d.TimeZone},
		{Name: "application_name", Value: d.ApplicationName},
	} {
		if kv.Value != "" {
			t.Params = append(t.Params, kv)
		}
	}
	switch pl.key.replication {
	case "logical":
		t.Replication = "database"
	case "physical":
		t.Replication = "true"
	}
	sc, err := connect.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	s, err := p.newServer(pl, sc)
	if err != nil {
		_ = sc.Conn.Close()
		return nil, err
	}
	if d.ConnectQuery != "" && pl.key.replication == "none" {
		if err := s.simple(d.ConnectQuery, max(set.ServerConnectTimeout, time.Second)); err != nil {
			_ = sc.Conn.Close()
			return nil, fmt.Errorf("connect_query failed: %w", err)
		}
		s.base = s.session.all
	}
	p.logServerOpened(s)
	return s, nil
}

func (p *Pooler) newServer(pl *pool, sc *connect.Server) (*server, error) {
	cn, err := newConn(sc.Conn)
	if err != nil {
		return nil, err
	}
	s := &server{id: p.lastID.Add(1), pool: pl, sc: sc, conn: cn, tx: 'I', createdAt: now(), releasedAt: now()}
	s.prepared.init()
	var ps []param
	for _, kv := range sc.Params {
		if isFollowing(kv.Name, p.extra) {
			ps = append(ps, param{kv.Name, kv.Value})
		}
	}
	s.session = newSession(makeEnv(ps))
	s.base = s.session.all
	if v, ok := sc.Param("application_name"); ok {
		s.appName.Store(&v)
	}
	if sc.TLSState != nil {
		s.tlsName = tlsName(*sc.TLSState)
	}
	for _, n := range slices.Concat(unreported[:], p.extra) {
		if _, ok := sc.Param(n); !ok && !slices.ContainsFunc(s.asks, func(a string) bool { return strings.EqualFold(a, n) }) {
			s.asks = append(s.asks, n)
		}
	}
	return s, nil
}

// hostOrder returns the hosts in the order in which they are tried.
func (pl *pool) hostOrder(d *config.Database) []string {
	if len(d.Hosts) < 2 || d.LoadBalanceHosts == "disable" {
		return d.Hosts
	}
	pl.mu.Lock()
	turn := int(pl.hostTurn) % len(d.Hosts)
	pl.hostTurn++
	pl.mu.Unlock()
	return slices.Concat(d.Hosts[turn:], d.Hosts[:turn])
}

// credentials puts together what is known of a pool's server user.
func (p *Pooler) credentials(cfg *config.Config, d *config.Database, pl *pool) auth.Credentials {
	stored := d.Password
	if stored == "" {
		if u := cfg.Users[pl.key.user]; u != nil {
			stored = u.Password
		}
	}
	return auth.NewCredentials(pl.key.user, auth.ParseSecret(string(stored)), pl.creds.Load())
}

// Close ends everything at once.
func (p *Pooler) Close() {
	p.stopListening(true)
	p.stop()
	for _, c := range p.allClients() {
		c.kill(errShutdown())
	}
	p.mu.Lock()
	for nc := range p.entering {
		_ = nc.SetDeadline(past)
	}
	for _, a := range p.admins {
		a.cancel()
	}
	p.mu.Unlock()
	p.wg.Wait()
	for _, pl := range p.allPools() {
		p.dropPool(pl, "shutdown")
		pl.awaitConnects(p)
	}
	p.watch.close()
	p.finished()
}

// awaitConnects waits for attempts to open servers, and for servers that are tested or reset, to end.
func (pl *pool) awaitConnects(p *Pooler) {
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for {
		ch := p.changes()
		pl.mu.Lock()
		busy := pl.connecting > 0 || len(pl.servers) > 0
		pl.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-ch:
		case <-deadline.C:
			return
		}
	}
}

func (p *Pooler) finished() { p.doneOnce.Do(func() { close(p.done) }) }

// Done is closed when a shutdown has been carried out.
func (p *Pooler) Done() <-chan struct{} { return p.done }

var errClosing = errors.New("the pooler is closing")
