package pooler

// impatient are the reasons that make a client give up waiting for a server.
const impatient = reasonKill | reasonLate | reasonCanceled | reasonHungUp

// readying runs f, in which the server answers something of ours before the client may use it: server_check_query, or what brings its
// parameters there. The client waits meanwhile, since t, and everything that ends waiting in the queue ends this: then stop says why, and the
// server is of no use any more.
func (c *client) readying(s *server, t int64, f func() error) (stop, err error) {
	pl := s.pool
	if !c.watched.Load() {
		c.watchOver()
	}
	c.late.Store(nil)
	c.waitAt.Store(t)
	state := c.state.Swap(stateWaiting)
	pl.mu.Lock()
	pl.readied[c] = struct{}{}
	pl.mu.Unlock()
	c.mu.Lock()
	c.readies = s
	c.mu.Unlock()
	s.readiedFor.Store(c)

	err = f()

	s.readiedFor.Store(nil)
	c.mu.Lock()
	c.readies = nil
	c.mu.Unlock()
	pl.mu.Lock()
	delete(pl.readied, c)
	pl.mu.Unlock()
	c.state.Store(state)
	c.waitAt.Store(0)
	if err != nil && c.hasHadEnough() {
		r := c.takeReasons()
		if rest := r &^ impatient; rest != 0 {
			c.interrupt(rest) // later
		}
		stop = c.givesUp(r)
	}
	return stop, err
}

// hasHadEnough reports whether the client does not want to wait for a server any longer.
func (c *client) hasHadEnough() bool {
	r := reason(c.reasons.Load()) & impatient
	return r&^reasonHungUp != 0 || r != 0 && c.isGone()
}

// isGone reports whether the client has left, with nothing more to read or for so long that it does not come to that.
func (c *client) isGone() bool { return c.atEOF() || c.leftForGood(0) }

// givesUp is why a client with these reasons does not wait any longer, nil if it does.
func (c *client) givesUp(r reason) error {
	switch {
	case r&reasonKill != 0:
		return c.killed()
	case r&reasonLate != 0:
		if e := c.late.Swap(nil); e != nil {
			return fatalError{e}
		}
	case r&reasonCanceled != 0:
		return errCanceled()
	case r&reasonHungUp != 0 && c.isGone():
		return errClientGone
	}
	return nil
}

// waiting yields the clients that wait for a server: those in the queue, in its order, and those for whom one is got ready. The caller holds mu.
func (pl *pool) waiting(yield func(*client) bool) {
	for c := pl.waiters.head; c != nil; c = c.wait.next {
		if !yield(c) {
			return
		}
	}
	for c := range pl.readied {
		if !yield(c) {
			return
		}
	}
}
