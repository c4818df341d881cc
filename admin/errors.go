package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/pooler"
)

// SQLSTATEs of what the admin database says by itself. PgBouncer answers everything with 08P01.
const (
	codeProtocol      = "08P01"
	codeConfig        = "F0000"
	codeSyntax        = "42601"
	codeNoTable       = "42P01"
	codePrivilege     = "42501"
	codeNotSupported  = "0A000"
	codeCanceled      = "57014"
	codeShutdown      = "57P01"
	codeOutOfMemory   = "53200"
	codeTooMuch       = "54000"
	codeInternal      = "XX000"
	codeNoStatement   = "26000"
	codeNoPortal      = "34000"
	codeDupStatement  = "42P05"
	codeDupPortal     = "42P03"
	codeParamType     = "42P18"
	codeBadText       = "22021"
	codeTypeMismatch  = "42804"
	codeInTransaction = "25001"
	codeNoTransaction = "25P01"
)

// pgError is an error for the client of this session. Only fatal ones end it.
type pgError struct {
	code, msg, detail, hint string
	fatal                   bool
}

func (e *pgError) Error() string { return e.msg }

func errf(code, format string, args ...any) *pgError {
	return &pgError{code: code, msg: fmt.Sprintf(format, args...)}
}

func (e *pgError) withHint(format string, args ...any) *pgError {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

func (e *pgError) withDetail(format string, args ...any) *pgError {
	e.detail = fmt.Sprintf(format, args...)
	return e
}

// asPgError makes what any handler returned presentable.
func asPgError(err error) *pgError {
	var own *pgError
	if errors.As(err, &own) {
		return own
	}
	var pe *pooler.Error
	if errors.As(err, &pe) {
		return &pgError{code: pe.Code, msg: pe.Message, detail: pe.Detail, hint: pe.Hint, fatal: pe.Severity == "FATAL"}
	}
	var server *pgconn.PgError // of a shard, or of any other server that a handler talks to
	if errors.As(err, &server) {
		return &pgError{code: server.Code, msg: server.Message, detail: server.Detail, hint: server.Hint}
	}
	if errors.Is(err, context.Canceled) {
		return errf(codeCanceled, "canceling statement due to user request")
	}
	return errf(codeInternal, "%s", err)
}

func (e *pgError) response() *pgproto3.ErrorResponse {
	severity := "ERROR"
	if e.fatal {
		severity = "FATAL"
	}
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity,
		Code: e.code, Message: clean(e.msg), Detail: clean(e.detail), Hint: clean(e.hint),
	}
}

// notice is what is told beside a result.
type notice struct {
	severity, code, msg, detail, hint string
}

func (n notice) response() *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{
		Severity: n.severity, SeverityUnlocalized: n.severity,
		Code: n.code, Message: clean(n.msg), Detail: clean(n.detail), Hint: clean(n.hint),
	}
}

// clean removes the one byte that a protocol string cannot hold.
func clean(s string) string { return strings.ReplaceAll(s, "\x00", "") }

func errInvalidCommand(text string) *pgError {
	const most = 1000
	text = strings.TrimSpace(text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return errf(codeProtocol, "invalid command '%s', use SHOW HELP;", text)
}

func errAdminNeeded() *pgError {
	return errf(codePrivilege, "admin access needed").
		withHint("Users in admin_users may run every command, users in stats_users only SHOW and SELECT.")
}
