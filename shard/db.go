package shard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"

	"google.golang.org/protobuf/reflect/protoreflect"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// DB plans the statements of a database: a map and the catalog that belongs to it. It is immutable but for its cache of plans and may
// be used from any goroutine.
type DB struct {
	m       *Map
	cat     *catalog.Catalog
	cache   *Cache
	parser  *sqlparse.Parser
	folders *sync.Pool
	epoch   uint64
	local   map[string]bool

	problems map[catalog.Name]*Error // see Refuse

	mu    sync.Mutex
	paths map[pathKey]*pathOf // guarded by mu
}

type pathKey struct{ user, path string }

// pathOf is a resolved search_path.
type pathOf struct {
	schemas []string
	early   bool
	joined  string
}

// maxPaths bounds how many settings of search_path are remembered.
const maxPaths = 10_000

// NewDB returns the planner of a map and a catalog. Plans are kept in cache, which outlives both. shardLocal lists functions, and
// tables with row security, that reach rows of their own shard only, as name or schema.name.
func NewDB(m *Map, cat *catalog.Catalog, cache *Cache, shardLocal ...string) *DB {
	parser, err := sqlparse.NewParser(sqlparse.DefaultLimits())
	if err != nil {
		panic("the parser refuses its own limits: " + err.Error())
	}
	db := &DB{
		m: m, cat: cat, cache: cache, parser: parser, epoch: cache.epoch(), local: map[string]bool{}, paths: map[pathKey]*pathOf{},
		folders: &sync.Pool{New: func() any {
			return &workspace{folder: sqlparse.NewFolder(cache.seed), rows: sqlparse.NewFolder(cache.seed)}
		}},
	}
	for _, name := range shardLocal {
		db.local[name] = true
	}
	return db
}

// ServerVersion is server_version_num, the lowest of all shards.
func (db *DB) ServerVersion() int { return db.cat.Version }

// workspace is what one call needs and the next can use again.
type workspace struct {
	folder *sqlparse.Folder
	rows   *sqlparse.Folder // of single rows of a long INSERT
	values sqlparse.Values
	cells  []sqlparse.Cell
}

// Statement is one statement of a simple query.
type Statement struct {
	Start, End int // in bytes of the text
	Plan       Plan
	// Later says that there is no plan, because the statement cannot be planned before those in front of it have run: see AppendQuery.
	Later bool
	entry *cacheEntry
}

// Ran notes that an execution of the statement took so long, for SHOW PLANS.
func (s *Statement) Ran(d time.Duration) { s.entry.ran(d) }

func (e *cacheEntry) ran(d time.Duration) {
	if e != nil {
		e.runs.Add(1)
		e.nanos.Add(int64(d))
	}
}

// Prepared is a statement of a Parse message. It is immutable and may be used from any goroutine.
type Prepared struct {
	db       *DB
	env      Env
	text     []byte
	literals []sqlparse.Literal
	shape    *shape
	entry    *cacheEntry
	hint     sqlparse.Hint
	limited  []byte // the text with LIMIT and OFFSET for one of several shards
	insert   *longInsert
}

// Ran notes that an execution of the statement took so long, for SHOW PLANS.
func (p *Prepared) Ran(d time.Duration) { p.entry.ran(d) }

// Control is the command that the session carries out itself; ControlNone for any other statement.
func (p *Prepared) Control() Control {
	if p.shape.static && p.shape.plan.Kind == Command {
		return p.shape.plan.Control
	}
	return ControlNone
}

// Query reports whether PostgreSQL looks at the tables of the statement when it parses it, as it does with queries and writes only.
func (p *Prepared) Query() bool { return p.shape.query }

// Home is a shard on which the statement can be described; -1 for any.
func (p *Prepared) Home() int {
	sh := p.shape
	if hint, err := p.db.hinted(&p.env, p.hint, sh); err == nil && hint >= 0 {
		return hint
	}
	switch {
	case sh.static && sh.plan.Kind == Forward:
		return sh.plan.Shard
	case len(sh.singles) > 0:
		return sh.singles[0]
	case sh.catalogs:
		return catalogShard
	}
	for i := range sh.rels {
		return sh.rels[i].table.Key.Shards()[0]
	}
	return -1
}

// Map returns the map.
func (db *DB) Map() *Map { return db.m }

// Query plans a simple query: one Statement for each statement of the text, in order. An empty text is one statement of its own. The error is
// an *Error, or that of ctx.
func (db *DB) Query(ctx context.Context, env Env, text []byte) ([]Statement, error) {
	stmts, later, err := db.query(ctx, nil, env, text)
	if later != nil {
		return nil, later
	}
	return stmts, err
}

// AppendQuery is Query, into a slice whose elements nobody uses any more, for who carries the statements out one by one. If one of them is
// refused, so is the text, and nothing of it has run; unless what stands before it may change that, or PostgreSQL would carry that out and
// then raise the same error. From there on statements are planned later.
func (db *DB) AppendQuery(ctx context.Context, out []Statement, env Env, text []byte) ([]Statement, error) {
	stmts, _, err := db.query(ctx, out, env, text)
	return stmts, err
}

// query is AppendQuery; later is the error of the first statement that is to be planned later.
func (db *DB) query(ctx context.Context, out []Statement, env Env, text []byte) (stmts []Statement, later, err error) {
	w := db.folders.Get().(*workspace)
	defer db.folders.Put(w)
	if s := w.manyRows(text, !env.StringsPlain); s != nil {
		out = append(out[:0], Statement{Start: s.First, End: s.Last})
		if done, err := db.queryRows(ctx, &env, w, s, text, &out[0]); err != nil {
			return nil, nil, err
		} else if done {
			return out, nil, nil
		}
	}
	f := w.folder
	if err := f.Fold(text, !env.StringsPlain); err != nil {
		return nil, nil, syntaxError(err)
	}
	if len(f.Statements) == 0 {
		return append(out[:0], Statement{End: len(text), Plan: Plan{Kind: Command, Control: Empty, Limit: -1}}), nil, nil
	}
	if f.AtomicBody && len(f.Statements) > 1 {
		return nil, nil, refuse(RefuseNode, "a BEGIN ATOMIC body together with other statements")
	}
	if n := len(f.Statements); cap(out) < n {
		out = make([]Statement, n)
	} else {
		out = out[:n]
		clear(out)
	}
	changed := false // what statements mean
	for i := range f.Statements {
		s := &f.Statements[i]
		out[i].Start, out[i].End = s.First, s.Last
		if err := db.queryOne(ctx, &env, w, s, text, &out[i]); err != nil {
			switch refuses, ofText := judge(err); {
			case ofText, later == nil && (i == 0 || refuses && !changed):
				return nil, nil, err
			case later == nil:
				later = err
			}
		}
		if later != nil {
			out[i] = Statement{Start: s.First, End: s.Last, Later: true}
			continue
		}
		p := &out[i].Plan
		changed = changed || p.DDL || p.Kind == Command && (p.Control == Set || p.Control == SetHint || p.Control == Discard)
	}
	return out, later, nil
}

// judge says whether err is a refusal, rather than what PostgreSQL would say too, and whether it is about the whole text, which is parsed first.
func judge(err error) (refuses, ofText bool) {
	var own *Error
	if !errors.As(err, &own) {
		return false, true
	}
	return own.Code == codeNotSupported, IsSyntax(err)
}

// queryOne plans one statement of a simple query.
func (db *DB) queryOne(ctx context.Context, env *Env, w *workspace, s *sqlparse.Shape, text []byte, out *Statement) error {
	backslashes := !env.StringsPlain
	if w.hasRows(s, text, backslashes) {
		if done, err := db.queryRows(ctx, env, w, s, text, out); done || err != nil {
			return err
		}
	}
	e, err := db.entry(ctx, env, w.folder, s, text, nil, true)
	if err != nil {
		return db.unparsed(env, s, err, &out.Plan)
	}
	out.entry = e
	if db.drawingInsert(e, text, s, backslashes, w) {
		if done, err := db.queryRows(ctx, env, w, s, text, out); done || err != nil {
			return err
		}
	}
	b := binding{text: text, literals: w.folder.LiteralsOf(s), folder: w.folder, stmt: s, backslashes: backslashes}
	plan, err := e.shape.bind(&b)
	if err == nil && s.Hint.Empty() && env.Hint == (Hint{}) {
		out.Plan = plan
		return nil
	}
	out.Plan, err = db.hint(env, s.Hint, e.shape, plan, err)
	return err
}

// unparsed handles a statement that the parser did not take: a hint sends it to a shard.
func (db *DB) unparsed(env *Env, s *sqlparse.Shape, err error, plan *Plan) error {
	unknown := &shape{driver: -1, err: syntaxError(err)}
	if unknown.err == nil {
		return err
	}
	unknown.plan.Writes, unknown.plan.Rows, unknown.plan.DDL = true, true, true
	p, err := db.hint(env, s.Hint, unknown, unknown.plan, unknown.err)
	*plan = p
	return err
}

// Prepare plans a Parse message. paramTypes are the OIDs that it declares, 0 for those left to the server. The text is kept and
// must not change. The error is an *Error, or that of ctx.
func (db *DB) Prepare(ctx context.Context, env Env, text []byte, paramTypes []uint32) (*Prepared, error) {
	w := db.folders.Get().(*workspace)
	defer db.folders.Put(w)
	p := &Prepared{db: db, env: env, text: text}
	if s := w.manyRows(text, !env.StringsPlain); s != nil && db.prepareRows(ctx, p, w, s, paramTypes) {
		return p, nil
	}
	f := w.folder
	if err := f.Fold(text, !env.StringsPlain); err != nil {
		return nil, syntaxError(err)
	}
	switch {
	case len(f.Statements) == 0:
		p.shape = &shape{static: true, plan: Plan{Kind: Command, Control: Empty, Limit: -1}}
		return p, nil
	case len(f.Statements) > 1:
		return nil, &Error{Code: codeSyntax, Message: "cannot insert multiple commands into a prepared statement", Construct: RefuseSyntax}
	}
	s := &f.Statements[0]
	p.hint = s.Hint
	backslashes := !env.StringsPlain
	if w.hasRows(s, text, backslashes) && db.prepareRows(ctx, p, w, s, paramTypes) {
		return p, nil
	}
	e, err := db.entry(ctx, &env, f, s, text, paramTypes, false)
	if err != nil {
		p.shape = &shape{driver: -1, plan: Plan{Writes: true, Rows: true, Limit: -1}}
		if p.shape.err = syntaxError(err); p.shape.err == nil {
			return nil, err
		}
		if hint, herr := db.hinted(&env, s.Hint, p.shape); herr != nil || hint < 0 {
			return nil, p.shape.err
		}
		return p, nil
	}
	p.entry, p.shape, p.literals = e, e.shape, slices.Clone(f.LiteralsOf(s))
	if db.drawingInsert(e, text, s, backslashes, w) {
		if long := db.longInsert(ctx, &env, w, s, text, paramTypes, false); long != nil {
			p.insert = long.keep()
			return p, nil
		}
	}
	if e.shape.limit != nil && e.shape.limit.rewrites() {
		b := binding{text: text, literals: p.literals, folder: f, stmt: s}
		p.limited = b.limitText(e.shape.limit)
	}
	return p, nil
}

// Plan says where an execution with these parameters goes. The error is an *Error.
func (p *Prepared) Plan(params Params) (Plan, error) {
	var plan Plan
	var err error
	if p.insert != nil {
		plan, err = p.insert.bind(params)
	} else {
		b := binding{text: p.text, literals: p.literals, params: params, limited: p.limited, backslashes: !p.env.StringsPlain}
		plan, err = p.shape.bind(&b)
	}
	if err == nil && p.hint.Empty() && p.env.Hint == (Hint{}) {
		return plan, nil
	}
	return p.db.hint(&p.env, p.hint, p.shape, plan, err)
}

// entry returns the plan of a statement from the cache, or makes it.
func (db *DB) entry(ctx context.Context, env *Env, f *sqlparse.Folder, s *sqlparse.Shape, text []byte, params []uint32, simple bool) (*cacheEntry, error) {
	path := db.path(env)
	key := envKey{epoch: db.epoch, path: path.joined, stringsPlain: env.StringsPlain, utf8: env.UTF8, temporary: env.Temporary}
	folded, hash := f.Folded(s), s.Hash
	if f.Overflow {
		return nil, &sqlparse.TooComplexError{Limit: "its length", Value: len(text), Max: sqlparse.MaxFolded}
	}
	e := db.cache.get(hash, folded, &key, params, simple)
	if e != nil && len(e.shape.fixed) > 0 {
		kept, keptHash := f.Keep(s, e.shape.fixed)
		folded, hash = slices.Clone(kept), keptHash
		e = db.cache.get(hash, folded, &key, params, simple)
	}
	if e != nil {
		return e, nil
	}
	sh, err := db.plan(ctx, env, path, f, s, text, params, simple)
	if err != nil {
		return nil, err
	}
	made := &cacheEntry{hash: hash, folded: string(folded), env: key, params: slices.Clone(params), simple: simple, shape: sh}
	if len(sh.fixed) > 0 {
		// The folded text says which literals count; the one that keeps them has the plan.
		guide := &cacheEntry{hash: s.Hash, folded: string(f.Folded(s)), env: key, params: made.params, simple: simple, shape: &shape{fixed: sh.fixed, driver: -1, err: refuse(RefuseNode, "")}}
		db.cache.put(guide)
		kept, keptHash := f.Keep(s, sh.fixed)
		made.folded, made.hash = string(kept), keptHash
		own := *sh
		own.fixed = nil
		made.shape = &own
	}
	return db.cache.put(made), nil
}

// path resolves the search_path of an environment.
func (db *DB) path(env *Env) *pathOf {
	key := pathKey{env.User, env.SearchPath}
	db.mu.Lock()
	defer db.mu.Unlock()
	if p := db.paths[key]; p != nil {
		return p
	}
	p := &pathOf{}
	p.schemas, p.early = searchPath(db.cat, env)
	p.joined = strings.Join(p.schemas, "\x00")
	if len(db.paths) >= maxPaths {
		clear(db.paths)
	}
	db.paths[key] = p
	return p
}

// plan parses a statement and makes its shape. A refusal is part of the shape; an error says that it could not be parsed.
func (db *DB) plan(ctx context.Context, env *Env, path *pathOf, f *sqlparse.Folder, s *sqlparse.Shape, text []byte, params []uint32, simple bool) (*shape, error) {
	part := text[s.First:s.Last]
	tree, err := db.parser.Parse(ctx, part, !env.StringsPlain)
	if err != nil {
		var se *sqlparse.SyntaxError
		if errors.As(err, &se) && se.Position > 0 {
			moved := *se
			moved.Position += sqlparse.CharPosition(text, s.First) - 1
			return nil, &moved
		}
		return nil, err
	}
	if len(tree.Statements) != 1 {
		return nil, &sqlparse.SyntaxError{Message: "the text is more than one statement to the parser"}
	}
	a := &analysis{
		db: db, cat: db.cat, m: db.m, env: *env, path: path.schemas, early: path.early, text: text, base: s.First, folder: f, shape: s,
		fixed: map[int]bool{}, params: params, simple: simple, seen: map[protoreflect.Name]int{}, sublinks: map[*pg.SelectStmt]*query{},
		paramUses: map[int32]*paramUse{}, source: part,
	}
	sh := a.statement(tree.Statements[0].Node)
	if sh.plan.Limit == 0 {
		sh.plan.Limit = -1
	}
	return sh, nil
}

// syntaxError turns an error of the parser into one for the client; nil for others.
func syntaxError(err error) *Error {
	var own *Error
	var syntax *sqlparse.SyntaxError
	var big *sqlparse.TooComplexError
	var encoding *sqlparse.EncodingError
	var hint *sqlparse.HintError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &syntax):
		e := refuse(RefuseSyntax, syntax.Message)
		e.Position = syntax.Position
		return e
	case errors.As(err, &big):
		return refuse(RefuseComplex, big.Error())
	case errors.As(err, &encoding):
		e := refuse(RefuseEncoding, "")
		e.Position = encoding.Position
		return e
	case errors.As(err, &hint):
		e := refuse(RefuseHint, hint.Message)
		e.Detail, e.Position = hint.Detail, hint.Position
		return e
	}
	return nil
}
