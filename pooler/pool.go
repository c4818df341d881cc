package pooler

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/internal/stats"
)

// poolKey is what servers may be shared by: nothing coarser, a shared server is a privilege.
type poolKey struct {
	database    string
	shard       string // "" for databases without shards
	user        string // on the server
	replication string // "none", or one pool for each kind
	startup     env    // what replication connections are opened with, as nobody can tell them later
}

// pool is the servers of one poolKey and the clients that wait for one.
type pool struct {
	p    *Pooler
	key  poolKey
	db   *database
	user *user // the server user, for max_user_connections
	log  zerolog.Logger

	counters                        *stats.Counters
	queries, xacts, waits, connects *stats.Histogram

	conf  atomic.Pointer[config.PoolSettings]
	creds atomic.Pointer[auth.Result] // what clients have proved that logged in as the server user

	mu         sync.Mutex
	idle       []*server                 // the next to be used is last; guarded by mu
	servers    map[*server]struct{}      // all that are logged in; guarded by mu
	waiters    waitList                  // guarded by mu
	readied    map[*client]struct{}      // for whom a server is got ready, see readying; guarded by mu
	hubs       map[string]*hub           // that take listeners, by client_encoding; guarded by mu
	allHubs    map[*hub]struct{}         // guarded by mu
	connecting int                       // guarded by mu
	nclients   int                       // logged in; guarded by mu
	blocked    bool                      // a limit that spans pools is in the way; guarded by mu
	surplus    bool                      // such a limit was lowered, and servers may be left above it; guarded by mu
	dropped    bool                      // the pool is no more; guarded by mu
	welcome    []connect.Param           // what a server reported last at login; guarded by mu
	greetings  map[string]*knownGreeting // by startup parameters; guarded by mu
	lastErr    error                     // of the last attempt to open a server; guarded by mu
	lastErrAt  int64                     // guarded by mu
	loginErr   bool                      // lastErr is a refusal by the server, worth telling to clients; guarded by mu
	failures   int                       // attempts in a row that could not connect; guarded by mu
	retryAt    int64                     // no attempt before; guarded by mu
	lifeEnd    int64                     // when a server was last closed for its age; guarded by mu
	hostTurn   uint32                    // of the database's hosts, the one that comes first; guarded by mu
	decided    []string                  // decisions to be removed, see forget.go; guarded by mu
	own        *server                   // the connection of ours that is kept, see own.go; guarded by mu
	marks      int                       // how often markStale was called; guarded by mu
	twoPhaseOK atomic.Int64              // until when the server is known to be able to commit in two phases
	emptySince int64                     // since when there has been no client and no server, 0 if there are; guarded by mu
}

// waiter is a client's place in a queue, and what it is given in the end. Who gives rings the client.
type waiter struct {
	prev, next *client // guarded by pool.mu
	queued     bool    // guarded by pool.mu

	given atomic.Bool // s or err is there
	s     *server
	err   error // why there will be no server
}

// take returns what the client was given, if it was. The client is its owner.
func (w *waiter) take() (s *server, err error, ok bool) {
	if !w.given.Load() {
		return nil, nil, false
	}
	s, err = w.s, w.err
	w.s, w.err = nil, nil
	w.given.Store(false)
	return s, err, true
}

// waitList is a fair queue of clients.
type waitList struct {
	head, tail *client
	n          int
}

func (l *waitList) push(c *client) {
	c.wait.queued, c.wait.prev, c.wait.next = true, l.tail, nil
	if l.tail != nil {
		l.tail.wait.next = c
	} else {
		l.head = c
	}
	l.tail = c
	l.n++
}

func (l *waitList) remove(c *client) {
	w := &c.wait
	if w.prev != nil {
		w.prev.wait.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.wait.prev = w.prev
	} else {
		l.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	l.n--
}

// take returns an idle server, or puts c into the queue and returns nil. c has wanted one since t.
func (p *pool) take(c *client, t int64) (*server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters.n == 0 && !p.held() {
		if s := p.popIdle(); s != nil {
			s.state.Store(serverActive)
			return s, nil
		}
	}
	if err := p.failing(); err != nil {
		return nil, err
	}
	if p.dropped && p.key.shard != "" {
		return nil, fatalError{errShardRemoved(p)}
	}
	c.waitAt.Store(t)
	p.waiters.push(c)
	p.grow()
	return nil, nil
}

func (p *pool) popIdle() *server {
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	if p.conf.Load().ServerRoundRobin {
		s := p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
		return s
	}
	s := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return s
}

// next returns the client that is served next, nil if there is none. While the database is paused those are served that have a transaction
// open on another shard, because PAUSE waits for it. The caller holds mu.
func (p *pool) next() *client {
	c := p.waiters.head
	if p.held() {
		for c != nil && !c.underWay() {
			c = c.wait.next
		}
	}
	return c
}

// wanting counts the clients that wait for a server and may have one now. The caller holds mu.
func (p *pool) wanting() int {
	if !p.held() {
		return p.waiters.n
	}
	n := 0
	for c := p.waiters.head; c != nil; c = c.wait.next {
		if c.underWay() {
			n++
		}
	}
	return n
}

// held reports whether clients that hold no server are not to be given one now. The caller holds mu.
func (p *pool) held() bool { return p.db.paused.Load() || p.p.paused.Load() }

// failing returns what to tell a client while the server refuses our logins and there is no server to wait for.
// The caller holds mu.
func (p *pool) failing() error {
	if !p.loginErr || len(p.servers) > 0 || now() >= p.retryAt {
		return nil
	}
	return fatalError{errLoginFailing(p)}
}

// leave takes c out of the queue. It reports false if it has been given something.
func (p *pool) leave(c *client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.wait.queued {
		return false
	}
	p.dequeue(c)
	return true
}

// dequeue takes c out of the queue. The caller holds mu.
func (p *pool) dequeue(c *client) {
	p.waiters.remove(c)
	if p.waiters.n == 0 {
		p.setBlocked(false)
	}
}

// give takes c out of the queue with a server, or the reason why there will be none. The caller holds mu, and rings c when it has let go of it.
func (p *pool) give(c *client, s *server, err error) {
	p.dequeue(c)
	c.wait.s, c.wait.err = s, err
	c.wait.given.Store(true)
}

// refuseAll tells everybody who waits why there will be no server. The caller holds mu, and rings those who are returned.
func (p *pool) refuseAll(why func() *Error) (ring []*client) {
	for p.waiters.n > 0 {
		c := p.waiters.head
		p.give(c, nil, fatalError{why()}) // its own: it may add to it
		ring = append(ring, c)
	}
	return ring
}

// setBlocked notes whether clients wait because of a limit that spans pools. The caller holds mu.
func (p *pool) setBlocked(on bool) {
	if p.blocked == on {
		return
	}
	p.blocked = on
	if on {
		p.p.blocked.Add(1)
	} else {
		p.p.blocked.Add(-1)
	}
}

// release takes back a server that is idle and exactly at the end of a ReadyForQuery.
func (p *pool) release(s *server) { p.releaseAt(s, now()) }

func (p *pool) releaseAt(s *server, t int64) {
	if p.p.settings().ServerResetQueryAlways && p.key.replication == "none" {
		go p.resetAndFree(s)
		return
	}
	p.freeAt(s, t)
}

// releaseSession takes back a server whose session-mode client has left.
func (p *pool) releaseSession(s *server) { go p.resetAndFree(s) }

func (p *pool) resetAndFree(s *server) {
	if err := s.reset(); err != nil {
		s.close(err.Error())
		return
	}
	p.free(s)
}

// free hands an idle server to the oldest waiter, or keeps it.
func (p *pool) free(s *server) { p.freeAt(s, now()) }

func (p *pool) freeAt(s *server, t int64) {
	if why := p.unfit(s, t); why != "" {
		s.close(why)
		return
	}
	s.forgetUnwanted()
	if p.p.blocked.Load() > 0 && p.p.olderElsewhere(p) {
		s.close("evicted: a client of another pool has waited longer for this connection")
		return
	}
	p.mu.Lock()
	if s.cancels > 0 {
		s.parked = true
		p.mu.Unlock()
		return
	}
	c := p.next()
	switch lowered := p.tooMany(); {
	case c == nil && p.held():
		p.mu.Unlock()
		s.close("paused")
		return
	case lowered != "":
		p.mu.Unlock()
		s.close(lowered + " was lowered")
		return
	case c != nil:
		s.state.Store(serverActive)
		s.releasedAt = t
		p.give(c, s, nil) // last: an earlier ring may have it take s at once
		p.mu.Unlock()
		c.ring()
		return
	}
	s.releasedAt = t
	s.state.Store(serverIdle)
	p.idle = append(p.idle, s)
	dead := s.dead.Load()
	p.mu.Unlock()
	if dead {
		p.dropIdle(s)
	}
}

// tooMany says which limit was lowered below the servers that are there, "" if none. The caller holds mu.
func (p *pool) tooMany() string {
	if p.key.replication != "none" {
		return ""
	}
	if set := p.conf.Load(); len(p.servers) > set.PoolSize+set.ReservePoolSize {
		return "pool_size"
	}
	if !p.surplus {
		return ""
	}
	limit := p.p.ledger.excess(p)
	p.surplus = limit != ""
	return limit
}

// unfit says why a server that comes back is to be closed, "" if it is not.
func (p *pool) unfit(s *server, t int64) string {
	switch {
	case s.closeNeeded.Load():
		return "close_needed"
	case s.dead.Load():
		return "server closed the connection"
	case p.key.replication != "none" && s.linkedAt.Load() != 0: // it serves one client
		return "replication connection done"
	case p.tooOld(s, t):
		return "server lifetime over"
	}
	return ""
}

// tooOld applies server_lifetime; 0 is for servers that are used once.
func (p *pool) tooOld(s *server, t int64) bool {
	life := int64(p.conf.Load().ServerLifetime)
	if life == 0 {
		return s.linkedAt.Load() != 0
	}
	if t-s.createdAt < life {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expire(life, t)
}

// expire reports whether a server may be closed for its age now. Closes are spread by lifetime/pool_size, so that
// servers that were opened together do not go together. The caller holds mu.
func (p *pool) expire(life, t int64) bool {
	if p.lifeEnd != 0 && t-p.lifeEnd < life/int64(max(p.conf.Load().PoolSize, 1)) {
		return false
	}
	p.lifeEnd = t
	return true
}

// dropIdle closes s if it is idle.
func (p *pool) dropIdle(s *server) {
	p.mu.Lock()
	i := slices.Index(p.idle, s)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	kept := p.own == s
	if kept {
		p.own = nil
	}
	p.mu.Unlock()
	if i >= 0 || kept {
		s.close("server closed the connection")
	}
}

// takeIdle removes the idle servers that match.
func (p *pool) takeIdle(match func(*server) bool) []*server {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*server
	p.idle = slices.DeleteFunc(p.idle, func(s *server) bool {
		if match(s) {
			out = append(out, s)
			return true
		}
		return false
	})
	return out
}

// gone takes a closed server off the books.
func (p *pool) gone(s *server, why string) {
	p.mu.Lock()
	delete(p.servers, s)
	p.mu.Unlock()
	p.p.ledger.give(p)
	p.p.serverGone(s, why)
	p.p.freed(p)
	p.p.changed()
}

// grow opens as many servers as there are clients waiting and limits allow. The caller holds mu.
func (p *pool) grow() {
	if p.dropped {
		return
	}
	for p.wanting() > p.connecting && p.mayOpen() {
		if !p.open() {
			return
		}
	}
}

// mayOpen applies the limits of the pool itself. The caller holds mu.
func (p *pool) mayOpen() bool {
	t := now()
	if t < p.retryAt || p.failures > 0 && p.connecting > 0 {
		return false // one attempt at a time is enough to find out whether the server is back
	}
	waited := time.Duration(0)
	if p.waiters.head != nil {
		waited = time.Duration(t - p.waiters.head.waitAt.Load())
	}
	return p.hasRoom(len(p.servers)+p.connecting, waited)
}

// hasRoom applies pool_size to a pool of this size, and the reserve if a client has waited for long enough.
func (p *pool) hasRoom(size int, waited time.Duration) bool {
	set := p.conf.Load()
	if size < set.PoolSize || p.key.replication != "none" {
		return true
	}
	return size < set.PoolSize+set.ReservePoolSize && set.ReservePoolTimeout > 0 && waited >= set.ReservePoolTimeout
}

// open starts opening one server, if the limits that span pools allow. The caller holds mu.
func (p *pool) open() bool {
	if !p.p.ledger.take(p) {
		if p.waiters.n > 0 {
			p.setBlocked(true)
			go p.p.evictFor(p)
		}
		return false
	}
	p.setBlocked(false)
	p.connecting++
	go p.connect()
	return true
}

// connect opens one server and gives it to a waiter.
func (p *pool) connect() {
	t := now()
	s, err := p.p.openServer(p, p.config())
	if err == nil {
		p.connects.Record(time.Duration(now() - t))
		p.p.logServerOpened(s)
	}
	p.mu.Lock()
	p.connecting--
	if err != nil {
		fail := p.failed(err, t)
		p.mu.Unlock()
		p.p.ledger.give(p)
		ringAll(fail)
		p.p.freed(p)
		p.p.changed()
		return
	}
	p.failures, p.retryAt, p.loginErr, p.lastErr = 0, 0, false, nil
	p.welcome = s.sc.Params
	p.servers[s] = struct{}{}
	dropped := p.dropped
	if conf := p.config(); conf == nil || !s.conf.SameServer(conf) { // a reload came meanwhile, which could not mark it
		s.closeNeeded.Store(true)
	}
	p.mu.Unlock()
	if dropped {
		s.close("pool was dropped")
		return
	}
	if err := p.p.watch.add(s.conn.fd(), s); err != nil {
		s.close(err.Error())
		return
	}
	p.free(s)
	p.mu.Lock()
	p.grow() // failures may have held back others
	p.mu.Unlock()
}

// notReady closes a server that has not passed its check. If it is a fresh one, the next would not pass either: that counts as
// a login that has failed.
func (p *pool) notReady(s *server, err error) {
	var tell []*client
	if s.linkedAt.Load() == 0 {
		p.mu.Lock()
		delete(p.servers, s) // nobody has to wait for it
		tell = p.failed(err, now())
		p.mu.Unlock()
	}
	s.close(err.Error())
	ringAll(tell)
	if isTimeout(err) { // those that have been idle for longer are not likely to answer either, and each would take as long to say so
		for _, o := range p.takeIdle(func(o *server) bool { return o.releasedAt <= s.releasedAt }) {
			o.close("idle for longer than one that did not answer")
		}
	}
}

// failed notes that a server could not be opened, which was begun at since, and returns the waiters to be rung, who are told. Attempts that were under way
// together count once. The caller holds mu.
func (p *pool) failed(err error, since int64) (ring []*client) {
	t := now()
	retry := p.p.settings().ServerLoginRetry
	if p.failures == 0 || since >= p.lastErrAt {
		p.failures++
	}
	p.lastErr, p.lastErrAt = err, t
	var se *connect.ServerError
	var ae *auth.Error
	refused := errors.As(err, &se) && se.Code() != "57P03" || errors.As(err, &ae)
	p.p.logOpenFailed(p, err)
	if refused {
		p.loginErr = true
		p.retryAt = t + int64(retry)
		if len(p.servers) == 0 {
			ring = p.refuseAll(func() *Error { return errServerLogin(err) })
		}
	} else {
		// Nobody answers, or the server is starting: clients wait, and we look again soon.
		p.loginErr = false
		p.retryAt = t + int64(max(min(retry, 50*time.Millisecond<<min(p.failures, 6)), 50*time.Millisecond))
	}
	time.AfterFunc(time.Duration(p.retryAt-t), func() {
		p.mu.Lock()
		p.grow()
		p.mu.Unlock()
	})
	return ring
}

// extraParams is track_extra_parameters.
func (p *pool) extraParams() []string { return p.p.extra }

// dismiss tells everybody who waits for a server of a shard that there will be none.
func (pl *pool) dismiss() {
	pl.mu.Lock()
	ring := pl.refuseAll(func() *Error { return errShardRemoved(pl) })
	pl.mu.Unlock()
	ringAll(ring)
}

// markStale has every server of the pool closed when it is next idle.
func (pl *pool) markStale() {
	pl.mu.Lock()
	for s := range pl.servers {
		s.closeNeeded.Store(true)
	}
	pl.welcome = nil
	pl.retryAt, pl.failures, pl.loginErr = 0, 0, false
	pl.marks++
	pl.mu.Unlock()
	pl.dropOwn("close_needed")
	pl.retireHubs("")
	for _, s := range pl.takeIdle(func(*server) bool { return true }) {
		s.close("close_needed")
	}
}

// awaitConnects waits for attempts to open servers, and for servers that are tested or reset, to end.
func (pl *pool) awaitConnects(p *Pooler) {
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for {
		ch := p.changes()
		pl.mu.Lock()
		busy := pl.connecting > 0 || len(pl.servers) > 0 || len(pl.allHubs) > 0
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
