package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgdrover/internal/auth"
	"pgdrover/internal/connect"
)

// The errors that clients see are made in this file. Messages begin with PgBouncer's wording, so that filters
// written for it keep matching; SQLSTATE, DETAIL and HINT say the rest.

type netWriter = net.Conn

// message encodes e as ErrorResponse or NoticeResponse.
func (e *Error) message() []byte {
	typ := byte('E')
	if e.Severity == "NOTICE" || e.Severity == "WARNING" {
		typ = 'N'
	}
	b := []byte{typ, 0, 0, 0, 0}
	field := func(t byte, v string) {
		if v != "" {
			b = append(b, t)
			b = append(b, strings.ReplaceAll(v, "\x00", "")...)
			b = append(b, 0)
		}
	}
	field('S', e.Severity)
	field('V', e.Severity)
	field('C', e.Code)
	field('M', e.Message)
	field('D', e.Detail)
	field('H', e.Hint)
	field('W', e.Where)
	field('R', e.Routine)
	if e.Position > 0 {
		field('P', strconv.Itoa(e.Position))
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}

func errTooLongToRoute(bytes int) *Error {
	e := fatal("54000", "message is too long for a sharded database")
	e.Detail = fmt.Sprintf("It has %d bytes; at most %d can be read to find out where it goes.", bytes, maxRouted)
	e.Hint = "Use COPY for large amounts of data."
	return e
}

func fatal(code, message string) *Error {
	return &Error{Severity: "FATAL", Code: code, Message: message}
}

func errProtocol(message string) *Error { return fatal("08P01", message) }

func errKilled() *Error { return fatal("57P01", "admin forced disconnect") }

func errShutdown() *Error { return fatal("57P01", "server shutting down") }

// errReconfigured closes a client whose server is to be replaced: a replication connection, or under server_fast_close one of session mode.
func errReconfigured() *Error {
	e := fatal("57P01", "database configuration changed")
	e.Hint = "Connect again."
	return e
}

func errPQExec() *Error {
	e := errProtocol("PQexec disallowed")
	e.Detail = "disable_pqexec is on: simple queries are not accepted."
	e.Hint = "Use the extended protocol (a driver's parameterised queries)."
	return e
}

// errTooManyTexts closes a client that never closes its statements.
func errTooManyTexts(n int) *Error {
	e := fatal("53200", "too many prepared statements")
	e.Detail = fmt.Sprintf("This client has %d named statements; their texts may have %d MiB in all to follow it from server to server.", n, maxClientTexts>>20)
	e.Hint = "Close statements that are no longer used (many drivers have a limit for their statement cache), use the unnamed statement, or pool_mode = \"session\"."
	return e
}

func errDatabaseGone(name string) *Error {
	e := fatal("57P01", "database removed")
	e.Detail = fmt.Sprintf("Database %q was removed or killed.", name)
	return e
}

func errShardRemoved(pl *pool) *Error {
	e := fatal("55000", "it was taken out of the configuration")
	e.Detail = fmt.Sprintf("The transaction has begun while database %q had it.", pl.key.database)
	e.Hint = "Begin the transaction again."
	return e
}

func errCanceled() *Error {
	return &Error{
		Severity: "ERROR", Code: "57014", Message: "canceling statement due to user request",
		Detail: "The statement was waiting for a server connection and had not been sent to one.",
	}
}

func errServerGone(cause error) *Error {
	e := fatal("08006", "server conn crashed?")
	e.Detail = "The connection to the PostgreSQL server was lost; whether the last statement took effect is not known unless a transaction was open."
	if cause != nil && !errors.Is(cause, os.ErrDeadlineExceeded) {
		e.Detail = "The connection to the PostgreSQL server was lost (" + cause.Error() + "); whether the last statement took effect is not known unless a transaction was open."
	}
	e.Hint = "Connect again and repeat the transaction if it did not take effect."
	return e
}

// errServerLogin passes on why a server could not be opened: the server's own words and SQLSTATE if it has spoken.
func errServerLogin(err error) *Error {
	var se *connect.ServerError
	if errors.As(err, &se) {
		e := &Error{Severity: "FATAL", Code: se.Code(), Message: se.Message(), Detail: se.Field('D'), Hint: se.Field('H')}
		switch {
		case errors.Is(err, errCheckQuery):
			e.Detail = strings.TrimSpace("server_check_query failed on a new connection. " + e.Detail)
		case errors.Is(err, errConnectQuery):
			e.Detail = strings.TrimSpace("connect_query of the database failed on a new connection. " + e.Detail)
		}
		return e
	}
	var ae *auth.Error
	if errors.As(err, &ae) {
		return &Error{Severity: "FATAL", Code: ae.Code, Message: ae.Message, Detail: ae.Detail}
	}
	var ce *connect.Error
	if errors.As(err, &ce) {
		return &Error{Severity: "FATAL", Code: "08001", Message: ce.Reason, Detail: err.Error()}
	}
	return &Error{Severity: "FATAL", Code: "08001", Message: "connect failed", Detail: err.Error()}
}

// errLoginFailing answers clients while the last refusal is recent. p.mu is held.
func errLoginFailing(p *pool) *Error {
	e := errServerLogin(p.lastErr)
	e.Message = "server login has been failing, cached error: " + e.Message + " (server_login_retry)"
	e.Detail = strings.TrimSpace(fmt.Sprintf("Pool %s/%s: the last attempt was %s ago, the next one is in %s. %s",
		p.key.database, p.key.user, age(since(p.lastErrAt)), age(time.Duration(p.retryAt-now())), e.Detail))
	return e
}

// holderIdle is the state of a holder that has no transaction open and yet keeps its server: in session mode.
const holderIdle = "idle"

// errQueueTimeout tells a client that has waited too long what it waited for.
func errQueueTimeout(setting string, p *pool, c *client) *Error {
	w := p.waiterInfo(c)
	e := fatal("57014", setting)
	var b strings.Builder
	fmt.Fprintf(&b, "Waited %s for a server of pool %s/%s: %d of %d connections in use, %s.",
		age(w.Wait), w.Database, w.User, w.InUse, w.Max, reasonText(w.Reason))
	if w.HolderID != 0 {
		fmt.Fprintf(&b, " Longest holder: client %d", w.HolderID)
		if w.HolderApplicationName != "" {
			fmt.Fprintf(&b, " (%s)", w.HolderApplicationName)
		}
		fmt.Fprintf(&b, ", %s for %s", w.HolderState, age(w.HolderFor))
		if w.HolderQueryAge > 0 {
			fmt.Fprintf(&b, ", last query %s %s ago", w.HolderQuery, age(w.HolderQueryAge))
		}
		fmt.Fprintf(&b, ", backend %d.", w.HolderServerPID)
	}
	e.Detail = b.String()
	switch w.Reason {
	case "paused":
		e.Hint = "RESUME the database on the admin console."
	case "connecting", "checking":
		e.Hint = "Check that the PostgreSQL server can be reached; SHOW POOLS has the last error."
		p.mu.Lock()
		if p.lastErr != nil {
			e.Detail += " Last error: " + p.lastErr.Error() + "."
		}
		p.mu.Unlock()
	case "max_db_connections", "max_user_connections":
		e.Hint = "Raise " + w.Reason + ", or see SHOW POOLS for who uses it up."
	case "pool_size":
		if w.HolderState == holderIdle {
			e.Hint = "Clients in session mode keep their server until they leave: raise pool_size (default_pool_size), or use pool_mode = transaction."
			break
		}
		fallthrough
	default:
		e.Hint = "Shorten the transactions that hold servers, or raise pool_size (default_pool_size)."
	}
	return e
}

func reasonText(r string) string {
	switch r {
	case "paused":
		return "the database is paused"
	case "checking":
		return "the server has not answered yet what it is asked before it is handed out"
	case "connecting":
		return "no server connection could be opened yet"
	case "pool_size":
		return "pool_size is reached"
	default:
		return r + " is reached"
	}
}

// age prints a duration for people.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// errorField returns a field of an ErrorResponse message, "" if it has none.
func errorField(msg []byte, field byte) string {
	for b := msg[headerLen:]; len(b) > 1 && b[0] != 0; {
		v, rest, err := cstring(b[1:])
		if err != nil {
			return ""
		}
		if b[0] == field {
			return string(v)
		}
		b = rest
	}
	return ""
}

func errorCode(msg []byte) string { return errorField(msg, 'C') }

// fatalSeverity reports whether the server ends its session with this error.
func fatalSeverity(msg []byte) bool {
	v := errorField(msg, 'V')
	return v == "FATAL" || v == "PANIC"
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// peek looks at what could be read from fd without waiting. open is false at the end of the stream, or on an error.
func peek(fd int, b []byte) (n int, open bool) {
	n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, true
	}
	return max(n, 0), err == nil && n > 0
}

// hasInput reports whether a read of fd would find bytes.
func hasInput(fd int) bool {
	var b [1]byte
	n, _ := peek(fd, b[:])
	return n > 0
}

// peekEOF reports whether a client whose side is closed has left nothing to read but its good-bye.
func peekEOF(fd int, tls bool) bool {
	var b [64]byte
	n, open := peek(fd, b[:])
	if !open {
		return true
	}
	if !peerClosed(fd) {
		return false
	}
	return isGoodbye(b[:n], tls)
}

// hasRoom reports whether the socket takes some bytes at once. Where Linux says so, a third of its buffer is free (tcp(7) has the sizes).
func hasRoom(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	return err != nil || n == 1 // an error is for the write to find
}

// peerClosed reports whether the peer has closed its side, whatever is still to be read.
func peerClosed(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// isGoodbye reports whether b is nothing but Terminate; over TLS, of which only the lengths of the records can be
// seen, nothing but Terminate and a close_notify alert.
func isGoodbye(b []byte, tls bool) bool {
	if !tls {
		return string(b) == "X\x00\x00\x00\x04"
	}
	for len(b) > 0 {
		if len(b) < tlsHeader {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		// In TLS 1.3 an alert looks like data: 2 bytes and the type, with 16 bytes of tag; Terminate has 5 and the type.
		alert := b[0] == tlsAlert || b[0] == tlsData && n == 2+1+16
		terminate := b[0] == tlsData && n == headerLen+1+16
		if !alert && !terminate || len(b) < tlsHeader+n {
			return false
		}
		b = b[tlsHeader+n:]
	}
	return true
}

// The header of a TLS record, and its first byte.
const (
	tlsHeader = 5
	tlsAlert  = 21
	tlsData   = 23
)
