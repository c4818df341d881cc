package admin

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"pgdrover/internal/procs"
)

const (
	// sqliteHeap bounds the memory of all SQLite databases of the process together, in bytes.
	sqliteHeap = 128 << 20
	// maxValue bounds one value, or one row, in SQLite, in bytes.
	maxValue = 4 << 20
	// resultTable receives the rows of a query. No query can name it: it does not exist while one is checked.
	resultTable = "pgdrover result"
)

// sqliteSetup is done once in a process, because what it sets is the library's and not a connection's.
var sqliteSetup = sync.OnceFunc(func() {
	tls := libc.NewTLS()
	defer tls.Close()
	// The heap limit needs the memory statistics. Somebody else may have opened a database before, and then
	// they cannot be switched on any more; time and rows remain bounded.
	list := libc.NewVaList(int32(1))
	defer libc.Xfree(tls, list)
	sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_MEMSTATUS, list)
	sqlite3.Xsqlite3_hard_heap_limit64(tls, sqliteHeap)
})

// engine runs SELECTs in SQLite. It may be used from any goroutine.
type engine struct {
	driver *sqlite.Driver
	limits SQLLimits
	slots  chan struct{} // one element for each SELECT that runs
}

func newEngine(limits SQLLimits) *engine {
	sqliteSetup()
	e := &engine{driver: &sqlite.Driver{}, limits: limits, slots: make(chan struct{}, limits.Concurrent)}
	for _, f := range sessionFunctions() {
		// Not deterministic for SQLite's sake: it need not fold what is a constant anyway.
		e.driver.MustRegisterScalarFunction(f, 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			return args[0], nil
		})
	}
	return e
}

// Connect and Driver make engine a driver.Connector.
func (e *engine) Connect(context.Context) (driver.Conn, error) {
	return e.driver.Open("file:views?mode=memory&_dqs=0&_pragma=temp_store(2)&_pragma=cell_size_check(0)")
}

// Driver returns the SQLite driver.
func (e *engine) Driver() driver.Driver { return e.driver }

// selection is one query on one snapshot, in a database of its own.
type selection struct {
	engine *engine
	text   string
	db     *sql.DB
	conn   *sql.Conn
	views  []*view
	policy policy
}

// open makes a database with a table for each view and opens it for text only. close must be called.
func (e *engine) open(ctx context.Context, text string, views []*view, rows func(*view) [][]any) (_ *selection, err error) {
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, e.explain(ctx, ctx.Err())
	}
	procs.Busy()
	s := &selection{engine: e, text: text, views: views, db: sql.OpenDB(e)}
	defer func() {
		if err != nil {
			s.close()
			err = e.explain(ctx, err)
		}
	}()
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open the views: %w", err)
	}
	for _, v := range views {
		if err := s.load(ctx, v, rows(v)); err != nil {
			return nil, fmt.Errorf("copy view %s: %w", v.name, err)
		}
	}
	for id, n := range map[int]int{
		sqlite3.SQLITE_LIMIT_LENGTH: maxValue, sqlite3.SQLITE_LIMIT_SQL_LENGTH: maxMessage + 1<<16,
		sqlite3.SQLITE_LIMIT_ATTACHED: 0, sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1, sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 500,
	} {
		if _, err := sqlite.Limit(s.conn, id, n); err != nil {
			return nil, fmt.Errorf("limit the views: %w", err)
		}
	}
	s.policy.readable = map[string]bool{"json_each": true, "json_tree": true}
	for _, v := range views {
		s.policy.readable[v.name] = true
	}
	err = s.conn.Raw(func(c any) error {
		return c.(sqlite.AuthorizerRegisterer).RegisterAuthorizer(s.policy.authorize)
	})
	return s, err
}

func (s *selection) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	_ = s.db.Close()
	<-s.engine.slots
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// load copies a view into a table.
func (s *selection) load(ctx context.Context, v *view, rows [][]any) error {
	var defs, marks []string
	for _, c := range v.cols {
		defs = append(defs, identifier(c.name)+" "+c.typ.info().sqlite)
		marks = append(marks, "?")
	}
	if _, err := s.conn.ExecContext(ctx, "CREATE TABLE "+identifier(v.name)+" ("+strings.Join(defs, ", ")+")"); err != nil {
		return err
	}
	// The driver starts a goroutine for every call with a context that can end; one look now and then is
	// cheaper.
	background := context.WithoutCancel(ctx)
	tx, err := s.conn.BeginTx(background, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	insert, err := tx.PrepareContext(background, "INSERT INTO "+identifier(v.name)+" VALUES ("+strings.Join(marks, ", ")+")")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, row := range rows {
		if i%100 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := insert.ExecContext(background, row...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// columns checks the query and tells its result columns.
func (s *selection) columns(ctx context.Context) (info []sqlite.ColumnInfo, err error) {
	err = s.conn.Raw(func(c any) (err error) {
		info, err = c.(interface {
			ColumnInfo(query string) ([]sqlite.ColumnInfo, error)
		}).ColumnInfo(s.text)
		return err
	})
	if err != nil {
		return nil, s.engine.explain(ctx, err)
	}
	if len(info) == 0 {
		return nil, errf(codeSyntax, "syntax error at end of input")
	}
	return info, nil
}

// rows runs the query, which columns must have checked. It may be called once.
func (s *selection) rows(ctx context.Context, params []any) ([][]any, error) {
	s.policy.building = true
	_, err := s.conn.ExecContext(ctx, "CREATE TABLE "+identifier(resultTable)+" AS "+s.text, params...)
	if err != nil {
		return nil, s.engine.explain(ctx, err)
	}
	s.policy.readable[resultTable] = true
	// Each step of this is one row that is there already, so it needs no interruption but between rows.
	background := context.WithoutCancel(ctx)
	rs, err := s.conn.QueryContext(background, "SELECT * FROM "+identifier(resultTable)+" ORDER BY rowid")
	if err != nil {
		return nil, s.engine.explain(ctx, err)
	}
	defer rs.Close()
	names, err := rs.Columns()
	if err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	var out [][]any
	for rs.Next() {
		if len(out) >= s.engine.limits.Rows {
			return nil, errf(codeTooMuch, "result has more than %d rows", s.engine.limits.Rows).
				withHint("Add LIMIT, or aggregate. SHOW has no such limit.")
		}
		if len(out)%1000 == 0 && ctx.Err() != nil {
			return nil, s.engine.explain(ctx, ctx.Err())
		}
		row := make([]any, len(names))
		into := make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rs.Scan(into...); err != nil {
			return nil, fmt.Errorf("read a result: %w", err)
		}
		out = append(out, row)
	}
	if err := rs.Err(); err != nil {
		return nil, s.engine.explain(ctx, err)
	}
	return out, nil
}

// policy decides what a query may do: read the views, and nothing else.
type policy struct {
	readable map[string]bool
	building bool // the query has passed; the result table is being made
}

func (p *policy) authorize(action sqlite.AuthorizerActionCode, arg1, arg2, _, _ string) sqlite.AuthorizerReturnCode {
	ok := false
	switch action {
	case sqlite.AuthSelect, sqlite.AuthRecursive:
		ok = true
	case sqlite.AuthRead:
		// Without a column it is a WITH query, or only the number of rows.
		ok = p.readable[strings.ToLower(arg1)] || arg2 == "" || p.building && arg1 == "sqlite_master"
	case sqlite.AuthFunction:
		ok = !strings.EqualFold(arg2, "load_extension") && !strings.EqualFold(arg2, "fts3_tokenizer")
	case sqlite.AuthCreateTable:
		ok = p.building && arg1 == resultTable
	case sqlite.AuthInsert, sqlite.AuthUpdate:
		ok = p.building && arg1 == "sqlite_master"
	}
	if ok {
		return sqlite.AuthorizerOK
	}
	return sqlite.AuthorizerDeny
}

// explain turns an error of SQLite, or of its context, into one of PostgreSQL's.
func (e *engine) explain(ctx context.Context, err error) error {
	var own *pgError
	if errors.As(err, &own) {
		return err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errf(codeCanceled, "canceling statement due to statement timeout").
			withDetail("A SELECT in the admin database may take %s.", e.limits.Time)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var se *sqlite.Error
	if !errors.As(err, &se) || errors.Is(err, io.EOF) {
		return err
	}
	return sqliteError(se)
}

func sqliteError(se *sqlite.Error) *pgError {
	msg := se.Error()
	if i := strings.LastIndex(msg, " ("); i > 0 {
		msg = msg[:i]
	}
	msg = strings.TrimPrefix(strings.TrimPrefix(msg, "SQL logic error: "), "authorization denied: ")
	after := func(prefix string) (string, bool) { return strings.CutPrefix(msg, prefix) }
	if se.Code()&0xff == sqlite3.SQLITE_AUTH || strings.HasPrefix(msg, "not authorized") {
		return errf(codePrivilege, "permission denied: %s", msg).
			withHint("In the admin database, SQL may only SELECT from the views that SHOW HELP lists.")
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL:
		return errf(codeOutOfMemory, "out of memory").
			withDetail("SELECTs in the admin database share %d MiB.", sqliteHeap>>20).withHint("Ask for less at once.")
	case sqlite3.SQLITE_TOOBIG:
		return errf(codeTooMuch, "value too long").withDetail("A value in the admin database may have %d bytes.", maxValue)
	case sqlite3.SQLITE_MISMATCH:
		return errf(codeTypeMismatch, "%s", msg)
	case sqlite3.SQLITE_ERROR:
	default:
		return errf(codeInternal, "%s", msg)
	}
	if t, ok := after("no such table: "); ok {
		return errf(codeNoTable, "relation \"%s\" does not exist", t).
			withHint("SHOW HELP lists the views, SELECT * FROM columns their columns.")
	}
	if c, ok := after("no such column: "); ok {
		c, _, _ = strings.Cut(c, " - ") // advice of SQLite's
		c = strings.Trim(c, `"`)
		return errf("42703", "column \"%s\" does not exist", c).withHint("SELECT * FROM columns lists the columns of all views.")
	}
	if c, ok := after("ambiguous column name: "); ok {
		return errf("42702", "column reference \"%s\" is ambiguous", c)
	}
	if f, ok := after("no such function: "); ok {
		return errf("42883", "function %s does not exist", f).withHint("SELECT over the views is SQLite's, with its functions.")
	}
	if strings.HasPrefix(msg, "wrong number of arguments to function") {
		return errf("42883", "%s", msg)
	}
	if near, ok := after("near "); ok {
		near, _ = strings.CutSuffix(near, ": syntax error")
		return errf(codeSyntax, "syntax error at or near %s", near).withHint("SELECT over the views is SQLite's SQL.")
	}
	if msg == "incomplete input" {
		return errf(codeSyntax, "syntax error at end of input")
	}
	return errf(codeSyntax, "%s", msg)
}
