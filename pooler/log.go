package pooler

import (
	"errors"
	"io"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func (p *Pooler) logLogin(c *client) {
	if !p.settings().LogConnections {
		return
	}
	ev := p.log.Info().Uint64("client", c.id).Str("user", c.loginName).Str("addr", c.addr.String())
	if c.db != nil {
		ev = ev.Str("database", c.db.name)
	}
	if c.tls != "" {
		ev = ev.Str("tls", c.tls)
	}
	if app := c.appName.Load(); app != nil && *app != "" {
		ev = ev.Str("application_name", *app)
	}
	ev.Msg("login attempt: successful")
}

func (p *Pooler) logLogout(c *client, err error) {
	if !p.settings().LogDisconnects {
		return
	}
	ev := p.log.Info().Uint64("client", c.id).Str("user", c.loginName).Str("addr", c.addr.String())
	if c.db != nil {
		ev = ev.Str("database", c.db.name)
	}
	ev.Str("reason", leaveReason(err)).Str("age", age(time.Since(c.connected))).Msg("closing because: " + leaveReason(err))
}

// leaveReason says in PgBouncer's words why a client has gone.
func leaveReason(err error) string {
	var f fatalError
	switch {
	case err == nil, errors.Is(err, errTerminate):
		return "client close request"
	case errors.Is(err, io.EOF), errors.Is(err, errClientGone), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "client unexpected eof"
	case errors.As(err, &f):
		return f.e.Message
	}
	return err.Error()
}

func (p *Pooler) logPoolerError(c *client, e *Error) {
	if !p.settings().LogPoolerErrors {
		return
	}
	ev := p.log.Warn().Uint64("client", c.id).Str("user", c.loginName).Str("addr", c.addr.String()).Str("sqlstate", e.Code)
	if c.db != nil {
		ev = ev.Str("database", c.db.name)
	}
	if e.Detail != "" {
		ev = ev.Str("detail", e.Detail)
	}
	ev.Msg("pooler error: " + e.Message)
}

func (p *Pooler) logServerOpened(s *server) {
	if !p.settings().LogConnections {
		return
	}
	p.log.WithLevel(s.newsLevel()).Uint64("server", s.id).Str("database", s.pool.key.database).Str("user", s.pool.key.user).
		Str("addr", s.sc.RemoteAddr.String()).Uint32("backend_pid", s.sc.PID).Msg("new connection to server")
}

// newsLevel is the level at which the log has it that a server comes and goes.
func (s *server) newsLevel() zerolog.Level {
	if s.quiet {
		return zerolog.DebugLevel
	}
	return zerolog.InfoLevel
}

// serverGone logs that a server was closed.
func (p *Pooler) serverGone(s *server, why string) {
	if !p.settings().LogDisconnects {
		return
	}
	p.log.WithLevel(s.newsLevel()).Uint64("server", s.id).Str("database", s.pool.key.database).Str("user", s.pool.key.user).
		Uint32("backend_pid", s.sc.PID).Str("age", age(since(s.createdAt))).Msg("closing because: " + why)
}

func (p *Pooler) logOpenFailed(pl *pool, err error) {
	p.log.Warn().Err(err).Str("database", pl.key.database).Str("user", pl.key.user).Msg("server connection failed")
}

// noteSlowWait logs a client that waited longer than log_slow_wait for a server.
func (p *Pooler) noteSlowWait(c *client, d time.Duration) {
	if limit := p.settings().LogSlowWait; limit > 0 && d >= limit {
		p.log.Warn().Uint64("client", c.id).Str("database", c.pool.key.database).Str("user", c.pool.key.user).
			Dur("waited", d.Round(time.Millisecond)).Msg("slow wait for a server")
	}
}
