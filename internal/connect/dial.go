package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// minShare is the least time that one of several addresses gets before the next is tried, as long as it leaves something.
const minShare = 2 * time.Second

// SQLSTATEs of a login on which something else is tried.
const (
	codeCannotConnectNow = "57P03" // the server is starting, stopping or in recovery
	codeInvalidAuthSpec  = "28000" // no pg_hba.conf entry, for one
	codeUnsupported      = "0A000" // unsupported frontend protocol
	codeProtocol         = "08P01"
)

// Dial opens a connection and logs in, trying every address of every host in order until ctx is done. The time is shared out: a host that
// accepts connections and then says nothing takes no more than its part. A server that refuses the login ends the search, except one that
// cannot accept connections at the moment. Errors are *Error; see there for what they wrap.
func Dial(ctx context.Context, t Target) (*Server, error) {
	d := &dialer{Target: &t}
	if err := t.Validate(); err != nil {
		return nil, d.fail(ReasonConfig, "", err)
	}
	var errs []error
	hosts := t.hosts()
	for i, host := range hosts {
		s, failed := d.host(ctx, host, len(hosts)-i)
		if s != nil {
			return s, nil
		}
		errs = append(errs, failed...)
		if ctx.Err() != nil || isFinal(failed[len(failed)-1]) {
			break
		}
	}
	return nil, joinErrors(errs)
}

// host tries the addresses of one of left hosts.
func (d *dialer) host(ctx context.Context, host string, left int) (_ *Server, errs []error) {
	ctx, cancel := share(ctx, left)
	defer cancel()
	eps, err := d.endpoints(ctx, host)
	if err != nil {
		return nil, []error{d.fail(ReasonDNS, net.JoinHostPort(host, itoa(d.port())), err)}
	}
	for i, ep := range eps {
		s, err := d.endpoint(ctx, ep, len(eps)-i)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || isFinal(err) {
			break
		}
	}
	return nil, errs
}

// share returns ctx with the part of its time that the first of left may take.
func share(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || left <= 1 {
		return ctx, func() {}
	}
	rest := time.Until(deadline)
	return context.WithTimeout(ctx, max(rest/time.Duration(left), min(minShare, rest/2)))
}

// isFinal reports whether the server has refused a login that it would refuse again.
func isFinal(err error) bool {
	var refused *ServerError
	return errors.As(err, &refused) && refused.Code() != codeCannotConnectNow
}

// joinErrors returns the last error, with the earlier ones as text: what a caller branches on is the last, and
// so is the server's own message, which is worth more than a refused connection.
func joinErrors(errs []error) error {
	best := len(errs) - 1
	for i, err := range errs {
		var refused *ServerError
		if errors.As(err, &refused) {
			best = i
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	var e *Error
	if !errors.As(errs[best], &e) {
		return errors.Join(errs...)
	}
	cp := *e
	text := ""
	for i, err := range errs {
		if i != best {
			text += "; " + err.Error()
		}
	}
	cp.Err = &withOthers{err: e.Err, others: text}
	return &cp
}

// withOthers is an error with the text of others behind it.
type withOthers struct {
	err    error
	others string
}

func (e *withOthers) Error() string {
	if e.err == nil {
		return "also" + e.others
	}
	return e.err.Error() + e.others
}

func (e *withOthers) Unwrap() error { return e.err }

// dialer is the state of one Dial.
type dialer struct{ *Target }

func (d *dialer) fail(reason, addr string, err error) *Error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		if reason == ReasonConnect || reason == ReasonClosed || reason == ReasonTLS {
			reason = ReasonTimeout
		}
	}
	return &Error{Reason: reason, Addr: addr, User: d.User, Database: d.DBName, Err: err}
}

// endpoints resolves a host.
func (d *dialer) endpoints(ctx context.Context, host string) ([]endpoint, error) {
	if isSocketDir(host) {
		return []endpoint{{network: "unix", address: socketPath(host, d.port()), host: host, port: d.port()}}, nil
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	eps := make([]endpoint, 0, len(addrs))
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), uint16(d.port()))
		eps = append(eps, endpoint{network: "tcp", address: ap.String(), host: host, port: d.port()})
	}
	return eps, nil
}

func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if d.Resolver != nil {
		return d.Resolver.Lookup(ctx, host)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no addresses", host)
	}
	return addrs, err
}

// attempt is one way of trying an endpoint.
type attempt struct {
	encrypt bool
	must    bool // whether going on without TLS is out of the question
	minor   int
}

// endpoint tries one address: with and without TLS as sslmode says (libpq's rules), with protocol 3.2 and, if the
// server does not understand that, 3.0. left is the number of addresses that share the time, this one included.
func (d *dialer) endpoint(ctx context.Context, ep endpoint, left int) (*Server, error) {
	ctx, cancel := share(ctx, left)
	defer cancel()
	mode := d.sslMode()
	if ep.network == "unix" {
		mode = SSLDisable
	}
	a := attempt{encrypt: mode != SSLDisable && mode != SSLAllow, minor: 2}
	a.must = a.encrypt && mode != SSLPrefer
	if d.Protocol30 {
		a.minor = 0
	}
	s, err := d.tryProtocols(ctx, ep, &a)
	if err == nil {
		return s, nil
	}
	switch {
	case mode == SSLAllow && isRefusal(err, codeInvalidAuthSpec):
		a.encrypt, a.must = true, true
	case mode == SSLPrefer && (isRefusal(err, codeInvalidAuthSpec) || isReason(err, ReasonTLS)):
		a.encrypt = false
	default:
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, err
	}
	s, err2 := d.tryProtocols(ctx, ep, &a)
	if err2 != nil {
		return nil, joinErrors([]error{err2, err})
	}
	return s, nil
}

// tryProtocols tries 3.2, then 3.0 if the server objects to a version or hangs up on it.
func (d *dialer) tryProtocols(ctx context.Context, ep endpoint, a *attempt) (*Server, error) {
	s, answered, err := d.try(ctx, ep, *a)
	if err == nil || a.minor == 0 || answered || ctx.Err() != nil {
		return s, err
	}
	if !isRefusal(err, codeUnsupported) && !isRefusal(err, codeProtocol) && !isReason(err, ReasonClosed) {
		return nil, err
	}
	a.minor = 0
	s, _, err2 := d.try(ctx, ep, *a)
	if err2 != nil && isReason(err2, ReasonConnect) {
		return nil, err // it is gone altogether, so the protocol was not the reason
	}
	return s, err2
}

func isRefusal(err error, code string) bool {
	var e *ServerError
	return errors.As(err, &e) && e.Code() == code
}

func isReason(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}

// try makes one connection. answered says that the server took the startup packet for good: it asked for a
// password or let us in.
func (d *dialer) try(ctx context.Context, ep endpoint, a attempt) (s *Server, answered bool, err error) {
	raw, err := d.open(ctx, ep)
	if err != nil {
		return nil, false, d.fail(ReasonConnect, ep.label(), err)
	}
	stop := bindContext(ctx, raw)
	s = &Server{
		Conn: raw, Raw: raw, RemoteAddr: raw.RemoteAddr(), Host: ep.host,
		ep: ep, tcp: d.Target, ident: Error{Addr: ep.label(), User: d.User, Database: d.DBName},
	}
	h := &handshake{dialer: d, Server: s, minor: a.minor}
	err = h.run(ctx, a)
	if stopErr := stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		_ = raw.Close()
		return nil, h.answered, d.explain(ctx, ep, err)
	}
	return s, true, nil
}

// explain gives an error of the handshake its reason, if it has none yet.
func (d *dialer) explain(ctx context.Context, ep endpoint, err error) error {
	var e *Error
	named := errors.As(err, &e)
	if ctx.Err() != nil {
		if named && e.Err != nil { // its text is this one's over again
			err = e.Err
		}
		return d.fail(ReasonTimeout, ep.label(), fmt.Errorf("%w (%w)", err, context.Cause(ctx)))
	}
	if named {
		return e
	}
	return d.fail(ReasonProtocol, ep.label(), err)
}

// open connects to an endpoint and sets socket options.
func (d *dialer) open(ctx context.Context, ep endpoint) (net.Conn, error) {
	nd := net.Dialer{KeepAliveConfig: d.keepalive(), Control: d.control}
	if !d.TCPKeepalive {
		nd.KeepAlive = -1
	}
	return nd.DialContext(ctx, ep.network, ep.address)
}

// control sets the options that must be there before connect.
func (t *Target) control(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	set := func(fd uintptr, level, opt, value int, name string) {
		if value > 0 && err == nil {
			if e := unix.SetsockoptInt(int(fd), level, opt, value); e != nil {
				err = fmt.Errorf("set %s: %w", name, e)
			}
		}
	}
	if e := c.Control(func(fd uintptr) {
		set(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, t.TCPSocketBuffer, "tcp_socket_buffer")
		set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, t.TCPSocketBuffer, "tcp_socket_buffer")
		set(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, t.TCPUserTimeout, "tcp_user_timeout")
	}); e != nil {
		return e
	}
	return err
}

// bindContext makes the connection's I/O end with ctx. stop takes that back, leaves the connection without a
// deadline, and returns an error if ctx had ended already.
func bindContext(ctx context.Context, c net.Conn) (stop func() error) {
	// No deadline of the socket's own: it could strike a moment before ctx does, and hide why.
	done := make(chan struct{})
	unbind := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.SetDeadline(time.Unix(1, 0))
	})
	return func() error {
		if !unbind() {
			<-done
			return context.Cause(ctx)
		}
		return c.SetDeadline(time.Time{})
	}
}

// clientTLS returns the configuration for one host under a mode.
func clientTLS(base *tls.Config, mode, host string) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	c.ServerName = host
	c.NextProtos = []string{"postgresql"}
	// Go would check the host name in every case and knows no common names; verifyServer does it libpq's way.
	c.InsecureSkipVerify = true
	c.VerifyConnection = nil
	if mode == SSLVerifyCA || mode == SSLVerifyFull {
		roots := c.RootCAs
		c.VerifyConnection = func(cs tls.ConnectionState) error { return verifyServer(cs, roots, mode, host) }
	}
	return c
}
