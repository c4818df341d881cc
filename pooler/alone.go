package pooler

import "encoding/binary"

// answerAlone answers units that no server is needed for: a Parse that needs none (see answersParse), Close of statements that are ours
// to rename, Sync, Flush, and what is left of a COPY that has failed. It reports whether it did.
func (c *client) answerAlone(end int) (bool, error) {
	if !c.needsNoServer(c.in.b[c.in.r:end]) {
		return false, nil
	}
	c.idleAt.Store(now())
	var out []byte
	for c.in.r < end {
		msg := c.in.b[c.in.r:end]
		n := int(binary.BigEndian.Uint32(msg[1:])) + 1
		switch msg[0] {
		case 'S':
			out = appendReady(out, 'I')
		case 'P':
			name, body, err := cstring(msg[headerLen:n])
			if err != nil {
				return false, err
			}
			c.count('P')
			c.noteText(body, true)
			st := c.p.stmts.intern(body, c.db.ddl.Load())
			c.setStmt(string(name), st)
			c.p.stmts.unref(st) // the name holds it
			out = append(out, '1', 0, 0, 0, 4)
		case 'C':
			name, _, err := cstring(msg[headerLen+1:])
			if err != nil {
				return false, err
			}
			c.setStmt(string(name), nil)
			out = append(out, '3', 0, 0, 0, 4)
		case 'X':
			return true, errTerminate
		}
		if n > len(msg) {
			c.body, c.drop = n-len(msg), true
			n = len(msg)
		}
		c.in.r += n
	}
	if len(out) == 0 {
		return true, nil
	}
	return true, c.conn.writeAll(out)
}

// needsNoServer reports whether answerAlone can answer these messages.
func (c *client) needsNoServer(b []byte) bool {
	parsed := false
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n > len(b) {
			return b[0] == 'd'
		}
		switch b[0] {
		case 'S', 'H', 'X', 'd', 'c', 'f':
		case 'P':
			if parsed || !c.answersParse(b[headerLen:n]) { // of two, the second may have the name of the first
				return false
			}
			parsed = true
		case 'C':
			name, _, err := cstring(b[min(headerLen+1, n):n])
			if err != nil || b[headerLen] != 'S' || !c.tracking || c.stmts[string(name)].stmt == nil {
				return false
			}
		default:
			return false
		}
		b = b[n:]
	}
	return true
}

// answersParse reports whether a Parse, of which msg is what follows the header, needs no server: one of the same database and user has parsed
// that text under the same parameters. The statement will be prepared where it is first used. Without this a program that prepares in one session,
// and waits for it, while it has transactions open in others, waits for itself as soon as these have all servers.
func (c *client) answersParse(msg []byte) bool {
	if !c.tracking {
		return false
	}
	name, body, err := cstring(msg)
	if err != nil || len(name) == 0 || c.stmts[string(name)].stmt != nil || !c.hasRoom(name, body) {
		return false
	}
	last := c.p.stmts.lastParsed(body, c.db.ddl.Load())
	return last != nil && *last == parsedBy{c.db, c.pool.key.user, c.session.stmt}
}
