package pooler

// DEALLOCATE of a statement that the client has prepared by the protocol names something that the server knows by another name, and that others
// may use there. So the server is given a statement of ours to drop in its place, with an empty text, under a name that is always the same.
// It says yes or no to that as it would to the client's, and on yes the client's name is forgotten.

// scratch is the name of that statement on servers. The names of others end in greater numbers.
func (t *stmtTable) scratch() string { return t.prefix + "0" }

// droppedName returns the name in a text that is nothing but DEALLOCATE of one statement; nil for others.
func droppedName(text []byte) []byte {
	word, quoted, rest := sqlName(text)
	if quoted || string(word) != "deallocate" {
		return nil
	}
	name, quoted, rest := sqlName(rest)
	if !quoted && string(name) == "prepare" {
		if n, q, r := sqlName(rest); n != nil { // without one it is the name of a statement
			name, quoted, rest = n, q, r
		}
	}
	if !quoted && string(name) == "all" {
		return nil
	}
	for rest = skipBlank(rest); len(rest) > 0 && rest[0] == ';'; {
		rest = skipBlank(rest[1:])
	}
	if len(rest) > 0 {
		return nil
	}
	return name
}

// sqlName reads a word or a quoted name as PostgreSQL does. name is nil if there is none.
func sqlName(b []byte) (name []byte, quoted bool, rest []byte) {
	b = skipBlank(b)
	if len(b) > 0 && b[0] == '"' {
		for i := 1; i < len(b); i++ {
			if b[i] == '"' {
				if i+1 == len(b) || b[i+1] != '"' {
					return name, true, b[i+1:]
				}
				i++
			}
			name = append(name, b[i])
		}
		return nil, true, nil
	}
	n := 0
	for n < len(b) && isWordByte(b[n]) {
		ch := b[n]
		if n == 0 && (ch == '$' || ch >= '0' && ch <= '9') {
			break
		}
		if ch >= 'A' && ch <= 'Z' {
			ch |= 0x20
		}
		name = append(name, ch)
		n++
	}
	return name, false, b[n:]
}

// dropTarget is what a portal drops.
type dropTarget struct {
	name string // "" unless it is one statement
	ours bool   // the client had a statement of that name when it was bound, and so it is scratch that is dropped
}

// dropQuery handles a simple query that drops statements. DEALLOCATE of one of the client's becomes messages of the extended protocol that end
// with a Sync: should the first of them fail (a cancel request may come at any time), the server would skip a Query behind it without an answer.
func (c *client) dropQuery(msg, before []byte) outcome {
	text, _, _ := cstring(msg[headerLen:])
	name := droppedName(text)
	switch {
	case name == nil:
		return unchanged
	case c.replies.unsettled(name, c.region):
		return later
	case c.stmts[string(name)].stmt == nil:
		c.stage(before)
		c.closeNow(name)
		return preceded
	}
	c.stage(before)
	p := c.prepareDrop()
	c.fwd = appendMessage(c.fwd, 'B', []byte("\x00"+p.name+"\x00\x00\x00\x00\x00\x00\x00"))
	c.replies.push(replyBindOwn)
	c.appendScratch(string(name))
	c.fwd = append(c.fwd, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0, 'S', 0, 0, 0, 4)
	c.replies.push(replyExecute)
	c.region++
	c.replies.push(replySync)
	return replaced
}

// bindDrop handles Bind of a statement that may drop others: of st, or of the unnamed one if that is nil. name is the client's name for it, body what
// comes behind that. It reports false if the Bind is like any other.
func (c *client) bindDrop(st *stmt, msg, name, body, before []byte) (how outcome, done bool) {
	text, fx := c.unnamed.text, c.unFx
	if st != nil {
		text, fx = []byte(st.body), st.fx
	}
	portal, _, _ := cstring(msg[headerLen:])
	if !c.dropBound {
		clear(c.drops) // those of an earlier server
	}
	if fx.effect&drops == 0 {
		delete(c.drops, string(portal)) // it is another portal now
		return unchanged, false
	}
	text, _, _ = cstring(text)
	target := droppedName(text)
	if target != nil && c.replies.unsettled(target, c.region) {
		return later, true
	}
	if c.drops == nil {
		c.drops = map[string]dropTarget{}
	}
	ours := target != nil && c.stmts[string(target)].stmt != nil
	c.dropBound = true
	c.drops[string(portal)] = dropTarget{name: string(target), ours: ours}
	if !ours {
		return unchanged, false
	}
	c.count('B')
	c.willRunLater(fx)
	c.stage(before)
	p := c.prepareDrop()
	c.appendRenamed(msg, name, body, p.name)
	c.expect(replyBindDrop, replyData{name: string(portal)})
	return replaced, true
}

// executeDrop handles Execute after a Bind of a statement that drops others. It reports whether the portal is that of one.
func (c *client) executeDrop(msg, before []byte) (how outcome, drops bool) {
	portal, _, _ := cstring(msg[headerLen:])
	d, drops := c.drops[string(portal)]
	if !drops {
		return unchanged, false
	}
	delete(c.drops, string(portal))
	c.dropBound = len(c.drops) > 0
	c.stage(before)
	switch {
	case !d.ours:
		c.closeNow([]byte(d.name))
	case c.stmts[d.name].stmt != nil: // otherwise the server finds nothing to drop
		c.appendScratch(d.name)
	}
	return preceded, true
}

// prepareDrop makes sure that the linked server has the statement that drops the one of ours.
func (c *client) prepareDrop() *prepared {
	st := c.p.stmts.intern([]byte(`DEALLOCATE "`+c.p.stmts.scratch()+"\"\x00\x00\x00"), 0)
	p, _ := c.prepare(st)
	c.p.stmts.unref(st) // the server holds it
	return p
}

// appendScratch makes the statement that is dropped in the place of the client's.
func (c *client) appendScratch(name string) {
	c.appendClose(c.p.stmts.scratch(), c.p.stmts.scratch()) // it may have been left over
	c.fwd = appendParseBody(c.fwd, c.p.stmts.scratch(), "\x00\x00\x00")
	c.expect(replyParseOwn, replyData{name: name})
}

// dropped is called with the server's answer, which is the first one behind the ParseComplete of that statement. done says that something was dropped.
func (c *client) dropped(done bool) {
	switch {
	case c.dropping == "":
		return
	case done:
		c.setStmt(c.dropping, nil)
	default:
		c.srv.closeLater(c.p.stmts.scratch())
	}
	c.dropping = ""
}
