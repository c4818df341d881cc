package pooler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"pgdrover/internal/config"
)

const (
	headerLen = 5
	// maxStmtText is the largest named Parse in bytes that is followed from server to server.
	maxStmtText = 8 << 20
	// maxUnnamed is the same for a Parse without a name, whose text every client keeps for itself. A longer one streams through
	// and is known only to the server that parsed it.
	maxUnnamed = 64 << 10
	// maxRouted is the largest message in bytes that a sharded database takes: it is read whole, because what it says decides where it
	// goes. CopyData is not bounded by it.
	maxRouted = 64 << 20
	// maxReplies bounds the queue of expected replies, one byte each: a client that pipelines more is
	// read no further until the server has caught up.
	maxReplies = 4 << 20
)

var errTerminate = errors.New("client sent Terminate")

// process deals with everything in c.in that can be dealt with.
func (c *client) process() error {
	for {
		if c.body > 0 {
			if c.in.empty() {
				return nil
			}
			if err := c.passBody(); err != nil {
				return err
			}
			continue
		}
		end, err := c.unit()
		if err != nil || end == c.in.r {
			return err
		}
		if c.router != nil {
			err = c.route(end)
		} else {
			err = c.handle(end)
		}
		if err != nil {
			return err
		}
	}
}

// unit returns the end of what should go to a server now: all complete messages up to the last one that wants
// an answer, or whatever there is when the buffer is full. It returns c.in.r for "wait for more".
func (c *client) unit() (int, error) {
	b, pos, last := c.in.b[:c.in.w], c.in.r, c.in.r
	for len(b)-pos >= headerLen {
		typ := b[pos]
		n := int(binary.BigEndian.Uint32(b[pos+1:]))
		if n < 4 || int64(n) > c.p.maxPacket.Load() || n > maxSmall && smallMessage(typ) || n > 4 && bodiless(typ) {
			if last > c.in.r {
				return last, nil // what came before it is answered first
			}
			return 0, fatalError{errProtocol(fmt.Sprintf("bad packet header: '%x'", b[pos:pos+headerLen]))}
		}
		if len(b)-pos < n+1 && frontendMessage(typ) {
			break
		}
		pos += n + 1
		switch typ {
		case 'Q':
			if c.noPQExec {
				return 0, fatalError{errPQExec()}
			}
			last = pos
		case 'S', 'H', 'F', 'd', 'c', 'f', 'X':
			last = pos
		case 'P', 'B', 'D', 'E', 'C':
		default:
			if last > c.in.r {
				return last, nil
			}
			return 0, fatalError{errProtocol(fmt.Sprintf("invalid frontend message type %d", typ))}
		}
	}
	if last > c.in.r {
		return last, nil
	}
	if c.in.r > 0 && c.in.w == len(c.in.b) {
		c.in.room() // moves what there is to the front
		return c.in.r, nil
	}
	if !c.in.full() {
		return c.in.r, nil
	}
	if pos > c.in.r {
		return pos, nil // complete messages, but none that wants an answer yet
	}
	return c.oversized()
}

// maxSmall is PostgreSQL's limit for messages that carry no data (PQ_SMALL_MESSAGE_LIMIT), in bytes.
const maxSmall = 10_000

func smallMessage(typ byte) bool {
	switch typ {
	case 'S', 'H', 'X', 'c', 'f', 'E', 'D', 'C':
		return true
	}
	return false
}

// bodiless reports whether a message of this type is nothing but its header. To a Flush with a body PostgreSQL answers an error in the place
// of no message, and skips what follows up to Sync: nothing that was sent behind it would find its answer.
func bodiless(typ byte) bool { return typ == 'H' || typ == 'S' }

// frontendMessage reports whether clients send messages of this type after their login.
func frontendMessage(typ byte) bool {
	switch typ {
	case 'Q', 'P', 'B', 'F', 'd':
		return true
	}
	return smallMessage(typ)
}

// oversized is called when one message fills the buffer and is not complete. Most stream through;
// a Parse that has to be remembered is read whole.
func (c *client) oversized() (int, error) {
	total := int(binary.BigEndian.Uint32(c.in.b[1:])) + 1
	if c.router != nil && c.in.b[0] != 'd' {
		if total > maxRouted {
			return 0, fatalError{errTooLongToRoute(total)}
		}
		c.in.grow(total)
		return c.in.r, nil
	}
	if c.in.fixed != nil && c.in.b[0] != 'd' {
		// The server could do nothing with a small part of it but wait, and would be woken for it.
		c.in.enlarge()
		return c.in.r, nil
	}
	switch c.in.b[0] {
	case 'P':
		if c.tracking && (c.in.b[headerLen] != 0 || total <= maxUnnamed) && !c.skipToSync {
			if total > maxStmtText {
				return 0, fatalError{&Error{
					Severity: "FATAL", Code: "54000", Message: "prepared statement is too long",
					Detail: fmt.Sprintf("Its text has %d bytes; at most %d can follow a client from server to server.", total, maxStmtText),
					Hint:   "Use the unnamed statement, or pool_mode = \"session\".",
				}}
			}
			c.in.grow(total)
			return c.in.r, nil
		}
	case 'C', 'D', 'E', 'S', 'H', 'X', 'c':
		return 0, fatalError{errProtocol(fmt.Sprintf("message %q has %d bytes", c.in.b[0], total))}
	}
	return c.in.w, nil
}

// handle takes b[r:end] of the client to a server and, unless both directions already run by themselves,
// brings the answers back.
func (c *client) handle(end int) error {
	if c.skipToSync {
		return c.skip(end)
	}
	if c.duplex != nil {
		if done, err := c.joinIfDone(); err != nil {
			return err
		} else if !done {
			return c.forwardDuplex(end)
		}
	}
	var t int64
	if c.srv == nil {
		if ok, err := c.answerAlone(end); ok || err != nil {
			return err
		}
		c.unitFrom = c.in.r
		if err := c.checkout(); err != nil {
			return c.refused(err, end)
		}
		t = c.srv.linkedAt.Load()
		c.retry = c.mode != config.PoolSession && c.repl == "none" && c.srv.conn.direct()
	}
	if c.channels != nil {
		if err := c.echo(end); err != nil {
			return err
		}
	}
	if c.queryAt.Load() == 0 {
		if t == 0 {
			t = now()
		}
		c.beginAt(t)
	}
	terminate, err := c.forward(end)
	if err != nil {
		return err
	}
	if len(c.send) > 0 {
		err := c.relay()
		for err == errRetry {
			err = c.again(end)
		}
		if err != nil {
			return err
		}
	}
	if c.duplex == nil { // otherwise startDuplex has done it, and it is pump's
		c.retry = false
		c.barrier = c.barrier && !c.replies.empty()
	}
	c.fwd = keepSmall(c.fwd)
	if terminate {
		return c.terminated()
	}
	return nil
}

// keepSmall gives up the memory of a scratch buffer that had to hold something large.
func keepSmall(b []byte) []byte {
	if cap(b) > bufSize {
		return nil
	}
	return b[:0]
}

// begin notes that a unit starts.
func (c *client) begin() { c.beginAt(now()) }

func (c *client) beginAt(t int64) {
	if c.router != nil && c.deadlock.Load() != nil {
		c.deadlock.Store(nil) // it was meant for the one before, which had ended
	}
	c.queryAt.Store(t)
	c.requestAt.Store(t)
	if c.xactAt.Load() == 0 {
		c.xactAt.Store(t)
	}
	c.pool.counters.Queries.Add(1)
}

// forward prepares b[r:end] for the server in c.send and notes the replies to expect. It consumes the bytes.
// In duplex mode the caller holds mu.
func (c *client) forward(end int) (terminate bool, err error) {
	b := c.in.b[:c.in.w]
	pos, from := c.in.r, c.in.r
	c.fwd = c.fwd[:0]
	c.send = nil
	// Not in the middle of a COPY, and not while the server skips everything up to Sync.
	if c.srv != nil && len(c.srv.toClose) > 0 && c.replies.empty() && !c.replies.skipping && !c.copyIn && !c.copyBoth {
		c.closeOwn()
	}
	if c.setsAhead && c.replies.empty() && !c.unsynced {
		c.setsAhead, c.odd = false, env{}
	}
	await := false
	for pos < end && !await {
		typ := b[pos]
		n := int(binary.BigEndian.Uint32(b[pos+1:])) + 1
		stop := min(pos+n, end)
		msg := b[pos:stop]
		whole := stop-pos == n
		rewritten, nothing := false, false // nothing: no part of it goes to the server
		switch typ {
		case 'Q', 'F', 'S', 'H', 'c', 'f':
			c.answers = true
			c.half = typ == 'c' || typ == 'f' || typ == 'H' && c.half
		case 'P', 'B', 'D', 'E', 'C':
			c.answers, c.half = false, false // PostgreSQL keeps its answers back until Sync or Flush
		}
		switch typ {
		case 'Q':
			if c.unsynced && c.tracking && !c.replies.empty() && !c.copyIn && !c.copyBoth {
				await, end = true, pos // an error before it makes the server skip it, and then it destroys nothing
				continue
			}
			fx := c.noteQuery(msg, whole)
			if c.replies.skipping {
				break
			}
			if await = whole && c.tracking && fx.effect&drops != 0; await {
				switch c.dropQuery(msg, b[from:pos]) {
				case later:
					end = pos
					continue
				case preceded:
					from = pos
				case replaced:
					rewritten = true
				}
			}
			if !rewritten {
				c.replies.push(replyQuery)
			}
			c.unsynced = false
			c.unnamed.forget() // a simple query destroys the unnamed statement
			if s := c.srv; s != nil {
				s.unOwner = 0
			}
		case 'F':
			if c.replies.skipping {
				break
			}
			c.replies.push(replyQuery)
			c.unsynced = false
		case 'S':
			switch {
			case c.copyIn:
				c.maybe++
			default:
				c.unsynced = false
				c.region++
				c.replies.push(replySync)
			}
		case 'E':
			c.unsynced = true
			if c.dropBound && whole && !c.replies.skipping {
				var how outcome
				if how, await = c.executeDrop(msg, b[from:pos]); how == preceded {
					from = pos
				}
			}
			c.replies.push(replyExecute)
		case 'P', 'B', 'D', 'C':
			c.unsynced = true
			if c.replies.skipping {
				break
			}
			how, err := c.extended(typ, msg, whole, b[from:pos], b[stop:end])
			if err != nil {
				return false, err
			}
			if how == later || how == asked {
				if how == asked {
					from = pos
				}
				await, end = true, pos
				continue
			}
			rewritten, nothing = how == replaced || how == refused, how == refused
			if how == preceded {
				from = pos
			}
		case 'd':
			if !c.copying() {
				rewritten = true // left over from a COPY that failed: PostgreSQL ignores it too
				c.stage(b[from:pos])
			}
		case 'c', 'f':
			if !c.copying() {
				rewritten = true
				c.stage(b[from:pos])
				break
			}
			if c.swallows() || c.replies.queryAndSyncs() {
				end, c.barrier = stop, true
			}
			if !c.copyIn && !c.copyBoth {
				c.replies.push(replyCopyEnd) // the server has still to say that it begins
			}
			c.copyIn = false
		case 'X':
			terminate, rewritten = true, true
			c.stage(b[from:pos])
			end = stop
		}
		if !whole {
			c.body = n - (stop - pos)
			c.drop = rewritten && typ != 'B' || nothing
		}
		pos = stop
		if rewritten {
			from = pos
		}
		if c.after != 0 && (typ == 'Q' || typ == 'S') {
			end, c.barrier = pos, true // what follows must find what this leaves behind
		}
	}
	if c.refusal != nil {
		return false, fatalError{c.refusal}
	}
	if await {
		// What a name means behind this depends on answers that have not come. PostgreSQL may keep them back: Flush asks for them.
		end = pos
		c.stage(b[from:end])
		from = end
		c.fwd = append(c.fwd, 'H', 0, 0, 0, 4)
		c.answers, c.barrier = true, true
	}
	c.in.r = end
	if len(c.fwd) > 0 {
		c.stage(b[from:end])
		c.send = c.fwd
	} else {
		c.send = b[from:end]
	}
	return terminate, nil
}

// copying reports whether CopyData may mean something to the server.
func (c *client) copying() bool { return c.copyIn || c.copyBoth || !c.replies.empty() }

// stage appends bytes for the server behind what has been rewritten.
func (c *client) stage(p []byte) { c.fwd = append(c.fwd, p...) }

// passBody forwards what has come of a message that is larger than the buffer.
func (c *client) passBody() error {
	n := min(c.body, c.in.len())
	part := c.in.b[c.in.r : c.in.r+n]
	c.in.r += n
	if c.router != nil && c.router.copying != nil {
		c.router.copying.feed(part)
		c.body -= n
		return nil
	}
	if c.drop || c.skipToSync {
		if c.body -= n; c.body == 0 {
			c.drop = false
		}
		return nil
	}
	c.retry = false
	if c.duplex != nil {
		if done, err := c.joinIfDone(); err != nil {
			return err
		} else if !done {
			c.body -= n
			c.mu.Unlock()
			return c.writeServer(part)
		}
	}
	c.body -= n
	if c.srv == nil {
		return fatalError{errServerGone(nil)}
	}
	c.send = part
	return c.relay()
}

// noteQuery looks at a simple query's text.
func (c *client) noteQuery(msg []byte, whole bool) effects {
	fx := c.noteText(msg[headerLen:], whole)
	c.willRun(fx)
	c.copyIn = false
	return fx
}

// noteText remembers what runs, and looks for effects that the protocol does not show.
func (c *client) noteText(text []byte, whole bool) effects {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	first := c.remember(text)
	if c.mode == config.PoolSession {
		return effects{}
	}
	return effectsOf(text, first, whole)
}

var errCString = errors.New("string is not terminated")

func cstring(b []byte) (s, rest []byte, err error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, errCString
	}
	return b[:i], b[i+1:], nil
}
