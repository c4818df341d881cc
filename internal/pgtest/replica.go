package pgtest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// NewReplica creates a hot standby that streams from c, as pg_basebackup would; it is made by hand because
// that program is not in every installation. Version, users, databases and TLS are c's; settings are c's
// with those of opts over them. Close it before c, or lose its stream.
func (c *Cluster) NewReplica(ctx context.Context, opts ...Option) (*Cluster, error) {
	o := c.opts
	o.Settings = make(map[string]string, len(c.opts.Settings))
	for k, v := range c.opts.Settings {
		o.Settings[k] = v
	}
	o.Port, o.CA = 0, c.CA
	for _, opt := range opts {
		opt(&o)
	}
	replica, err := create(ctx, o, func(ctx context.Context, r *Cluster) error {
		if r.Installation.Major != c.Installation.Major {
			return fmt.Errorf("a replica of PostgreSQL %d must have its version, not %d", c.Installation.Major, r.Installation.Major)
		}
		slot := fmt.Sprintf("pgtest_%d", r.Port)
		if err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot("+quoteLiteral(slot)+", true)"); err != nil {
			return err
		}
		if err := c.baseBackup(ctx, r); err != nil {
			return fmt.Errorf("base backup: %w", err)
		}
		err := r.writeConfig(map[string]string{
			"primary_conninfo":  c.SocketDSN("", Superuser, "application_name="+slot, "sslmode=disable"),
			"primary_slot_name": slot,
			"hot_standby":       "on",
		})
		if err != nil {
			return err
		}
		if err := r.own.writeFile(filepath.Join(r.DataDir, "standby.signal"), "", 0o600); err != nil {
			return err
		}
		return r.Start(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("replica of port %d: %w", c.Port, err)
	}
	return replica, nil
}

// notBackedUp are the parts of a data directory that a base backup leaves out; of the folders, the content.
var notBackedUp = map[string]bool{
	"postmaster.pid": true, "postmaster.opts": true, "backup_label": true, "tablespace_map": true,
	"standby.signal": true, "recovery.signal": true, "postgresql.auto.conf.tmp": true,
	"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true, "pg_serial": true,
	"pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
}

// baseBackup copies c's data directory into r's while c runs.
func (c *Cluster) baseBackup(ctx context.Context, r *Cluster) (err error) {
	begin, end := "SELECT pg_backup_start('pgtest', true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if c.Installation.Major < 15 {
		begin, end = "SELECT pg_start_backup('pgtest', true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	conn, err := c.Connect(ctx, "postgres") // the backup is this session's
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, begin); err != nil {
		return err
	}
	skip := func(rel string, dir bool) bool {
		if notBackedUp[path.Dir(rel)] {
			return true
		}
		return !dir && (notBackedUp[rel] || strings.HasPrefix(path.Base(rel), "pgsql_tmp") || path.Base(rel) == "pg_internal.init")
	}
	if err := r.own.copyTree(c.DataDir, r.DataDir, skip); err != nil {
		return err
	}
	if err := r.own.mkdir(filepath.Join(r.DataDir, "pg_wal", "archive_status"), 0o700); err != nil {
		return err
	}
	var label string
	if err := conn.QueryRow(ctx, end).Scan(&label); err != nil {
		return err
	}
	return r.own.writeFile(filepath.Join(r.DataDir, "backup_label"), label, 0o600)
}

// WaitForReplica waits until replica has replayed everything that c has written so far.
func (c *Cluster) WaitForReplica(ctx context.Context, replica *Cluster) error {
	lsn, err := c.Value(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	conn, err := replica.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	err = poll(ctx, func() (bool, error) {
		var there bool
		err := conn.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", lsn).Scan(&there)
		return there, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the replica on port %d to reach %s: %w", replica.Port, lsn, err)
	}
	return nil
}

// Promote makes a replica a primary and waits until it accepts writes.
func (c *Cluster) Promote(ctx context.Context) error {
	done, err := c.Value(ctx, "SELECT pg_promote(true, 60)")
	if err != nil {
		return fmt.Errorf("promoting the replica on port %d: %w", c.Port, err)
	}
	if done != "t" {
		return fmt.Errorf("promoting the replica on port %d: not done after 60 s", c.Port)
	}
	return nil
}
