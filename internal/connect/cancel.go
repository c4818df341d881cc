package connect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Cancel asks the server to cancel what this connection runs: over a connection of its own to the same address,
// encrypted if this one is. It returns when the server has taken the request, which it shows by closing; whether
// anything was cancelled the protocol does not tell. It may be called from any goroutine, also while the
// connection is in use or after it was closed. Errors are *Error.
func (s *Server) Cancel(ctx context.Context) error {
	fail := func(reason string, err error) error {
		e := s.ident
		e.Reason, e.Err = reason, fmt.Errorf("cancel request: %w", err)
		return &e
	}
	if s.SecretKey == nil {
		return fail(ReasonProtocol, errors.New("the server gave no key for cancelling"))
	}
	d := &dialer{Target: s.tcp}
	raw, err := d.open(ctx, s.ep)
	if err != nil {
		return fail(ReasonConnect, err)
	}
	defer func() { _ = raw.Close() }()
	stop := bindContext(ctx, raw)
	defer func() { _ = stop() }()

	h := &handshake{dialer: d, Server: &Server{ep: s.ep}}
	conn := raw
	if s.tls != nil {
		c, err := h.encrypt(ctx, raw, s.tls)
		if err != nil {
			return fail(ReasonTLS, err)
		}
		if c == nil {
			return fail(ReasonRefusedSSL, errors.New("the server no longer does TLS"))
		}
		conn = c
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(12+len(s.SecretKey)))
	msg = binary.BigEndian.AppendUint32(msg, cancelRequestCode)
	msg = binary.BigEndian.AppendUint32(msg, s.PID)
	if _, err := conn.Write(append(msg, s.SecretKey...)); err != nil {
		return fail(ReasonClosed, err)
	}
	// A reset is as good as an end: the server has nothing to say.
	if _, err := io.Copy(io.Discard, io.LimitReader(conn, 64)); err != nil && ctx.Err() != nil {
		return fail(ReasonTimeout, fmt.Errorf("%w (%w)", err, context.Cause(ctx)))
	}
	return nil
}
