package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/catalog"
	"pgdrover/internal/pgtest"
	"pgdrover/shard/hash"
)

// handmade is a small catalog that needs no server.
func handmade() *catalog.Catalog {
	c := &catalog.Catalog{
		Encoding: "UTF8", SearchPath: `"$user", public`, Schemas: map[string]bool{"public": true, "pg_catalog": true},
		Relations: map[catalog.Name]*catalog.Relation{}, Functions: map[catalog.Name][]*catalog.Function{},
		TypeNames: map[catalog.Name]*catalog.Type{}, Types: map[uint32]*catalog.Type{}, Operators: map[string][]*catalog.Operator{},
	}
	for short, long := range map[string]string{"int2": "smallint", "int4": "integer", "int8": "bigint", "text": "text", "numeric": "numeric", "bool": "boolean"} {
		t, err := hash.TypeByName(long)
		if err != nil {
			panic(err)
		}
		n := catalog.Name{Schema: "pg_catalog", Name: short}
		c.TypeNames[n] = &catalog.Type{Name: n, OID: t.OID}
	}
	for _, f := range []string{"now", "count", "lower"} {
		n := catalog.Name{Schema: "pg_catalog", Name: f}
		kind := byte('f')
		if f == "count" {
			kind = 'a'
		}
		c.Functions[n] = []*catalog.Function{{Name: n, Kind: kind, Args: []uint32{25}, Defaults: 1}}
	}
	table := func(name string, columns ...catalog.Column) {
		n := catalog.Name{Schema: "public", Name: name}
		for i := range columns {
			columns[i].Number, columns[i].Type, columns[i].Typmod, columns[i].CollationDeterministic = i+1, columns[i].Base, -1, true
		}
		c.Relations[n] = &catalog.Relation{Name: n, Kind: 'r', Persistence: 'p', Columns: columns}
	}
	table("customers", catalog.Column{Name: "id", Base: oidInt8}, catalog.Column{Name: "name", Base: oidText})
	table("orders", catalog.Column{Name: "customer_id", Base: oidInt8}, catalog.Column{Name: "id", Base: oidInt4}, catalog.Column{Name: "note", Base: oidText})
	table("pairs", catalog.Column{Name: "a", Base: oidInt4}, catalog.Column{Name: "b", Base: oidText})
	table("countries", catalog.Column{Name: "code", Base: oidText})
	return c
}

func handmadeDB(t testing.TB, bytes int) *DB {
	m := readMap(t, "shards a b c d\nkey customer bigint customers:id orders:customer_id\nkey pair integer,text pairs:a,b\nreference countries")
	return NewDB(m, handmade(), NewCache(bytes))
}

var plain = Env{User: "app", StringsPlain: true, UTF8: true}

// binaryParams are parameters in binary format.
type binaryParams [][]byte

func (p binaryParams) Len() int { return len(p) }

func (p binaryParams) Param(i int) ([]byte, bool, bool) { return p[i], true, p[i] == nil }

func TestPlanningOneKeyDoesNotAllocate(t *testing.T) {
	db := handmadeDB(t, 1<<20)
	ctx := t.Context()
	for _, sql := range []string{
		"SELECT * FROM orders WHERE customer_id = $1",
		"SELECT * FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = $1",
		"UPDATE orders SET note = 'x' WHERE customer_id = $1",
		"SELECT * FROM orders WHERE customer_id = 5",
	} {
		p, err := db.Prepare(ctx, plain, []byte(sql), nil)
		if err != nil {
			t.Fatal(err)
		}
		var params Params = binaryParams{binary.BigEndian.AppendUint64(nil, 42)}
		t.Run(sql, func(t *testing.T) {
			pgtest.AllocsAtMost(t, 0, 100, func() {
				if plan, err := p.Plan(params); err != nil || plan.Kind != Forward {
					t.Fatal(plan, err)
				}
			})
		})
	}
	// A simple query that is in the cache allocates the slice that it returns.
	text := []byte("SELECT * FROM orders WHERE customer_id = 17 AND note = 'a'")
	pgtest.AllocsAtMost(t, 1, 100, func() {
		if _, err := db.Query(ctx, plain, text); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLiteralsShareOnePlan(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	seen := map[int]bool{}
	for i := range 50 {
		stmts, err := db.Query(t.Context(), plain, fmt.Appendf(nil, "SELECT * FROM orders WHERE customer_id = %d AND note = 'n%d'", i, i))
		if err != nil {
			t.Fatal(err)
		}
		want, _, _ := db.m.Key("customer").LocateText(itoa(i))
		if got, ok := stmts[0].Plan.One(); !ok || got != want {
			t.Errorf("%d: shard %d, want %d", i, got, want)
		}
		seen[want] = true
		stmts[0].Ran(5)
	}
	if len(seen) < 2 {
		t.Error("the keys are all on one shard")
	}
	rows := db.cache.Rows()
	if len(rows) != 1 || rows[0].Runs != 50 || rows[0].Time != 250 || rows[0].Key != "customer" || rows[0].Tier != 1 {
		t.Errorf("%+v", rows)
	}
	if hits, misses := db.cache.Counts(); hits != 49 || misses != 1 {
		t.Error(hits, misses)
	}
}

func TestBinaryParameters(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	be := binary.BigEndian
	array := func(element uint32, values ...uint64) []byte {
		b := be.AppendUint32(be.AppendUint32(be.AppendUint32(nil, 1), 0), element)
		b = be.AppendUint32(be.AppendUint32(b, uint32(len(values))), 1)
		for _, v := range values {
			b = be.AppendUint64(be.AppendUint32(b, 8), v)
		}
		return b
	}
	for _, c := range []struct {
		name, sql string
		types     []uint32
		params    binaryParams
		keys      []string
	}{
		{"bigint", "SELECT * FROM orders WHERE customer_id = $1", []uint32{20}, binaryParams{be.AppendUint64(nil, 7)}, []string{"7"}},
		{"integer for bigint", "SELECT * FROM orders WHERE customer_id = $1", []uint32{23}, binaryParams{be.AppendUint32(nil, 7)}, []string{"7"}},
		{"not declared", "SELECT * FROM orders WHERE customer_id = $1", nil, binaryParams{be.AppendUint64(nil, 7)}, []string{"7"}},
		// The server takes the type of the first place, which may be the narrower one.
		{"not declared, two places", "SELECT * FROM orders WHERE id = $1 AND customer_id = $1", nil, binaryParams{be.AppendUint32(nil, 7)}, []string{"7"}},
		{"array", "SELECT * FROM orders WHERE customer_id = ANY ($1)", nil, binaryParams{array(20, 7, 8)}, []string{"7", "8"}},
		{"negative", "SELECT * FROM orders WHERE customer_id = $1", nil, binaryParams{be.AppendUint64(nil, ^uint64(0))}, []string{"-1"}},
		{"insert", "INSERT INTO orders (id, customer_id) VALUES ($1, $2)", nil, binaryParams{be.AppendUint32(nil, 1), be.AppendUint64(nil, 7)}, []string{"7"}},
	} {
		p, err := db.Prepare(t.Context(), plain, []byte(c.sql), c.types)
		if err != nil {
			t.Fatal(c.name, err)
		}
		plan, err := p.Plan(c.params)
		if err != nil {
			t.Fatal(c.name, err)
		}
		var want, got []int
		in := map[int]bool{}
		for _, k := range c.keys {
			n, _, _ := db.m.Key("customer").LocateText(k)
			in[n] = true
		}
		for n := range db.m.Shards() {
			if in[n] {
				want = append(want, n)
			}
		}
		if n, ok := plan.One(); ok {
			got = []int{n}
		} else {
			for _, part := range plan.Parts {
				got = append(got, part.Shard)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestCompositeKeys(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	want, _, _ := db.m.Key("pair").LocateText("3", "x")
	for _, sql := range []string{
		"SELECT * FROM pairs WHERE a = 3 AND b = 'x'",
		"SELECT * FROM pairs WHERE (b, a) = ('x', 3)",
		"SELECT * FROM pairs WHERE a IN (3) AND b = ANY ('{x}')",
		"SELECT * FROM pairs p JOIN pairs q ON q.a = p.a AND q.b = p.b WHERE p.a = 3 AND p.b = 'x'",
		"INSERT INTO pairs (b, a) VALUES ('x', 3), ('x', 3)",
		"UPDATE pairs SET a = 3 WHERE a = 3 AND b = 'x'",
		"/* shard_key='3,x' */ DELETE FROM pairs",
	} {
		stmts, err := db.Query(t.Context(), plain, []byte(sql))
		if err != nil {
			t.Fatal(sql, err)
		}
		if got, ok := stmts[0].Plan.One(); !ok || got != want {
			t.Errorf("%s: %+v, want shard %d", sql, stmts[0].Plan, want)
		}
	}
	for _, sql := range []string{"SELECT * FROM pairs WHERE a = 3", "SELECT * FROM pairs WHERE b = 'x'"} {
		stmts, err := db.Query(t.Context(), plain, []byte(sql))
		if err != nil || len(stmts[0].Plan.Parts) != 4 {
			t.Errorf("%s: %v %v, want all shards", sql, stmts, err)
		}
	}
	if _, err := db.Query(t.Context(), plain, []byte("SELECT * FROM pairs p JOIN pairs q ON q.a = p.a")); err == nil {
		t.Error("a join on half of the key was not refused")
	}
}

func TestTheCacheStaysWithinItsBytes(t *testing.T) {
	t.Parallel()
	const limit = 256 << 10
	db := handmadeDB(t, limit)
	for i := range 500 {
		sql := fmt.Sprintf("SELECT id AS c%d FROM orders WHERE customer_id = 1", i)
		if _, err := db.Query(t.Context(), plain, []byte(sql)); err != nil {
			t.Fatal(err)
		}
		if n := db.cache.Bytes(); n > limit {
			t.Fatalf("%d bytes after %d plans", n, i)
		}
	}
	if n := len(db.cache.Rows()); n < 20 || n > 499 {
		t.Errorf("%d plans are kept", n)
	}
}

func TestPlansOfAnOldMapAreNotUsed(t *testing.T) {
	t.Parallel()
	cache := NewCache(1 << 20)
	two := NewDB(readMap(t, "shards a b\nkey customer bigint orders:customer_id"), handmade(), cache)
	all := []byte("SELECT * FROM orders")
	if stmts, err := two.Query(t.Context(), plain, all); err != nil || len(stmts[0].Plan.Parts) != 2 {
		t.Fatal(stmts, err)
	}
	three := NewDB(readMap(t, "shards a b c\nkey customer bigint orders:customer_id"), handmade(), cache)
	if stmts, err := three.Query(t.Context(), plain, all); err != nil || len(stmts[0].Plan.Parts) != 3 {
		t.Fatal(stmts, err)
	}
}

func TestSessionsPlanAtTheSameTime(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 64<<10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				sql := fmt.Sprintf("SELECT id AS c%d FROM orders WHERE customer_id = %d", i%20, g)
				want, _, _ := db.m.Key("customer").LocateText(itoa(g))
				stmts, err := db.Query(context.WithoutCancel(t.Context()), plain, []byte(sql))
				if err != nil {
					t.Error(err)
					return
				}
				if got, _ := stmts[0].Plan.One(); got != want {
					t.Errorf("shard %d, want %d", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// A user's = for the key's own types would be another question than the router answers.
func TestOperatorsOfUsersDoNotPin(t *testing.T) {
	t.Parallel()
	cat := handmade()
	cat.Operators["="] = []*catalog.Operator{{Name: catalog.Name{Schema: "public", Name: "="}, Left: oidInt8, Right: oidInt4, Function: 1}}
	db := NewDB(readMap(t, "shards a b\nkey customer bigint orders:customer_id"), cat, NewCache(1<<20))
	_, err := db.Query(t.Context(), plain, []byte("SELECT * FROM orders WHERE customer_id = 5"))
	var e *Error
	if !errors.As(err, &e) || e.Construct != RefuseOperator {
		t.Errorf("got %v", err)
	}
}

func TestALongInsertNeedsTheParserOnce(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	var b strings.Builder
	b.WriteString("INSERT INTO orders (id, customer_id, note) VALUES ")
	const rows = 20_000
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "(%d, %d, 'note ''%d''')", i, i%1000, i)
	}
	stmts, err := db.Query(t.Context(), plain, []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	plan := &stmts[0].Plan
	if plan.Kind != Split || len(plan.Parts) != 4 || len(plan.Order) != rows {
		t.Fatalf("%v, %d parts, %d rows", plan.Kind, len(plan.Parts), len(plan.Order))
	}
	n := 0
	for i, part := range plan.Parts {
		n += len(part.Rows)
		for _, row := range part.Rows {
			if plan.Order[row] != i {
				t.Fatalf("row %d is in part %d, Order says %d", row, i, plan.Order[row])
			}
		}
	}
	if n != rows {
		t.Errorf("%d rows", n)
	}
	if _, misses := db.cache.Counts(); misses != 1 {
		t.Errorf("%d statements were parsed", misses)
	}
}

func TestHugeTextsAreRefused(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	for name, sql := range map[string]string{
		"a long list":  "SELECT * FROM orders WHERE customer_id IN (" + strings.Repeat("1,", 5<<20) + "1)",
		"parentheses":  "SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"a long chain": "SELECT 1" + strings.Repeat("+1", 100_000),
	} {
		_, err := db.Query(t.Context(), plain, []byte(sql))
		var e *Error
		if !errors.As(err, &e) || e.Construct != RefuseComplex {
			t.Errorf("%s: %.100v", name, err)
		}
	}
}

func TestRouteExplains(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	rows, err := db.Route(t.Context(), plain, []byte("SELECT * FROM orders WHERE customer_id IN (1, 2) LIMIT 3; SELECT 1; DELETE FROM orders WHERE customer_id = 3"))
	if err != nil {
		t.Fatal(err)
	}
	shard := func(key string) string {
		n, _, _ := db.m.Key("customer").LocateText(key)
		return db.m.Shards()[n]
	}
	last := rows[len(rows)-1]
	if rows[0].Key != "customer = 1 or 2" || rows[0].Kind != "gather" && rows[0].Kind != "forward" || last.Shard != shard("3") || last.Key != "customer = 3" || last.Statement != 3 {
		t.Errorf("%+v", rows)
	}
	rows, err = db.Route(t.Context(), plain, []byte("SELECT count(*) FROM orders"))
	if err != nil || len(rows) != 1 || rows[0].Kind != "refused" || !strings.Contains(rows[0].Reason, "aggregate") {
		t.Errorf("%+v %v", rows, err)
	}
}

func TestTheManualHasAllRefusals(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/sql.md", "<!-- refusals: generated -->\n", "<!-- refusals: end -->"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the marks are missing")
	}
	if have == RefusalsDoc() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the table says: go test ./shard -run %s -update\n%s", file, t.Name(), cmp.Diff(RefusalsDoc(), have))
	}
	if err := os.WriteFile(file, []byte(head+begin+RefusalsDoc()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRefusalsAreNamedOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range refusals {
		if seen[r.name] {
			t.Errorf("%s is there twice", r.name)
		}
		seen[r.name] = true
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"SELECT * FROM orders WHERE customer_id = 1", "INSERT INTO orders VALUES (1, 2, 'x'), (3, 4, $$y$$)", "WITH a AS (SELECT 1) SELECT * FROM a, orders o WHERE o.customer_id = $1",
		"UPDATE orders SET (id, note) = (1, 'x') WHERE customer_id = ANY ('{1,2}')", "BEGIN; COMMIT", "COPY orders FROM STDIN (FORMAT csv)", "/* shard=a */ SELECT 1",
		"SELECT * FROM (SELECT * FROM orders) x (a) JOIN customers USING (id) LIMIT 1 OFFSET 2", "DELETE FROM pairs p USING pairs q WHERE (p.a, p.b) = (q.a, q.b)",
		"SELECT (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) FROM customers c GROUP BY 1 ORDER BY 1", "EXPLAIN SELECT 1", "SET pgdrover.shard = a", "",
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, standard bool) {
		db := handmadeDB(t, 1<<16)
		env := Env{User: "app", StringsPlain: standard, UTF8: true}
		ctx := context.WithoutCancel(t.Context())
		stmts, err := db.Query(ctx, env, text)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		for i := range stmts {
			s := &stmts[i]
			if s.Start < 0 || s.End < s.Start || s.End > len(text) {
				t.Fatalf("%d to %d of %d bytes", s.Start, s.End, len(text))
			}
			if n, ok := s.Plan.One(); ok && (n < 0 || n >= len(db.m.Shards())) {
				t.Fatalf("shard %d", n)
			}
		}
		p, err := db.Prepare(ctx, env, text, nil)
		if err != nil {
			return
		}
		if _, err := p.Plan(textParams{"1", "x", "NULL"}); err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		_ = p.Home()
	})
}

// BenchmarkInsertOfManyRows plans an INSERT of 1,000 rows that go to four shards.
func BenchmarkInsertOfManyRows(b *testing.B) {
	db := handmadeDB(b, 1<<20)
	text := []byte("INSERT INTO orders (customer_id, id, note) VALUES ")
	for i := range 1000 {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, "(%d,%d,'customer number %d')", i, i%10, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if stmts, err := db.Query(b.Context(), plain, text); err != nil || len(stmts[0].Plan.Parts) != 4 {
			b.Fatal(stmts, err)
		}
	}
}

func TestStatementsBehindAChangeArePlannedLater(t *testing.T) {
	t.Parallel()
	db := handmadeDB(t, 1<<20)
	for _, c := range []struct {
		sql   string
		later []bool // of each statement; nil if the text is refused
		code  string // of Query
	}{
		{"SELECT 1; SELECT 2", []bool{false, false}, ""},
		{"CREATE TABLE made (a int); INSERT INTO made VALUES (1); SELECT 1", []bool{false, true, true}, codeUndefinedTable},
		{"SET search_path = made; SELECT * FROM orders ORDER BY note", []bool{false, true}, codeNotSupported},
		{"SELECT 1; SELECT * FROM missing; SELECT 2", []bool{false, true, true}, codeUndefinedTable}, // SELECT 1 is answered before
		{"SELECT * FROM missing; SELECT 1", nil, codeUndefinedTable},
		{"UPDATE orders SET note = 'a' WHERE customer_id = 1; SELECT * FROM orders ORDER BY note", nil, codeNotSupported},
		{"CREATE TABLE made (a int); INSERT INTO made VALUES (1); SELEC", nil, "42601"}, // nothing of it runs
		{"/* shard=nowhere */ CREATE TABLE made (a int); SELECT 1", nil, "22023"},
	} {
		stmts, err := db.AppendQuery(t.Context(), nil, plain, []byte(c.sql))
		var later []bool
		for _, s := range stmts {
			later = append(later, s.Later)
		}
		if !slices.Equal(later, c.later) {
			t.Errorf("%s: later %v (%v), want %v", c.sql, later, err, c.later)
		}
		_, err = db.Query(t.Context(), plain, []byte(c.sql))
		var own *Error
		if errors.As(err, &own) && own.Code != c.code || err == nil && c.code != "" {
			t.Errorf("%s: error %v, want %q", c.sql, err, c.code)
		}
	}
}
