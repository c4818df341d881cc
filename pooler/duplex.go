package pooler

import (
	"errors"
	"io"
	"os"
	"time"
)

// duplexBytes is how much a unit may have, when one side cannot tell that a write would wait (TLS), before both
// directions move by themselves.
const duplexBytes = bufSize / 2

// duplex is the state of a session whose two directions move at once: pump, on a goroutine of its own, brings what
// the server says to the client, while the session's goroutine brings what the client says to the server. It
// begins when neither may wait for the other (COPY from the client, a pipeline larger than the sockets'
// buffers, a client that reads slowly) and ends when nothing is expected of the server any more.
type duplex struct {
	done     chan struct{} // closed when pump has ended
	progress chan struct{} // gets a value when replies came, for a sender that waits
	sent     int           // writes to the server that are through; guarded by client.mu
	over     bool          // pump has ended or will not touch the session any more; guarded by client.mu
	writing  bool          // the session's goroutine is writing to the server; guarded by client.mu
	poked    bool          // it has interrupted pump, which shall look again; guarded by client.mu
	err      error         // why pump ended, if not in good order; valid after done
}

// startDuplex starts pump and goes on sending.
func (c *client) startDuplex() error {
	d := &duplex{done: make(chan struct{}), progress: make(chan struct{}, 1)}
	c.retry = false
	c.mu.Lock()
	c.duplex = d
	send := c.send
	c.send = nil
	d.writing = len(send) > 0
	c.mu.Unlock()
	go c.pump(d, c.srv)
	if len(send) == 0 {
		return nil
	}
	return c.writeServer(send)
}

// unsent keeps what the client did not take, for pump.
func (c *client) unsent(p []byte) { c.pending = p }

func (c *client) pump(d *duplex, s *server) {
	err := c.pumpLoop(d, s)
	if err == nil {
		err = c.answered()
	}
	c.mu.Lock()
	d.over = true
	d.err = err
	c.mu.Unlock()
	close(d.done)
	d.goesOn()
	if err != nil {
		s.conn.interrupt(true) // the sender may be waiting for room
		c.interrupt(reasonServer)
	}
}

func (c *client) pumpLoop(d *duplex, s *server) error {
	p := c.pending
	c.pending = nil
	if err := c.conn.behind(0); err != nil {
		return clientWrite(err)
	}
	if err := c.toClient(p); err != nil {
		return err
	}
	var fail error
	var last []byte // for the client, once the loop has been left: see lastPart
	step := func(uintptr) bool {
		for {
			n, more, err := s.conn.read(c.sin.room())
			if err == errWouldBlock {
				return false
			}
			if err != nil {
				fail = err
				return true
			}
			c.sin.took(n, more)
			c.p.giveWay(&c.sin)
			c.mu.Lock()
			out, err := c.consume()
			quiet := err == nil && c.quiet(d)
			c.mu.Unlock()
			d.goesOn()
			if err != nil {
				fail = err
				return true
			}
			if quiet {
				last = out
				return true
			}
			if fail = c.toClient(out); fail != nil {
				return true
			}
			if !more && !s.dead.Load() {
				if !c.copyBoth { // a stream that never ends, of which no part is to wait
					c.sin.gather(s.conn)
				}
				return false
			}
		}
	}
	for {
		c.mu.Lock()
		if len(last) == 0 && c.ownNext() { // the server says nothing that would bring us to it
			c.out = c.out[:0]
			c.sayOwn()
			last = c.out
			d.goesOn()
		}
		over := c.quietEnds(d)
		c.mu.Unlock()
		write := c.toClient
		if over {
			write = c.endAnswer
		}
		err := write(last)
		last = nil
		if over || err != nil {
			return err
		}
		err = s.conn.loop(step)
		switch {
		case err == nil && fail != nil:
			return fail
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case reason(c.reasons.Load())&reasonKill != 0 || c.stopping.Load():
			return errStopped
		case reason(c.reasons.Load())&reasonHungUp != 0 && c.leftForGood(d.moved(c)):
			return io.EOF // the session's own goroutine waits for the server, and not for its client
		default:
			s.conn.resume()
		}
	}
}

// goesOn wakes a sender that waits for replies.
func (d *duplex) goesOn() {
	select {
	case d.progress <- struct{}{}:
	default:
	}
}

// moved changes with what passes in either direction. It is pump's.
func (d *duplex) moved(c *client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sin.flow + d.sent
}

var errStopped = errors.New("stopped")

// quietEnds ends duplex mode if nothing is on its way in either direction. A server that is free goes back to its
// pool at once, not when a slow client has read its answer. The caller holds mu.
func (c *client) quietEnds(d *duplex) bool {
	if !c.quiet(d) {
		return false
	}
	d.over = true
	if d.poked {
		c.srv.conn.resume() // pump may have looked before it heard, and the server may be somebody else's next
	}
	c.srv.conn.ungather()
	t := now()
	c.queryDone(t)
	if c.srv.tx == 'I' && !c.unsynced {
		c.xactDone(t)
		if s := c.srv; c.releasable() && !c.unclear() && c.sin.empty() {
			c.unlinkLocked(t)
			c.pool.releaseAt(s, t)
		}
	}
	return true
}

func (c *client) quiet(d *duplex) bool {
	return c.replies.empty() && !d.writing && !c.copyIn && !c.copyBoth && c.sbody == 0 && c.body == 0
}

// joinIfDone ends duplex mode if pump is through, and reports whether it did. Otherwise mu is held and writing is
// set on return, so that the server stays linked until writeServer.
func (c *client) joinIfDone() (done bool, err error) {
	d := c.duplex
	c.mu.Lock()
	for (c.replies.kinds.n > maxReplies || c.heldReady || (c.barrier && !c.replies.empty() || c.swallows()) && !c.copyIn && !c.copyBoth) && !d.over {
		c.mu.Unlock()
		<-d.progress
		c.mu.Lock()
	}
	c.barrier = c.barrier && !c.replies.empty()
	if !d.over {
		d.writing = true
		return false, nil
	}
	c.mu.Unlock()
	<-d.done
	c.duplex = nil
	return true, d.err
}

// forwardDuplex sends b[r:end] to the server while pump brings the answers. joinIfDone has been called.
func (c *client) forwardDuplex(end int) error {
	if c.queryAt.Load() == 0 {
		c.begin()
	}
	terminate, err := c.forward(end)
	send := c.send
	c.send = nil
	c.mu.Unlock()
	if werr := c.writeServer(send); err == nil {
		err = werr
	}
	if err == nil && terminate {
		err = c.terminated()
	}
	return err
}

// terminated ends a session after Terminate. What was asked for before is still answered.
func (c *client) terminated() error {
	if d := c.duplex; d != nil {
		c.mu.Lock()
		copying := c.copyIn || c.copyBoth // which nobody would end
		c.mu.Unlock()
		if !copying {
			<-d.done
		}
	}
	return errTerminate
}

// writeServer writes to the server in duplex mode. writing has been set, under mu, and is ended here.
func (c *client) writeServer(p []byte) error {
	d, s := c.duplex, c.srv
	var err error
	if len(p) > 0 {
		err = s.conn.writeAll(p)
	}
	c.mu.Lock()
	s.midway = s.midway || err != nil
	d.writing = false
	d.sent++
	if err == nil && (c.quiet(d) || c.ownNext()) && !d.over {
		d.poked = true
		s.conn.interrupt(false)
	}
	c.mu.Unlock()
	if err != nil {
		// pump knows better what happened: the server may have said why.
		return c.awaitPump(err)
	}
	return nil
}

// awaitPump waits for pump to fail too, which it does when the server is lost.
func (c *client) awaitPump(err error) error {
	d := c.duplex
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-d.done:
	case <-t.C:
		c.stopDuplex()
	}
	c.duplex = nil
	if d.err != nil && d.err != errStopped {
		return d.err
	}
	return c.serverFailed(err)
}

// awaitAnswers lets a client that has only closed its sending side have the rest of its answers, as long as some come.
func (c *client) awaitAnswers() {
	d := c.duplex
	t := time.NewTimer(leaveGrace)
	defer t.Stop()
	for {
		c.mu.Lock()
		copying := c.copyIn || c.copyBoth
		c.mu.Unlock()
		if copying || reason(c.reasons.Load())&reasonKill != 0 {
			return // nobody will end it
		}
		select {
		case <-d.done:
			return
		case <-d.progress:
			t.Reset(leaveGrace)
		case <-c.bell:
		case <-t.C:
			return
		}
	}
}

// stopDuplex ends pump wherever it is. The server is in the middle of something afterwards.
func (c *client) stopDuplex() {
	d := c.duplex
	if d == nil {
		return
	}
	select {
	case <-d.done:
		c.duplex = nil
		return
	default:
	}
	c.stopping.Store(true)
	for {
		c.mu.Lock()
		s := c.srv
		c.conn.interrupt(true)
		if s != nil {
			s.conn.interrupt(true)
		}
		c.mu.Unlock()
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-d.done:
			t.Stop()
			c.duplex = nil
			c.stopping.Store(false)
			return
		case <-t.C:
		}
	}
}
