package logging

import (
	"sync"

	"github.com/rs/zerolog"
)

// buffers hold lines while they are put together. They are not state: any of them will do.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// Write writes one event without a level.
func (l *Logger) Write(p []byte) (int, error) { return l.WriteLevel(zerolog.NoLevel, p) }

// WriteLevel writes one event, an object of JSON as zerolog makes it, to all outputs. It never returns an
// error, because zerolog would then print one of its own.
func (l *Logger) WriteLevel(level zerolog.Level, p []byte) (int, error) {
	ev := parseEvent(p)
	h := header{level: level, time: l.now(), pid: l.pid}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)

	l.mu.Lock()
	defer l.mu.Unlock()
	appendLine := formats[l.format]
	line := appendLine((*buf)[:0], h, ev)
	if l.file != nil {
		if _, err := l.file.Write(line); err != nil {
			l.lost.Add(1)
		}
	}
	if l.stderr != nil {
		if l.format == "console" && l.terminal {
			h.colour = true
			line = appendLine(line[:0], h, ev)
		}
		if _, err := l.stderr.Write(line); err != nil {
			l.lost.Add(1)
		}
	}
	if l.syslog != nil {
		line = appendBody(line[:0], ev)
		if err := l.syslog.write(level, string(line), h.time); err != nil && l.stderr != nil {
			warning := event{message: "syslog cannot be reached, lines are lost", fields: []field{{key: "error", value: err.Error(), text: true}}}
			h.level = zerolog.WarnLevel
			_, _ = l.stderr.Write(appendLine(line[:0], h, warning))
		}
	}
	if cap(line) <= 16<<10 { // a giant does not stay
		*buf = line
	}
	return len(p), nil
}
