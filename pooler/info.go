package pooler

import (
	"cmp"
	"slices"
	"strings"

	"pgdrover/internal/stats"
)

func (c *client) info() ClientInfo {
	ci := ClientInfo{
		SocketInfo: SocketInfo{
			ID: c.id, User: c.loginName, Replication: c.repl, ConnectTime: c.connected,
			RequestTime: wallTime(c.requestAt.Load()), TLS: c.tls, RemotePID: c.addr.pid, PreparedStatements: int(c.nStmts.Load()),
		},
		LoggedIn: true, PoolMode: c.mode.String(), XactStart: wallTime(c.xactAt.Load()), QueryStart: wallTime(c.queryAt.Load()),
		Query: c.running(), Pinned: c.pinText(),
	}
	if ci.RequestTime.IsZero() {
		ci.RequestTime = c.connected
	}
	c.addr.fill(&ci.SocketInfo)
	if app := c.appName.Load(); app != nil {
		ci.ApplicationName = *app
	}
	if c.db != nil {
		ci.Database = c.db.name
	}
	s := c.link.Load()
	cancels := c.cancelWait.Load() > 0
	switch {
	case c.state.Load() == stateWaiting:
		ci.State = ClientWaiting
		ci.Wait = since(c.waitAt.Load())
		if cancels {
			ci.State = ClientWaitingCancel
		}
	case s != nil || c.state.Load() == stateActive:
		ci.State = ClientActive
		if cancels {
			ci.State = ClientActiveCancel
		}
	default:
		ci.State = ClientIdle
	}
	if s != nil {
		ci.LinkID = s.id
		ci.InTx = c.xactAt.Load() != 0
	}
	return ci
}

func (a peerAddr) fill(si *SocketInfo) {
	if a.unix {
		si.Addr, si.LocalAddr = "unix", "unix"
		return
	}
	si.Addr, si.Port, si.LocalAddr, si.LocalPort = a.ip.String(), a.port, a.local.String(), a.localPort
}

// Clients implements Control.
func (p *Pooler) Clients() []ClientInfo {
	var out []ClientInfo
	for _, c := range p.allClients() {
		out = append(out, c.info())
	}
	p.mu.Lock()
	admins := make([]*adminClient, 0, len(p.admins))
	for _, a := range p.admins {
		admins = append(admins, a)
	}
	p.mu.Unlock()
	for _, a := range admins {
		ci := a.info()
		ci.IsAdmin, ci.PoolMode, ci.Database = true, "statement", a.session.Database
		out = append(out, ci)
	}
	slices.SortFunc(out, func(a, b ClientInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Servers implements Control.
func (p *Pooler) Servers() []ServerInfo {
	var out []ServerInfo
	for _, pl := range p.allPools() {
		pl.mu.Lock()
		for s := range pl.servers {
			out = append(out, s.info())
		}
		if pl.own != nil {
			si := pl.own.info()
			si.Pinned = "recovery"
			out = append(out, si)
		}
		for h := range pl.allHubs {
			if h.s != nil {
				si := h.s.info()
				si.Pinned = "LISTEN"
				out = append(out, si)
			}
		}
		pl.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b ServerInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// info is called with pool.mu held.
func (s *server) info() ServerInfo {
	si := ServerInfo{SocketInfo: SocketInfo{
		ID: s.id, User: s.pool.key.user, Database: s.pool.key.database, Replication: s.pool.key.replication, Shard: s.pool.key.shard,
		ConnectTime: wallTime(s.createdAt), RequestTime: wallTime(s.linkedAt.Load()), CloseNeeded: s.closeNeeded.Load(),
		RemotePID: int(s.sc.PID), TLS: s.tlsName, PreparedStatements: int(s.nPrepared.Load()),
	}}
	addrOf(s.sc.Raw).fill(&si.SocketInfo)
	if si.RequestTime.IsZero() {
		si.RequestTime = si.ConnectTime
	}
	if app := s.appName.Load(); app != nil {
		si.ApplicationName = *app
	}
	si.ServerVersion, _ = s.sc.Param("server_version")
	c := s.link.Load()
	if c != nil {
		si.LinkID, si.Pinned = c.id, c.pinText()
	}
	switch {
	case s.parked || c == nil && s.cancels > 0:
		si.State = ServerBeingCanceled
	case c != nil || s.state.Load() == serverActive:
		si.State = ServerActive
	case s.state.Load() == serverTested:
		si.State = ServerTested
	case s.pool.isUsed(s):
		si.State = ServerUsed
	default:
		si.State = ServerIdle
	}
	return si
}

// isUsed reports whether an idle server would be tested before it is handed out.
func (pl *pool) isUsed(s *server) bool {
	set := pl.p.settings()
	return set.ServerCheckQuery != "" && now()-s.releasedAt >= int64(set.ServerCheckDelay)
}

// Pools implements Control.
func (p *Pooler) Pools() []PoolInfo {
	var out []PoolInfo
	at := map[poolKey]int{}
	for _, pl := range p.allPools() {
		k := poolKey{database: pl.key.database, shard: pl.key.shard, user: pl.key.user} // replication connections count in the pool, as in PgBouncer
		set := pl.conf.Load()
		i, ok := at[k]
		if !ok || pl.key.replication == "none" {
			pi := PoolInfo{
				Database: k.database, Shard: k.shard, User: k.user, PoolMode: set.PoolMode.String(), PoolSize: set.PoolSize,
				ReservePoolSize: set.ReservePoolSize, Paused: pl.db.paused.Load() || p.paused.Load(),
				Query: pl.queries.Quantiles(), Xact: pl.xacts.Quantiles(), WaitTimes: pl.waits.Quantiles(), Connect: pl.connects.Quantiles(),
			}
			if conf := pl.config(); conf != nil && len(conf.Hosts) > 1 {
				pi.LoadBalanceHosts = cmp.Or(conf.LoadBalanceHosts, "round-robin")
			}
			if ok {
				prev := out[i]
				pi.ClWaiting, pi.SvActive, pi.SvIdle, pi.SvLogin = prev.ClWaiting, prev.SvActive, prev.SvIdle, prev.SvLogin
				out[i] = pi
			} else {
				i = len(out)
				at[k] = i
				out = append(out, pi)
			}
		}
		pl.fill(&out[i])
	}
	for _, c := range p.allClients() {
		i, ok := at[poolKey{database: c.home.key.database, shard: c.home.key.shard, user: c.home.key.user}]
		if !ok {
			continue
		}
		cancels := c.cancelWait.Load() > 0
		switch {
		case c.state.Load() == stateWaiting: // counted with the queue, which also has those that log in
			if cancels {
				out[i].ClWaitingCancelReq++
			}
		default: // PgBouncer counts clients without a server as active too
			out[i].ClActive++
			if cancels {
				out[i].ClActiveCancelReq++
			}
		}
	}
	set := p.settings()
	admin := p.adminDatabaseInfo(set)
	out = append(out, PoolInfo{
		Database: admin.Name, User: admin.ForceUser, ClActive: admin.CurrentClientConnections, PoolMode: admin.PoolMode, PoolSize: admin.PoolSize,
	})
	slices.SortFunc(out, func(a, b PoolInfo) int {
		return cmp.Or(strings.Compare(a.Database, b.Database), strings.Compare(a.User, b.User), strings.Compare(a.Shard, b.Shard))
	})
	return out
}

func (pl *pool) fill(pi *PoolInfo) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for s := range pl.servers {
		switch s.info().State {
		case ServerActive:
			pi.SvActive++
		case ServerIdle:
			pi.SvIdle++
		case ServerUsed:
			pi.SvUsed++
		case ServerTested:
			pi.SvTested++
		case ServerBeingCanceled:
			pi.SvBeingCanceled++
		}
		if s.cancels > 0 {
			pi.SvActiveCancel++
		}
	}
	pi.SvLogin += pl.connecting
	for c := range pl.waiting {
		pi.ClWaiting++
		pi.MaxWait = max(pi.MaxWait, since(c.waitAt.Load()))
	}
	if pl.lastErr != nil {
		pi.LastError, pi.LastErrorAt = pl.lastErr.Error(), wallTime(pl.lastErrAt)
	}
}

// Databases implements Control.
func (p *Pooler) Databases() []DatabaseInfo {
	l := p.live.Load()
	p.mu.Lock()
	dbs := make([]*database, 0, len(p.databases))
	for _, d := range p.databases {
		dbs = append(dbs, d)
	}
	p.mu.Unlock()
	var out []DatabaseInfo
	for _, d := range dbs {
		conf := d.conf.Load()
		set := l.cfg.PoolSettings(conf, conf.User)
		di := DatabaseInfo{
			Name: d.name, Host: strings.Join(conf.Hosts, ","), Port: conf.Port, Database: conf.DBName, ForceUser: conf.User,
			PoolSize: set.PoolSize, MinPoolSize: set.MinPoolSize, ReservePoolSize: set.ReservePoolSize, ServerLifetime: set.ServerLifetime,
			MaxConnections: set.MaxDBConnections, CurrentConnections: p.ledger.database(d),
			MaxClientConnections: l.cfg.DatabaseClientLimit(conf), CurrentClientConnections: int(d.clients.Load()),
			Paused: d.paused.Load() || p.paused.Load(), Disabled: d.disabled.Load(), Auto: d.auto,
		}
		if conf.PoolMode != nil {
			di.PoolMode = conf.PoolMode.String()
		}
		if len(conf.Hosts) > 1 {
			di.LoadBalanceHosts = cmp.Or(conf.LoadBalanceHosts, "round-robin")
		}
		out = append(out, di)
	}
	out = append(out, p.adminDatabaseInfo(&l.cfg.Settings))
	slices.SortFunc(out, func(a, b DatabaseInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Users implements Control.
func (p *Pooler) Users() []UserInfo {
	cfg := p.live.Load().cfg
	p.mu.Lock()
	known := make(map[string]*user, len(p.users))
	for name, u := range p.users {
		known[name] = u
	}
	p.mu.Unlock()
	var out []UserInfo
	add := func(name string) {
		ui := UserInfo{Name: name, MaxUserConnections: cfg.MaxUserConnections, MaxClientConnections: cfg.UserClientLimit(name)}
		if cu := cfg.Users[name]; cu != nil {
			ui.PoolSize, ui.ReservePoolSize = cu.PoolSize, cu.ReservePoolSize
			if cu.PoolMode != nil {
				ui.PoolMode = cu.PoolMode.String()
			}
			if cu.MaxUserConnections != nil {
				ui.MaxUserConnections = *cu.MaxUserConnections
			}
		}
		if u := known[name]; u != nil {
			ui.CurrentConnections, ui.CurrentClientConnections = p.ledger.user(u), int(u.clients.Load())
		}
		out = append(out, ui)
	}
	for name := range cfg.Users {
		add(name)
	}
	for name := range known {
		if cfg.Users[name] == nil {
			add(name)
		}
	}
	slices.SortFunc(out, func(a, b UserInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Waiters implements Control.
func (p *Pooler) Waiters() []WaiterInfo {
	var out []WaiterInfo
	for _, pl := range p.allPools() {
		pl.mu.Lock()
		cs := slices.Collect(pl.waiting)
		pl.mu.Unlock()
		for i, c := range cs {
			w := pl.waiterInfo(c)
			w.Position = i + 1
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b WaiterInfo) int { return cmp.Compare(b.Wait, a.Wait) })
	return out
}

// waiterInfo tells what c waits for, and who has held a server of the pool for longest.
func (pl *pool) waiterInfo(c *client) WaiterInfo {
	set := pl.conf.Load()
	w := WaiterInfo{
		ClientID: c.id, Database: pl.key.database, User: pl.key.user, Addr: c.addr.String(), Wait: since(c.waitAt.Load()),
		Max: set.PoolSize, Reason: "pool_size",
	}
	if app := c.appName.Load(); app != nil {
		w.ApplicationName = *app
	}
	over := pl.p.ledger.over(pl)
	pl.mu.Lock()
	defer pl.mu.Unlock()
	var holder *client
	var held int64
	for s := range pl.servers {
		h := s.link.Load()
		if h == nil || h == c { // c has it already, while its parameters are brought there
			continue
		}
		w.InUse++
		if at := s.linkedAt.Load(); holder == nil || at < held {
			holder, held = h, at
			w.HolderServerPID = int(s.sc.PID)
		}
	}
	_, readied := pl.readied[c]
	room := pl.hasRoom(len(pl.servers), w.Wait)
	switch {
	case readied:
		w.Reason = "checking"
	case pl.held() && !c.underWay():
		w.Reason = "paused"
	case pl.loginErr:
		w.Reason = "login failing"
	case room && over != "":
		w.Reason = over
	case room:
		w.Reason = "connecting"
	}
	if holder != nil {
		w.HolderID, w.HolderFor, w.HolderQuery = holder.id, since(held), holder.running()
		if app := holder.appName.Load(); app != nil {
			w.HolderApplicationName = *app
		}
		w.HolderState = "idle in transaction"
		switch {
		case holder.queryAt.Load() != 0:
			w.HolderState = "active"
		case holder.xactAt.Load() != 0:
		case holder.pinned():
			w.HolderState = "pinned"
		default:
			w.HolderState = holderIdle
		}
		w.HolderQueryAge = since(holder.requestAt.Load())
	}
	return w
}

// Stats implements Control.
func (p *Pooler) Stats() []DatabaseStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	totals := p.totals()
	for name := range p.databases {
		if _, ok := totals[name]; !ok {
			totals[name] = stats.Totals{}
		}
	}
	if _, ok := totals["pgbouncer"]; !ok {
		totals["pgbouncer"] = stats.Totals{}
	}
	var out []DatabaseStats
	for name, t := range totals {
		out = append(out, DatabaseStats{Database: name, Total: t, Average: p.averages[name]})
	}
	slices.SortFunc(out, func(a, b DatabaseStats) int { return strings.Compare(a.Database, b.Database) })
	return out
}
