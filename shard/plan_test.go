package shard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite the expected plans and generated documents")

// A planCase is a statement with its plan, in testdata/plan/*.txtar: the statement, then a line with => and the plan. Lines before it
// that begin with # say under which conditions: "# params 20 25 : 7 x" for the extended protocol with declared types and values,
// "# path a, b", "# hint shard=b", "# temporary", "# no run" for statements that PostgreSQL shall not be asked.
type planCase struct {
	notes     []string
	statement string
	want      string
}

func TestPlans(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	cluster := pgtest.Start(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := readParts(string(raw))
			fx := newFixture(ctx, t, cluster, strings.TrimSuffix(filepath.Base(file), ".txtar"), parts["schema.sql"], parts["map"])
			cases := readCases(parts["cases"])
			for i := range cases {
				c := &cases[i]
				got := fx.plan(ctx, c)
				if *update {
					c.want = got
				} else if got != c.want {
					t.Errorf("%s\n%s\n got %s\nwant %s", strings.Join(c.notes, "\n"), c.statement, got, c.want)
				}
				fx.compare(ctx, t, c)
			}
			if *update {
				head, _, _ := strings.Cut(string(raw), "-- cases --\n")
				if err := os.WriteFile(file, []byte(head+"-- cases --\n"+writeCases(cases)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// readParts cuts a txtar archive at its "-- name --" lines.
func readParts(s string) map[string]string {
	parts := map[string]string{}
	name := ""
	for line := range strings.Lines(s) {
		if n, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(n, " --\n") {
			name = strings.TrimSuffix(n, " --\n")
			continue
		}
		parts[name] += line
	}
	return parts
}

func readCases(s string) []planCase {
	var cases []planCase
	var c planCase
	var lines []string
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "=> "):
			c.statement, c.want = strings.Join(lines, "\n"), strings.TrimPrefix(line, "=> ")
			cases = append(cases, c)
			c, lines = planCase{}, nil
		case strings.HasPrefix(line, "# "):
			c.notes = append(c.notes, line)
		case line == "" && len(lines) == 0:
		case line == "": // a statement without an answer yet
			c.statement = strings.Join(lines, "\n")
			cases = append(cases, c)
			c, lines = planCase{}, nil
		default:
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 {
		c.statement = strings.Join(lines, "\n")
		cases = append(cases, c)
	}
	return cases
}

func writeCases(cases []planCase) string {
	var b strings.Builder
	for _, c := range cases {
		for _, n := range c.notes {
			fmt.Fprintln(&b, n)
		}
		fmt.Fprintf(&b, "%s\n=> %s\n\n", c.statement, c.want)
	}
	return b.String()
}

// textParams are parameters in text format; an element "NULL" is NULL.
type textParams []string

func (p textParams) Len() int { return len(p) }

func (p textParams) Param(i int) ([]byte, bool, bool) { return []byte(p[i]), false, p[i] == "NULL" }

// conditions reads the notes of a case.
func (c *planCase) conditions() (env Env, types []uint32, values textParams, extended, run bool) {
	env = Env{User: "postgres", StringsPlain: true, UTF8: true}
	run = true
	for _, n := range c.notes {
		word, rest, _ := strings.Cut(strings.TrimPrefix(n, "# "), " ")
		switch word {
		case "params":
			extended = true
			before, after, _ := strings.Cut(rest, ":")
			for _, w := range strings.Fields(before) {
				oid, _ := strconv.Atoi(w)
				types = append(types, uint32(oid))
			}
			values = strings.Fields(after)
		case "path":
			env.SearchPath = rest
		case "temporary":
			env.Temporary = true
		case "latin":
			env.UTF8 = false
		case "hint":
			k, v, _ := strings.Cut(rest, "=")
			if k == "shard" {
				env.Hint.Shard = v
			} else {
				env.Hint.Key, env.Hint.HasKey = v, true
			}
		case "no":
			run = false
		}
	}
	return env, types, values, extended, run
}

// plans plans a case.
func (fx *fixture) plans(ctx context.Context, c *planCase) ([]Statement, error) {
	env, types, values, extended, _ := c.conditions()
	if !extended {
		return fx.db.Query(ctx, env, []byte(c.statement))
	}
	p, err := fx.db.Prepare(ctx, env, []byte(c.statement), types)
	if err != nil {
		return nil, err
	}
	plan, err := p.Plan(values)
	return []Statement{{End: len(c.statement), Plan: plan}}, err
}

// plan plans a case, twice, the second time from the cache, and describes the result.
func (fx *fixture) plan(ctx context.Context, c *planCase) string {
	stmts, err := fx.plans(ctx, c)
	first := fx.describe(stmts, err)
	stmts, err = fx.plans(ctx, c)
	if second := fx.describe(stmts, err); second != first {
		return first + " THEN " + second
	}
	return first
}

func (fx *fixture) describe(stmts []Statement, err error) string {
	var e *Error
	if errors.As(err, &e) {
		return "refused " + e.Construct + " (" + e.Code + "): " + e.Message
	}
	if err != nil {
		return "error " + err.Error()
	}
	var out []string
	for i := range stmts {
		out = append(out, fx.describePlan(&stmts[i].Plan))
	}
	return strings.Join(out, " ; ")
}

func (fx *fixture) describePlan(p *Plan) string {
	names := fx.m.Shards()
	s := p.Kind.String()
	switch p.Kind {
	case Forward:
		s += " " + names[p.Shard]
	case Command:
		s += fmt.Sprintf(" %d", p.Control)
		if p.Hint != (Hint{}) {
			s += fmt.Sprintf(" %+v", p.Hint)
		}
	case Explain:
		s += " [" + fx.describePlan(p.Inner) + "]"
	case NextID:
		s += fx.describeDrawn(p)
	default:
		for _, part := range p.Parts {
			s += " " + names[part.Shard]
			if part.Text != nil {
				s += fmt.Sprintf(" {%s}", part.Text)
			}
			if part.Rows != nil {
				s += fmt.Sprint(" rows ", part.Rows)
			}
			if part.Params != nil {
				s += fmt.Sprint(" params ", part.Params)
			}
		}
	}
	if p.Limit >= 0 {
		s += fmt.Sprint(" limit ", p.Limit)
	}
	if p.Offset > 0 {
		s += fmt.Sprint(" offset ", p.Offset)
	}
	if p.Move != nil {
		if p.Move.Rows != nil {
			s += fmt.Sprintf(" then {%s}", strings.Join(p.Move.Rows.shown(), "} {"))
		}
		s += fmt.Sprintf(" then {%s}", p.Move.Insert)
	}
	if p.Lock != "" {
		s += fmt.Sprintf(" after {%s}", p.Lock)
	}
	if p.Replay != nil {
		s += fmt.Sprintf(" shows %d", p.Replay.Shown)
	}
	if p.Copy != nil {
		s += fmt.Sprintf(" key at %v of %d", p.Copy.KeyColumns, len(p.Copy.Columns))
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{p.Name != "", "name=" + p.Name}, {p.Local, "local"}, {p.Chain, "chain"}, {p.NoTx, "notx"}, {p.Writes, "writes"}, {p.Rows, "rows"}} {
		if f.set {
			s += " " + f.name
		}
	}
	return s
}

// compare runs a statement that was not refused on the one database and by its plan, and compares what comes back and what the
// tables hold then.
func (fx *fixture) compare(ctx context.Context, t *testing.T, c *planCase) {
	t.Helper()
	_, _, values, _, run := c.conditions()
	stmts, err := fx.plans(ctx, c)
	if err != nil || len(stmts) != 1 || !run || strings.HasPrefix(c.want, "refused") {
		return
	}
	plan := &stmts[0].Plan
	if plan.Drawn != nil {
		fx.compareDrawn(ctx, t, c, plan, values)
		return
	}
	switch plan.Kind {
	case Forward, Anywhere, Gather, Split, Everywhere, MoveRow, ReplayRows:
	default:
		return
	}
	if plan.NoTx || plan.Key == "hint" {
		return
	}
	all := append([]*pgconn.PgConn{fx.one}, fx.shards...)
	for _, conn := range all {
		fx.must(ctx, t, conn, "BEGIN")
		if env, _, _, _, _ := c.conditions(); env.SearchPath != "" {
			fx.must(ctx, t, conn, "SET LOCAL search_path = "+env.SearchPath)
		}
	}
	defer func() {
		for _, conn := range all {
			fx.must(ctx, t, conn, "ROLLBACK")
		}
	}()
	want := run1(ctx, fx.one, c.statement, values)
	if want.code == "" {
		fx.ran++
	}
	var got outcome
	switch plan.Kind {
	case Forward:
		got = run1(ctx, fx.shards[plan.Shard], c.statement, values)
	case Anywhere:
		for _, s := range fx.shards {
			if got = run1(ctx, s, c.statement, values); !same(got, want) {
				break
			}
		}
	case MoveRow:
		got = fx.moveRows(ctx, plan, c)
	case ReplayRows:
		fx.replayRows(ctx, t, plan, c, want)
		return
	default:
		for i, part := range plan.Parts {
			text, own := c.statement, values
			if part.Text != nil {
				text = string(part.Text)
			}
			if part.Params != nil {
				own = nil
				for _, n := range part.Params {
					own = append(own, values[n])
				}
			}
			res := run1(ctx, fx.shards[part.Shard], text, own)
			if plan.Kind == Everywhere && i > 0 {
				if !same(res, got) {
					t.Errorf("%s\nshards differ: %v and %v", c.statement, got, res)
				}
				continue
			}
			got.rows = append(got.rows, res.rows...)
			got.count += res.count
			if res.code != "" {
				got.code = res.code
			}
		}
		slices.Sort(got.rows)
		if plan.Kind == Gather {
			// Any rows will do, as many as there must be.
			if plan.Limit >= 0 || plan.Offset > 0 {
				n := max(0, int64(len(got.rows))-plan.Offset)
				if plan.Limit >= 0 {
					n = min(n, plan.Limit)
				}
				if int(n) != len(want.rows) || got.code != want.code {
					t.Errorf("%s\n%d rows, want %d %s %s", c.statement, n, len(want.rows), got.code, want.code)
				}
				return
			}
		}
	}
	if got.code != "" && want.code != "" {
		if got.code != want.code {
			t.Errorf("%s\n%s\n got error %s\nwant error %s", c.statement, c.want, got.code, want.code)
		}
		return
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); d != "" {
		t.Errorf("%s\n%s\n%s", c.statement, c.want, d)
		return
	}
	if plan.Writes && want.code == "" {
		fx.sameTables(ctx, t, c)
	}
}

// outcome is what a statement did: its rows, sorted, the number of its tag, or the SQLSTATE of its error.
type outcome struct {
	rows  []string
	count int64
	code  string
}

func same(a, b outcome) bool { return cmp.Equal(a, b, cmp.AllowUnexported(outcome{})) }

func run1(ctx context.Context, conn *pgconn.PgConn, sql string, values textParams) outcome {
	args := make([][]byte, len(values))
	for i, v := range values {
		if v != "NULL" {
			args[i] = []byte(v)
		}
	}
	res := conn.ExecParams(ctx, sql, args, nil, nil, nil).Read()
	var pg *pgconn.PgError
	if errors.As(res.Err, &pg) {
		return outcome{code: pg.Code}
	}
	if res.Err != nil {
		return outcome{code: res.Err.Error()}
	}
	o := outcome{count: res.CommandTag.RowsAffected()}
	for _, row := range res.Rows {
		fields := make([]string, len(row))
		for k, f := range row {
			fields[k] = string(f)
			if f == nil {
				fields[k] = "NULL"
			}
		}
		o.rows = append(o.rows, strings.Join(fields, "|"))
	}
	slices.Sort(o.rows)
	return o
}

func (fx *fixture) must(ctx context.Context, t *testing.T, conn *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// sameTables compares what all tables hold.
func (fx *fixture) sameTables(ctx context.Context, t *testing.T, c *planCase) {
	t.Helper()
	for _, name := range fx.tables {
		schema, table, _ := strings.Cut(strings.ReplaceAll(name, `"`, ""), ".")
		place := fx.m.Table(schema, table)
		sql := "SELECT t::text FROM " + name + " t"
		want := run1(ctx, fx.one, sql, nil)
		var got outcome
		for i, s := range fx.shards {
			res := run1(ctx, s, sql, nil)
			if place.Kind == Reference {
				if d := cmp.Diff(want.rows, res.rows); d != "" {
					t.Errorf("%s\n%s on shard %d: %s", c.statement, name, i, d)
				}
				continue
			}
			got.rows = append(got.rows, res.rows...)
		}
		slices.Sort(got.rows)
		if d := cmp.Diff(want.rows, got.rows); place.Kind != Reference && d != "" {
			t.Errorf("%s\n%s\n%s: %s", c.statement, c.want, name, d)
		}
	}
}
