package pooler

import "pgdrover/internal/config"

// What the server tells of its session in its answers: by command tags, and by ParameterStatus.

// commandTag looks for commands whose effects outlive the transaction.
func (c *client) commandTag(tag []byte) {
	if len(tag) < 4 {
		return
	}
	switch tag[0] {
	case 'S': // SET, not SELECT
		if tag[2] == 'T' && tag[3] == 0 {
			c.dirty = c.mode != config.PoolSession
		}
	case 'R': // RESET
		if string(tag[:4]) == "RESE" {
			c.dirty = c.mode != config.PoolSession
		}
	case 'L', 'U':
		switch {
		case string(tag) == "LISTEN\x00" && c.mode == config.PoolSession:
			c.listens = true
		case string(tag) == "LISTEN\x00", string(tag) == "UNLISTEN\x00" && c.listensTo():
			c.after |= afterListen
		}
	case 'A', 'C': // ALTER, CREATE; not CLOSE, COPY, COMMIT, CALL
		if tag[1] == 'L' && tag[2] == 'T' || tag[1] == 'R' {
			c.creates()
		}
	case 'D':
		if tag[1] == 'R' { // DROP
			c.creates()
		}
		switch string(tag) {
		case "DISCARD ALL\x00":
			c.srv.discarded()
			c.dirty = c.mode != config.PoolSession
			if c.listensTo() {
				c.after |= afterListen
			}
			c.forgetStatements()
		case "DEALLOCATE\x00":
			c.dropped(true)
		case "DEALLOCATE ALL\x00":
			c.forgetStatements()
		}
	}
}

// creates notes that something was created, altered or dropped.
func (c *client) creates() {
	c.db.ddl.Add(1)
	c.created = true
}

// forgetStatements is DEALLOCATE ALL, on both sides.
func (c *client) forgetStatements() {
	if !c.tracking {
		return
	}
	c.srv.deallocated()
	c.dropStatements()
}

// dropStatements forgets the client's named statements.
func (c *client) dropStatements() {
	for name := range c.stmts {
		c.setStmt(name, nil)
	}
}

// parameterStatus notes what the server reports; the client gets it too.
func (c *client) parameterStatus(msg []byte, whole bool) {
	name, value, ok := parseParameterStatus(msg[headerLen:])
	if !whole || !ok {
		c.srv.closeNeeded.Store(true) // too long to follow: nobody else gets this session
		return
	}
	c.srv.reported(name, value)
	if isFollowing(name, c.pool.extraParams()) {
		c.session.set(name, value)
		c.noteParameter(name, value)
	}
}

func parseParameterStatus(b []byte) (name, value string, ok bool) {
	n, rest, err := cstring(b)
	if err != nil {
		return "", "", false
	}
	v, _, err := cstring(rest)
	return string(n), string(v), err == nil
}
