package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/sqlparse"
)

// beforeFill is what a session says before it asks how full tables are. A table that somebody has locked is not waited for, and row security, which
// would hide rows, makes an error.
const beforeFill = `SET client_encoding = 'UTF8'; SET search_path = pg_catalog, pg_temp; SET standard_conforming_strings = on; SET row_security = off;
SET lock_timeout = '200ms'; SET statement_timeout = '5s'`

// What Sizes says of tables that have none.
const (
	SizeAbsent  = -2 // there is no such table
	SizeUnknown = -1 // it cannot be looked at now: somebody has locked it, or is dropping it
)

// Sizes returns how many bytes the tables have on the server that s is connected to, with their partitions and children. It is 0 only for a table that
// has no rows; rows of open transactions count, and so do those that are deleted, until VACUUM finds that they were the last. Any role may ask. The
// session keeps settings of its own for it.
func Sizes(ctx context.Context, s Session, tables []Name) ([]int64, error) {
	sizes := make([]int64, len(tables))
	for i := range sizes {
		sizes[i] = SizeAbsent
	}
	if len(tables) == 0 {
		return sizes, nil
	}
	if _, err := s.Exec(ctx, beforeFill).ReadAll(); err != nil {
		return nil, fmt.Errorf("asking for the sizes of tables: %w", err)
	}
	err := readSizes(ctx, s, tables, sizes)
	switch {
	case isServers(err) && len(tables) == 1:
		sizes[0] = SizeUnknown
	case isServers(err): // the lock on one of them says nothing of the others
		for i := range tables {
			one, err := Sizes(ctx, s, tables[i:i+1])
			if err != nil {
				return nil, err
			}
			sizes[i] = one[0]
		}
	case err != nil:
		return nil, fmt.Errorf("asking for the sizes of tables: %w", err)
	}
	return sizes, nil
}

// isServers reports whether an error came from a server that can be asked further.
func isServers(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe)
}

func readSizes(ctx context.Context, s Session, tables []Name, sizes []int64) error {
	var list strings.Builder
	for i, t := range tables {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "(%d,%s,%s)", i, sqlparse.QuoteLiteral(t.Schema), sqlparse.QuoteLiteral(t.Name))
	}
	results, err := s.Exec(ctx, `WITH RECURSIVE t AS (
SELECT v.i, c.oid FROM (VALUES `+list.String()+`) v(i, s, r) JOIN pg_namespace n ON n.nspname = v.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = v.r
UNION SELECT t.i, h.inhrelid FROM t JOIN pg_inherits h ON h.inhparent = t.oid)
SELECT i, CASE WHEN count(*) = count(size) THEN sum(size) ELSE -1 END FROM (SELECT i, pg_relation_size(oid) AS size FROM t) AS each GROUP BY i`).ReadAll()
	if err != nil {
		return err
	}
	for _, r := range results {
		for _, row := range r.Rows {
			i, err := strconv.Atoi(string(row[0]))
			if err != nil || i < 0 || i >= len(sizes) {
				return fmt.Errorf("the server answers with table number %q", row[0])
			}
			if sizes[i], err = strconv.ParseInt(string(row[1]), 10, 64); err != nil {
				return fmt.Errorf("the size of table %s: %w", tables[i], err)
			}
		}
	}
	return nil
}

// HasRows says whether a table has rows that are committed, as far as that can be found out: a role that may not read the table, or not all of its
// rows, is told that it has. An error says that it is not known; after one of the server's, s can be used further. The session keeps settings of its own.
func HasRows(ctx context.Context, s Session, table Name) (bool, error) {
	if _, err := s.Exec(ctx, beforeFill).ReadAll(); err != nil {
		return false, fmt.Errorf("asking whether table %s has rows: %w", table, err)
	}
	results, err := s.Exec(ctx, "SELECT EXISTS (SELECT FROM "+quoteName(table)+")").ReadAll()
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe) && pe.Code == "42501":
		return true, nil
	case err != nil:
		return false, fmt.Errorf("asking whether table %s has rows: %w", table, err)
	case len(results) != 1 || len(results[0].Rows) != 1:
		return false, fmt.Errorf("asking whether table %s has rows: the server gives no answer", table)
	}
	return string(results[0].Rows[0][0]) == "t", nil
}
