package pooler

import (
	"bytes"
	"hash/maphash"
)

// PostgreSQL refuses to carry out a prepared statement whose columns have changed since it was prepared, because its client may rely on what it was
// told of them once ("cached plan must not change result type"). A server that has to prepare it anew does not know of them. So we do: what a client
// was told is kept with its name for the statement, and what a server would return with the statement there. Before a client that does not ask again
// uses a server whose columns are not known, or are others, the server prepares the statement anew and is asked for them. If they are others still, it
// refuses the Bind.

// columns stands for the columns of a statement's result: a hash of names and types. Modifiers of types (the 20 of varchar(20)) are not part of it: those
// of a portal may depend on its parameters.
type columns uint64

const (
	columnsUnknown columns = iota // nobody has asked
	columnsAny                    // more than can be compared
	columnsNone                   // it returns nothing
	columnsFirst                  // and others
)

var columnsSeed = maphash.MakeSeed()

// columnsOf reads a RowDescription or NoData. What PostgreSQL does not compare is left out: where the columns come from, and their formats.
func columnsOf(msg []byte, whole bool) columns {
	if msg[0] == 'n' {
		return columnsNone
	}
	body := msg[headerLen:]
	if !whole || len(body) < 2 {
		return columnsAny
	}
	var h maphash.Hash
	h.SetSeed(columnsSeed)
	for b := body[2:]; len(b) > 0; {
		const fixed = 4 + 2 + 4 + 2 + 4 + 2 // table, attribute, type, its length and modifier, format
		i := bytes.IndexByte(b, 0)
		if i < 0 || len(b) < i+1+fixed {
			return columnsAny
		}
		for _, ch := range b[:i+1] {
			if ch < 0x80 { // others depend on client_encoding
				_ = h.WriteByte(ch)
			}
		}
		_, _ = h.Write(b[i+7 : i+11])
		b = b[i+1+fixed:]
	}
	return max(columns(h.Sum64()), columnsFirst)
}

// hasColumns reports whether PostgreSQL compares the columns of a statement that begins with this word. Others, such as FETCH and EXECUTE, return what
// they find.
func hasColumns(first uint64) bool {
	switch first {
	case wordSelect, wordWith, wordInsert, wordUpdate, wordDelete, wordMerge, wordValues, wordTable:
		return true
	}
	return false
}

// checkColumns is called before the Bind msg of a statement that the client knows as its and the server as p, which is anew if its Parse has just been
// staged. unchanged says that it can go there. next is what the client has sent behind it.
func (c *client) checkColumns(its named, p *prepared, anew bool, msg, next []byte) outcome {
	was := c.asks
	c.asks = nil
	switch {
	case p.columns == its.columns && p.columns != columnsUnknown, c.router != nil, !its.stmt.hasColumns:
		return unchanged
	case c.srv.tx == 'E' && c.replies.asked == 0: // it is refused for that
		return unchanged
	case describesPortal(next, msg):
		c.tells = p
		return unchanged
	case its.columns <= columnsAny, p.columns == columnsAny:
		return unchanged
	case p != was: // what is known of p may be out of date, and so may be p
		if !anew {
			c.srv.giveUp(p)
			p, _ = c.prepare(its.stmt)
		}
		c.fwd = appendMessage(c.fwd, 'D', []byte("S"+p.name+"\x00"))
		c.expect(replyDescribeOwn, replyData{prep: p})
		c.asks = p
		return asked
	}
	c.columnsChanged(its.stmt)
	c.fwd = appendMessage(c.fwd, 'B', []byte("\x00"+c.p.stmts.prefix+"\x00\x00\x00\x00\x00\x00\x00"))
	c.replies.push(replyRefuse)
	return refused
}

// named is what a client's name for a statement means: nothing, if stmt is nil.
type named struct {
	stmt    *stmt
	columns columns // that the client was told
}

// describesPortal reports whether b begins with a Describe of the portal of a Bind.
func describesPortal(b, bind []byte) bool {
	if len(b) <= headerLen || b[0] != 'D' || b[headerLen] != 'P' {
		return false
	}
	portal, _, err := cstring(b[headerLen+1:])
	return err == nil && bytes.HasPrefix(bind[headerLen:], portal) && bind[headerLen+len(portal)] == 0
}

// described notes what a server would return. heard says that the client hears it.
func (c *client) described(d replyData, heard bool, msg []byte, whole bool) {
	d.prep.columns = columnsOf(msg, whole)
	if !heard {
		return
	}
	c.told(d.described, d.prep.key.stmt, d.prep.columns)
}

// told notes what the client knows of st by this name, if that is still what it means.
func (c *client) told(name string, st *stmt, k columns) {
	if its := c.stmts[name]; its.stmt == st && st != nil {
		its.columns = k
		c.stmts[name] = its
	}
}

// columnsChanged notes that the columns of a statement have changed. If nobody has seen what changed them, texts that are prepared from now on are
// other statements than those from before.
func (c *client) columnsChanged(st *stmt) {
	if st != nil && st.ddl == c.db.ddl.Load() {
		c.db.ddl.Add(1)
	}
}

// planRefused is called with an error that may be PostgreSQL's refusal. The server has to prepare the statement anew then.
func (c *client) planRefused() {
	st := c.stmts[string(c.bound)].stmt
	switch c.replies.head() {
	case replyBind, replyDescribe:
	case replyDescribeTell, replyDescribeOwn:
		st = c.replies.data.at(0).prep.key.stmt
	default:
		return
	}
	c.srv.forget(func(*stmt) bool { return true })
	c.columnsChanged(st)
}

// refusedColumns is the error in the place of the one with which the server has refused a Bind. Drivers know it by its routine, prepare the statement
// anew and go on.
func refusedColumns() []byte {
	e := &Error{
		Severity: "ERROR", Code: "0A000", Message: "cached plan must not change result type", Routine: "RevalidateCachedQuery",
		Detail: "The columns of the statement's result have changed since the client was told of them.",
		Hint:   "Prepare the statement again.",
	}
	return e.message()
}
