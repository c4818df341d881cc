package pooler

import (
	"encoding/binary"
	"errors"
	"time"
)

// checkout links a server whose session has the client's parameters, waiting for one if need be.
func (c *client) checkout() error {
	t := now()
	if c.cancelNext.Load() {
		c.cancelNext.Store(false) // it was late for the one before
	}
	c.syncing.Store(true)
	err := c.checkoutFrom(t)
	c.syncing.Store(false)
	if err == nil && c.cancelNext.Load() {
		c.cancelNext.Store(false)
		s := c.srv
		c.unlink()
		c.pool.release(s)
		return errCanceled()
	}
	return err
}

func (c *client) checkoutFrom(t int64) error {
	for {
		s, linked, err := c.takeServer(t, true)
		if err != nil {
			return err
		}
		c.linkTo(s, linked)
		waited := linked - t
		c.pool.counters.WaitTime.Add(waited)
		c.pool.counters.ServerAssignments.Add(1)
		c.pool.waits.Record(time.Duration(waited))
		c.p.noteSlowWait(c, time.Duration(waited))
		if s.session.all == c.session.all || c.repl != "none" { // which was opened with them
			return nil
		}
		stop, err := c.applyParameters(t)
		var f fatalError
		switch {
		case stop != nil:
			c.unlink()
			s.close("client gave up waiting for its parameters")
			return stop
		case err == nil:
			return nil
		case errors.As(err, &f): // the server is well, it only does not accept the values
			c.unlink()
			c.pool.release(s)
			return err
		}
		c.unlink()
		s.close("synchronising parameters failed: " + err.Error())
	}
}

// takeServer takes a server for the client, which has wanted one since t. It is tried if server_check_delay says so, unless all that is wanted is
// to have one. The time is that at which the client got it.
func (c *client) takeServer(t int64, try bool) (*server, int64, error) {
	for {
		s, err := c.pool.take(c, t)
		at := t
		if err == nil && s == nil {
			s, err = c.waitForServer()
			at = now()
		}
		if err != nil {
			return nil, 0, err
		}
		if !try || !s.wantsCheck(at) {
			return s, at, nil
		}
		switch stop, err := c.readying(s, t, s.check); {
		case stop != nil:
			s.close("client gave up waiting for server_check_query")
			return nil, 0, stop
		case err == nil:
			return s, now(), nil
		default:
			c.pool.notReady(s, err)
		}
	}
}

// waitForServer waits in the queue of the pool, where take has put the client.
func (c *client) waitForServer() (*server, error) {
	if !c.watched.Load() {
		c.watchOver()
	}
	c.late.Store(nil)
	c.state.Store(stateWaiting)
	s, err := c.awaitGift()
	c.waitAt.Store(0)
	c.state.Store(stateIdle)
	if c.reasons.Load() != 0 {
		c.ring() // it may have been the same ring that told of both
	}
	return s, err
}

func (c *client) awaitGift() (*server, error) {
	for {
		<-c.bell
		if s, err, ok := c.wait.take(); ok {
			return s, err
		}
		if c.reasons.Load() == 0 {
			continue // it was for something that is over
		}
		r := c.takeReasons()
		err := c.givesUp(r)
		if err == nil && r&reasonNotify != 0 {
			c.notifyQueued()
		}
		if err == nil {
			continue
		}
		if !c.pool.leave(c) { // it was given something meanwhile
			if s, _, _ := c.wait.take(); s != nil {
				c.pool.release(s)
			}
		}
		return nil, err
	}
}

// underWay reports whether c waits for a server in the middle of something: it holds those of other shards. PAUSE waits for it to end, and KILL does not.
func (c *client) underWay() bool { return c.inShards.Load() && !c.dying.Load() }

// notifyQueued tells a client that waits why nothing happens (query_wait_notify).
func (c *client) notifyQueued() {
	e := &Error{Severity: "NOTICE", Code: "00000", Message: "No server connection available in postgres backend, client being queued"}
	_, _ = c.conn.write(e.message()) // a client that has no room for it will not miss it
}

// atEOF reports whether the client has closed its side and left nothing to read.
func (c *client) atEOF() bool { return peekEOF(c.conn.fd(), c.tls != "") }

// leftForGood reports whether the client closed its side so long ago that what it has asked for is of no use to anybody. A client that
// only closed its sending side gets some time to read the answers, and more with each that comes: also to what it sent before
// and nobody has read yet. moved is a number that changes with what comes.
func (c *client) leftForGood(moved int) bool {
	t := now()
	if moved != c.leftMoved {
		c.leftMoved = moved
		c.leftAt.Store(t)
	}
	return t-max(c.leftAt.Load(), c.queryAt.Load()) >= int64(leaveGrace)
}

// leaveGrace is how long the query of a client that has closed its side goes on.
const leaveGrace = time.Second

// refused answers a unit for which there is no server. Nothing is open on any server, so the answer is ours.
func (c *client) refused(err error, end int) error {
	var f fatalError
	var e *Error
	if c.router != nil {
		err = shardError(c.pool.key.shard, err)
	}
	if errors.As(err, &f) || !errors.As(err, &e) {
		return err
	}
	c.queryAt.Store(0)
	c.xactAt.Store(0)
	b := c.in.b[c.in.r:end]
	if b[0] != 'Q' && b[0] != 'F' {
		c.skipToSync = true
		if err := c.conn.writeAll(e.message()); err != nil {
			return err
		}
		return c.skip(end)
	}
	n := int(binary.BigEndian.Uint32(b[1:])) + 1
	if n > len(b) {
		c.body, c.drop = n-len(b), true
		n = len(b)
	}
	c.in.r += n
	return c.conn.writeAll(appendReady(e.message(), 'I'))
}

// skip drops the client's messages up to and with the next Sync, as PostgreSQL does after an error.
func (c *client) skip(end int) error {
	for c.in.r < end {
		b := c.in.b[c.in.r:end]
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n > len(b) {
			c.body = n - len(b)
			n = len(b)
		}
		c.in.r += n
		switch b[0] {
		case 'S':
			c.skipToSync = false
			return c.conn.writeAll(appendReady(nil, c.status()))
		case 'X':
			return errTerminate
		}
	}
	return nil
}

func appendReady(b []byte, status byte) []byte { return append(b, 'Z', 0, 0, 0, 5, status) }

// linkTo notes that the server works for the client, since t.
func (c *client) linkTo(s *server, t int64) {
	c.mu.Lock()
	c.srv = s
	c.mu.Unlock()
	c.link.Store(s)
	s.link.Store(c)
	s.linkedAt.Store(t)
	c.state.Store(stateActive)
	c.sawFatal, c.sentNothing = false, false
	c.dropBound, c.barrier, c.maybe = false, false, 0
	c.held = nil
}

func (c *client) unlink() { c.unlinkAt(now()) }

func (c *client) unlinkAt(t int64) {
	c.mu.Lock()
	c.unlinkLocked(t)
	c.mu.Unlock()
}

func (c *client) unlinkLocked(t int64) {
	s := c.srv
	if s == nil {
		return
	}
	c.srv = nil
	c.link.Store(nil)
	s.link.Store(nil)
	c.forgetState()
	if c.armed.CompareAndSwap(true, false) {
		c.p.watch.disarm(s.conn.fd())
	}
	if c.reasons.Load() != 0 {
		s.conn.resume() // an interrupt of this session is not the next one's
	}
	c.idleAt.Store(t)
	c.state.Store(stateIdle)
}

func (c *client) queryDone(t int64) {
	if at := c.queryAt.Swap(0); at != 0 {
		c.pool.counters.QueryTime.Add(t - at)
		c.pool.queries.Record(time.Duration(t - at))
		if c.router != nil {
			c.router.timed(time.Duration(t - at))
		}
	}
}

func (c *client) xactDone(t int64) {
	at := c.xactAt.Swap(0)
	if at == 0 {
		at = t
	}
	c.pool.counters.Xacts.Add(1)
	c.pool.counters.XactTime.Add(t - at)
	c.pool.xacts.Record(time.Duration(t - at))
	if !c.replies.empty() {
		c.xactAt.Store(t)
	}
}

// arm has the watcher tell when the linked server says something while the client is silent.
func (c *client) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.srv != nil && c.armed.CompareAndSwap(false, true) {
		c.p.watch.arm(c.srv.conn.fd())
	}
}

func (c *client) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed.CompareAndSwap(true, false) && c.srv != nil {
		c.p.watch.disarm(c.srv.conn.fd())
	}
}

// serverSpoke forwards what a linked server says while the client is silent: notices, notifications,
// parameters, or why it is going away.
func (c *client) serverSpoke() error {
	s := c.srv
	if !s.conn.direct() {
		// Something is there, but it may be less than a TLS record.
		_ = s.conn.netConn().SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		defer s.conn.resume()
	}
	for {
		n, more, err := s.conn.read(c.sin.room())
		if err == errWouldBlock {
			c.sin.rest()
			return nil
		}
		if err != nil {
			return c.serverFailed(err)
		}
		c.sin.took(n, more)
		out, err := c.consume()
		if err != nil {
			return c.serverFailed(err)
		}
		if len(out) > 0 {
			if err := c.conn.writeAll(out); err != nil {
				return err
			}
		}
		if !more && !s.dead.Load() && s.conn.direct() {
			c.sin.rest()
			if s.tx == 'I' && c.releasable() { // it was the answer to a Sync that a COPY has not swallowed
				return c.answered()
			}
			return nil
		}
	}
}
