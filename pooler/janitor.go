package pooler

import (
	"fmt"
	"runtime/debug"
	"syscall"
	"time"

	"pgdrover/internal/config"
	"pgdrover/internal/procs"
	"pgdrover/internal/stats"
)

// tick is how often the janitor looks; limits in seconds are kept to that.
const tick = 100 * time.Millisecond

// silence is how long a client with a linked server has to be silent before its server is listened to meanwhile.
const silence = 50 * time.Millisecond

// janitor enforces time limits by comparing timestamps, so that the hot path sets no timers.
func (p *Pooler) janitor() {
	t := time.NewTimer(tick)
	defer t.Stop()
	for n, last := 0, int64(0); ; {
		select {
		case <-p.ctx.Done():
			return
		case <-t.C:
		}
		procs.Tick()
		t.Reset(procs.Pace(tick))
		if at := now(); at-last >= int64(tick*9/10) { // it was not for the processors alone
			p.round(n)
			n, last = n+1, at
		}
	}
}

// round is what the janitor does at each tick; most of it at every third is enough.
func (p *Pooler) round(n int) {
	wakeMonitor()
	p.sweepLogins()
	p.husks.sweep()
	if n%3 == 0 {
		p.openMinimum()
	}
	pools := p.allPools()
	for _, pl := range pools {
		pl.listenToSilent()
	}
	if n%3 != 0 {
		return
	}
	for _, pl := range pools {
		pl.sweepWaiters()
		pl.sweepServers()
		pl.sweepHubs(now())
		pl.sweepDecisions()
	}
	p.sweepClients()
	p.sweepDeadlocks()
	p.sweepEmpty()
	p.sweepIdleDatabases(pools)
	p.statsPeriod()
	if n%trimTicks == 0 {
		p.trim()
	}
}

// wakeMonitor makes a system call of which the scheduler hears. Its monitor, which takes a processor from those who keep it too long, goes to sleep when
// all processors are idle, for up to a minute, and only such a call wakes it. The data path makes none: without the monitor the two
// goroutines of one busy pipeline can hand a processor to each other while everybody else waits.
func wakeMonitor() { _, _, _ = syscall.Syscall(syscall.SYS_GETPPID, 0, 0, 0) }

// listenToSilent arms the watcher for servers whose clients are silent in a transaction or a session.
func (pl *pool) listenToSilent() {
	pl.mu.Lock()
	var quiet []*client
	t := now()
	for s := range pl.servers {
		if c := s.link.Load(); c != nil && !c.armed.Load() && c.queryAt.Load() == 0 && c.state.Load() == stateActive && t-c.idleAt.Load() > int64(silence) {
			quiet = append(quiet, c)
		}
	}
	pl.mu.Unlock()
	for _, c := range quiet {
		c.arm()
	}
}

// sweepWaiters applies query_wait_timeout, query_timeout and query_wait_notify to the queue.
func (pl *pool) sweepWaiters() {
	set := pl.conf.Load()
	notify := pl.p.settings().QueryWaitNotify
	t := now()
	type victim struct {
		c       *client
		setting string
	}
	var late []victim
	var tell []*client
	pl.mu.Lock()
	for c := range pl.waiting {
		waited := time.Duration(t - c.waitAt.Load())
		switch {
		case set.QueryWaitTimeout > 0 && waited >= set.QueryWaitTimeout:
			late = append(late, victim{c, "query_wait_timeout"})
		case set.QueryTimeout > 0 && waited >= set.QueryTimeout && pl.key.replication == "none":
			late = append(late, victim{c, "query_timeout"})
		case notify > 0 && c.wait.queued && waited >= notify && c.idleAt.Load() > 0 && c.notifiedAt.Load() < c.waitAt.Load(): // not in the login
			c.notifiedAt.Store(t)
			tell = append(tell, c)
		}
	}
	pl.grow() // reserve_pool_timeout may have passed
	pl.mu.Unlock()
	for _, v := range late {
		v.c.late.Store(errQueueTimeout(v.setting, pl, v.c))
		v.c.interrupt(reasonLate)
	}
	for _, c := range tell {
		c.interrupt(reasonNotify)
	}
}

// sweepServers closes idle servers that are too many or too old, and opens what min_pool_size asks for.
func (pl *pool) sweepServers() {
	set := pl.conf.Load()
	t := now()
	min := set.MinPoolSize
	pl.mu.Lock()
	if pl.db.conf.Load().User == "" && pl.nclients == 0 {
		min = 0
	}
	spare := len(pl.servers) + pl.connecting - min
	pl.mu.Unlock()
	var why string
	closes := pl.takeIdle(func(s *server) bool {
		switch {
		case s.closeNeeded.Load():
			why = "close_needed"
		case spare > 0 && set.ServerIdleTimeout > 0 && t-s.releasedAt >= int64(set.ServerIdleTimeout):
			why = "server idle timeout"
		default:
			return false
		}
		spare--
		return true
	})
	for _, s := range closes {
		s.close(why)
	}
	if pl.p.stmts.over.Load() {
		for _, s := range pl.takeIdle(func(s *server) bool { return s.nPrepared.Load() > 0 }) {
			pl.free(s)
		}
	}
	if life := int64(set.ServerLifetime); life > 0 {
		for _, s := range pl.takeIdle(func(s *server) bool { return t-s.createdAt >= life && pl.expire(life, t) }) {
			s.close("server lifetime over")
		}
	}
	pl.mu.Lock()
	if !pl.dropped && !pl.held() && pl.p.shutdown.Load() == 0 {
		for len(pl.servers)+pl.connecting < min && pl.mayOpen() {
			if !pl.open() {
				break
			}
		}
	}
	pl.mu.Unlock()
}

// openMinimum makes the pools that min_pool_size keeps filled before any client comes: those of databases that name
// the server user.
func (p *Pooler) openMinimum() {
	cfg := p.live.Load().cfg
	p.mu.Lock()
	var dbs []*database
	for _, d := range p.databases {
		if conf := d.conf.Load(); conf.User != "" && !d.auto {
			dbs = append(dbs, d)
		}
	}
	p.mu.Unlock()
	for _, d := range dbs {
		if conf := d.conf.Load(); cfg.PoolSettings(conf, conf.User).MinPoolSize > 0 {
			for _, shard := range d.shardNames() {
				p.findPool(d, shard, conf.User, "none")
			}
		}
	}
}

// sweepClients applies the limits on running queries, open transactions and silent clients.
func (p *Pooler) sweepClients() {
	t := now()
	set := p.settings()
	drain := p.draining()
	for _, c := range p.allClients() {
		if !c.watched.Load() {
			c.watchOver()
		}
		limits := c.home.conf.Load()
		query, xact, idle := c.queryAt.Load(), c.xactAt.Load(), c.idleAt.Load()
		stream := c.repl != "none" // that its command takes long says nothing: it may have no end
		linked := c.link.Load() != nil || c.fanned.Load() != nil
		over := func(limit time.Duration, at int64) bool { return limit > 0 && at != 0 && t-at >= int64(limit) }
		switch {
		case drain && c.waitsInVain():
			c.kill(errShutdown())
		case c.state.Load() == stateWaiting:
		case over(limits.QueryTimeout, query) && linked && !stream:
			c.kill(errTimeout("query timeout", "query_timeout", limits.QueryTimeout, t-query).waitsFor(c))
		case linked && !stream && over(limits.TransactionTimeout, xact):
			c.kill(errTimeout("transaction timeout", "transaction_timeout", limits.TransactionTimeout, t-xact))
		case linked && !stream && query == 0 && xact != 0 && over(limits.IdleTransactionTimeout, idle):
			c.kill(errTimeout("idle transaction timeout", "idle_transaction_timeout", limits.IdleTransactionTimeout, t-idle))
		case (!linked || c.pinned() && xact == 0) && query == 0 && over(limits.ClientIdleTimeout, idle):
			c.kill(errTimeout("client_idle_timeout", "client_idle_timeout", limits.ClientIdleTimeout, t-idle))
		}
		if left := c.leftAt.Load(); left != 0 && t-left >= int64(leaveGrace) {
			c.interrupt(reasonHungUp)
		}
		s := c.link.Load()
		switch { // there is no end to wait for
		case !stream:
		case drain:
			c.kill(errShutdown())
			continue
		case s != nil && s.closeNeeded.Load():
			c.kill(errReconfigured())
			continue
		}
		if query != 0 || xact != 0 || c.state.Load() == stateWaiting {
			continue // in the middle of something: it is looked at again
		}
		switch {
		case drain:
			c.interrupt(reasonDrain)
		case set.ServerFastClose && (c.mode == config.PoolSession || c.pinned()) && s != nil && s.closeNeeded.Load():
			c.interrupt(reasonRetire)
		}
	}
}

func errTimeout(message, setting string, limit time.Duration, took int64) *Error {
	e := fatal("57014", message)
	switch setting {
	case "idle_transaction_timeout":
		e.Code = "25P03"
	case "transaction_timeout":
		e.Code = "25P04"
	case "client_idle_timeout":
		e.Code = "57P05"
	}
	e.Detail = fmt.Sprintf("It has lasted %s; %s is %s.", age(time.Duration(took)), setting, limit)
	return e
}

// sweepIdleDatabases forgets databases that exist only through "*" and have not been used for a while, and
// pools that pool_idle_timeout is over for.
func (p *Pooler) sweepIdleDatabases(pools []*pool) {
	set := p.settings()
	t := now()
	used := map[*database]bool{}
	for _, pl := range pools {
		pl.mu.Lock()
		busy := pl.nclients > 0 || len(pl.allHubs) > 0 || len(pl.servers) > 0 || pl.connecting > 0 || pl.waiters.n > 0
		if busy {
			pl.emptySince = 0
		} else if pl.emptySince == 0 {
			pl.emptySince = t
		}
		empty := pl.emptySince
		min := pl.conf.Load().MinPoolSize
		known := pl.own != nil
		pl.mu.Unlock()
		if busy {
			used[pl.db] = true
			continue
		}
		forced := pl.db.conf.Load().User != "" && min > 0
		known = known || pl.key.shard != "" && pl.db.clients.Load() > 0 // sessions know the pools of every shard
		if set.PoolIdleTimeout > 0 && !forced && !known && t-empty >= int64(set.PoolIdleTimeout) {
			p.dropPool(pl, "pool_idle_timeout")
		}
	}
	p.mu.Lock()
	var gone []*database
	for name, d := range p.databases {
		if d.auto && !used[d] && d.clients.Load() == 0 && !d.paused.Load() && set.AutodbIdleTimeout > 0 && t-d.usedAt.Load() >= int64(set.AutodbIdleTimeout) {
			gone = append(gone, d)
			delete(p.databases, name)
		}
	}
	p.mu.Unlock()
	for _, d := range gone {
		p.removeDatabase(d, "autodb_idle_timeout")
	}
}

// trimTicks is how many ticks lie between looks at what logins have left behind, trimLogins how many there have
// to be for it to be worth while, and trimCalm how many between two looks are none to wait for the end of.
const (
	trimTicks  = 6
	trimLogins = 200
	trimCalm   = 10
)

// trim gives memory back that only logins needed: stacks, TLS handshakes, startup packets. Idle clients are to
// cost little, and without traffic the collector would not come round for minutes.
func (p *Pooler) trim() {
	n := p.lastID.Load()
	calm := n-p.lookedAt < trimCalm
	p.lookedAt = n
	if calm && n-p.trimmedAt >= trimLogins {
		p.trimmedAt = n
		debug.FreeOSMemory()
	}
}

// statsPeriod takes the averages and logs them when stats_period is over.
func (p *Pooler) statsPeriod() {
	set := p.settings()
	t := now()
	p.mu.Lock()
	took := time.Duration(t - p.statsAt)
	if set.StatsPeriod <= 0 || took < set.StatsPeriod {
		p.mu.Unlock()
		return
	}
	p.statsAt = t
	sum := stats.Totals{}
	totals := p.totals()
	for db, now := range totals {
		diff := now.Sub(p.last[db])
		p.averages[db] = diff.Average(took)
		sum = sum.Add(diff)
	}
	p.last = totals
	p.mu.Unlock()
	if set.LogStats {
		a := sum.Average(took)
		p.log.Info().Msg(fmt.Sprintf("stats: %d xacts/s, %d queries/s, %d client parses/s, %d server parses/s, %d binds/s, %d client logins/s, in %d B/s, out %d B/s, xact %d us, query %d us, wait %d us",
			a.Xacts, a.Queries, a.ClientParses, a.ServerParses, a.Binds, a.Logins, a.BytesReceived, a.BytesSent, a.XactTime, a.QueryTime, a.WaitTime))
	}
}

// totals adds up the counters by database. The caller holds mu.
func (p *Pooler) totals() map[string]stats.Totals {
	out := map[string]stats.Totals{}
	for k, pc := range p.counters {
		out[k.database] = out[k.database].Add(pc.counters.Read())
	}
	return out
}
