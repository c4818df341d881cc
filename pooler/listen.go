package pooler

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"pgdrover/internal/sqlparse"

	"pgdrover/internal/config"
)

// LISTEN outlives its transaction, so in transaction mode a connection of ours listens instead, one for all clients of a pool
// (hub.go). The server that ran LISTEN knows best what was listened to, whatever names, savepoints and rollbacks there were: it is
// asked behind the transaction, our connection is told, the server is made to forget it, and only then does the client hear
// that the server is ready. A notification that is sent after that reaches it.
//
// For the same reason a server is told before a transaction what its client listens to (it echoes, then), so that an
// UNLISTEN finds what it is meant for. What an echoing server says of these channels the client has from our connection.

// inbox is the part of a client that has to do with notifications.
type inbox struct {
	channels map[string]bool // that our connection listens to for this client; nil without any
	hub      *hub            // that connection, while there are channels
	echoing  bool            // the linked server listens to them, too

	inboxMu sync.Mutex  // taken last
	letters []byte      // NotificationResponse messages that the client has not got; guarded by inboxMu
	hasMail atomic.Bool // there are some
}

// maxInbox bounds the notifications that wait for one client, in bytes.
const maxInbox = 1 << 20

// listensTo reports whether the client listens to anything.
func (c *client) listensTo() bool { return c.channels != nil }

// encoding is the client_encoding in which names of channels come and payloads are to go.
func (c *client) encoding() string {
	v, _ := envGet(c.session.all, "client_encoding")
	return v
}

// echo has the linked server listen to the client's channels before a transaction begins, unless the unit up to end is a statement
// that cannot change them.
func (c *client) echo(end int) error {
	s := c.srv
	if c.echoing || s.tx != 'I' || !c.replies.empty() || c.unsynced || c.body > 0 || c.copyIn || c.single(end) {
		return nil
	}
	if err := s.ask(appendQuery(nil, listenCommands("LISTEN ", c.sortedChannels())), nil); err != nil {
		return c.serverFailed(err)
	}
	c.echoing = true
	return nil
}

// single reports whether the unit is one simple statement that reads or writes rows.
func (c *client) single(end int) bool {
	b := c.in.b[c.in.r:end]
	if b[0] != 'Q' {
		return false
	}
	text := bytes.TrimRight(b[headerLen:], "; \t\r\n\x00")
	switch firstWord(text) {
	case wordSelect, wordInsert, wordUpdate, wordDelete:
		return bytes.IndexByte(text, ';') < 0 && bytes.IndexByte(text, 0) < 0
	}
	return false
}

func (c *client) sortedChannels() []string {
	names := make([]string, 0, len(c.channels))
	for n := range c.channels {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// listenCommands puts one command for each channel together.
func listenCommands(verb string, channels []string) string {
	var b strings.Builder
	for _, n := range channels {
		b.WriteString(verb)
		b.WriteString(sqlparse.QuoteIdent(n) + ";")
	}
	return b.String()
}

// stopEcho has the linked server, which is idle, listen to nothing.
func (c *client) stopEcho() error {
	c.echoing = false
	return c.srv.ask(appendQuery(nil, "UNLISTEN *"), nil)
}

// takeOverListening has our connection listen to what the linked server listens to, and the server to nothing.
func (c *client) takeOverListening() error {
	now := map[string]bool{}
	err := c.srv.ask(appendQuery(nil, "SELECT pg_catalog.pg_listening_channels()"), func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil || len(f) != 1 || f[0] == nil {
			return fmt.Errorf("%w: bad row", errOutOfStep)
		}
		now[*f[0]] = true
		return nil
	})
	if err != nil {
		return err
	}
	var add, gone []string
	for n := range now {
		if !c.channels[n] {
			add = append(add, n)
		}
	}
	for n := range c.channels {
		switch {
		case now[n]:
		case c.echoing:
			gone = append(gone, n)
		default: // the server did not know of it
			now[n] = true
		}
	}
	if len(add) > 0 {
		if c.hub, err = c.pool.subscribe(c, c.hub, add); err != nil {
			var f fatalError
			if errors.As(err, &f) {
				return err
			}
			return fatalError{errListen(err)}
		}
	}
	if len(gone) > 0 {
		c.hub.unsubscribe(c, gone)
	}
	c.channels = now
	if len(now) == 0 {
		c.channels, c.hub = nil, nil
		c.echoing = false
		return nil
	}
	return c.stopEcho()
}

// leaveChannels ends listening for a client that leaves.
func (c *client) leaveChannels() {
	if c.hub != nil {
		c.hub.unsubscribe(c, c.sortedChannels())
		c.channels, c.hub = nil, nil
	}
}

// notified reports whether a NotificationResponse of the linked server is kept from the client.
func (c *client) notified(msg []byte) (swallow bool) {
	if c.mode == config.PoolSession || c.repl != "none" {
		return false
	}
	channel, ok := channelOf(msg[headerLen:])
	switch {
	case ok && c.channels[channel]:
		return true // it comes from our connection
	case c.after&afterListen != 0:
		return false // sent by the transaction that has begun to listen
	}
	// A function has listened unseen. It may have been another client's.
	c.srv.closeNeeded.Store(true)
	return true
}

// channelOf reads the channel of a NotificationResponse.
func channelOf(body []byte) (string, bool) {
	if len(body) < 4 {
		return "", false
	}
	name, _, err := cstring(body[4:])
	return string(name), err == nil
}

// post puts a notification into the client's inbox. It reports what the caller has to do without holding locks: wake the client,
// or close it because it does not read.
func (c *client) post(msg []byte) (wake, full bool) {
	c.inboxMu.Lock()
	defer c.inboxMu.Unlock()
	if len(c.letters)+len(msg) > maxInbox {
		return false, true
	}
	c.letters = append(c.letters, msg...)
	return !c.hasMail.Swap(true), false
}

// deliver brings notifications to the client, if it is not in a transaction. It may be called only between two messages.
func (c *client) deliver() error {
	if !c.hasMail.Load() {
		return nil
	}
	if c.srv != nil && (c.srv.tx != 'I' || !c.between() || c.heldReady) || c.sbody > 0 {
		return nil
	}
	if c.hub != nil && c.hub.encoding != c.encoding() {
		return fatalError{errListenEncoding(c.hub.encoding)}
	}
	c.hasMail.Store(false)
	c.inboxMu.Lock()
	letters := c.letters
	c.letters = nil
	c.inboxMu.Unlock()
	c.pool.counters.BytesSent.Add(int64(len(letters)))
	return clientWrite(c.conn.writeAll(letters))
}

func errListen(err error) *Error {
	e := fatal("53300", "cannot listen for notifications")
	e.Detail = "In transaction pooling mode a connection of the pooler's listens for all clients of a pool: " + err.Error() + "."
	e.Hint = "Connect again, or use pool_mode = \"session\" for clients that listen."
	return e
}

func errListenEncoding(was string) *Error {
	e := fatal("0A000", "client_encoding cannot be changed while listening in transaction pooling mode")
	e.Detail = fmt.Sprintf("It was %q when the client began to listen.", was)
	e.Hint = "UNLISTEN * first, or use pool_mode = \"session\"."
	return e
}

func errListenLost(why string) *Error {
	e := fatal("57P01", "the connection that listens for this client was lost")
	e.Detail = "Notifications may have been missed (" + why + ")."
	e.Hint = "Connect and LISTEN again, and look for what has changed meanwhile."
	return e
}

func errInboxFull() *Error {
	e := fatal("53400", "too many notifications are waiting for this client")
	e.Detail = fmt.Sprintf("It has not read them, or has a transaction open; at most %d bytes are kept.", maxInbox)
	return e
}
