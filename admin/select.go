package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// selectQuery is a SELECT over the views.
type selectQuery struct {
	toks    []token
	views   []*view      // those whose names occur in the text
	nparams int          // the highest $n
	items   []resultItem // the result columns as they are written; nil if that cannot be told
}

// maxParams bounds $n.
const maxParams = 1000

func newSelect(st statement, r *registry) (*selectQuery, error) {
	q := &selectQuery{toks: st.toks}
	seen := map[*view]bool{}
	for i, t := range q.toks {
		switch t.kind {
		case kWord, kQuoted:
			if v := r.byName[strings.ToLower(t.val)]; v != nil && !seen[v] {
				seen[v] = true
				q.views = append(q.views, v)
			}
			if q.isCatalog(i) {
				return nil, errf(codeNoTable, "relation \"%s.%s\" does not exist", t.val, q.toks[i+2].val).
					withDetail("The admin database has no system catalogs.").
					withHint("SHOW HELP lists its views, SELECT * FROM columns their columns.")
			}
		case kParam:
			n, err := strconv.Atoi(t.val)
			if err != nil || n < 1 || n > maxParams {
				return nil, errf("42P02", "there is no parameter $%s", shorten(t.val, 20))
			}
			q.nparams = max(q.nparams, n)
		case kOp:
			switch t.val {
			case "::":
				return nil, errf(codeSyntax, "syntax error at or near \"::\"").
					withHint("SELECT over the views is SQLite's: write CAST(x AS type).")
			case "[", "]", "`", "?", "@", ":", "$", "#", "\\", "{", "}": // a quote, a parameter or nothing to SQLite, none of them to PostgreSQL
				return nil, errf(codeSyntax, "syntax error at or near \"%s\"", t.val)
			}
		}
	}
	q.items = selectItems(q.toks)
	return q, nil
}

// isCatalog reports whether a relation of a system schema is named at i.
func (q *selectQuery) isCatalog(i int) bool {
	t := q.toks[i]
	if !strings.EqualFold(t.val, "pg_catalog") && !strings.EqualFold(t.val, "information_schema") {
		return false
	}
	return q.at(i+1).is(".") && (q.at(i+2).kind == kWord || q.at(i+2).kind == kQuoted) && !q.at(i+3).is("(")
}

var noToken = token{kind: kSemi}

func (q *selectQuery) at(i int) token {
	if i < 0 || i >= len(q.toks) {
		return noToken
	}
	return q.toks[i]
}

// sessionFunctions are PostgreSQL's functions that tell about the session or server. In the text that SQLite
// gets they have their value as argument, and return it.
func sessionFunctions() []string {
	return []string{
		"current_user", "session_user", "current_role", "current_catalog", "current_schema",
		"current_database", "version", "pg_is_in_recovery", "pg_backend_pid", "now", "current_timestamp",
	}
}

// sessionValue is what a session function returns; parens tells whether it is written with (). quoted is its
// literal in SQL.
func (s *session) sessionValue(name string, parens bool) (quoted string, ok bool) {
	switch name {
	case "current_user", "session_user", "current_role":
		return quote(s.client.User), !parens
	case "current_catalog":
		return quote(s.client.Database), !parens
	case "current_timestamp":
		return quote(showTime(s.srv.opts.Now())), !parens
	case "current_schema":
		return quote("public"), true
	case "current_database":
		return quote(s.client.Database), parens
	case "version":
		return quote(viewVersion().rows(s.env())[0][0].(string)), parens
	case "now":
		return quote(showTime(s.srv.opts.Now())), parens
	case "pg_is_in_recovery":
		return "0", parens
	case "pg_backend_pid":
		return strconv.Itoa(shownID(s.client.ID)), parens
	}
	return "", false
}

func quote(s string) string { return "'" + strings.ReplaceAll(clean(s), "'", "''") + "'" }

// render writes the query for SQLite: strings and identifiers in its notation, no comments, session
// functions with their values.
func (q *selectQuery) render(s *session) string {
	var b strings.Builder
	for i := 0; i < len(q.toks); i++ {
		t := q.toks[i]
		if t.space && i > 0 {
			b.WriteByte(' ')
		}
		switch t.kind {
		case kQuoted:
			b.WriteString(`"` + strings.ReplaceAll(clean(t.val), `"`, `""`) + `"`)
		case kString:
			b.WriteString(quote(t.val))
		case kParam:
			b.WriteString("$" + strings.TrimLeft(t.val, "0"))
		case kWord:
			name := strings.ToLower(t.val)
			if name == "pg_catalog" && q.at(i+1).is(".") { // of a function
				i++
				continue
			}
			parens := q.at(i+1).is("(") && q.at(i+2).is(")")
			if q.at(i-1).is(".") && !q.at(i-2).is("pg_catalog") || q.at(i+1).is(".") || q.at(i-1).is("AS") {
				b.WriteString(t.val)
				continue
			}
			v, ok := s.sessionValue(name, parens)
			if !ok {
				b.WriteString(t.val)
				continue
			}
			b.WriteString(`"` + name + `"(` + v + ")") // quoted: some are keywords there
			if parens {
				i += 2
			}
		default:
			b.WriteString(t.val)
		}
	}
	return b.String()
}

// runSelect answers a SELECT. described are the columns that the client has been told; nil lets the values
// decide where the text does not.
func (s *session) runSelect(ctx context.Context, q *selectQuery, params []any, described []column) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, s.srv.sql.limits.Time)
	defer cancel()
	db, err := s.openSelect(ctx, q)
	if err != nil {
		return nil, err
	}
	defer db.close()
	info, err := db.columns(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.rows(ctx, params)
	if err != nil {
		return nil, err
	}
	cols := described
	if cols == nil {
		cols = q.columns(info, rows)
	}
	if len(cols) != len(info) {
		return nil, errf(codeNotSupported, "cached plan must not change result type")
	}
	for _, row := range rows {
		for i, v := range row {
			w, ok := cols[i].typ.coerce(v)
			if !ok {
				return nil, errf(codeTypeMismatch, "column \"%s\" is of type %s but its value is %s",
					cols[i].name, cols[i].typ.info().name, shorten(string(appendText(nil, v)), 60)).
					withHint("CAST the expression to text.")
			}
			row[i] = w
		}
	}
	return &result{cols: cols, rows: rows, tag: selectTag(len(rows))}, nil
}

// openSelect takes the snapshot of the views and hands it to SQLite.
func (s *session) openSelect(ctx context.Context, q *selectQuery) (*selection, error) {
	e := s.env()
	return s.srv.sql.open(ctx, q.render(s), q.views, func(v *view) [][]any { return v.rows(e) })
}

// describeSelect tells the columns of a SELECT before it is bound. Where neither the views nor the text tell
// a type, the query is tried on a snapshot with stand-ins for its parameters.
func (s *session) describeSelect(ctx context.Context, q *selectQuery, oids []uint32) ([]column, error) {
	ctx, cancel := context.WithTimeout(ctx, s.srv.sql.limits.Time)
	defer cancel()
	db, err := s.openSelect(ctx, q)
	if err != nil {
		return nil, err
	}
	defer db.close()
	info, err := db.columns(ctx)
	if err != nil {
		return nil, err
	}
	if q.typed(info) {
		return q.columns(info, nil), nil
	}
	params := make([]any, len(oids))
	for i, oid := range oids {
		switch oid {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
			params[i] = int64(1)
		}
	}
	rows, err := db.rows(ctx, params)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	return q.columns(info, rows), nil
}

// numberOr returns the number that the text is the usual form of, or the text.
func numberOr(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return n
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == text {
		return f
	}
	return text
}

// SQLLimits bound SELECTs over the views. Memory is bounded for all of them together, to sqliteHeap.
type SQLLimits struct {
	Time       time.Duration // of one SELECT; default 10 s
	Rows       int           // of one result; default 250,000
	Concurrent int           // that run at once, others wait; default 2
}

func (l SQLLimits) withDefaults() SQLLimits {
	if l.Time <= 0 {
		l.Time = 10 * time.Second
	}
	if l.Rows <= 0 {
		l.Rows = 250_000
	}
	if l.Concurrent <= 0 {
		l.Concurrent = 2
	}
	return l
}
