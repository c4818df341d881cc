package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The accounts that loads use: one that PostgreSQL trusts, also the poolers' own account there, and one
// whose password is asked for by PostgreSQL, and by poolers in the scenarios with SCRAM.
const (
	benchUser     = "bench"
	scramUser     = "bench_scram"
	benchPassword = "bench-password"
	benchDB       = "bench"
	loopback      = "127.0.0.1"
)

// contender is a program that can be put between client and server. No command means PostgreSQL itself.
type contender struct {
	name     string
	version  string
	command  []string // the configuration file is appended
	prepared bool     // follows prepared statements in transaction mode
	profile  bool     // honours the environment variable that asks for a CPU profile
	layout   layout   // of the database behind it
}

// user is the account that a load logs in with.
func (t *target) user() string {
	if t.auth == authSCRAM {
		return scramUser
	}
	return benchUser
}

// direct says that there is no pooler.
func (c contender) direct() bool { return len(c.command) == 0 }

// target is a running contender: where to connect, and whom to account.
type target struct {
	contender
	port int
	proc *process // nil for PostgreSQL itself
	auth string   // trust or scram-sha-256
}

// cpu returns the processor seconds used so far, NaN where there is no pooler.
func (t *target) cpu() (float64, error) {
	if t.proc == nil {
		return nan, nil
	}
	used, err := cpuOf(t.proc.pid())
	if err != nil {
		return nan, err
	}
	return used.Seconds(), nil
}

// launch starts a contender in front of the cluster and returns when it answers a query.
func (b *bench) launch(ctx context.Context, c contender, auth, label string) (*target, error) {
	if c.direct() {
		return &target{contender: c, port: b.pgPort, auth: auth}, nil
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b.launched++
	// A folder for each: poolers may keep files of their own beside the configuration.
	dir := filepath.Join(b.dir, fmt.Sprintf("%02d-%s", b.launched, slug(c.name)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := b.give(dir); err != nil {
		return nil, err
	}
	ini, err := b.writeConfig(dir, c, port, auth)
	if err != nil {
		return nil, err
	}
	p, err := startProcess(filepath.Join(dir, "log"), b.unprivileged, b.environment(c, label), append(append([]string{}, c.command...), ini))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	t := &target{contender: c, port: port, proc: p, auth: auth}
	if err := t.waitReady(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s does not serve: %w\n%s", c.name, err, p.logTail())
	}
	return t, nil
}

// stop ends the pooler, if there is one.
func (t *target) stop() {
	if t.proc != nil {
		t.proc.stop()
	}
}

// waitReady polls until the pooler accepts connections. A trusting one must also answer a query.
func (t *target) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := t.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-t.proc.done:
			return fmt.Errorf("it exited: %w", t.proc.exit())
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (t *target) ping(ctx context.Context) error {
	if t.auth != authTrust {
		c, err := dial(ctx, t.port)
		if err != nil {
			return err
		}
		return c.Close()
	}
	s, err := login(ctx, t.port)
	if err != nil {
		return err
	}
	defer s.close()
	return s.query("SELECT 1")
}

// Authentication types as they stand in the configuration file.
const (
	authTrust = "trust"
	authSCRAM = "scram-sha-256"
)

// writeConfig writes the pooler's configuration and user list into dir. But for those that compare pgdrover with itself all poolers get the same text; the
// one line that old PgBouncers do not know is left out for them.
func (b *bench) writeConfig(dir string, c contender, port int, auth string) (string, error) {
	if c.layout != layoutINI {
		file := filepath.Join(dir, "config.toml")
		return file, b.writeFile(file, layoutConfig(c.layout, b.pgPort, port))
	}
	users := filepath.Join(dir, "userlist.txt")
	secret, err := scramSecret(benchPassword)
	if err != nil {
		return "", err
	}
	if err := b.writeFile(users, fmt.Sprintf("%q \"\"\n%q %q\n", benchUser, scramUser, secret)); err != nil {
		return "", err
	}
	ini := filepath.Join(dir, "pgbouncer.ini")
	return ini, b.writeFile(ini, poolerConfig(b.pgPort, port, auth, users, c.prepared))
}

// poolerConfig is the configuration under test: transaction mode, 20 servers, no logging of connections.
func poolerConfig(pgPort, port int, auth, users string, prepared bool) string {
	var s strings.Builder
	fmt.Fprintf(&s, "[databases]\n%s = host=%s port=%d dbname=%s user=%s\n\n[pgbouncer]\n",
		benchDB, loopback, pgPort, benchDB, benchUser)
	for _, kv := range [][2]string{
		{"listen_addr", loopback},
		{"listen_port", fmt.Sprint(port)},
		{"unix_socket_dir", ""},
		{"auth_type", auth},
		{"auth_file", users},
		{"pool_mode", "transaction"},
		{"default_pool_size", "20"},
		{"max_client_conn", "5000"},
		{"server_tls_sslmode", "disable"},
		{"log_connections", "0"},
		{"log_disconnections", "0"},
		{"log_stats", "0"},
	} {
		fmt.Fprintf(&s, "%s = %s\n", kv[0], kv[1])
	}
	if prepared {
		s.WriteString("max_prepared_statements = 200\n")
	}
	return s.String()
}

// writeFile writes a file that the poolers' account may read.
func (b *bench) writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return b.give(path)
}

// give makes the poolers' account the owner of path.
func (b *bench) give(path string) error {
	if b.unprivileged == nil {
		return nil
	}
	return os.Chown(path, int(b.unprivileged.Uid), int(b.unprivileged.Gid))
}

// slug makes a file name of a title.
func slug(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, s)
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	return strings.Trim(s, "-")
}
