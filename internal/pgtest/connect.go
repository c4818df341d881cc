package pgtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// DSN returns a connection string (keywords and values, for psql and pgx alike) that reaches the cluster
// over TCP as user, with the password that the user was created with. extra are further "keyword=value"
// pairs, values unquoted; they win. Without TLS on the server it says sslmode=disable.
func (c *Cluster) DSN(db, user string, extra ...string) string {
	return c.dsn(c.Host, db, user, extra)
}

// SocketDSN is DSN by way of the Unix socket, where the superuser needs no password.
func (c *Cluster) SocketDSN(db, user string, extra ...string) string {
	return c.dsn(c.SocketDir, db, user, extra)
}

func (c *Cluster) dsn(host, db, user string, extra []string) string {
	pairs := [][2]string{{"host", host}, {"port", strconv.Itoa(c.Port)}, {"dbname", db}, {"user", user}}
	if pw, ok := c.passwords.Load(user); ok && pw != "" {
		pairs = append(pairs, [2]string{"password", pw.(string)})
	}
	if !c.opts.TLS {
		pairs = append(pairs, [2]string{"sslmode", "disable"})
	}
	return ConnString(pairs, extra...)
}

// ConnString puts keywords and values together as a libpq connection string; extra are "keyword=value"
// pairs that replace or follow them.
func ConnString(pairs [][2]string, extra ...string) string {
	all := append([][2]string(nil), pairs...)
	for _, e := range extra {
		k, v, _ := strings.Cut(e, "=")
		replaced := false
		for i := range all {
			if all[i][0] == k {
				all[i][1], replaced = v, true
			}
		}
		if !replaced {
			all = append(all, [2]string{k, v})
		}
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = p[0] + "='" + quote.Replace(p[1]) + "'"
	}
	return strings.Join(words, " ")
}

// Connect opens a session as the superuser by the Unix socket. The caller closes it.
func (c *Cluster) Connect(ctx context.Context, db string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, c.SocketDSN(db, Superuser, "sslmode=disable"))
	if err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL on port %d: %w", c.Port, err)
	}
	return conn, nil
}

// Exec runs one or several statements as the superuser in the database postgres, each string as one simple
// query. It stops at the first error.
func (c *Cluster) Exec(ctx context.Context, sql ...string) error {
	return c.ExecIn(ctx, "postgres", sql...)
}

// ExecIn is Exec in another database.
func (c *Cluster) ExecIn(ctx context.Context, db string, sql ...string) error {
	conn, err := c.Connect(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range sql {
		if _, err := conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", tail(s, 200), err)
		}
	}
	return nil
}

// Value returns the first column of the first row of a query that the superuser runs in the database
// postgres, as text; "" for NULL and for no row.
func (c *Cluster) Value(ctx context.Context, sql string) (string, error) {
	return c.ValueIn(ctx, "postgres", sql)
}

// ValueIn is Value in another database.
func (c *Cluster) ValueIn(ctx context.Context, db, sql string) (string, error) {
	conn, err := c.Connect(ctx, db)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", fmt.Errorf("%s: %w", tail(sql, 200), err)
	}
	for _, r := range results {
		if len(r.Rows) > 0 && len(r.Rows[0]) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}
