package logging

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// header is what a line tells besides its event.
type header struct {
	level  zerolog.Level
	time   time.Time
	pid    int
	colour bool
}

// A formatter appends one event as a line, its line break included.
type formatter func(b []byte, h header, ev event) []byte

// word is the level's name in PgBouncer's log.
func word(l zerolog.Level) string {
	switch l {
	case zerolog.TraceLevel:
		return "NOISE"
	case zerolog.DebugLevel:
		return "DEBUG"
	case zerolog.WarnLevel:
		return "WARNING"
	case zerolog.ErrorLevel:
		return "ERROR"
	case zerolog.FatalLevel, zerolog.PanicLevel:
		return "FATAL"
	default:
		return "LOG"
	}
}

// appendPgBouncer writes a line as PgBouncer does, in local time.
func appendPgBouncer(b []byte, h header, ev event) []byte {
	b = h.time.AppendFormat(b, "2006-01-02 15:04:05.000 MST")
	b = append(b, " ["...)
	b = strconv.AppendInt(b, int64(h.pid), 10)
	b = append(b, "] "...)
	b = append(b, word(h.level)...)
	b = append(b, ' ')
	return append(appendBody(b, ev), '\n')
}

// appendJSON writes the event as zerolog made it, with time and process id in front.
func appendJSON(b []byte, h header, ev event) []byte {
	b = append(b, `{"time":"`...)
	b = h.time.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, `","pid":`...)
	b = strconv.AppendInt(b, int64(h.pid), 10)
	if len(ev.raw) > 2 {
		b = append(b, ',')
		return append(append(b, ev.raw[1:]...), '\n')
	}
	if ev.message != "" {
		if text, err := json.Marshal(ev.message); err == nil { // a string always can be
			b = append(append(b, `,"message":`...), text...)
		}
	}
	return append(b, "}\n"...)
}

// colours are the levels' colours on a terminal.
var colours = map[string]string{
	"NOISE": "\x1b[90m", "DEBUG": "\x1b[90m", "LOG": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "FATAL": "\x1b[1;31m",
}

// appendConsole writes a short line for a person who looks on.
func appendConsole(b []byte, h header, ev event) []byte {
	const width = len("WARNING ")
	w := word(h.level)
	b = h.time.AppendFormat(b, "15:04:05.000 ")
	if h.colour {
		b = append(b, colours[w]...)
	}
	b = append(b, w...)
	if h.colour {
		b = append(b, "\x1b[0m"...)
	}
	for range width - len(w) {
		b = append(b, ' ')
	}
	return append(appendBody(b, ev), '\n')
}

// appendBody appends subject, message and fields.
func appendBody(b []byte, ev event) []byte {
	if ev.subject != "" {
		b = append(appendClean(b, ev.subject), ' ')
	}
	b = appendClean(b, strings.TrimRight(ev.message, " \t\r\n"))
	for _, f := range ev.fields {
		b = append(b, ' ')
		b = appendClean(b, f.key)
		b = append(b, '=')
		if f.text && needsQuotes(f.value) {
			b = strconv.AppendQuote(b, f.value)
		} else {
			b = appendClean(b, f.value)
		}
	}
	return b
}

// needsQuotes reports whether a text would not be told apart from what surrounds it.
func needsQuotes(s string) bool {
	return s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == utf8.RuneError || r == 0x7f
	})
}

// appendClean appends text so that it stays part of its line: a line break is followed by a tab, as in
// PgBouncer's log, and other control characters are escaped.
func appendClean(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			b = append(b, "\n\t"...)
		case c < ' ' && c != '\t' || c == 0x7f:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// isTerminal reports whether somebody looks at f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
