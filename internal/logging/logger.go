package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"pgdrover/internal/config"
)

// A Logger owns the outputs of the log. Its methods may be called from any goroutine.
type Logger struct {
	zl    zerolog.Logger
	level atomic.Int32 // zerolog.Level of the least important events that are written
	lost  atomic.Uint64

	stderr   io.Writer // nil = quiet
	terminal bool      // whether stderr may be coloured
	dial     syslogDialer
	now      func() time.Time
	pid      int

	// mu is held while a line is written, so that outputs need not be safe for concurrent use, and while they
	// are changed. Of other locks only the syslog sink's is taken under it.
	mu     sync.Mutex
	format string      // guarded by mu; of formats
	path   string      // guarded by mu; "" = no file
	file   *os.File    // guarded by mu; nil = no file
	syslog *syslogSink // guarded by mu; nil = off
}

// An Option changes how a Logger is made.
type Option func(*Logger)

// WithStderr sends what would go to standard error to w; nil silences it, as PgBouncer's -q does, and
// leaves the file and syslog.
func WithStderr(w io.Writer) Option {
	return func(l *Logger) { l.stderr, l.terminal = w, false }
}

// New returns a logger with the outputs that s names. The error says which of them cannot be opened.
func New(s *config.Settings, opts ...Option) (*Logger, error) {
	l := &Logger{stderr: os.Stderr, terminal: isTerminal(os.Stderr), dial: dialSyslog, now: time.Now, pid: os.Getpid()}
	for _, o := range opts {
		o(l)
	}
	l.zl = zerolog.New(l).Level(zerolog.TraceLevel).Sample(l)
	commit, err := l.Prepare(s)
	if err != nil {
		return nil, err
	}
	commit()
	if s.LogFile != "" && l.file == nil {
		return nil, errors.Join(fmt.Errorf("log file %s: cannot be opened", s.LogFile), l.Close())
	}
	return l, nil
}

// Zerolog returns the logger to log with. It stays right through all changes of settings.
func (l *Logger) Zerolog() zerolog.Logger { return l.zl }

// Sample tells zerolog whether to make an event of a level at all; it is how the level can change under
// loggers that are already out.
func (l *Logger) Sample(level zerolog.Level) bool { return int32(level) >= l.level.Load() }

// formats are the values of log_format.
var formats = map[string]formatter{
	"pgbouncer": appendPgBouncer,
	"json":      appendJSON,
	"console":   appendConsole,
}

// levelFor translates verbose: each step shows one more level.
func levelFor(verbose int) zerolog.Level {
	switch {
	case verbose <= 0:
		return zerolog.InfoLevel
	case verbose == 1:
		return zerolog.DebugLevel
	default:
		return zerolog.TraceLevel
	}
}

// Prepare checks whether the log can be as next says and returns the function that makes it so. Between
// the two, and if commit is never called, nothing is different.
func (l *Logger) Prepare(next *config.Settings) (commit func(), err error) {
	format := next.LogFormat
	if format == "" {
		format = "pgbouncer"
	}
	if formats[format] == nil {
		return nil, fmt.Errorf("log_format: %q is not one of pgbouncer, json, console", next.LogFormat)
	}
	var sys *syslogSink
	if next.Syslog {
		if sys, err = newSyslogSink(next.SyslogIdent, next.SyslogFacility, l.dial); err != nil {
			return nil, err
		}
	}
	if next.LogFile != "" {
		f, err := openLog(next.LogFile)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
	}
	path, level := next.LogFile, levelFor(next.Verbose)
	return func() {
		l.level.Store(int32(level))
		openErr := l.change(format, path, sys)
		if openErr != nil { // it could be opened a moment ago
			l.zl.Error().Err(openErr).Msg("keeping the log file that was open before")
		}
	}, nil
}

// change puts new outputs in the place of the old ones.
func (l *Logger) change(format, path string, sys *syslogSink) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.format = format
	if !l.syslog.same(sys) {
		l.syslog.close()
		l.syslog = sys
	}
	if path == l.path && (path == "" || l.file != nil) {
		return nil
	}
	return l.openLocked(path)
}

// Reopen opens the log file anew under its name, for log rotation. On error the old one stays open.
func (l *Logger) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.openLocked(l.path)
}

func (l *Logger) openLocked(path string) error {
	var f *os.File
	if path != "" {
		var err error
		if f, err = openLog(path); err != nil {
			return err
		}
	}
	old := l.file
	l.path, l.file = path, f
	if old != nil {
		if err := old.Close(); err != nil {
			return fmt.Errorf("closing the old log file: %w", err)
		}
	}
	return nil
}

// openLog opens a log file to append to. Others than its owner and group may not read it: it names users.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return f, nil
}

// Lost returns how many lines could not be written to the file or to standard error.
func (l *Logger) Lost() uint64 { return l.lost.Load() }

// Close closes file and syslog. What is logged afterwards goes to standard error alone.
func (l *Logger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syslog.close()
	l.syslog = nil
	return l.openLocked("")
}
