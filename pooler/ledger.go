package pooler

import (
	"cmp"
	"slices"
	"sync"
)

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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exceeded(p, 1) != "" {
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
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exceeded(p, 1)
}

// excess says which limit the servers that are there exceed, because it was lowered; "" if none. It may be called with p.mu held.
func (l *ledger) excess(p *pool) (reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exceeded(p, 0)
}

// exceeded says which limit of p is exceeded with this many servers more. The caller holds mu.
func (l *ledger) exceeded(p *pool, more int) (reason string) {
	set := p.conf.Load()
	switch {
	case set.MaxDBConnections > 0 && l.db[p.db]+more > set.MaxDBConnections:
		return "max_db_connections"
	case set.MaxUserConnections > 0 && l.us[p.user]+more > set.MaxUserConnections:
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
		p.freed(nil)
		return
	}
	pools := p.allPools()
	for _, o := range pools { // what we keep for ourselves goes first
		if need.competes(o, reason) && o.dropOwn("evicted: "+reason+" is reached and a client waits") {
			return
		}
	}
	if s := takeLongestIdle(pools, func(o *pool) bool { return o != need && need.competes(o, reason) }); s != nil {
		s.close("evicted: " + reason + " is reached and another pool waits")
	}
}

// takeLongestIdle takes the server that has been idle for longest out of those pools that match; nil if there is none.
func takeLongestIdle(pools []*pool, match func(*pool) bool) *server {
	var from *pool
	oldest := int64(0)
	for _, o := range pools {
		if !match(o) {
			continue
		}
		o.mu.Lock()
		if len(o.idle) > 0 && (from == nil || o.idle[0].releasedAt < oldest) {
			from, oldest = o, o.idle[0].releasedAt
		}
		o.mu.Unlock()
	}
	if from == nil {
		return nil
	}
	first := true
	for _, s := range from.takeIdle(func(*server) bool { f := first; first = false; return f }) {
		return s
	}
	return nil // somebody has just got it
}

// shrink closes servers above limits that span pools and were lowered: the longest idle first, and those in use when they are released.
func (p *Pooler) shrink(pools []*pool) {
	exceeds := func(o *pool) bool { return o.key.replication == "none" && p.ledger.excess(o) != "" }
	for _, o := range pools {
		if exceeds(o) {
			o.mu.Lock()
			o.surplus = true
			o.mu.Unlock()
		}
	}
	for _, o := range pools { // what we keep for ourselves goes first
		if reason := p.ledger.excess(o); reason != "" {
			o.dropOwn(reason + " was lowered")
		}
	}
	for {
		s := takeLongestIdle(pools, exceeds)
		if s == nil {
			return
		}
		s.close(cmp.Or(p.ledger.excess(s.pool), "a limit") + " was lowered") // another may have gone at this very moment
	}
}

// competes reports whether a server of o counts towards the limit that keeps p from opening one.
func (p *pool) competes(o *pool, reason string) bool {
	switch reason {
	case "max_db_connections":
		return o.db == p.db
	case "max_user_connections":
		return o.user == p.user
	}
	return false
}

// waitsSince returns when the oldest waiter of the pool began to wait, 0 without one.
func (p *pool) waitsSince() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters.head == nil {
		return 0
	}
	return p.waiters.head.waitAt.Load()
}

// olderElsewhere reports whether a client of another pool has waited longer than those of from, and only a limit that
// from's servers count towards keeps it from being served.
func (p *Pooler) olderElsewhere(from *pool) bool {
	mine := from.waitsSince()
	for _, o := range p.allPools() {
		if o == from {
			continue
		}
		o.mu.Lock()
		var at int64
		if c := o.next(); o.blocked && o.connecting == 0 && c != nil {
			at = c.waitAt.Load()
		}
		o.mu.Unlock()
		if at == 0 || mine != 0 && mine <= at {
			continue
		}
		if reason := p.ledger.over(o); reason != "" && o.competes(from, reason) {
			return true
		}
	}
	return false
}

// freed gives capacity that has become free to the pool whose oldest client has waited longest: of those that a limit
// that spans pools has kept waiting, and from, which has lost a server (nil for none).
func (p *Pooler) freed(from *pool) {
	if p.blocked.Load() == 0 {
		if from != nil {
			from.mu.Lock()
			from.grow()
			from.mu.Unlock()
		}
		return
	}
	type candidate struct {
		pl *pool
		at int64
	}
	var cs []candidate
	for _, o := range p.allPools() {
		o.mu.Lock()
		if (o.blocked || o == from) && o.waiters.head != nil {
			cs = append(cs, candidate{o, o.waiters.head.waitAt.Load()})
		}
		o.mu.Unlock()
	}
	slices.SortFunc(cs, func(a, b candidate) int { return cmp.Compare(a.at, b.at) })
	for _, c := range cs {
		c.pl.mu.Lock()
		c.pl.grow()
		c.pl.mu.Unlock()
	}
}
