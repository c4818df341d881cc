package copyrows

import (
	"fmt"
	"unicode/utf8"
)

// SQLSTATEs of the errors.
const (
	codeBadFormat = "22P04" // bad_copy_file_format
	codeTooLong   = "54000" // program_limit_exceeded
)

// Error is an error in the data, as PostgreSQL words it.
type Error struct {
	Code    string // SQLSTATE
	Message string
	Hint    string
	// Line is PostgreSQL's count of lines (of rows in binary), from 1; 0 in the header of binary data.
	Line int
	// Column is the name of the column, in binary data only.
	Column string
	// Text is the line, up to 100 bytes of it, where PostgreSQL shows it; HasText tells an empty line from none.
	Text    string
	HasText bool
}

// Error returns the message and the line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (line %d)", e.Message, e.Line)
}

// Context returns the CONTEXT that PostgreSQL gives for a COPY into the table, or "".
func (e *Error) Context(table string) string {
	switch {
	case e.Line == 0:
		return ""
	case e.Column != "":
		return fmt.Sprintf("COPY %s, line %d, column %s", table, e.Line, e.Column)
	case e.HasText:
		return fmt.Sprintf("COPY %s, line %d: \"%s\"", table, e.Line, e.Text)
	}
	return fmt.Sprintf("COPY %s, line %d", table, e.Line)
}

func badFormat(line int, message string) *Error {
	return &Error{Code: codeBadFormat, Message: message, Line: line}
}

func (e *Error) withText(line []byte) *Error {
	e.Text, e.HasText = clip(line), true
	return e
}

// clip shortens a line as PostgreSQL does for display.
func clip(line []byte) string {
	const most = 100 // MAX_COPY_DATA_DISPLAY
	if len(line) <= most {
		return string(line)
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(line[n]) {
		n--
	}
	return string(line[:n]) + "..."
}
