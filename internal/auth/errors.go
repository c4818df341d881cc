package auth

// SQLSTATEs of this package's errors.
const (
	codeInvalidPassword = "28P01" // invalid_password
	codeInvalidAuthSpec = "28000" // invalid_authorization_specification
	codeProtocol        = "08P01" // protocol_violation
	codeConnFailure     = "08001" // sqlclient_unable_to_establish_sqlconnection
	codeInternal        = "XX000" // internal_error
)

// Error is a login that failed. Message is PgBouncer's wording, so that filters on logs and in clients keep
// matching.
type Error struct {
	Code    string // SQLSTATE
	Message string // may be shown to the client
	Detail  string // why; for the log only, since it may tell whether a user exists
	Err     error  // cause, or nil
}

// Error returns the message with everything that is known about the failure; it is meant for logs.
func (e *Error) Error() string {
	s := e.Message
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code and message, whatever the details.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == e.Message
}

// Failures of clients, for errors.Is and for callers that refuse a login before any method is tried.
// They are never changed; what is returned are copies with details.
var (
	ErrPassword      = &Error{Code: codeInvalidPassword, Message: "password authentication failed"}
	ErrSASL          = &Error{Code: codeInvalidPassword, Message: "SASL authentication failed"}
	ErrSASLProtocol  = &Error{Code: codeProtocol, Message: "SASL authentication failed"}
	ErrSASLMechanism = &Error{Code: codeProtocol, Message: "client selected an invalid SASL authentication mechanism"}
	ErrEmptyPassword = &Error{Code: codeInvalidPassword, Message: "empty password returned by client"}
	ErrPasswordLong  = &Error{Code: codeProtocol, Message: "password too long"}
	ErrTrust         = &Error{Code: codeInvalidAuthSpec, Message: `"trust" authentication failed`}
	ErrCert          = &Error{Code: codeInvalidAuthSpec, Message: "certificate authentication failed"}
	ErrPeer          = &Error{Code: codeInvalidAuthSpec, Message: "unix socket login rejected"}
	ErrReject        = &Error{Code: codeInvalidAuthSpec, Message: "login rejected"}
	ErrNoMethod      = &Error{Code: codeInvalidAuthSpec, Message: "no authentication method is found"}
	ErrNoSuchUser    = &Error{Code: codeInvalidAuthSpec, Message: "no such user"}
)

// Failures of our own logins to servers.
var (
	ErrServerPasswordType  = &Error{Code: codeInvalidPassword, Message: "server login failed: wrong password type"}
	ErrServerSignature     = &Error{Code: codeConnFailure, Message: "server login failed: invalid server signature"}
	ErrServerMechanism     = &Error{Code: codeConnFailure, Message: "server login failed: none of the server's SASL authentication mechanisms are supported"}
	ErrServerAuthMethod    = &Error{Code: codeConnFailure, Message: "server login failed: the server's authentication method is not supported"}
	ErrServerSASLExchange  = &Error{Code: codeConnFailure, Message: "server login failed: broken SASL exchange"}
	ErrServerPasswordPhase = &Error{Code: codeConnFailure, Message: "server login failed: unexpected authentication message"}
)

// with returns a copy of e with a detail and a cause.
func (e *Error) with(detail string, cause error) *Error {
	cp := *e
	cp.Detail, cp.Err = detail, cause
	return &cp
}
