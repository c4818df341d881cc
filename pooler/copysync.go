package pooler

import (
	"errors"
	"os"
)

// A COPY from the client swallows the Syncs that are sent behind its Execute, as libpq's is, or behind its Query, if it reads
// any data. If it fails before that (a trigger, a permission of a partition), each of them has an answer of its own. From
// outside the two cannot be told apart when the error comes; client.maybe counts the answers that may still come.

// swallows reports whether such a COPY of a simple query has begun. When it is over nothing is sent behind it until it is known whose the next
// ReadyForQuery is.
func (c *client) swallows() bool { return c.maybe > 0 && c.replies.head() == replyQuery }

// awaitSyncs finds out whether there are answers to such Syncs, and gives them to the client: what the server says to a message of
// ours comes behind them. The server waits for what comes next, and skips nothing.
func (c *client) awaitSyncs() error {
	s := c.srv
	msg := append(appendCloseStatement(nil, c.p.stmts.prefix), 'H', 0, 0, 0, 4) // fwd is the session's own, and this may be pump
	c.mu.Lock()
	c.expect(replyCloseOwn, replyData{})
	c.mu.Unlock()
	if err := s.conn.writeAll(msg); err != nil {
		return err
	}
	var fail error
	step := func(uintptr) bool {
		n, more, err := s.conn.read(c.sin.room())
		if err == errWouldBlock {
			return false
		}
		if err != nil {
			fail = err
			return true
		}
		c.sin.took(n, more)
		c.mu.Lock()
		out, err := c.consume()
		done := c.replies.empty()
		c.mu.Unlock()
		if err != nil {
			fail = err
			return true
		}
		if len(out) > 0 {
			if err := c.conn.writeAll(out); err != nil {
				fail = clientError{err}
				return true
			}
		}
		return done
	}
	for {
		err := s.conn.loop(step)
		if err == nil {
			c.sin.rest()
			return fail
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if c.duplex == nil {
			if err := c.interruptedRelay(); err != nil {
				return err
			}
			continue
		}
		// This is pump's goroutine, which leaves the reasons to the session's.
		if reason(c.reasons.Load())&reasonKill != 0 || c.stopping.Load() {
			return errStopped
		}
		s.conn.resume()
	}
}
