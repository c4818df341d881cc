package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// startTimeout is the longest that a server may take to accept connections, on a machine under heavy load.
const startTimeout = 60 * time.Second

// A Cluster is one PostgreSQL server with its data. Its methods may be called from any goroutine; those
// that start and stop it take turns.
type Cluster struct {
	Host         string // "127.0.0.1"
	Port         int
	SocketDir    string
	DataDir      string
	CA           *CA // that signed the server's certificate; nil without TLS
	Installation Installation

	dir       string
	own       owner
	opts      Options
	dirLock   *os.File
	portLock  *os.File
	passwords sync.Map // user name -> password, both strings

	mu     sync.Mutex  // held while the server is started or stopped
	pm     *postmaster // guarded by mu; nil when stopped
	closed bool        // guarded by mu
}

// New creates a cluster and starts it. ctx limits the time until it accepts connections, not its life;
// Close ends that.
func New(ctx context.Context, o Options) (*Cluster, error) {
	return create(ctx, o, func(ctx context.Context, c *Cluster) error {
		tmpl, err := template(ctx, c.Installation, c.own, c.opts.passwordEncryption())
		if err != nil {
			return err
		}
		if err := c.own.copyTree(tmpl, c.DataDir, nil); err != nil {
			return fmt.Errorf("copying the initdb template: %w", err)
		}
		if err := c.writeConfig(nil); err != nil {
			return err
		}
		if err := c.Start(ctx); err != nil {
			return err
		}
		return c.populate(ctx)
	})
}

// create prepares all but the data directory, which fill makes and starts. On error nothing is left.
func create(ctx context.Context, o Options, fill func(context.Context, *Cluster) error) (_ *Cluster, err error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("new PostgreSQL cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // programs may have to be fetched
	defer cancel()
	in, err := Find(ctx, o.Version)
	if err != nil {
		return nil, err
	}
	own, err := findOwner() // after Find: installing the server creates its user
	if err != nil {
		return nil, err
	}
	sweep()
	c := &Cluster{Host: "127.0.0.1", Installation: in, own: own, opts: o}
	c.passwords.Store(Superuser, SuperuserPassword)
	for _, u := range o.Users { // a replica does not create them, but has them
		c.passwords.Store(u.Name, u.Password)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("new PostgreSQL %d cluster: %w", in.Major, errors.Join(err, c.Close()))
		}
	}()
	if c.dir, c.dirLock, err = newClusterDir(); err != nil {
		return nil, err
	}
	c.DataDir, c.SocketDir = filepath.Join(c.dir, "data"), filepath.Join(c.dir, "s")
	if err := own.mkdir(c.SocketDir, 0o755); err != nil {
		return nil, err
	}
	if c.Port, c.portLock, err = reservePort(ctx, o.Port); err != nil {
		return nil, err
	}
	if err := fill(ctx, c); err != nil {
		return nil, err
	}
	return c, nil
}

// writeConfig writes the configuration files into the data directory; extra settings win over all others.
func (c *Cluster) writeConfig(extra map[string]string) error {
	own := map[string]string{
		"port":                    strconv.Itoa(c.Port),
		"unix_socket_directories": c.SocketDir,
		"cluster_name":            "pgtest-" + strconv.Itoa(c.Port),
		"password_encryption":     c.opts.passwordEncryption(),
	}
	if c.opts.TLS {
		tls, err := c.writeCertificates()
		if err != nil {
			return fmt.Errorf("TLS certificates of the server: %w", err)
		}
		for k, v := range tls {
			own[k] = v
		}
	}
	files := map[string]string{
		"pgtest.conf":   conf(baseSettings, own, c.opts.Settings, extra),
		"pg_hba.conf":   c.opts.hba(),
		"pg_ident.conf": joinLines(c.opts.Ident),
	}
	for name, content := range files {
		if err := c.own.writeFile(filepath.Join(c.DataDir, name), content, 0o600); err != nil {
			return err
		}
	}
	// Included rather than appended line by line, so that ALTER SYSTEM still has the last word.
	return c.own.writeFile(filepath.Join(c.DataDir, "postgresql.conf"), "include 'pgtest.conf'\n", 0o600)
}

func joinLines(lines []string) string {
	var s string
	for _, l := range lines {
		s += l + "\n"
	}
	return s
}

// populate creates the users and databases that were asked for.
func (c *Cluster) populate(ctx context.Context) error {
	for _, u := range c.opts.Users {
		if err := c.CreateUser(ctx, u); err != nil {
			return err
		}
	}
	for _, d := range c.opts.Databases {
		sql := "CREATE DATABASE " + quoteIdent(d.Name)
		if d.Owner != "" {
			sql += " OWNER " + quoteIdent(d.Owner)
		}
		if err := c.Exec(ctx, sql); err != nil {
			return fmt.Errorf("database %s: %w", d.Name, err)
		}
	}
	return nil
}

// CreateUser creates a role that may log in. DSN knows its password from then on.
func (c *Cluster) CreateUser(ctx context.Context, u User) error {
	sql := "CREATE ROLE " + quoteIdent(u.Name) + " LOGIN " + u.Grants
	if u.Password != "" {
		sql += " PASSWORD " + quoteLiteral(u.Password)
	}
	if err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	c.passwords.Store(u.Name, u.Password)
	return nil
}

// LogFile is the path of the server's log, which grows over restarts.
func (c *Cluster) LogFile() string { return filepath.Join(c.dir, "log") }

// Log returns what the server has logged since the cluster was created, or a word about why it cannot.
func (c *Cluster) Log() string {
	b, err := os.ReadFile(c.LogFile())
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return string(b)
}

// Close stops the server at once and removes everything of the cluster. Further calls do nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var err error
	if c.pm != nil {
		err = c.stopLocked(Immediate)
	}
	if c.dir != "" {
		removeCluster(c.dir)
	}
	for _, f := range [...]*os.File{c.portLock, c.dirLock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
