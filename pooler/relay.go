package pooler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pgdrover/internal/config"
)

var (
	errDuplex = errors.New("both directions have to move")       // relay handed over
	errRetry  = errors.New("the server was gone before it read") // the unit may be sent again
)

// relay sends c.send to the server and brings its answers to the client until none is outstanding, the client has to
// speak first (COPY), or both directions have to move at once.
func (c *client) relay() error {
	s := c.srv
	if c.half || c.conn.trails() {
		c.half = false
		return c.startDuplex()
	}
	if !s.conn.direct() && !c.replies.empty() && (len(c.send) >= duplexBytes || !c.answers) || !c.conn.direct() && len(c.send) >= duplexBytes {
		return c.startDuplex()
	}
	for {
		if c.dying.Load() { // what the session said to the server by itself may have ended the interrupt
			return c.killed()
		}
		c.relayErr = nil
		err := s.conn.loop(c.relayFn)
		if err == nil {
			err = c.relayErr
			c.relayErr = nil
		}
		if c.ended && (err == nil || err == errDuplex) {
			if werr := c.lastPart(); werr != nil {
				err = werr
			}
		}
		switch {
		case err == nil:
			return c.answered()
		case err == errDuplex:
			return c.startDuplex()
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := c.interruptedRelay(); err != nil {
				return err
			}
		default:
			return c.serverFailed(err)
		}
	}
}

// relayStep is called when the server may have something. The first call sends what the client has sent: the
// answer cannot come before, so there is no need to try to read it, unless some of the unit was sent earlier: then
// the server may already have said so much that it waits to be read, and nothing more of it would wake us.
func (c *client) relayStep() bool {
	s := c.srv
	if len(c.send) > 0 {
		n, err := s.conn.write(c.send)
		c.send = c.send[n:]
		switch {
		case err == errWouldBlock:
			c.relayErr = errDuplex
			return true
		case err != nil:
			c.sentNothing = n == 0
			c.relayErr = err
			return true
		}
		if c.replies.empty() || !c.answers || c.body > 0 || c.copyIn || c.onlyOwn() {
			c.early = c.early || !c.replies.empty()
			return true // nothing to wait for yet
		}
		if !c.early {
			return false
		}
		c.early = false
	}
	for {
		n, more, err := s.conn.read(c.sin.room())
		if err == errWouldBlock {
			return false
		}
		if err != nil {
			c.relayErr = err
			return true
		}
		c.sin.took(n, more)
		c.p.giveWay(&c.sin)
		out, err := c.consume()
		if err != nil {
			c.relayErr = err
			return true
		}
		if copying := c.copyIn || c.copyBoth; copying || c.replies.empty() {
			s.conn.ungather()
			c.ended, c.last = true, out
			if copying {
				c.relayErr = errDuplex
			}
			return true
		}
		if len(out) > 0 && !c.hold(out) {
			n, err := c.conn.write(out)
			if err == errWouldBlock {
				c.unsent(out[n:])
				err = errDuplex
			} else if err != nil {
				c.mute = true
				err = clientError{err}
			}
			if err != nil {
				c.relayErr = err
				return true
			}
		}
		if !more && !s.dead.Load() { // the end of a stream that is known to have ended is read at once
			c.sin.gather(s.conn)
			return false
		}
	}
}

// lastPart lets go of the server, if it is free, and then writes the end of the answer to the client. It comes after the loop over the
// server, which has the descriptor to itself: writing would otherwise stop whoever has the server next.
func (c *client) lastPart() error {
	out := c.last
	c.ended, c.last = false, nil
	c.settle()
	if c.hold(out) {
		return nil
	}
	return c.endAnswer(out)
}

// toClient writes a part of an answer to the client, however long it takes.
func (c *client) toClient(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return c.wrote(c.conn.writeAll(p))
}

// endAnswer writes the end of an answer to the client, which need not take it now.
func (c *client) endAnswer(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return c.wrote(c.conn.finish(p))
}

// wrote is told how writing to the client ended.
func (c *client) wrote(err error) error {
	if err != nil {
		c.mute = true
	}
	return clientWrite(err)
}

// clientError is a failure to write to the client, as opposed to one of the server's.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

// settle is called when nothing is expected of the server any more, before the last bytes go to the client:
// a server that is free goes back to its pool at once, not when a slow client has read its answer.
func (c *client) settle() {
	if !c.replies.empty() {
		return
	}
	t := now()
	c.queryDone(t)
	if c.srv.tx != 'I' || c.unsynced {
		return
	}
	c.xactDone(t)
	if c.releasable() && !c.unclear() {
		c.releaseAt(t)
	}
}

// releasable reports whether the linked server, which is idle, may serve somebody else now.
func (c *client) releasable() bool { return !c.pinned() && c.between() }

// between reports whether the linked server stands between two transactions of a client that does not own it.
func (c *client) between() bool {
	return c.mode != config.PoolSession && c.repl == "none" && c.replies.empty() && !c.unsynced && c.body == 0 && !c.copyIn && !c.copyBoth && !c.listens
}

// answered is called when relay is through.
func (c *client) answered() error {
	c.sin.rest()
	if c.heldReady {
		if err := c.endUnit(); err != nil {
			return err
		}
	}
	s := c.srv
	if s == nil {
		return c.deliver()
	}
	if !c.replies.empty() || c.copyIn || c.body > 0 {
		return nil
	}
	if c.maybe > 0 && !c.unsynced && !c.copyBoth {
		if err := c.awaitSyncs(); err != nil {
			return c.serverFailed(err)
		}
	}
	if s.tx == 'I' && c.between() {
		if err := c.tidy(); err != nil {
			return c.serverFailed(err)
		}
		if !c.pinned() {
			c.release()
		}
		if err := c.deliver(); err != nil || c.srv == nil {
			return err
		}
	}
	t := now()
	if c.queryAt.Load() != 0 {
		c.queryDone(t) // it has asked for nothing, with a Flush alone, and is silent like any other
	}
	c.idleAt.Store(t)
	if c.listens {
		c.arm()
	}
	return nil
}

// release gives the linked server back. Its stream is exactly at the end of a ReadyForQuery.
func (c *client) release() { c.releaseAt(now()) }

func (c *client) releaseAt(t int64) {
	s := c.srv
	c.dirty = false
	c.unlinkAt(t)
	if !c.sin.empty() || c.sbody > 0 {
		s.close("server sent something behind ReadyForQuery")
		return
	}
	c.pool.releaseAt(s, t)
}

// consume goes through what the server has sent and returns what the client gets of it, valid until the next read.
// In duplex mode the caller holds mu.
func (c *client) consume() ([]byte, error) {
	b := c.sin.b[:c.sin.w]
	pos := c.sin.r
	from := pos
	c.out = c.out[:0]
	if c.sbody > 0 {
		n := min(c.sbody, len(b)-pos)
		pos += n
		c.sbody -= n
		if c.eat {
			from = pos
		}
	}
	for c.sbody == 0 && len(b)-pos >= headerLen {
		if c.ownNext() {
			c.out = append(c.out, b[from:pos]...)
			from = pos
			c.sayOwn()
		}
		typ := b[pos]
		n := int(binary.BigEndian.Uint32(b[pos+1:])) + 1
		if n < headerLen {
			return nil, fmt.Errorf("%w: message %q with length %d", errOutOfStep, typ, n-1)
		}
		stop := pos + n
		if stop > len(b) {
			if typ != 'D' && typ != 'd' && n <= bufSize {
				break // small, and wanted whole
			}
			stop = len(b)
		}
		swallow := false
		if typ != 'D' && typ != 'd' {
			var err error
			if swallow, err = c.serverMessage(typ, b[pos:stop], pos+n == stop); err != nil {
				c.sin.r = pos
				return c.flushOut(b[from:pos]), err
			}
		}
		if swallow {
			c.out = append(c.out, b[from:pos]...)
			from = stop
		}
		if len(c.instead) > 0 {
			c.out = append(append(c.out, b[from:pos]...), c.instead...)
			from, c.instead = stop, nil
		}
		if pos+n > stop {
			c.sbody, c.eat = pos+n-stop, swallow
		}
		pos = stop
	}
	c.sin.r = pos
	if c.sbody == 0 && c.ownNext() {
		c.out = append(c.out, b[from:pos]...)
		from = pos
		c.sayOwn()
	}
	out := c.flushOut(b[from:pos])
	c.pool.counters.BytesSent.Add(int64(len(out)))
	return out, nil
}

// flushOut returns p, behind whatever was put together before it.
func (c *client) flushOut(p []byte) []byte {
	if len(c.out) == 0 {
		return p
	}
	c.out = append(c.out, p...)
	return c.out
}

// onlyOwn reports whether the server has nothing to say before we do.
func (c *client) onlyOwn() bool {
	if !c.ownNext() {
		return false
	}
	c.out = c.out[:0]
	c.sayOwn()
	if err := c.conn.writeAll(c.out); err != nil {
		c.relayErr = clientError{err}
	}
	return c.relayErr != nil || c.replies.empty()
}

// ownNext reports whether the next reply is not the server's but ours.
func (c *client) ownNext() bool {
	k := c.replies.head()
	return k == replyCopyEnd || k == replySayParsed || k == replySayClosed
}

// sayOwn emits the replies that are ours to give at the head of the queue.
func (c *client) sayOwn() {
	for {
		switch k := c.replies.head(); k {
		case replyCopyEnd:
			c.replies.pop()
		case replySayParsed, replySayClosed:
			c.replies.pop()
			d := c.replies.data.pop()
			c.p.stmts.unref(d.before)
			c.p.stmts.unref(d.after)
			if k == replySayParsed {
				c.out = append(c.out, '1', 0, 0, 0, 4)
			} else {
				c.out = append(c.out, '3', 0, 0, 0, 4)
			}
		default:
			return
		}
	}
}

// errOutOfStep marks a server whose stream is not where it should be. It is closed.
var errOutOfStep = errors.New("server is out of step")

// serverMessage takes note of one message of the server's, other than data. It reports whether the client gets it.
func (c *client) serverMessage(typ byte, msg []byte, whole bool) (swallow bool, err error) {
	head := c.replies.head()
	if typ != 'E' {
		c.retry = false // the server has read the unit
	}
	switch typ {
	case 'T', 't', 'n':
		own := head == replyDescribeOwn
		switch {
		case typ == 't':
		case head == replyDescribe:
			c.replies.pop()
		case own, head == replyDescribeTell:
			c.replies.pop()
			c.described(c.replies.data.pop(), !own, msg, whole)
		}
		return own, nil
	case 'C', 'I', 's':
		c.copyIn = false
		c.completed++
		if typ == 'C' && c.maybe > 0 && bytes.HasPrefix(msg[headerLen:], []byte("COPY ")) {
			c.maybe = 0
		}
		if typ == 'C' {
			c.commandTag(msg[headerLen:])
		}
		c.dropped(false)
		if head == replyExecute {
			c.replies.pop()
		}
	case 'Z':
		late := c.maybe > 0 && head != replyQuery && head != replySync
		if head != replyQuery && head != replySync && !late {
			return false, fmt.Errorf("%w: ReadyForQuery that nobody asked for", errOutOfStep)
		}
		if !whole || len(msg) != headerLen+1 {
			return false, fmt.Errorf("%w: ReadyForQuery with %d bytes", errOutOfStep, len(msg))
		}
		if late {
			// The COPY has failed before it read, so the Sync that was sent along with it has an answer of its own.
			c.maybe--
			c.replies.skipping = false
			c.unsynced = c.unsynced && head != 0
		} else {
			c.replies.pop()
		}
		c.copyIn = false
		if c.copyBoth && c.replies.empty() {
			c.copyBoth = false
		}
		c.srv.tx = msg[headerLen]
		if c.mode == config.PoolStatement && c.srv.tx != 'I' {
			// The client must not take it for the end of a good BEGIN.
			return false, fatalError{errProtocol("transaction blocks not allowed in statement pooling mode")}
		}
		if c.srv.tx == 'I' && !c.replies.empty() {
			c.xactDone(now()) // pipelined transactions are counted one by one
		}
		if c.after != 0 && c.replies.empty() {
			return c.holdReady(), nil
		}
	case '2':
		switch head {
		case replyBind, replyBindOwn:
		case replyBindDrop:
			c.replies.data.pop()
		default:
			return false, fmt.Errorf("%w: unexpected BindComplete", errOutOfStep)
		}
		c.replies.pop()
		return head == replyBindOwn, nil
	case '1':
		return c.parseComplete(head)
	case '3':
		switch head {
		case replyClose:
			c.replies.pop()
		case replyCloseUnname:
			c.replies.pop()
			c.unnamed.parsed(c.replies.data.pop().gen)
		case replyCloseOwn:
			c.replies.pop()
			c.replies.data.pop()
			c.maybe = 0
			return true, nil
		default:
			return false, fmt.Errorf("%w: unexpected CloseComplete", errOutOfStep)
		}
	case 'E':
		swallow := c.serverError(msg)
		if head == replyRefuse && errorCode(msg) == "26000" {
			c.instead = refusedColumns()
		}
		if c.router != nil && !swallow && errorCode(msg) == "57014" {
			if e := c.deadlock.Swap(nil); e != nil {
				c.instead = e.message()
			}
		}
		return swallow, nil
	case 'S':
		c.parameterStatus(msg, whole)
	case 'G':
		syncs, ended := c.replies.copyStarted()
		c.copyIn = !ended
		c.maybe += syncs
		if c.replies.head() == replyExecute && c.replies.asked == 0 {
			c.unsynced = true // the COPY swallows the Syncs that came before it
		}
	case 'W':
		c.copyBoth = true
	case 'A':
		return c.notified(msg), nil
	case 'N', 'H', 'V', 'c':
	default:
		return false, fmt.Errorf("%w: message %q", errOutOfStep, typ)
	}
	return false, nil
}

func (c *client) parseComplete(head replyKind) (swallow bool, err error) {
	switch head {
	case replyParse:
		c.replies.pop()
		return false, nil
	case replyParseNamed, replyParseUnname, replyParseOwn:
		c.replies.pop()
		d := c.replies.data.pop()
		if d.prep != nil {
			d.prep.confirmed = true
			if c.srv.tx == 'I' { // what a transaction has created is there for nobody else yet
				d.prep.key.stmt.noteParsed(c.srv.pool, d.prep.key.env)
			}
		}
		switch head {
		case replyParseUnname:
			c.unnamed.parsed(d.gen)
		case replyParseOwn:
			c.dropping = d.name
			c.unnamed.sentAgain(d.gen)
		}
		c.p.stmts.unref(d.before)
		c.p.stmts.unref(d.after)
		return head == replyParseOwn, nil
	}
	return false, fmt.Errorf("%w: unexpected ParseComplete", errOutOfStep)
}

// serverError notes an ErrorResponse.
func (c *client) serverError(msg []byte) (swallow bool) {
	c.copyIn = false
	if fatalSeverity(msg) {
		c.sawFatal = true
		c.srv.dead.Store(true)
		if c.srv.tx == 'I' && c.releasable() {
			return true // it came behind the answer, to a server that was idle: no concern of this client
		}
	} else {
		c.retry = false
	}
	c.dropped(false)
	if errorCode(msg) == "0A000" {
		c.planRefused()
	}
	refused := c.replies.head() == replyParseUnname
	c.replies.fail(c.undo, c.unsynced)
	if refused {
		c.unnamed.failed()
	}
	c.ownNames(msg)
	if c.replies.skipping {
		c.unsynced = true // the server skips everything until a Sync comes, also where one was sent that a COPY has swallowed
	}
	return false
}

// interruptedRelay deals with an interrupt while the server works.
func (c *client) interruptedRelay() error {
	r := c.takeReasons()
	switch {
	case r&reasonKill != 0:
		return c.killed()
	case r&reasonHungUp != 0 && c.leftForGood(c.sin.flow):
		return io.EOF
	}
	return nil
}

// serverFailed turns the loss of the server in the middle of something into what the client gets.
func (c *client) serverFailed(err error) error {
	var ce clientError
	var ours fatalError
	switch {
	case errors.As(err, &ce):
		return ce.error
	case errors.As(err, &ours):
		return ours
	}
	s := c.srv
	if s == nil {
		return fatalError{errServerGone(err)}
	}
	held := c.held
	c.held = nil
	if c.retry && (c.sentNothing || held != nil && wasReset(s, err)) {
		c.replies.reset(c.undo)
		c.unlink()
		s.close("server was shut down before it read the query")
		return errRetry
	}
	fatal := c.sawFatal
	if held != nil {
		_ = c.conn.writeAll(held) // the client's own end is noticed elsewhere
	}
	c.replies.reset(c.undo)
	c.unlink()
	s.close("server connection lost: " + err.Error())
	if fatal {
		return io.EOF // the client has the server's own words
	}
	return fatalError{errServerGone(err)}
}

// wasReset reports whether the server's kernel refused bytes of ours because nobody was left to read them. An orderly
// end that came before them hides that from read, but not from SO_ERROR.
func wasReset(s *server, err error) bool {
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return true
	}
	n, serr := unix.GetsockoptInt(s.conn.fd(), unix.SOL_SOCKET, unix.SO_ERROR)
	return errors.Is(err, io.EOF) && serr == nil && n != 0
}

// hold keeps back a FATAL that is the very first answer to a unit, because it may turn out that the server never
// read the unit: a backend that is shut down while it is idle says FATAL 57P01 and closes its socket,
// and if our bytes were still unread then, its kernel answers with a reset instead of an orderly end. Then, and only
// then, it is certain that nothing was done, and the unit goes to another server.
func (c *client) hold(out []byte) bool {
	if !c.retry || !c.sawFatal {
		return false
	}
	c.held = append(c.held, out...)
	return true
}

// again sends a unit that the first server never read to another one.
func (c *client) again(end int) error {
	c.in.r = c.unitFrom
	c.after, c.resets = 0, nil
	c.sin.r, c.sin.w, c.sbody = 0, 0, 0
	c.sawFatal = false
	if err := c.checkout(); err != nil {
		return c.refused(err, end)
	}
	if c.channels != nil {
		if err := c.echo(end); err != nil {
			return err
		}
	}
	if _, err := c.forward(end); err != nil {
		return err
	}
	return c.relay()
}
