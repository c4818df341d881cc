package pooler

import "sync"

// ledger counts the servers of all pools against the limits that span pools: max_db_connections and
// max_user_connections. It is only asked when a server is opened or closed.
type ledger struct {
	mu sync.Mutex
	db map[*database]int // guarded by mu
	us map[*user]int     // guarded by mu
}

func newLedger() *ledger { return &ledger{db: map[*database]int{}, us: map[*user]int{}} }

// take books one server for p, if the limits allow. It may be called with p.mu held.
func (l *ledger) take(p *pool) bool {
	set := p.conf.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := set.MaxDBConnections; n > 0 && l.db[p.db] >= n {
		return false
	}
	if n := set.MaxUserConnections; n > 0 && l.us[p.user] >= n {
		return false
	}
	l.db[p.db]++
	l.us[p.user]++
	return true
}

// give takes a booking back.
func (l *ledger) give(p *pool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db[p.db]--; l.db[p.db] <= 0 {
		delete(l.db, p.db)
	}
	if l.us[p.user]--; l.us[p.user] <= 0 {
		delete(l.us, p.user)
	}
}

// over says which limit keeps p from opening a server, "" if none does.
func (l *ledger) over(p *pool) (reason string) {
	set := p.conf.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case set.MaxDBConnections > 0 && l.db[p.db] >= set.MaxDBConnections:
		return "max_db_connections"
	case set.MaxUserConnections > 0 && l.us[p.user] >= set.MaxUserConnections:
		return "max_user_connections"
	}
	return ""
}

func (l *ledger) database(d *database) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.db[d]
}

func (l *ledger) user(u *user) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.us[u]
}

// evictFor closes the server that has been idle for longest in another pool of the same database or server user,
// whichever limit is in the way, so that p can open one.
func (p *Pooler) evictFor(need *pool) {
	reason := p.ledger.over(need)
	if reason == "" {
		p.kickBlocked()
		return
	}
	var from *pool
	oldest := int64(0)
	for _, o := range p.allPools() {
		if o == need || reason == "max_db_connections" && o.db != need.db || reason == "max_user_connections" && o.user != need.user {
			continue
		}
		o.mu.Lock()
		if len(o.idle) > 0 && (from == nil || o.idle[0].releasedAt < oldest) {
			from, oldest = o, o.idle[0].releasedAt
		}
		o.mu.Unlock()
	}
	if from == nil {
		return
	}
	first := true
	for _, s := range from.takeIdle(func(*server) bool { f := first; first = false; return f }) {
		s.close("evicted: " + reason + " is reached and another pool waits")
	}
}

// kickBlocked lets the pool whose oldest client has waited longest use capacity that has become free.
func (p *Pooler) kickBlocked() {
	var need *pool
	var oldest int64
	for _, o := range p.allPools() {
		o.mu.Lock()
		if o.blocked && o.waiters.n > 0 {
			if at := o.waiters.head.waitAt.Load(); need == nil || at < oldest {
				need, oldest = o, at
			}
		}
		o.mu.Unlock()
	}
	if need == nil {
		return
	}
	need.mu.Lock()
	need.grow()
	need.mu.Unlock()
}
