package pooler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// openServer logs in to PostgreSQL for a pool, at the server that d describes.
func (p *Pooler) openServer(pl *pool, d *config.Database) (*server, error) {
	if d == nil {
		return nil, fmt.Errorf("the configuration has no shard %q", pl.key.shard)
	}
	l := p.live.Load()
	set := &l.cfg.Settings
	ctx, cancel := context.WithCancel(p.ctx)
	if set.ServerConnectTimeout > 0 {
		ctx, cancel = context.WithTimeout(p.ctx, set.ServerConnectTimeout)
	}
	defer cancel()
	side := l.serverTLSFor(d, pl.key.shard)
	hosts := pl.hostOrder(d)
	t := connect.Target{
		Hosts: hosts, Port: d.Port, SocketDir: set.UnixSocketDir, DBName: d.DBName, User: pl.key.user,
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
	if t.Replication != "" {
		for _, q := range envParams(pl.key.startup) {
			t.Params = append(t.Params, connect.Param{Name: q.name, Value: q.value}) // behind the database's: the last one counts
		}
	}
	sc, err := connect.Dial(ctx, t)
	pl.hostsTried(d, hosts, sc)
	if err != nil {
		return nil, err
	}
	s, err := p.newServer(pl, sc)
	if err != nil {
		_ = sc.Conn.Close()
		return nil, err
	}
	s.conf = d
	if d.ConnectQuery != "" && pl.key.replication == "none" {
		if err := s.simple(d.ConnectQuery, unlimited(set.ServerConnectTimeout)); err != nil {
			_ = sc.Conn.Close()
			return nil, fmt.Errorf("%w: %w", errConnectQuery, err)
		}
		s.base = s.session.all
		for i, kv := range sc.Params { // clients are greeted with what it has set
			if v, ok := envGet(s.base, kv.Name); ok {
				sc.Params[i].Value = v
			}
		}
	}
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
	if len(d.Hosts) < 2 {
		return d.Hosts
	}
	pl.mu.Lock()
	turn := int(pl.hostTurn) % len(d.Hosts)
	if d.LoadBalanceHosts != "disable" {
		pl.hostTurn++
	}
	pl.mu.Unlock()
	return slices.Concat(d.Hosts[turn:], d.Hosts[:turn])
}

// hostsTried notes which host comes first from now on, if new connections stay with one: that of sc, which has answered, or after an
// attempt in vain the one behind that which came first.
func (pl *pool) hostsTried(d *config.Database, hosts []string, sc *connect.Server) {
	if len(hosts) < 2 || d.LoadBalanceHosts != "disable" {
		return
	}
	first := hosts[1]
	if sc != nil {
		first = sc.Host
	}
	pl.mu.Lock()
	pl.hostTurn = uint32(max(slices.Index(d.Hosts, first), 0))
	pl.mu.Unlock()
}

// learn keeps what a client has proved that has logged in as the server user.
func (pl *pool) learn(res *auth.Result) {
	for {
		known := pl.creds.Load()
		if next := res.Over(known); next == known || pl.creds.CompareAndSwap(known, next) {
			return
		}
	}
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
