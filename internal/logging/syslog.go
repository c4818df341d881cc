package logging

import (
	"fmt"
	"log/syslog"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// facilities are the values of syslog_facility.
var facilities = map[string]syslog.Priority{
	"auth": syslog.LOG_AUTH, "authpriv": syslog.LOG_AUTHPRIV, "daemon": syslog.LOG_DAEMON, "user": syslog.LOG_USER,
	"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3,
	"local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

// syslogRetry is how long an unreachable syslog is left alone.
const syslogRetry = 5 * time.Second

type syslogDialer func(syslog.Priority, string) (*syslog.Writer, error)

func dialSyslog(p syslog.Priority, ident string) (*syslog.Writer, error) { return syslog.New(p, ident) }

// A syslogSink sends lines to the local syslog. As with syslog(3), it is no error that nobody listens yet.
// A nil sink sends nothing.
type syslogSink struct {
	ident    string
	facility syslog.Priority
	dial     syslogDialer

	mu      sync.Mutex
	w       *syslog.Writer // guarded by mu; nil = not connected
	retryAt time.Time      // guarded by mu
}

func newSyslogSink(ident, facility string, dial syslogDialer) (*syslogSink, error) {
	if facility == "" {
		facility = "daemon"
	}
	if ident == "" {
		ident = "pgdrover"
	}
	f, ok := facilities[strings.ToLower(facility)]
	if !ok {
		names := make([]string, 0, len(facilities))
		for n := range facilities {
			names = append(names, n)
		}
		sort.Strings(names)
		return nil, fmt.Errorf("syslog_facility: %q is not one of %s", facility, strings.Join(names, ", "))
	}
	return &syslogSink{ident: ident, facility: f, dial: dial}, nil
}

// same reports whether two sinks write alike, so that the old one may stay.
func (s *syslogSink) same(o *syslogSink) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.ident == o.ident && s.facility == o.facility
}

// write sends one line. Only the first of several failures is returned, for the caller to report.
func (s *syslogSink) write(level zerolog.Level, line string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		if now.Before(s.retryAt) {
			return nil
		}
		first := s.retryAt.IsZero()
		w, err := s.dial(s.facility|syslog.LOG_INFO, s.ident)
		if err != nil {
			s.retryAt = now.Add(syslogRetry)
			if first {
				return err
			}
			return nil
		}
		s.w, s.retryAt = w, time.Time{}
	}
	err := s.send(level, line)
	if err != nil {
		_ = s.w.Close()
		s.w, s.retryAt = nil, now.Add(syslogRetry)
	}
	return err
}

func (s *syslogSink) send(level zerolog.Level, line string) error {
	switch level {
	case zerolog.TraceLevel, zerolog.DebugLevel:
		return s.w.Debug(line)
	case zerolog.WarnLevel:
		return s.w.Warning(line)
	case zerolog.ErrorLevel:
		return s.w.Err(line)
	case zerolog.FatalLevel, zerolog.PanicLevel:
		return s.w.Crit(line)
	default:
		return s.w.Info(line)
	}
}

func (s *syslogSink) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w != nil {
		_ = s.w.Close()
		s.w = nil
	}
}
