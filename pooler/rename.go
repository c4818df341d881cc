package pooler

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unique"
)

// outcome is what became of a message of the extended protocol.
type outcome uint8

const (
	unchanged outcome = iota // it is forwarded as it is
	preceded                 // something was staged that goes before it
	replaced                 // its replacement, if any, was staged
	later                    // it cannot be forwarded before what was sent has been answered
	asked                    // nor this, and a question was staged
	refused                  // nothing of it goes to the server, and something was staged that the server refuses
)

// extended handles Parse, Bind, Describe and Close. before is what of the unit has not been staged yet:
// it is staged first whenever something else is. next is what comes behind the message.
func (c *client) extended(typ byte, msg []byte, whole bool, before, next []byte) (how outcome, err error) {
	body := msg[headerLen:]
	if !c.tracking {
		c.count(typ)
		c.noteUntracked(typ, body, whole)
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
			if p := c.tells; p != nil {
				c.tells = nil
				c.expect(replyDescribeTell, replyData{described: string(c.bound), prep: p})
			} else {
				c.replies.push(plainReply(typ))
			}
			return unchanged, nil
		}
		name, body, err = cstring(body[1:])
	}
	if err != nil {
		return 0, fatalError{errProtocol(fmt.Sprintf("broken %s packet", messageName(typ)))}
	}
	if len(name) > 0 && c.replies.unsettled(name, c.region) {
		return later, nil
	}
	if typ == 'P' {
		c.count(typ)
		fx := c.noteText(body, whole)
		if len(name) == 0 {
			c.unFx = fx
		}
	}
	if len(name) == 0 {
		return c.unnamedStatement(typ, msg, body, whole, before)
	}
	switch typ {
	case 'P':
		return c.parse(name, body, before)
	case 'C':
		return c.closeStatement(name, before)
	}
	its := c.stmts[string(name)]
	st := its.stmt
	if st == nil {
		// The server knows no such name either and says so, with the effect it must have on the pipeline.
		c.count(typ)
		how = unchanged
		if slices.Contains(c.srv.toClose, string(name)) {
			c.stage(before)
			c.closeNow(name)
			how = preceded
		}
		c.replies.push(plainReply(typ))
		return how, nil
	}
	if typ == 'B' {
		if c.dropBound || st.fx.effect&drops != 0 {
			if how, done := c.bindDrop(st, msg, name, body, before); done {
				return how, nil
			}
		}
		c.bound = append(c.bound[:0], name...)
	}
	c.stage(before)
	p, anew := c.prepare(st)
	if typ == 'D' {
		c.appendRenamed(msg, name, body, p.name)
		if p.columns != columnsUnknown && p.columns == its.columns { // it is answered so, or not at all
			c.replies.push(replyDescribe)
		} else {
			c.expect(replyDescribeTell, replyData{described: string(name), prep: p})
		}
		return replaced, nil
	}
	if how := c.checkColumns(its, p, anew, msg, next); how != unchanged {
		return how, nil
	}
	c.count(typ)
	c.willRunLater(st.fx)
	c.appendRenamed(msg, name, body, p.name)
	c.replies.push(replyBind)
	return replaced, nil
}

// appendRenamed appends a Bind or Describe, of which name is the statement and body what comes behind that, with another statement.
func (c *client) appendRenamed(msg, name, body []byte, other string) {
	at := len(c.fwd)
	c.fwd = append(c.fwd, msg[:len(msg)-len(body)-len(name)-1]...)
	c.fwd = append(c.fwd, other...)
	c.fwd = append(c.fwd, 0)
	c.fwd = append(c.fwd, body...)
	old := binary.BigEndian.Uint32(msg[1:])
	binary.BigEndian.PutUint32(c.fwd[at+1:], uint32(int(old)+len(other)-len(name)))
}

// expect notes a reply that has something to do.
func (c *client) expect(k replyKind, d replyData) {
	d.region = c.region
	c.replies.pushData(k, d)
}

// noteUntracked is for max_prepared_statements = 0, where nobody knows which statement a Bind means: it is taken for the one
// that was parsed last.
func (c *client) noteUntracked(typ byte, body []byte, whole bool) {
	switch typ {
	case 'P':
		if _, text, err := cstring(body); err == nil {
			c.unFx = c.noteText(text, whole)
		}
	case 'B':
		c.willRunLater(c.unFx)
	}
}

func (c *client) count(typ byte) {
	switch typ {
	case 'P':
		c.pool.counters.ClientParses.Add(1)
	case 'B':
		c.pool.counters.Binds.Add(1)
	}
}

// parse handles a named Parse. body is the text with its parameter types.
func (c *client) parse(name, body, before []byte) (outcome, error) {
	if c.stmts[string(name)].stmt != nil {
		return c.parseAgain(name, before)
	}
	if !c.hasRoom(name, body) {
		return 0, fatalError{errTooManyTexts(len(c.stmts))}
	}
	st := c.p.stmts.intern(body, c.db.ddl.Load()) // this reference goes into the reply entry
	c.setStmt(string(name), st)
	d := replyData{name: string(name), after: st}
	c.stage(before)
	// In a failed transaction the server has to say so, and whether it is in one is not known while it has not answered
	// everything up to the last Sync.
	if c.srv.tx != 'E' && c.replies.asked == 0 {
		if p := c.srv.prepared.get(stmtKey{st, c.meaning()}); p != nil && (p.confirmed || p.region == c.region) {
			c.expect(replySayParsed, d)
			return replaced, nil
		}
	}
	d.prep = c.addPrepared(st)
	c.appendParse(d.prep.name, st)
	c.expect(replyParseNamed, d)
	return replaced, nil
}

// parseAgain lets the server refuse a name that is in use: a statement of that name, with an empty text, is made first
// and closed when the server is next used.
func (c *client) parseAgain(name, before []byte) (outcome, error) {
	c.stage(before)
	c.closeNow(name)
	c.fwd = appendParseBody(c.fwd, string(name), "\x00\x00\x00")
	c.expect(replyParseOwn, replyData{})
	c.replies.push(replyParse)
	c.srv.closeLater(string(name))
	return preceded, nil
}

// closeNow closes what parseAgain may have left under a name of the client's.
func (c *client) closeNow(name []byte) {
	if i := slices.Index(c.srv.toClose, string(name)); i >= 0 {
		c.srv.toClose = slices.Delete(c.srv.toClose, i, i+1)
		c.appendClose(string(name), string(name))
	}
}

// prepare makes sure that the linked server has st, sending Parse ahead if it must, which makes it anew.
func (c *client) prepare(st *stmt) (p *prepared, anew bool) {
	p = c.srv.prepared.get(stmtKey{st, c.meaning()})
	if p != nil && (p.confirmed || p.region == c.region) {
		return p, false
	}
	p = c.addPrepared(st)
	c.appendParse(p.name, st)
	c.expect(replyParseOwn, replyData{prep: p})
	return p, true
}

// meaning is under which parameters a Parse is carried out that is sent now. Behind something that may change them, and of which the end is not known
// yet, it is none that other statements share.
func (c *client) meaning() env {
	if !c.setsAhead {
		return c.session.stmt
	}
	if c.odd == (env{}) {
		c.odds++
		c.odd = unique.Make(fmt.Sprintf("\x00%d.%d", c.id, c.odds))
	}
	return c.odd
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
	p, replaced := s.prepared.add(c.p.stmts, stmtKey{st, c.meaning()}, c.region)
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
	c.expect(replyCloseOwn, replyData{name: again})
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
	its := c.stmts[string(name)]
	st := its.stmt
	if st == nil {
		c.replies.push(replyClose)
		return unchanged, nil
	}
	c.stage(before)
	c.p.stmts.ref(st) // held by the reply entry
	c.expect(replySayClosed, replyData{name: string(name), before: st, columns: its.columns})
	c.setStmt(string(name), nil)
	return replaced, nil
}

// unnamedStatement handles messages for the unnamed statement, which lives on the server where it was parsed: its text
// is kept, and sent ahead when a later transaction uses it elsewhere.
func (c *client) unnamedStatement(typ byte, msg, body []byte, whole bool, before []byte) (outcome, error) {
	s := c.srv
	switch typ {
	case 'P':
		c.unnamed.region = c.region
		gen := c.unnamed.parse(body, whole)
		c.pool.counters.ServerParses.Add(1)
		s.unOwner, s.unGen = c.id, gen
		c.expect(replyParseUnname, replyData{gen: gen})
		return unchanged, nil
	case 'C':
		c.unnamed.region = c.region
		s.unOwner = 0
		c.expect(replyCloseUnname, replyData{gen: c.unnamed.parse(nil, true)})
		return unchanged, nil
	}
	if c.unnamed.unsettled(c.region) {
		return later, nil
	}
	if typ == 'B' {
		if c.dropBound || c.unFx.effect&drops != 0 {
			if how, done := c.bindDrop(nil, msg, nil, body, before); done {
				return how, nil
			}
		}
		c.count(typ)
		c.willRunLater(c.unFx)
	}
	if s.unOwner == c.id && s.unGen == c.unnamed.gen {
		c.replies.push(plainReply(typ))
		return unchanged, nil
	}
	c.stage(before)
	if c.unnamed.text != nil {
		c.pool.counters.ServerParses.Add(1)
		c.fwd = appendParseBody(c.fwd, "", string(c.unnamed.text))
		c.unnamed.again++
		c.unnamed.region = c.region
		c.expect(replyParseOwn, replyData{gen: c.unnamed.gen})
		s.unOwner, s.unGen = c.id, c.unnamed.gen
	} else {
		c.appendClose("", "") // so that the server says that there is none, instead of using another client's
		s.unOwner = 0
	}
	c.replies.push(plainReply(typ))
	return preceded, nil
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
