package pooler

import (
	"bytes"
	"encoding/binary"
)

// ownNames gives an error the client's names of statements in the place of ours, and takes note of those that the server
// turns out not to have any more: a function or a DO block has dropped them where it could not be seen.
func (c *client) ownNames(msg []byte) {
	if !bytes.Contains(msg, []byte(c.p.stmts.prefix)) {
		return
	}
	if n := int(binary.BigEndian.Uint32(msg[1:])) + 1; n != len(msg) {
		return // larger than any error of this kind
	}
	unknown := errorCode(msg) == "26000"
	var out []byte
	for rest := msg; ; {
		i := bytes.Index(rest, []byte(c.p.stmts.prefix))
		if i < 0 {
			out = append(out, rest...)
			break
		}
		end := i + len(c.p.stmts.prefix)
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		name := rest[i:end]
		out = append(out, rest[:i]...)
		p := c.srv.prepared.find(string(name))
		if p == nil {
			out = append(out, name...)
		} else {
			out = append(out, c.nameOf(p.key.stmt, string(name))...)
			if unknown {
				c.srv.prepared.remove(c.p.stmts, p)
				c.srv.nPrepared.Store(int32(c.srv.prepared.len()))
			}
		}
		rest = rest[end:]
	}
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-1))
	c.instead = out
}

// nameOf returns the client's name for st: that of the last Bind if it has several. otherwise is for when it has none.
func (c *client) nameOf(st *stmt, otherwise string) string {
	if c.stmts[string(c.bound)].stmt == st {
		return string(c.bound)
	}
	for name, s := range c.stmts {
		if s.stmt == st {
			return name
		}
	}
	return otherwise
}
