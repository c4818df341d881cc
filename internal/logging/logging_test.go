package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"pgdrover/internal/config"
)

// fixed makes what a line says of its writer always the same.
func fixed(l *Logger) {
	l.now = func() time.Time { return time.Date(2026, 11, 22, 15, 10, 35, 123e6, time.UTC) }
	l.pid = 4711
}

// newLogger returns a logger and the buffer that stands for its standard error.
func newLogger(t *testing.T, s *config.Settings, opts ...Option) (*Logger, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	l, err := New(s, append([]Option{WithStderr(&buf), fixed}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, &buf
}

func TestLines(t *testing.T) {
	t.Parallel()
	const pgb = "2026-11-22 15:10:35.123 UTC [4711] "
	tests := []struct {
		name, format string
		log          func(zerolog.Logger)
		want         string
	}{
		{"plain", "pgbouncer", func(z zerolog.Logger) { z.Info().Msg("process up") }, pgb + "LOG process up"},
		{"default format", "", func(z zerolog.Logger) { z.Info().Msg("x") }, pgb + "LOG x"},
		{"noise", "pgbouncer", func(z zerolog.Logger) { z.Trace().Msg("x") }, pgb + "NOISE x"},
		{"debug", "pgbouncer", func(z zerolog.Logger) { z.Debug().Msg("x") }, pgb + "DEBUG x"},
		{"warning", "pgbouncer", func(z zerolog.Logger) { z.Warn().Msg("x") }, pgb + "WARNING x"},
		{"error", "pgbouncer", func(z zerolog.Logger) { z.Error().Err(errors.New("no such file")).Msg("x") }, pgb + `ERROR x error="no such file"`},
		{"fatal does not exit", "pgbouncer", func(z zerolog.Logger) { z.WithLevel(zerolog.FatalLevel).Msg("x") }, pgb + "FATAL x"},
		{"without a level", "pgbouncer", func(z zerolog.Logger) { z.Log().Msg("x") }, pgb + "LOG x"},
		{"subject first, fields last and in order", "pgbouncer", func(z zerolog.Logger) {
			z.Info().Str("pool", "shop/app").Str(Subject, "C-1f: shop/app@10.0.0.1:5").Int("n", 3).Float64("s", 1.5).Bool("tls", true).Msg("login")
		}, pgb + "LOG C-1f: shop/app@10.0.0.1:5 login pool=shop/app n=3 s=1.5 tls=true"},
		{"texts that need quotes", "pgbouncer", func(z zerolog.Logger) {
			z.Info().Str("a", "").Str("b", `say "x"`).Str("c", "k=v").Str("d", "line\nbreak").Str("e", "größe").Msg("m")
		}, pgb + `LOG m a="" b="say \"x\"" c="k=v" d="line\nbreak" e=größe`},
		{"nested values stay JSON", "pgbouncer", func(z zerolog.Logger) {
			z.Info().Strs("list", []string{"a,b", "}"}).Dict("d", zerolog.Dict().Int("x", 1).Str("y", "]")).Msg("m")
		}, pgb + `LOG m list=["a,b","}"] d={"x":1,"y":"]"}`},
		{
			"a forged line", "pgbouncer", func(z zerolog.Logger) { z.Info().Msg("user \"x\n2026-11-22 LOG all is well\r\x1b[2J\"\n") },
			pgb + "LOG user \"x\n\t2026-11-22 LOG all is well\\x0d\\x1b[2J\"",
		},
		{"no message", "pgbouncer", func(z zerolog.Logger) { z.Info().Int("n", 1).Send() }, pgb + "LOG  n=1"},
		{
			"json", "json", func(z zerolog.Logger) { z.Warn().Str("pool", "a b").Msg("hi") },
			`{"time":"2026-11-22T15:10:35.123Z","pid":4711,"level":"warn","pool":"a b","message":"hi"}`,
		},
		{"console", "console", func(z zerolog.Logger) { z.Info().Int("n", 1).Msg("hi") }, "15:10:35.123 LOG     hi n=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, buf := newLogger(t, &config.Settings{LogFormat: tt.format, Verbose: 2})
			tt.log(l.Zerolog())
			if d := cmp.Diff(tt.want+"\n", buf.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestColoursOnlyOnATerminal(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	l, buf := newLogger(t, &config.Settings{LogFormat: "console", LogFile: file}, func(l *Logger) { l.terminal = true })
	z := l.Zerolog()
	z.Error().Msg("x")
	if want := "15:10:35.123 \x1b[31mERROR\x1b[0m   x\n"; buf.String() != want {
		t.Errorf("terminal: got %q\nwant %q", buf, want)
	}
	if got, want := read(t, file), "15:10:35.123 ERROR   x\n"; got != want {
		t.Errorf("file: got %q\nwant %q", got, want)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestVerboseChangesUnderLoggersThatAreOut(t *testing.T) {
	t.Parallel()
	l, buf := newLogger(t, &config.Settings{LogFormat: "console"})
	child := l.Zerolog().With().Int("id", 7).Logger()
	for verbose := range 4 {
		apply(t, l, &config.Settings{LogFormat: "console", Verbose: verbose})
		buf.Reset()
		child.Trace().Msg("noise")
		child.Debug().Msg("debug")
		child.Info().Msg("log")
		if got, want := strings.Count(buf.String(), "\n"), min(verbose, 2)+1; got != want {
			t.Errorf("verbose = %d: got %d lines, want %d", verbose, got, want)
		}
	}
}

func apply(t *testing.T, l *Logger, s *config.Settings) {
	t.Helper()
	commit, err := l.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	commit()
}

func TestFormatAndFileChangeLive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	l, _ := newLogger(t, &config.Settings{LogFile: a, LogFormat: "console"})
	z := l.Zerolog()
	z.Info().Msg("one")
	commit, err := l.Prepare(&config.Settings{LogFile: b, LogFormat: "json"})
	if err != nil {
		t.Fatal(err)
	}
	z.Info().Msg("two") // prepared is not committed
	commit()
	z.Info().Msg("three")
	apply(t, l, &config.Settings{LogFormat: "json"})
	z.Info().Msg("four")
	if got, want := read(t, a), "15:10:35.123 LOG     one\n15:10:35.123 LOG     two\n"; got != want {
		t.Errorf("first file: got %q\nwant %q", got, want)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(read(t, b)), &line); err != nil || line["message"] != "three" {
		t.Errorf("second file: got %v and %v, want the one line three", line, err)
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	l, _ := newLogger(t, &config.Settings{LogFile: path, LogFormat: "console"})
	z := l.Zerolog()
	z.Info().Msg("old")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	z.Info().Msg("still old")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	z.Info().Msg("new")
	if got, want := strings.Count(read(t, path+".1"), "\n"), 2; got != want {
		t.Errorf("rotated file: got %d lines, want %d", got, want)
	}
	if got := read(t, path); !strings.HasSuffix(got, "new\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("new file: got %q", got)
	}
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Reopen without the folder: got %v, want %v", err, os.ErrNotExist)
	}
	z.Info().Msg("not lost")
	if got := read(t, filepath.Join(dir+".gone", "log")); !strings.HasSuffix(got, "not lost\n") {
		t.Errorf("after a Reopen that failed: got %q", got)
	}
	if l.Lost() != 0 {
		t.Errorf("lost %d lines", l.Lost())
	}
}

func TestBadSettingsAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	l, buf := newLogger(t, &config.Settings{LogFormat: "console"})
	nowhere := filepath.Join(t.TempDir(), "nowhere", "log")
	tests := []struct {
		name string
		s    config.Settings
		want string
	}{
		{"format", config.Settings{LogFormat: "xml"}, `log_format: "xml" is not one of pgbouncer, json, console`},
		{"facility", config.Settings{Syslog: true, SyslogFacility: "mail"}, `syslog_facility: "mail" is not one of auth, authpriv, daemon, local0`},
		{"file", config.Settings{LogFile: nowhere}, "log file: open " + nowhere},
	}
	for _, tt := range tests {
		_, err := l.Prepare(&tt.s)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v\nwant …%s…", tt.name, err, tt.want)
		}
		if _, err := New(&tt.s); err == nil {
			t.Errorf("%s: New: no error", tt.name)
		}
	}
	z := l.Zerolog()
	z.Info().Msg("x")
	if got, want := buf.String(), "15:10:35.123 LOG     x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQuietLeavesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, _ := newLogger(t, &config.Settings{LogFile: path}, WithStderr(nil))
	z := l.Zerolog()
	z.Info().Msg("x")
	if got := read(t, path); !strings.HasSuffix(got, "LOG x\n") {
		t.Errorf("got %q", got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	t.Parallel()
	l, _ := newLogger(t, &config.Settings{}, WithStderr(full{}))
	z := l.Zerolog()
	z.Info().Msg("x")
	z.Info().Msg("y")
	if l.Lost() != 2 {
		t.Errorf("got %d, want 2", l.Lost())
	}
}

// syslogd listens as the system's does and returns a dialer that reaches it.
func syslogd(t *testing.T) (*net.UnixConn, syslogDialer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, func(p syslog.Priority, ident string) (*syslog.Writer, error) {
		return syslog.Dial("unixgram", path, p, ident)
	}
}

func TestSyslog(t *testing.T) {
	t.Parallel()
	daemon, dial := syslogd(t)
	l, _ := newLogger(t, &config.Settings{Syslog: true, SyslogIdent: "pool1", SyslogFacility: "local3"}, func(l *Logger) { l.dial = dial })
	z := l.Zerolog()
	z.Warn().Str(Subject, "S-2:").Int("n", 1).Msg("hello")
	buf := make([]byte, 1000)
	n, err := daemon.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := string(buf[:n])
	// local3 is 19, warning 4.
	if !strings.HasPrefix(got, fmt.Sprintf("<%d>", 19*8+4)) || !strings.Contains(got, "pool1[") || !strings.HasSuffix(got, "]: S-2: hello n=1\n") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogThatIsDownIsReportedOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	daemon, dial := syslogd(t)
	down, now := true, time.Unix(1e9, 0).UTC()
	l, buf := newLogger(t, &config.Settings{Syslog: true, LogFormat: "console"}, func(l *Logger) {
		l.now = func() time.Time { return now }
		l.dial = func(p syslog.Priority, ident string) (*syslog.Writer, error) {
			if down {
				return nil, errors.New("nobody listens")
			}
			return dial(p, ident)
		}
	})
	z := l.Zerolog()
	for range 3 {
		z.Info().Msg("x")
		now = now.Add(syslogRetry)
	}
	if n := strings.Count(buf.String(), `syslog cannot be reached, lines are lost error="nobody listens"`); n != 1 {
		t.Errorf("got %d reports, want 1:\n%s", n, buf)
	}
	down = false
	z.Info().Msg("back")
	msg := make([]byte, 1000)
	n, err := daemon.Read(msg)
	if err != nil || !strings.HasSuffix(string(msg[:n]), "back\n") {
		t.Errorf("got %q and %v, want …back", msg[:n], err)
	}
}

func TestConcurrentLogsAndReloads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, _ := newLogger(t, &config.Settings{LogFile: path}, WithStderr(nil))
	var wg sync.WaitGroup
	for i := range 4 {
		z := l.Zerolog().With().Int("worker", i).Logger()
		wg.Go(func() {
			for range 100 {
				z.Info().Str("a", "b").Msg("m")
			}
		})
	}
	for i := range 20 {
		apply(t, l, &config.Settings{LogFile: path, LogFormat: []string{"json", "pgbouncer"}[i%2]})
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSpace(read(t, path)), "\n")
	if len(lines) != 400 {
		t.Errorf("got %d lines, want 400", len(lines))
	}
	for _, line := range lines {
		if !strings.HasSuffix(line, `"message":"m"}`) && !strings.HasSuffix(line, " a=b") {
			t.Fatalf("mixed up: %q", line)
		}
	}
}

func TestDisabledLevelsCostNothing(t *testing.T) {
	l, _ := newLogger(t, &config.Settings{})
	z := l.Zerolog()
	if n := testing.AllocsPerRun(100, func() { z.Debug().Str("a", "b").Msg("x") }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, s := range []string{
		`{"level":"info","a":"b\n\u00e9","n":-1.5e3,"l":[1,{"x":"]"}],"o":{},"message":"m"}` + "\n",
		`{}`, `{`, `{"a"`, `{"a":}`, `{"a":1,}`, `{"a":"\`, `{"a":[}`, `not json`, ``, `{"a":"b"}x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		ev := parseEvent(p)
		for _, format := range formats {
			line := format(nil, header{}, ev)
			if !bytes.HasSuffix(line, []byte("\n")) {
				t.Fatalf("no line: %q", line)
			}
		}
		line := appendPgBouncer(nil, header{}, ev)
		for _, rest := range bytes.Split(bytes.TrimSuffix(line, []byte("\n")), []byte("\n"))[1:] {
			if !bytes.HasPrefix(rest, []byte("\t")) {
				t.Fatalf("a line was forged: %q", line)
			}
		}
	})
}
