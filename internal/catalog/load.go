package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Session is the one thing that loading needs of a connection; *pgconn.PgConn has it. It must be idle and outside of a transaction.
type Session interface {
	Exec(ctx context.Context, sql string) *pgconn.MultiResultReader
}

// loadAttempts: DDL that runs at the same time can make PostgreSQL's own functions stumble over what is gone already.
const loadAttempts = 3

// Load reads the catalogs of the database that s is connected to, in one read-only transaction and one round trip. Any role may do
// it. After an error the session is outside of a transaction again, or broken.
func Load(ctx context.Context, s Session) (*Catalog, error) {
	for attempt := 1; ; attempt++ {
		c, err := load(ctx, s)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("loading the catalogs: %w", err)
		}
		if _, rollback := s.Exec(ctx, "ROLLBACK").ReadAll(); rollback != nil {
			return nil, fmt.Errorf("loading the catalogs: %w", errors.Join(err, rollback))
		}
		var pg *pgconn.PgError
		if attempt == loadAttempts || !errors.As(err, &pg) || pg.Code != "XX000" && pg.Code[:2] != "42" {
			return nil, fmt.Errorf("loading the catalogs: %w", err)
		}
	}
}

func load(ctx context.Context, s Session) (*Catalog, error) {
	l := newLoader()
	steps := []struct {
		sql string
		row func(row)
	}{
		{queryDatabase, l.database},
		{queryRolePaths, l.rolePath},
		{querySchemas, l.schema},
		{queryTypes, l.readType},
		{queryEnums, l.enum},
		{queryDomainChecks, l.domainCheck},
		{queryFunctions, l.function},
		{queryOperators, l.operator},
		{queryCasts, l.cast},
		{queryCollations, l.collation},
		{queryRelations, l.relation},
		{queryColumns, l.column},
		{queryInherits, l.inherit},
		{queryTriggers, l.trigger},
		{queryRules, l.rule},
		{queryConstraints, l.constraint},
		{queryIndexTables, l.indexTable},
		{queryIndexes, l.index},
	}
	var sql strings.Builder
	sql.WriteString(begin)
	for _, step := range steps {
		sql.WriteString(step.sql + ";\n")
	}
	sql.WriteString("COMMIT")

	results := s.Exec(ctx, sql.String())
	defer results.Close()
	next := 0
	for results.NextResult() {
		rr := results.ResultReader()
		if len(rr.FieldDescriptions()) > 0 && next < len(steps) {
			step := steps[next]
			next++
			for rr.NextRow() {
				step.row(row{values: rr.Values(), l: l})
			}
		}
		if _, err := rr.Close(); err != nil {
			return nil, err
		}
	}
	if err := results.Close(); err != nil {
		return nil, err
	}
	switch {
	case l.err != nil:
		return nil, l.err
	case next != len(steps):
		return nil, fmt.Errorf("the server answered %d of %d queries", next, len(steps))
	}
	l.finish()
	return l.c, nil
}
