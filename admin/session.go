package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgtype"

	"pgdrover/internal/config"
	"pgdrover/internal/wire"
	"pgdrover/pooler"
)

// maxMessage is the longest message that a client of the admin database may send, in bytes.
const maxMessage = 1 << 20

// session is one client of the admin database.
type session struct {
	srv    *Server
	client *pooler.AdminSession
	in     *bufio.Reader
	msgs   *wire.Reader
	out    *bufio.Writer
	buf    []byte      // of one encoded message
	types  *pgtype.Map // has caches, so each session has its own

	statements statements
	portals    map[string]*portal
	skip       bool // until Sync, after an error in the extended protocol
	inTx       bool
	acted      bool          // an admin action ran in this transaction
	after      []func()      // to run when what has been answered is flushed
	warned     config.Status // the rejected reload that this client has been told of

	mu     sync.Mutex
	cancel context.CancelFunc // of the command that is running, guarded by mu
}

func newSession(srv *Server, a *pooler.AdminSession) *session {
	in := bufio.NewReaderSize(a.Conn, 4096)
	return &session{
		srv: srv, client: a,
		in: in, msgs: wire.NewReader(in, maxMessage), out: bufio.NewWriterSize(a.Conn, 16<<10),
		types: pgtype.NewMap(), portals: map[string]*portal{},
	}
}

func (s *session) env() *env {
	return &env{ctl: s.srv.ctl, cfg: s.srv.cfg, opts: &s.srv.opts, sess: s.client, now: s.srv.opts.Now(), set: s.srv.set}
}

// send buffers one message. Errors of the connection stick to s.out and surface in flush.
func (s *session) send(m pgproto3.BackendMessage) error {
	b, err := m.Encode(s.buf[:0])
	if err != nil {
		return fmt.Errorf("encode an answer: %w", err)
	}
	s.buf = b
	if cap(b) > 1<<20 {
		s.buf = nil
	}
	if _, err = s.out.Write(b); err != nil {
		return &connError{err}
	}
	return nil
}

// connError is an error of the connection itself: there is nobody left to tell.
type connError struct{ err error }

func (e *connError) Error() string { return "admin connection: " + e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

func (s *session) flush() error {
	err := s.out.Flush()
	if err != nil {
		err = &connError{err}
	}
	for _, f := range s.after {
		f()
	}
	s.after = nil
	return err
}

// ready ends the answer to a Query or Sync.
func (s *session) ready() error {
	status := byte('I')
	if s.inTx {
		status = 'T'
	}
	if err := s.send(&pgproto3.ReadyForQuery{TxStatus: status}); err != nil {
		return err
	}
	return s.flush()
}

// fatal says good-bye. Errors are of no use any more.
func (s *session) fatal(e *pgError) {
	e.fatal = true
	_ = s.send(e.response())
	_ = s.flush()
}

// forwardCancels hands cancel requests to the command that is running; others are dropped, as in PostgreSQL.
func (s *session) forwardCancels(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-s.client.Canceled:
			if !ok {
				return
			}
			s.mu.Lock()
			if s.cancel != nil {
				s.cancel()
			}
			s.mu.Unlock()
		}
	}
}

// interruptible runs f under a context that a cancel request, or the client's leaving, ends.
func (s *session) interruptible(ctx context.Context, f func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	s.setCancel(cancel)
	defer s.setCancel(nil)
	defer s.watchClient(ctx, cancel)()
	return f(inner)
}

func (s *session) setCancel(f context.CancelFunc) {
	s.mu.Lock()
	s.cancel = f
	s.mu.Unlock()
}

// watchClient calls gone if the client leaves before the returned function is called. It only peeks: what
// the client sends meanwhile is read later.
func (s *session) watchClient(ctx context.Context, gone func()) (stop func()) {
	if s.in.Buffered() > 0 {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := s.in.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			gone()
		}
	}()
	return func() {
		conn := s.client.Conn
		_ = conn.SetReadDeadline(past)
		<-done
		_ = conn.SetReadDeadline(time.Time{})
		// ServeAdmin sets the deadline when its context ends; that must not be undone.
		if ctx.Err() != nil {
			_ = conn.SetReadDeadline(past)
		}
	}
}

// serve answers messages until the client leaves or cannot be understood.
func (s *session) serve(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		typ, body, err := s.msgs.Next()
		if err != nil {
			var long *wire.ErrTooLong
			if errors.As(err, &long) {
				s.fatal(errf(codeProtocol, "bad packet").withDetail("%s", long))
			}
			return err
		}
		if typ == 'X' {
			return nil
		}
		if s.skip && typ != 'S' {
			continue
		}
		if err := s.fail(ctx, s.message(ctx, typ, body)); err != nil {
			return err
		}
		if typ == 'Q' {
			s.skip = false
			if err := s.ready(); err != nil {
				return err
			}
		}
	}
}

// fail tells the client of an error; what follows is skipped until Sync. It returns what ends the session.
func (s *session) fail(ctx context.Context, err error) error {
	var broken *connError
	if err == nil || errors.As(err, &broken) || ctx.Err() != nil {
		return err
	}
	pe := asPgError(err)
	if pe.fatal {
		s.fatal(pe)
		return pe
	}
	s.skip = true
	if err := s.send(pe.response()); err != nil {
		return err
	}
	return s.flush()
}

// message answers one message. Errors other than *connError are for the client.
func (s *session) message(ctx context.Context, typ byte, body []byte) error {
	switch typ {
	case 'Q':
		var q pgproto3.Query
		if err := decode(&q, body); err != nil {
			return err
		}
		return s.simpleQuery(ctx, q.String)
	case 'P':
		var m pgproto3.Parse
		if err := decode(&m, body); err != nil {
			return err
		}
		return s.parse(&m)
	case 'B':
		var m pgproto3.Bind
		if err := decode(&m, body); err != nil {
			return err
		}
		return s.bind(&m)
	case 'D':
		var m pgproto3.Describe
		if err := decode(&m, body); err != nil {
			return err
		}
		return s.describe(ctx, &m)
	case 'E':
		var m pgproto3.Execute
		if err := decode(&m, body); err != nil {
			return err
		}
		return s.execute(ctx, &m)
	case 'C':
		var m pgproto3.Close
		if err := decode(&m, body); err != nil {
			return err
		}
		return s.close(&m)
	case 'H':
		return s.flush()
	case 'S':
		s.skip = false
		if !s.inTx {
			clear(s.portals)
		}
		return s.ready()
	case 'F':
		if err := s.send(errf(codeNotSupported, "function calls are not supported in the admin database").response()); err != nil {
			return err
		}
		return s.ready()
	case 'c', 'd', 'f': // left over from a COPY that failed; PostgreSQL ignores them too
		return nil
	default:
		return &pgError{code: codeProtocol, msg: fmt.Sprintf("unknown pkt: invalid frontend message type %d", typ), fatal: true}
	}
}

// decode reads a message body, which need not be well-formed.
func decode(m pgproto3.FrontendMessage, body []byte) (err error) {
	defer func() {
		// pgproto3 slices by lengths from the wire that it has not checked for being negative.
		if p := recover(); p != nil {
			err = &pgError{code: codeProtocol, msg: "bad packet", fatal: true}
		}
	}()
	if err := m.Decode(body); err != nil {
		return &pgError{code: codeProtocol, msg: "bad packet", detail: err.Error(), fatal: true}
	}
	return nil
}

// simpleQuery runs the commands of a Query message, up to the first that fails.
func (s *session) simpleQuery(ctx context.Context, text string) error {
	s.statements.remove("")
	delete(s.portals, "")
	sts, err := split(text)
	if err != nil {
		return err
	}
	if len(sts) == 0 {
		return s.send(&pgproto3.EmptyQueryResponse{})
	}
	if err := s.warnOfConfig(); err != nil {
		return err
	}
	for _, st := range sts {
		c, err := s.srv.set.find(st)
		if err != nil {
			return err
		}
		if c.sel != nil && c.sel.nparams > 0 {
			return errf(codeSyntax, "there is no parameter $%d", c.sel.nparams)
		}
		r, err := s.run(ctx, c, nil, nil)
		if err != nil {
			return err
		}
		if err := s.answer(r); err != nil {
			return err
		}
	}
	return nil
}

// answer sends a whole result in text format.
func (s *session) answer(r *result) error {
	if r.cols != nil {
		if err := s.send(rowDescription(r.cols, nil)); err != nil {
			return err
		}
		for _, row := range r.rows {
			if err := s.sendRow(r.cols, nil, row); err != nil {
				return err
			}
		}
	}
	return s.complete(r)
}

// complete sends the command tag and arranges for what has to follow it.
func (s *session) complete(r *result) error {
	if r.after != nil {
		s.after = append(s.after, r.after)
	}
	return s.send(&pgproto3.CommandComplete{CommandTag: []byte(r.tag)})
}

// run runs a command for a user who may run it, and sends its notices.
func (s *session) run(ctx context.Context, c *call, params []any, described []column) (r *result, err error) {
	if c.perm(s) == permAdmin && !s.client.Admin() {
		return nil, errAdminNeeded()
	}
	exec := func(ctx context.Context) (err error) {
		if c.sel != nil {
			r, err = s.runSelect(ctx, c.sel, params, described)
		} else {
			r, err = c.cmd.run(ctx, s, c.args)
		}
		return err
	}
	if c.waits() {
		// What has been answered so far must not wait with it.
		if err := s.flush(); err != nil {
			return nil, err
		}
		err = s.interruptible(ctx, exec)
	} else {
		err = exec(ctx)
	}
	if c.cmd != nil && c.cmd.logged {
		s.log(c, err)
	}
	if err != nil {
		return nil, err
	}
	for _, n := range r.notices {
		if err := s.send(n.response()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// warnOfConfig tells the client once of each rejected reload that has not been mended.
func (s *session) warnOfConfig() error {
	st := s.srv.cfg.Status()
	if st == s.warned {
		return nil
	}
	s.warned = st
	if st.Err == "" {
		return nil
	}
	return s.send(notice{
		severity: "WARNING", code: codeConfig, msg: "the configuration file has an error; what was in force before still is",
		detail: st.Err, hint: "Mend it, then RELOAD. SHOW STATE tells whether it is mended.",
	}.response())
}
