package pooler

import (
	"errors"
	"strings"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// askParse asks a server about a text that the router cannot read; body is what a Parse carries behind the name. The text is not run. If it
// is wrong the error is what the server says of it, which aborts the transaction that is open there. If it is not, the server's grammar is
// newer than the router's, or takes more.
func (c *client) askParse(err error, body string) error {
	if !shard.IsSyntax(err) || c.srv != nil && !c.router.tx.open && c.unsynced {
		return err
	}
	tx := &c.router.tx
	switch {
	case len(tx.legs) > 0:
		if err := c.enter(tx.current().shard, false); err != nil {
			return err
		}
		if err := c.synced(); err != nil {
			return err
		}
	case c.srv != nil: // the session is held there
	default: // a shard that only reads a text has no part in the transaction
		at := c.anyShard()
		c.pool = c.router.pool(at)
		if lost := c.checkout(); lost != nil {
			return shardError(c.pool.key.shard, lost)
		}
		defer func() {
			l := &leg{pool: c.pool, srv: c.srv}
			c.park()
			c.letGo(l)
		}()
	}
	msg := append(appendParseBody(nil, "", body), 'S', 0, 0, 0, 4)
	said := c.askLinked(c.srv.tx, msg, nil)
	var se *connect.ServerError
	switch {
	case errors.As(said, &se):
		// Of what the shards have, one of them may know less than all.
		if code := se.Code(); code == "42601" || strings.HasPrefix(code, "22") || code == "25P02" {
			return said
		}
	case said != nil:
		c.srv.dead.Store(true)
		return errShardGone(c.pool.key.shard, said)
	}
	return c.inFailure(shard.NewerGrammar())
}

// rejectText is reject for a simple query that the router cannot read, or refuses.
func (c *client) rejectText(stop int, err error, text []byte) error {
	if shard.IsSyntax(err) {
		err := c.askParse(err, string(text)+"\x00\x00\x00")
		var se *connect.ServerError
		if errors.As(err, &se) && se.Code() == "42601" && se.Field('P') == "" {
			err = c.inFailure(shard.NewerGrammar()) // it was read, and is several statements, which Parse does not take
		}
		return c.rejectRaw(stop, err)
	}
	return c.reject(stop, c.inFailure(err))
}
