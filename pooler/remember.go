package pooler

import (
	"bytes"
	"strings"
)

// remember notes what the client runs, for those who ask who holds a server: the first word of the
// statement, which it returns, and its text only under log_queries.
func (c *client) remember(text []byte) (first uint64) {
	w := firstWord(text)
	c.command.Store(w)
	if c.p.logQueries.Load() {
		s := string(bytes.TrimSpace(text[:min(len(text), maxRemembered)]))
		c.lastQuery.Store(&s)
	}
	return w
}

// maxRemembered is how much of a statement is kept under log_queries, in bytes.
const maxRemembered = 1000

// running returns what remember noted.
func (c *client) running() string {
	if c.p.logQueries.Load() {
		if s := c.lastQuery.Load(); s != nil {
			return *s
		}
	}
	w := c.command.Load()
	var b []byte
	for ; w != 0; w >>= 8 {
		b = append(b, byte(w))
	}
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// noteParameter keeps what SHOW CLIENTS shows up to date.
func (c *client) noteParameter(name, value string) {
	if strings.EqualFold(name, "application_name") {
		c.appName.Store(&value)
	}
}
