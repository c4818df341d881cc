package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// program builds pgdrover once for all tests, into a folder that the next run removes.
var program = sync.OnceValues(func() (string, error) {
	const prefix = "pgdrover-it-binary-"
	old, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), prefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
	dir := filepath.Join(os.TempDir(), prefix+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pgdrover")
	out, err := exec.Command("go", "build", "-o", path, "pgdrover").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building pgdrover: %w\n%s", err, out)
	}
	return path, nil
})

// process is a pgdrover of its own, as operators run it.
type process struct {
	*bouncer
	cmd    *exec.Cmd
	exited chan struct{}
	state  *os.ProcessState
}

// startProcess starts the program with a configuration of trust and one database "db" on pg.
func startProcess(t *testing.T, pg *pgtest.Cluster, settings string, env ...string) *process {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := &bouncer{tb: t, Port: freePort(t), Dir: dir, Config: filepath.Join(dir, "config.toml"), Log: filepath.Join(dir, "log")}
	b.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\npidfile = \""+filepath.Join(dir, "pid")+"\"\n"+settings, trustUsers+pgDatabase("db", pg, ""))
	p := &process{bouncer: b, cmd: exec.Command(path, "-q", b.Config), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.state, _ = p.cmd.Process.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	b.awaitUp()
	return p
}

func (b *bouncer) awaitUp() {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (p *process) signal(s os.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// awaitExit waits for the process to end with status 0, its PID file gone.
func (p *process) awaitExit(ctx context.Context) {
	p.tb.Helper()
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.tb.Fatal("the process does not end")
	}
	if !p.state.Success() {
		p.tb.Errorf("it ended with %v", p.state)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "pid")); !errors.Is(err, os.ErrNotExist) {
		p.tb.Errorf("its PID file is still there (%v)", err)
	}
}

// TestSIGTERMDoesNotWaitForClientsOfAPausedDatabase has one that can never be served: RESUME is refused by then.
func TestSIGTERMDoesNotWaitForClientsOfAPausedDatabase(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	p := startProcess(t, pg, "")
	c := p.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, c, "SELECT 1")
	p.Admin("PAUSE db")
	waiting := background(func() error { _, err := run(ctx, c, "SELECT 2"); return err })
	p.awaitWaiters(1)
	p.signal(syscall.SIGTERM)
	wantError(t, result(ctx, t, waiting), "57P01", "server shutting down")
	p.awaitExit(ctx)
}

func TestSIGTERMClosesEachClientWhenItsTransactionIsOver(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	p := startProcess(t, pg, "default_pool_size = 2\n")
	idle, inTx, running, waiting := p.Connect(ctx, "db", "postgres"), p.Connect(ctx, "db", "postgres"), p.Connect(ctx, "db", "postgres"), p.Connect(ctx, "db", "postgres")
	local, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d dbname=pgdrover user=admin", p.Dir, p.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close(ctx) }()
	mustRun(ctx, t, inTx, "BEGIN")
	query := background(func() error { _, err := run(ctx, running, "SELECT pg_sleep(0.5)"); return err })
	p.awaitPool("db", "postgres", "sv_active=2")
	queued := background(func() error { _, err := run(ctx, waiting, "SELECT 1"); return err })
	p.awaitWaiters(1)

	p.signal(syscall.SIGTERM)
	wantError(t, idle.PgConn().WaitForNotification(ctx), "57P01", "server shutting down")
	if _, err := pgx.Connect(ctx, p.DSN("db", "postgres")); err == nil {
		t.Error("a new client was let in")
	}
	if err := result(ctx, t, query); err != nil {
		t.Errorf("the running query: %v", err)
	}
	if err := result(ctx, t, queued); err != nil {
		t.Errorf("the query that waited: %v", err)
	}
	wantError(t, running.PgConn().WaitForNotification(ctx), "57P01", "server shutting down")
	if got := mustRun(ctx, t, local, "SHOW VERSION"); got == "" {
		t.Error("the admin database is gone too early")
	}
	mustRun(ctx, t, inTx, "SELECT 1")
	if !p.running() {
		t.Error("it did not wait for the transaction")
	}
	mustRun(ctx, t, inTx, "COMMIT")
	p.awaitExit(ctx)
}

func TestShutdownLosesNoCommittedAnswer(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	pg.MustExec(t, "postgres", "CREATE TABLE done(id bigint)")
	for _, m := range []struct {
		name string
		sig  syscall.Signal
	}{{"SIGTERM", syscall.SIGTERM}, {"SIGINT", syscall.SIGINT}} {
		t.Run(m.name, func(t *testing.T) {
			ctx := testContext(t)
			p := startProcess(t, pg, "")
			var ids atomic.Int64
			acked, refused := make([]int64, 0, 1000), map[int64]bool{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 6 {
				c := p.Connect(ctx, "db", "postgres")
				wg.Go(func() {
					for {
						id := ids.Add(1)
						_, err := run(ctx, c, fmt.Sprintf("INSERT INTO done VALUES (%d)", id))
						mu.Lock()
						if err == nil {
							acked = append(acked, id)
						} else {
							refused[id] = true
						}
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			pgtest.Eventually(t, patience, func() error {
				mu.Lock()
				defer mu.Unlock()
				if len(acked) < 100 {
					return errors.New("the load has not begun")
				}
				return nil
			})
			p.signal(m.sig)
			wg.Wait()
			p.awaitExit(ctx)
			there := map[string]bool{}
			for _, id := range strings.Fields(pg.MustValue(t, "postgres", "SELECT string_agg(id::text, ' ') FROM done")) {
				there[id] = true
			}
			for _, id := range acked {
				if !there[fmt.Sprint(id)] {
					t.Errorf("%d was acknowledged and is lost", id)
				}
			}
			// Whatever was refused was not done: the shutdown cuts nothing off in the middle.
			for id := range refused {
				if there[fmt.Sprint(id)] {
					t.Errorf("%d was done, and its client was told that it was not", id)
				}
			}
			pg.MustExec(t, "postgres", "TRUNCATE done")
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, m := range []struct {
		name    string
		signals []os.Signal
	}{
		{"TERM TERM", []os.Signal{syscall.SIGTERM, syscall.SIGTERM}},
		{"INT INT", []os.Signal{os.Interrupt, os.Interrupt}},
		{"TERM INT", []os.Signal{syscall.SIGTERM, os.Interrupt}},
		{"QUIT", []os.Signal{syscall.SIGQUIT}},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			p := startProcess(t, pg, "")
			c := p.Connect(ctx, "db", "postgres")
			mustRun(ctx, t, c, "BEGIN")
			for i, s := range m.signals {
				if i > 0 {
					p.awaitLog("shutting down once", 1)
					if !p.running() {
						t.Error("it ended with a transaction open")
					}
				}
				p.signal(s)
			}
			p.awaitExit(ctx)
		})
	}
}

func TestSignalsPauseResumeAndReload(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	p := startProcess(t, pg, "")
	c := p.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, c, "SELECT 1")
	p.signal(syscall.SIGUSR1)
	p.awaitPool("db", "postgres", "paused=1", "sv_idle=0")
	held := background(func() error { _, err := run(ctx, c, "SELECT 1"); return err })
	p.awaitWaiters(1)
	noResult(t, held)
	p.signal(syscall.SIGUSR2)
	if err := result(ctx, t, held); err != nil {
		t.Error(err)
	}
	p.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\ndefault_pool_size = 7\n", trustUsers+pgDatabase("db", pg, ""))
	p.signal(syscall.SIGHUP)
	p.awaitPool("db", "postgres", "pool_size=7")
	p.awaitLog("got SIGHUP, re-reading config", 1)
	mustRun(ctx, t, c, "SELECT 1")
}

func TestSystemdIsNotified(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	l := listenForNotices(t)
	next := func() string { return nextNotice(t, l) }
	p := startProcess(t, pg, "", "NOTIFY_SOCKET="+l.LocalAddr().String())
	if got := next(); got != "READY=1" {
		t.Errorf("after the start: %q, want READY=1", got)
	}
	p.signal(syscall.SIGHUP)
	if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("on SIGHUP: %q, want RELOADING=1 and MONOTONIC_USEC", got)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("after the reload: %q, want READY=1", got)
	}
	p.signal(syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("on SIGTERM: %q, want STOPPING=1", got)
	}
	p.awaitExit(ctx)
}

// STOPPING=1 is for the beginning: a service manager that hears nothing while clients finish takes the process for one that hangs.
func TestSystemdIsNotifiedWhenAShutdownBegins(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for name, begin := range map[string]func(*process){
		"TERM": func(p *process) { p.signal(syscall.SIGTERM) }, "INT": func(p *process) { p.signal(syscall.SIGINT) },
		"SHUTDOWN": func(p *process) { p.Admin("SHUTDOWN WAIT_FOR_CLIENTS") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			l := listenForNotices(t)
			p := startProcess(t, pg, "", "NOTIFY_SOCKET="+l.LocalAddr().String())
			if got := nextNotice(t, l); got != "READY=1" {
				t.Fatalf("after the start: %q, want READY=1", got)
			}
			c := p.Connect(ctx, "db", "postgres")
			mustRun(ctx, t, c, "BEGIN")
			begin(p)
			if got := nextNotice(t, l); got != "STOPPING=1" {
				t.Errorf("%q, want STOPPING=1", got)
			}
			mustRun(ctx, t, c, "COMMIT") // it was still waiting
			_ = c.Close(ctx)
			p.awaitExit(ctx)
			// Sent to ourselves, it is behind whatever the process has said.
			if _, err := l.WriteTo([]byte("the end"), l.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if got := nextNotice(t, l); got != "the end" {
				t.Errorf("then %q, want it to be told once", got)
			}
		})
	}
}

func listenForNotices(tb testing.TB) *net.UnixConn {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pgdrover-it-") // short enough for the name of a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// nextNotice returns what the service manager is told next.
func nextNotice(tb testing.TB, l *net.UnixConn) string {
	tb.Helper()
	b := make([]byte, 4096)
	_ = l.SetReadDeadline(time.Now().Add(patience))
	n, err := l.Read(b)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b[:n])
}

func TestDaemonAndPIDFile(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	b := &bouncer{tb: t, Port: freePort(t), Dir: dir, Config: filepath.Join(dir, "config.toml"), Log: filepath.Join(dir, "log")}
	b.Write("auth_type = \"trust\"\npidfile = \""+pidFile+"\"\n", trustUsers+pgDatabase("db", pg, ""))
	if err := os.WriteFile(pidFile, []byte("999999999\n"), 0o600); err != nil { // left behind by a crash
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, path, "-d", b.Config).CombinedOutput()
	if err != nil {
		t.Fatalf("-d: %v\n%s", err, out)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	mustRun(ctx, t, b.Connect(ctx, "db", "postgres"), "SELECT 1") // it was up when -d returned

	out, err = exec.CommandContext(ctx, path, b.Config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is another instance up") {
		t.Errorf("a second instance: %v\n%s", err, out)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error {
		if _, err := os.Stat(pidFile); err == nil {
			return errors.New("the PID file is still there")
		}
		return nil
	})
}

func TestConsoleShutdownModes(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	t.Run("WAIT_FOR_CLIENTS waits until they leave", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		p := startProcess(t, pg, "")
		c := p.Connect(ctx, "db", "postgres")
		p.Admin("SHUTDOWN WAIT_FOR_CLIENTS")
		p.awaitLog("shutting down once clients leave", 1)
		for range 3 {
			mustRun(ctx, t, c, "SELECT pg_sleep(0.2)")
		}
		_ = c.Close(ctx)
		p.awaitExit(ctx)
	})
	t.Run("WAIT_FOR_SERVERS drops those that wait", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		p := startProcess(t, pg, "default_pool_size = 1\n")
		inTx, waiting := p.Connect(ctx, "db", "postgres"), p.Connect(ctx, "db", "postgres")
		mustRun(ctx, t, inTx, "BEGIN")
		queued := background(func() error { _, err := run(ctx, waiting, "SELECT 1"); return err })
		p.awaitWaiters(1)
		p.Admin("SHUTDOWN WAIT_FOR_SERVERS")
		wantError(t, result(ctx, t, queued), "57P01", "server shutting down")
		mustRun(ctx, t, inTx, "COMMIT")
		p.awaitExit(ctx)
	})
	t.Run("plain ends at once", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		p := startProcess(t, pg, "")
		mustRun(ctx, t, p.Connect(ctx, "db", "postgres"), "BEGIN")
		_, _ = p.TryAdmin("SHUTDOWN")
		p.awaitExit(ctx)
	})
}
