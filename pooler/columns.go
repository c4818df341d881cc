package pooler

import (
	"bytes"
	"hash/maphash"
)

// PostgreSQL refuses to carry out a prepared statement whose columns have changed since it was prepared, because its client may rely on what it was
// told of them once ("cached plan must not change result type"). A server that has to prepare it anew does not know of them. So we do: what a client
// was told is kept with its name for the statement, and what a server would return with the statement there. Before a client that does not ask again
// uses a server whose columns are not known, the server is asked for them, and where they are others it refuses the Bind.

// columns stands for the columns of a statement's result: a hash of names and types.
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
		const fixed = 4 + 2 + 4 + 2 + 4 + 2 // table, attribute, type, its length, its modifier, format
		i := bytes.IndexByte(b, 0)
		if i < 0 || len(b) < i+1+fixed {
			return columnsAny
		}
		_, _ = h.Write(b[:i+1])
		_, _ = h.Write(b[i+7 : i+17])
		b = b[i+1+fixed:]
	}
	return max(columns(h.Sum64()), columnsFirst)
}

// differ reports whether both are known and not the same.
func (k columns) differ(other columns) bool {
	return k != other && k != columnsAny && other != columnsAny
}

// checkColumns is called before the Bind msg of a statement that the client knows as its and the server as p. ok says that it can go to the server.
// next is what the client has sent behind it.
func (c *client) checkColumns(its named, p *prepared, msg, next []byte) (how outcome, ok bool) {
	switch {
	case c.router != nil || p.columns == its.columns && p.columns != columnsUnknown:
		return 0, true
	case c.srv.tx == 'E' && c.replies.asked == 0: // it is refused for that
		return 0, true
	case describesPortal(next, msg):
		c.tells = p
		return 0, true
	case its.columns == columnsUnknown, p.columns != columnsUnknown && !p.columns.differ(its.columns):
		return 0, true
	case p.columns == columnsUnknown:
		c.fwd = appendMessage(c.fwd, 'D', append([]byte{'S'}, p.name+"\x00"...))
		c.expect(replyDescribeOwn, replyData{prep: p})
		return asked, false
	default:
		c.columnsChanged(its.stmt)
		c.fwd = appendMessage(c.fwd, 'B', []byte("\x00"+c.p.stmts.prefix+"\x00\x00\x00\x00\x00\x00\x00"))
		c.replies.push(replyRefuse)
		return replaced, false
	}
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

// described notes what a server would return. told says that the client hears it.
func (c *client) described(d replyData, told bool, msg []byte, whole bool) {
	d.prep.columns = columnsOf(msg, whole)
	if !told {
		return
	}
	if its, ok := c.stmts[d.name]; ok && its.stmt == d.prep.key.stmt {
		its.columns = d.prep.columns
		c.stmts[d.name] = its
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
