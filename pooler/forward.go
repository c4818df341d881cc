package pooler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"pgdrover/internal/config"
)

const (
	headerLen = 5
	// maxStmtText is the largest named Parse in bytes that is followed from server to server.
	maxStmtText = 8 << 20
	// maxUnnamed is the same for a Parse without a name, whose text every client keeps for itself. A longer one streams through
	// and is known only to the server that parsed it.
	maxUnnamed = 64 << 10
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
		if err := c.handle(end); err != nil {
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
		if n < 4 || int64(n) > c.p.maxPacket.Load() || n > maxSmall && smallMessage(typ) {
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
	if c.srv == nil {
		if ok, err := c.answerAlone(end); ok || err != nil {
			return err
		}
		c.unitFrom = c.in.r
		if err := c.checkout(); err != nil {
			return c.refused(err, end)
		}
		c.retry = c.mode != config.PoolSession && c.repl == "none" && c.srv.conn.direct()
	}
	if c.queryAt.Load() == 0 {
		c.begin()
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
	}
	c.fwd = keepSmall(c.fwd)
	if terminate {
		return errTerminate
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
func (c *client) begin() {
	t := now()
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
	for pos < end {
		typ := b[pos]
		n := int(binary.BigEndian.Uint32(b[pos+1:])) + 1
		stop := min(pos+n, end)
		msg := b[pos:stop]
		whole := stop-pos == n
		rewritten := false
		switch typ {
		case 'Q', 'F', 'S', 'H', 'c', 'f':
			c.answers = true
		case 'P', 'B', 'D', 'E', 'C':
			c.answers = false // PostgreSQL keeps its answers back until Sync or Flush
		}
		switch typ {
		case 'Q':
			c.noteQuery(msg, whole)
			if c.replies.skipping {
				break
			}
			c.replies.push(replyQuery)
			c.unsynced = false
			c.unnamed = nil // a simple query destroys the unnamed statement
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
				c.copySync = true
			default:
				c.unsynced = false
				c.region++
				c.replies.push(replySync)
			}
		case 'E':
			c.unsynced = true
			c.replies.push(replyExecute)
		case 'P', 'B', 'D', 'C':
			c.unsynced = true
			if c.replies.skipping {
				break
			}
			how, err := c.extended(typ, msg, whole, b[from:pos])
			if err != nil {
				return false, err
			}
			rewritten = how == replaced
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
			c.copyIn = false
			if !c.copyBoth {
				c.replies.push(replyCopyEnd)
			}
		case 'X':
			terminate, rewritten = true, true
			c.stage(b[from:pos])
			end = stop
		}
		if !whole {
			c.body = n - (stop - pos)
			c.drop = rewritten && typ != 'B'
		}
		pos = stop
		if rewritten {
			from = pos
		}
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

// outcome is what became of a message of the extended protocol.
type outcome uint8

const (
	unchanged outcome = iota // it is forwarded as it is
	preceded                 // something was staged that goes before it
	replaced                 // its replacement, if any, was staged
)

// extended handles Parse, Bind, Describe and Close. before is what of the unit has not been staged yet:
// it is staged first whenever something else is.
func (c *client) extended(typ byte, msg []byte, whole bool, before []byte) (how outcome, err error) {
	body := msg[headerLen:]
	if typ == 'P' {
		c.pool.counters.ClientParses.Add(1)
	} else if typ == 'B' {
		c.pool.counters.Binds.Add(1)
	}
	if !c.tracking {
		c.replies.push(plainReply(typ))
		return unchanged, nil
	}
	var name []byte
	switch typ {
	case 'P':
		name, body, err = cstring(body)
	case 'B':
		if _, body, err = cstring(body); err == nil {
			name, body, err = cstring(body)
		}
	default: // 'D', 'C'
		if len(body) == 0 || body[0] != 'S' {
			c.replies.push(plainReply(typ))
			return unchanged, nil
		}
		name, body, err = cstring(body[1:])
	}
	if err != nil {
		return 0, fatalError{errProtocol(fmt.Sprintf("broken %s packet", messageName(typ)))}
	}
	if typ == 'P' {
		sets := c.noteText(body, whole)
		if len(name) == 0 {
			c.unSets = sets
		}
	}
	if len(name) == 0 {
		return c.unnamedStatement(typ, body, whole, before)
	}
	switch typ {
	case 'P':
		return c.parse(name, body, before)
	case 'C':
		return c.closeStatement(name, before)
	}
	st := c.stmts[string(name)]
	if st == nil {
		// The server knows no such name either and says so, with the effect it must have on the pipeline.
		c.replies.push(plainReply(typ))
		return unchanged, nil
	}
	if st.sets {
		c.dirty = c.mode != config.PoolSession
	}
	c.stage(before)
	p := c.prepare(st)
	at := len(c.fwd)
	c.fwd = append(c.fwd, msg[:headerLen]...)
	if typ == 'D' {
		c.fwd = append(c.fwd, 'S')
	} else {
		portal := msg[headerLen : len(msg)-len(body)-len(name)-1] // with its terminator
		c.fwd = append(c.fwd, portal...)
	}
	c.fwd = append(c.fwd, p.name...)
	c.fwd = append(c.fwd, 0)
	c.fwd = append(c.fwd, body...)
	old := binary.BigEndian.Uint32(msg[1:])
	binary.BigEndian.PutUint32(c.fwd[at+1:], uint32(int(old)+len(p.name)-len(name)))
	c.replies.push(plainReply(typ))
	return replaced, nil
}

// parse handles a named Parse. body is the text with its parameter types.
func (c *client) parse(name, body, before []byte) (outcome, error) {
	if _, ok := c.stmts[string(name)]; ok {
		return c.parseAgain(name, before)
	}
	st := c.p.stmts.intern(body, c.db.ddl.Load()) // this reference goes into the reply entry
	c.setStmt(string(name), st)
	d := replyData{name: string(name), after: st}
	c.stage(before)
	// In a failed transaction the server has to say so, and whether it is in one is not known while it has not answered
	// everything up to the last Sync.
	if c.srv.tx != 'E' && c.replies.asked == 0 {
		if p := c.srv.prepared.get(stmtKey{st, c.session.stmt}); p != nil && (p.confirmed || p.region == c.region) {
			c.replies.pushData(replySayParsed, d)
			return replaced, nil
		}
	}
	d.prep = c.addPrepared(st)
	c.appendParse(d.prep.name, st)
	c.replies.pushData(replyParseNamed, d)
	return replaced, nil
}

// parseAgain lets the server refuse a name that is in use: a statement of that name, with an empty text, is made first
// and closed when the server is next used.
func (c *client) parseAgain(name, before []byte) (outcome, error) {
	c.stage(before)
	c.fwd = appendParseBody(c.fwd, string(name), "\x00\x00\x00")
	c.replies.pushData(replyParseOwn, replyData{})
	c.replies.push(replyParse)
	if !slices.Contains(c.srv.toClose, string(name)) {
		c.srv.closeLater(string(name))
	}
	return preceded, nil
}

// prepare makes sure that the linked server has st, sending Parse ahead if it must.
func (c *client) prepare(st *stmt) *prepared {
	p := c.srv.prepared.get(stmtKey{st, c.session.stmt})
	if p != nil && (p.confirmed || p.region == c.region) {
		return p
	}
	p = c.addPrepared(st)
	c.appendParse(p.name, st)
	c.replies.pushData(replyParseOwn, replyData{prep: p})
	return p
}

// addPrepared enters st for the linked server, making room first.
func (c *client) addPrepared(st *stmt) *prepared {
	s := c.srv
	for s.prepared.len() >= c.maxStmts {
		old := s.prepared.oldest()
		if old == nil {
			break
		}
		s.prepared.remove(c.p.stmts, old)
		c.appendClose(old.name, old.name)
	}
	p, replaced := s.prepared.add(c.p.stmts, stmtKey{st, c.session.stmt}, c.region)
	if replaced != nil {
		s.closeLater(replaced.name)
	}
	s.nPrepared.Store(int32(s.prepared.len()))
	return p
}

func (c *client) appendParse(name string, st *stmt) {
	c.pool.counters.ServerParses.Add(1)
	c.fwd = appendParseBody(c.fwd, name, st.body)
}

func appendParseBody(b []byte, name, body string) []byte {
	b = append(b, 'P')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(name)+1+len(body)))
	b = append(b, name...)
	b = append(b, 0)
	return append(b, body...)
}

// appendClose closes a statement on the server. Should the server skip that, again is closed when it is next used.
func (c *client) appendClose(name, again string) {
	c.fwd = appendCloseStatement(c.fwd, name)
	c.replies.pushData(replyCloseOwn, replyData{name: again})
}

func appendCloseStatement(b []byte, name string) []byte {
	b = append(b, 'C')
	b = binary.BigEndian.AppendUint32(b, uint32(4+1+len(name)+1))
	b = append(b, 'S')
	b = append(b, name...)
	return append(b, 0)
}

// closeOwn closes what earlier users of the server have left to be closed.
func (c *client) closeOwn() {
	for _, name := range c.srv.toClose {
		c.appendClose(name, name)
	}
	c.srv.toClose = c.srv.toClose[:0]
}

// closeStatement handles Close of a named statement. A renamed one stays on the server for others.
func (c *client) closeStatement(name, before []byte) (outcome, error) {
	st := c.stmts[string(name)]
	if st == nil {
		c.replies.push(replyClose)
		return unchanged, nil
	}
	c.stage(before)
	c.p.stmts.ref(st) // held by the reply entry
	c.replies.pushData(replySayClosed, replyData{name: string(name), before: st})
	c.setStmt(string(name), nil)
	return replaced, nil
}

// unnamedStatement handles messages for the unnamed statement, which lives on the server where it was parsed: its text
// is kept, and sent ahead when a later transaction uses it elsewhere.
func (c *client) unnamedStatement(typ byte, body []byte, whole bool, before []byte) (outcome, error) {
	s := c.srv
	switch typ {
	case 'P':
		c.unGen++
		if whole && len(body) <= maxUnnamed {
			c.unnamed = append(c.unnamed[:0], body...)
		} else {
			c.unnamed = nil
		}
		c.pool.counters.ServerParses.Add(1)
		s.unOwner, s.unGen = c.id, c.unGen
		c.replies.pushData(replyParseUnname, replyData{})
		return unchanged, nil
	case 'C':
		c.unnamed = nil
		s.unOwner = 0
		c.replies.push(replyClose)
		return unchanged, nil
	}
	if typ == 'B' && c.unSets {
		c.dirty = c.mode != config.PoolSession
	}
	if s.unOwner == c.id && s.unGen == c.unGen {
		c.replies.push(plainReply(typ))
		return unchanged, nil
	}
	c.stage(before)
	if c.unnamed != nil {
		c.pool.counters.ServerParses.Add(1)
		c.fwd = appendParseBody(c.fwd, "", string(c.unnamed))
		c.replies.pushData(replyParseOwn, replyData{})
		s.unOwner, s.unGen = c.id, c.unGen
	} else {
		c.appendClose("", "") // so that the server says that there is none, instead of using another client's
		s.unOwner = 0
	}
	c.replies.push(plainReply(typ))
	return preceded, nil
}

// noteQuery looks at a simple query's text.
func (c *client) noteQuery(msg []byte, whole bool) {
	text := msg[headerLen:]
	c.noteText(text, whole)
	if c.copyIn {
		c.copyIn = false
	}
}

// noteText remembers what runs, and looks for functions whose effects the protocol does not show. It reports whether there
// are, or may be, some.
func (c *client) noteText(text []byte, whole bool) bool {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	c.remember(text)
	if c.mode == config.PoolSession {
		return false
	}
	sets := !whole || callsSetConfig(text)
	c.dirty = c.dirty || sets
	return sets
}

// callsSetConfig reports whether text mentions set_config, in any case.
func callsSetConfig(text []byte) bool {
	const before, after = "set", "config"
	for off := 0; ; {
		i := bytes.IndexByte(text[off:], '_')
		if i < 0 {
			return false
		}
		i += off
		if i >= len(before) && len(text) >= i+1+len(after) &&
			bytes.EqualFold(text[i-len(before):i], []byte(before)) && bytes.EqualFold(text[i+1:i+1+len(after)], []byte(after)) {
			return true
		}
		off = i + 1
	}
}

func plainReply(typ byte) replyKind {
	switch typ {
	case 'P':
		return replyParse
	case 'B':
		return replyBind
	case 'D':
		return replyDescribe
	default:
		return replyClose
	}
}

func messageName(typ byte) string {
	switch typ {
	case 'P':
		return "Parse"
	case 'B':
		return "Bind"
	case 'D':
		return "Describe"
	default:
		return "Close"
	}
}

var errCString = errors.New("string is not terminated")

func cstring(b []byte) (s, rest []byte, err error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, errCString
	}
	return b[:i], b[i+1:], nil
}
