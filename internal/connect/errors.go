package connect

import (
	"bytes"
	"errors"
	"fmt"
)

// ServerError is an ErrorResponse with which a server refused a login.
type ServerError struct {
	// Body is the message's body as the server sent it, without type and length, so that it can be passed on.
	Body []byte
	// Fields are the body's fields in the server's order.
	Fields []Field
	// Addr is the server's address.
	Addr string
}

// Field is one field of an ErrorResponse.
type Field struct {
	Code  byte // 'S', 'V', 'C', 'M', 'D', 'H', …
	Value string
}

// Field returns the value of a field, "" if the server did not send it.
func (e *ServerError) Field(code byte) string {
	for _, f := range e.Fields {
		if f.Code == code {
			return f.Value
		}
	}
	return ""
}

// Code returns the SQLSTATE.
func (e *ServerError) Code() string { return e.Field('C') }

// Message returns the primary message.
func (e *ServerError) Message() string { return e.Field('M') }

// Severity returns the severity, not translated if the server says so.
func (e *ServerError) Severity() string {
	if v := e.Field('V'); v != "" {
		return v
	}
	return e.Field('S')
}

// Error returns the server's message in one line.
func (e *ServerError) Error() string {
	s := e.Severity() + ": " + e.Message()
	if c := e.Code(); c != "" {
		s += " (SQLSTATE " + c + ")"
	}
	if d := e.Field('D'); d != "" {
		s += "; " + d
	}
	return s
}

// ParseServerError reads the body of an ErrorResponse or NoticeResponse. The body is copied.
func ParseServerError(body []byte) (*ServerError, error) {
	e := &ServerError{Body: bytes.Clone(body)}
	for rest := e.Body; ; {
		if len(rest) == 0 {
			return nil, errors.New("ErrorResponse is not terminated")
		}
		code := rest[0]
		if rest = rest[1:]; code == 0 {
			if len(rest) > 0 {
				return nil, fmt.Errorf("ErrorResponse has %d bytes behind its terminator", len(rest))
			}
			break
		}
		value, tail, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, fmt.Errorf("field %q of ErrorResponse is not terminated", code)
		}
		e.Fields = append(e.Fields, Field{Code: code, Value: string(value)})
		rest = tail
	}
	if e.Message() == "" {
		return nil, errors.New("ErrorResponse has no message")
	}
	return e, nil
}

// legacyError makes an error out of the bare text that a postmaster sends when it cannot start a backend, and
// that servers before PostgreSQL 7.4 sent.
func legacyError(text string) *ServerError {
	e := &ServerError{Fields: []Field{{'S', "FATAL"}, {'V', "FATAL"}, {'C', "53000"}, {'M', text}}}
	for _, f := range e.Fields {
		e.Body = append(append(append(e.Body, f.Code), f.Value...), 0)
	}
	e.Body = append(e.Body, 0)
	return e
}

// PgBouncer's words for what went wrong before a login, as Error.Reason.
const (
	ReasonConnect    = "connect failed"
	ReasonTimeout    = "connect timeout"
	ReasonDNS        = "server DNS lookup failed"
	ReasonRefusedSSL = "server refused SSL"
	ReasonTLS        = "server TLS handshake failed"
	ReasonLogin      = "server login failed"
	ReasonClosed     = "server closed the connection during login"
	ReasonProtocol   = "server sent an invalid message during login"
	ReasonConfig     = "invalid connection settings"
)

// Error is a connection that could not be opened: where to, as whom, and why. A server's own refusal is found
// with errors.As and *ServerError, a failure of authentication on our side with *auth.Error.
type Error struct {
	Reason   string // one of the Reason… constants
	Addr     string // "host:port", with the address in parentheses if host is a name; or the socket's path
	User     string
	Database string
	Err      error // cause, or nil
}

// Error returns all of it in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s as user %q, database %q", e.Reason, e.Addr, e.User, e.Database)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
