package shard

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/catalog"
)

// describeDrawn describes the plan of an INSERT that gets the ids 501, 508, ….
func (fx *fixture) describeDrawn(p *Plan) string {
	if p.Drawn == nil { // of EXPLAIN
		return ""
	}
	drawn, err := p.Drawn.Plan(drawnIDs(p.Drawn.N))
	return ": " + fx.describe([]Statement{{Plan: drawn}}, err)
}

func drawnIDs(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(501 + 7*i)
	}
	return ids
}

// compareDrawn compares an INSERT whose keys are drawn with what one database does, which draws other ones: how many rows come back and are
// stored, or the error.
func (fx *fixture) compareDrawn(ctx context.Context, t *testing.T, c *planCase, plan *Plan, values textParams) {
	t.Helper()
	drawn, err := plan.Drawn.Plan(drawnIDs(plan.Drawn.N))
	if err != nil {
		return
	}
	run := func(conn *pgconn.PgConn, text string, values textParams) outcome {
		fx.must(ctx, t, conn, "BEGIN")
		defer fx.must(ctx, t, conn, "ROLLBACK")
		if env, _, _, _, _ := c.conditions(); env.SearchPath != "" {
			fx.must(ctx, t, conn, "SET LOCAL search_path = "+env.SearchPath)
		}
		return run1(ctx, conn, text, values)
	}
	want, got := run(fx.one, c.statement, values), outcome{}
	for _, part := range drawn.Parts {
		own := values
		if part.Params != nil {
			own = nil
			for _, n := range part.Params {
				own = append(own, values[n])
			}
		}
		res := run(fx.shards[part.Shard], string(part.Text), own)
		got.count, got.rows = got.count+res.count, append(got.rows, res.rows...)
		if res.code != "" {
			got.code = res.code
		}
	}
	if got.code != want.code || want.code == "" && (got.count != want.count || len(got.rows) != len(want.rows)) {
		t.Errorf("%s\n%s\n got %+v\nwant %+v", c.statement, c.want, got, want)
	}
	if want.code == "" {
		fx.ran++
	}
}

// handmadeDrawing is handmadeDB with customers whose key is drawn.
func handmadeDrawing(t testing.TB) *DB {
	c := handmade()
	name := catalog.Name{Schema: "pgdrover", Name: "next_id"}
	c.Schemas["pgdrover"] = true
	c.Functions[name] = []*catalog.Function{{Name: name, Kind: 'f', Returns: oidInt8, Category: catalog.CategoryMoving}}
	c.Relations[catalog.Name{Schema: "public", Name: "customers"}].Columns[0].Default = "pgdrover.next_id()"
	m := readMap(t, "shards a b c d\nkey customer bigint customers:id orders:customer_id\nkey pair integer,text pairs:a,b\nreference countries")
	return NewDB(m, c, NewCache(1<<20))
}

// Whatever the text of an INSERT looks like: with its ids in it, each shard's text is an INSERT that belongs to that shard and lacks no key.
func FuzzDrawnKeys(f *testing.F) {
	db := handmadeDrawing(f)
	env := Env{User: "postgres", StringsPlain: true, UTF8: true}
	for _, seed := range []string{
		"INSERT INTO customers (name) VALUES ('x')",
		"INSERT INTO customers (name) VALUES ('x'), (E'\\'y'), ($$z$$) RETURNING id",
		"INSERT INTO customers DEFAULT VALUES",
		"insert into public.customers as default_ default /* ) */ values returning *",
		"INSERT INTO customers (id, name) VALUES (DEFAULT, 'x'), (5, 'y'), (pgdrover.next_id(), NULL)",
		"INSERT INTO customers VALUES (\"pgdrover\" . next_id ( ) -- )\n, 'x')",
		"INSERT INTO customers AS values (name -- )\n) OVERRIDING SYSTEM VALUE VALUES ((('x')))",
		"INSERT INTO customers (\"name\") VALUES (/* ( */ 'a' || 'b' -- ,\n) ON CONFLICT (id) DO NOTHING",
		"SELECT 1; INSERT INTO customers VALUES (DEFAULT); INSERT INTO customers DEFAULT VALUES;",
	} {
		f.Add(seed)
		stmts, err := db.Query(f.Context(), env, []byte(seed))
		if err != nil || stmts[len(stmts)-1].Plan.Drawn == nil {
			f.Errorf("%s: no keys are drawn: %v", seed, err)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		stmts, err := db.Query(t.Context(), env, []byte(text))
		if err != nil {
			return
		}
		for i := range stmts {
			d := stmts[i].Plan.Drawn
			if d == nil {
				continue
			}
			plan, err := d.Plan(drawnIDs(d.N))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			for _, part := range plan.Parts {
				again, err := db.Query(t.Context(), env, part.Text)
				if err != nil || len(again) != 1 || again[0].Plan.Kind != Forward || again[0].Plan.Shard != part.Shard {
					t.Fatalf("%q\nshard %d gets %q, which is planned as %+v, %v", text, part.Shard, part.Text, again, err)
				}
			}
		}
	})
}
