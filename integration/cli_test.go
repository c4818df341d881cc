package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// buildProgram builds pgdrover and returns its path.
func buildProgram(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "pgdrover")
	out, err := exec.CommandContext(tb.Context(), "go", "build", "-o", path, "pgdrover").CombinedOutput()
	if err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	return path
}

// runProgram runs the command line to its end and returns what it prints and its exit code.
func runProgram(tb testing.TB, path string, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		tb.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	path, dir := buildProgram(t), t.TempDir()
	good, bad, empty := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml"), filepath.Join(dir, "empty.toml")
	save(t, good, "listen_addr = \"127.0.0.1\"\nlisten_port = 1\nauth_type = \"trust\"\n[databases.db]\nhost = \"127.0.0.1\"\n")
	save(t, bad, "listen_port = 70000\npool_mod = \"transaction\"\nauth_type = 5\n[databases.pgdrover]\nhost = \"x\"\n")
	save(t, empty, "")
	lateBad := filepath.Join(dir, "late.toml")
	save(t, lateBad, "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"missing.crt\"\nclient_tls_key_file = \"missing.key\"\n")
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr []string
	}{
		{"version", []string{"--version"}, 0, `(?m)^pgdrover \S+ .*go1\.`, nil},
		{"version in short", []string{"-V"}, 0, `(?m)^pgdrover `, nil},
		{"help", []string{"--help"}, 0, `check CONFIG_FILE[\s\S]*--quiet`, nil},
		{"help in short", []string{"-h"}, 0, `Usage:`, nil},
		{"nothing", nil, 1, `Usage:`, []string{"need a configuration file"}},
		{"an unknown flag", []string{"--frobnicate"}, 1, ``, []string{"unknown flag: --frobnicate"}},
		{"check without a file", []string{"check"}, 1, `^$`, []string{"check needs a configuration file"}},
		{"a user that is not there", []string{"-q", "-u", "nobody-of-that-name", good}, 1, `^$`, []string{"could not find user 'nobody-of-that-name'"}},
		{"too much", []string{good, good}, 1, `Usage:`, []string{"need a configuration file"}},
		{"check: good", []string{"check", good}, 0, `configuration is valid`, nil},
		{"check: everything that is wrong", []string{"check", bad}, 1, ``, []string{"bad.toml:1:", "listen_port", "bad.toml:2:", "pool_mode", "bad.toml:3:", "auth_type", "bad.toml:4", "pgdrover"}},
		{"check: what another file lacks", []string{"check", lateBad}, 1, ``, []string{"missing.crt"}},
		{"check: no file", []string{"check", filepath.Join(dir, "none.toml")}, 1, `^$`, []string{"none.toml", "no such file"}},
		{"check: a folder", []string{"check", dir}, 1, `^$`, []string{dir, "not a regular file"}},
		{"run: no file", []string{filepath.Join(dir, "none.toml")}, 1, `^$`, []string{"none.toml", "no such file"}},
		{"run: a folder", []string{dir}, 1, `^$`, []string{"not a regular file"}},
		{"run: a bad file", []string{"-q", bad}, 1, `^$`, []string{"bad.toml:2:"}},
		{"health: nobody there", []string{"health", good}, 1, `^$`, []string{"refused"}},
		{"health: a bad file", []string{"health", bad}, 1, `^$`, []string{"bad.toml:2:"}},
	} {
		stdout, stderr, code := runProgram(t, path, c.args...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.name, code, c.code, stdout, stderr)
		}
		if !regexp.MustCompile(c.stdout).MatchString(stdout) {
			t.Errorf("%s: printed %q, want %s", c.name, stdout, c.stdout)
		}
		for _, want := range c.stderr {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: said %q, want a word of %q", c.name, stderr, want)
			}
		}
	}
	// An empty file is a configuration of defaults, with nobody to serve.
	stdout, stderr, code := runProgram(t, path, "check", empty)
	if code != 0 {
		t.Errorf("an empty file: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// running is a pgdrover in a process of its own.
type running struct {
	*bouncer
	cmd    *exec.Cmd
	stderr *lockedBuffer
	ended  chan error
}

// lockedBuffer collects what a process prints while others look.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startProgram(tb testing.TB, settings, tables string, flags ...string) *running {
	tb.Helper()
	path := buildProgram(tb)
	dir, err := os.MkdirTemp("", "pgdrover-cli-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &running{bouncer: &bouncer{tb: tb, Port: freePort(tb), Dir: dir, Config: filepath.Join(dir, "config.toml"), Log: filepath.Join(dir, "log")}, stderr: &lockedBuffer{}, ended: make(chan error, 1)}
	r.Write(settings, tables)
	if i := slices.Index(flags, "-u"); i >= 0 {
		chownTo(tb, flags[i+1], dir, r.Config)
	}
	r.cmd = exec.Command(path, append(flags, r.Config)...)
	r.cmd.Stderr = r.stderr
	if err := r.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	tb.Cleanup(func() { _ = r.cmd.Process.Kill() })
	pgtest.Eventually(tb, 20*time.Second, func() error {
		if _, stderr, code := runProgram(tb, path, "health", r.Config); code != 0 {
			return errors.New(stderr + r.stderr.String())
		}
		return nil
	})
	return r
}

func chownTo(tb testing.TB, name string, paths ...string) {
	tb.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		tb.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, p := range paths {
		if err := os.Chown(p, uid, gid); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestRootBecomesTheUserWhoThenReloads has a log file that does not exist before: what is opened as root must not be in the user's way later.
func TestRootBecomesTheUserWhoThenReloads(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	r := startProgram(t, "auth_type = \"trust\"\ndefault_pool_size = 3\n", trustUsers, "-q", "-u", "nobody")
	status, err := os.ReadFile("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^Uid:.*\t0\b`).Match(status) {
		t.Errorf("it is still root:\n%s", status)
	}
	r.Write("auth_type = \"trust\"\ndefault_pool_size = 4\n", trustUsers)
	chownTo(t, "nobody", r.Config)
	r.eventuallyValue("4", "SHOW default_pool_size")
	r.Admin("RELOAD")
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestHangupReloadsAndTerminateEnds(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	tables := trustUsers + pgDatabase("db", pg, "")
	r := startProgram(t, set, tables, "-q", "-v")
	ctx := testContext(t)
	conn := r.Connect(ctx, "db", "app")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")
	if got := r.value("SHOW verbose"); got != "1" {
		t.Errorf("verbose is %s after -v, want 1", got)
	}
	r.Admin("SET query_timeout = 99")
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil { // SET is lost, which only a reload does
		t.Fatal(err)
	}
	r.eventuallyValue("0", "SHOW query_timeout")
	if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("SIGHUP moved a client from backend %s to %s", pid, got)
	}
	r.logged("got SIGHUP")
	if got := r.stderr.String(); got != "" {
		t.Errorf("-q printed %q", got)
	}
	if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	case <-ctx.Done():
		t.Error("SIGTERM did not end a pgdrover without clients")
	}
}
