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
	r := NewReading()
	results := s.Exec(ctx, r.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "COMMIT"))
	defer results.Close()
	for results.NextResult() {
		rr := results.ResultReader()
		if len(rr.FieldDescriptions()) > 0 {
			r.Result()
			for rr.NextRow() {
				r.Row(rr.Values())
			}
		}
		if _, err := rr.Close(); err != nil {
			return nil, err
		}
	}
	if err := results.Close(); err != nil {
		return nil, err
	}
	return r.Catalog()
}

// Reading makes a catalog of what a server answers to SQL: for who asks it by other means than a Session.
type Reading struct {
	l     *loader
	steps []step
	next  int
}

type step struct {
	sql string
	row func(row)
}

// NewReading returns a Reading of nothing yet.
func NewReading() *Reading {
	l := newLoader()
	return &Reading{l: l, steps: []step{
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
	}}
}

// SQL is the text of a simple query that asks for everything. It changes settings with SET LOCAL: begin and end open a transaction or a
// savepoint around that, and take it back.
func (r *Reading) SQL(begin, end string) string {
	var sql strings.Builder
	sql.WriteString(begin + ";\n" + settings)
	for _, step := range r.steps {
		sql.WriteString(step.sql + ";\n")
	}
	sql.WriteString(end)
	return sql.String()
}

// Result says that the next result with columns begins.
func (r *Reading) Result() { r.next++ }

// Row takes a row of it, in text format. The values are not kept.
func (r *Reading) Row(values [][]byte) {
	if r.next >= 1 && r.next <= len(r.steps) {
		r.steps[r.next-1].row(row{values: values, l: r.l})
	}
}

// Catalog is what has been read, once the server has answered everything.
func (r *Reading) Catalog() (*Catalog, error) {
	switch {
	case r.l.err != nil:
		return nil, r.l.err
	case r.next != len(r.steps):
		return nil, fmt.Errorf("the server answered %d of %d queries", r.next, len(r.steps))
	}
	r.l.finish()
	return r.l.c, nil
}
