package pooler

import (
	"context"
	"fmt"
	"net"
	"time"
)

// loginTimeout is PgBouncer's message for it.
const loginTimeout = "client_login_timeout"

// entrance is a login under way. It sets no timer: the janitor ends it when client_login_timeout is over, and Close does at once.
type entrance struct {
	p      *Pooler
	live   *live // the configuration, to the end of the login
	addr   peerAddr
	under  *accepted
	since  int64           // a reading of now
	ctx    context.Context // done when the login has to end
	cancel context.CancelFunc

	nc     net.Conn // over TLS once that is agreed on
	st     *startup // nil before it has come
	closed bool
	unsaid []byte // what goes out together with AuthenticationOk or an error
}

// openEntrance begins the login of nc. It must be closed.
func (p *Pooler) openEntrance(nc *accepted) *entrance {
	in := &entrance{p: p, live: p.live.Load(), addr: nc.addr, under: nc, since: now(), nc: nc}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	p.entrances[in] = struct{}{}
	p.mu.Unlock()
	if p.ctx.Err() != nil { // Close may not have seen it
		in.end()
	}
	return in
}

// end makes whatever the login waits for fail.
func (in *entrance) end() {
	in.cancel()
	_ = in.under.SetDeadline(past)
}

// close is called when the login is over. After it nobody calls end.
func (in *entrance) close() {
	if in.closed {
		return
	}
	in.closed = true
	in.p.mu.Lock()
	delete(in.p.entrances, in)
	in.p.mu.Unlock()
}

// ended returns what to tell a client whose login was ended, nil if it was not.
func (in *entrance) ended() *Error {
	switch {
	case in.p.ctx.Err() != nil:
		return errShutdown()
	case in.ctx.Err() == nil:
		return nil
	}
	e := errProtocol(loginTimeout)
	e.Detail = fmt.Sprintf("The login took longer than %s.", in.p.settings().ClientLoginTimeout)
	return e
}

// sweepLogins applies client_login_timeout.
func (p *Pooler) sweepLogins() {
	limit := p.settings().ClientLoginTimeout
	if limit <= 0 {
		return
	}
	t := now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for in := range p.entrances {
		if time.Duration(t-in.since) >= limit {
			in.end()
		}
	}
}
