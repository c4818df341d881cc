package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"pgdrover/internal/config"
	"pgdrover/pooler"
)

// Options are what the admin database needs beside the pooler and the configuration.
type Options struct {
	Log     zerolog.Logger
	Version string // of pgdrover, for SHOW VERSION
	// DNSHosts lists the DNS cache for SHOW DNS_HOSTS; nil shows none. It may be called from any goroutine.
	DNSHosts func() []DNSHost
	// Limits bound SELECTs over the views; zero fields take the defaults.
	Limits SQLLimits
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is the admin database. Its methods may be called from any goroutine.
type Server struct {
	ctl  pooler.Control
	cfg  config.Controller
	opts Options
	set  *registry
	sql  *engine
}

var _ pooler.AdminServer = (*Server)(nil)

// New returns an admin database over ctl and cfg.
func New(ctl pooler.Control, cfg config.Controller, opts Options) *Server {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Limits = opts.Limits.withDefaults()
	if opts.Version == "" {
		opts.Version = "(unknown version)"
	}
	return &Server{ctl: ctl, cfg: cfg, opts: opts, set: newRegistry(), sql: newEngine(opts.Limits)}
}

// ServeAdmin serves one client that has logged in and been sent ReadyForQuery, until it leaves (nil), breaks
// the protocol or its connection (the error), or ctx is done (its cause).
func (srv *Server) ServeAdmin(ctx context.Context, a *pooler.AdminSession) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newSession(srv, a)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in an admin session: %v", p)
			srv.opts.Log.Error().Str("user", a.User).Str("addr", a.Addr).Bytes("stack", debug.Stack()).Msg(err.Error())
			s.fatal(errf(codeInternal, "internal error in the admin database").withHint("The log has the details."))
		}
	}()

	// A done context ends a read at once, and leaves a moment to say good-bye.
	stop := context.AfterFunc(ctx, func() {
		_ = a.Conn.SetReadDeadline(past)
		_ = a.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.forwardCancels(ctx)
	}()
	defer func() { cancel(); <-done }()

	err = s.serve(ctx)
	var broken *connError
	switch {
	case ctx.Err() != nil:
		cause := context.Cause(ctx)
		if e := (*pooler.Error)(nil); errors.As(cause, &e) {
			s.fatal(asPgError(e))
		} else {
			s.fatal(errf(codeShutdown, "server shutting down"))
		}
		return cause
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe), errors.As(err, &broken):
		return nil
	}
	return err
}

// past is a deadline that has gone by.
var past = time.Unix(1, 0)
