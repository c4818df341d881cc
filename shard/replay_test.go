package shard

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pgdrover/internal/sqlparse"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
)

// replayRows carries out a write whose rows are repeated, and compares the copies with each other: what the clock and chance have put into them differs from
// what the one database has.
func (fx *fixture) replayRows(ctx context.Context, t *testing.T, plan *Plan, c *planCase, want outcome) {
	t.Helper()
	_, declared, values, _, _ := c.conditions()
	replay := plan.Replay
	formats := make([]int16, replay.Shown)
	for _, col := range replay.Columns {
		format := int16(0)
		if col.Binary {
			format = 1
		}
		formats = append(formats, format)
	}
	var args [][]byte
	for _, v := range values {
		arg := []byte(v)
		if v == "NULL" {
			arg = nil
		}
		args = append(args, arg)
	}
	lead := fx.shards[plan.Parts[0].Shard].ExecParams(ctx, string(plan.Parts[0].Text), args, declared, nil, formats).Read()
	var pe *pgconn.PgError
	if errors.As(lead.Err, &pe) || lead.Err != nil || want.code != "" {
		if pe == nil || pe.Code != want.code {
			t.Errorf("%s\n%s\ngot error %v, want %q", c.statement, plan.Parts[0].Text, lead.Err, want.code)
		}
		return
	}
	if lead.CommandTag.RowsAffected() != want.count {
		t.Errorf("%s: %d rows, want %d", c.statement, lead.CommandTag.RowsAffected(), want.count)
	}
	for rows := lead.Rows; len(rows) > 0; {
		n := min(replay.Most, len(rows), 2)
		var row [][]byte
		var types []uint32
		var codes []int16
		for _, fields := range rows[:n] {
			row = append(row, fields[replay.Shown:]...)
			codes = append(codes, formats[replay.Shown:]...)
			for i, col := range replay.Columns {
				oid := uint32(0)
				if col.Typed {
					oid = lead.FieldDescriptions[replay.Shown+i].DataTypeOID
				}
				types = append(types, oid)
			}
		}
		rows = rows[n:]
		for _, part := range plan.Parts[1:] {
			res := fx.shards[part.Shard].ExecParams(ctx, string(replay.Text(n)), row, types, codes, nil).Read()
			if res.Err != nil || res.CommandTag.RowsAffected() != int64(n) {
				t.Errorf("%s\n%s\n%v, %v", c.statement, replay.Text(n), res.CommandTag, res.Err)
				return
			}
		}
	}
	for _, name := range fx.tables {
		if place := fx.m.Table("public", name[len(`"public"."`):len(name)-1]); place == nil || place.Kind != Reference {
			continue
		}
		first := run1(ctx, fx.shards[0], "SELECT t::text FROM "+name+" t", nil)
		for i, s := range fx.shards[1:] {
			if d := cmp.Diff(first, run1(ctx, s, "SELECT t::text FROM "+name+" t", nil), cmp.AllowUnexported(outcome{})); d != "" {
				t.Errorf("%s\n%s on shard %d: %s", c.statement, name, i+1, d)
			}
		}
	}
}

func TestReplayedRowsAreNumberedThroughAndFitIntoTheirStatement(t *testing.T) {
	t.Parallel()
	r := Replay{head: "DELETE FROM t WHERE (a, b) IN (", tail: ")", row: tuple(2), Columns: make([]MoveColumn, 2)}
	if got := string(r.Text(2)); got != "DELETE FROM t WHERE (a, b) IN (($1, $2), ($3, $4))" {
		t.Error(got)
	}
	r = Replay{row: []string{"UPDATE t SET a = ", " WHERE b = ", ""}, Columns: make([]MoveColumn, 2)}
	if got := string(r.Text(1)); got != "UPDATE t SET a = $1 WHERE b = $2" {
		t.Error(got)
	}
}

func TestTheLeadingStatementKeepsThePlacesOfErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text     string
		from, to int // of a simple query's statement; 0, 0 for the extended protocol
		want     string
	}{
		{"DELETE FROM t", 0, 0, "DELETE FROM t RETURNING a"},
		{" /* x */ DELETE FROM t ; -- y\n", 0, 0, " /* x */ DELETE FROM t RETURNING a"},
		{"/* ; */ DELETE FROM t;; -- ;", 8, 21, "/* ; */ DELETE FROM t RETURNING a"},
		{"/**/ DELETE FROM t; SELECT 1", 5, 18, "DELETE FROM t RETURNING a"},
		{"SELECT 1; DELETE FROM t;", 10, 23, "DELETE FROM t RETURNING a"},
		{"DELETE FROM t WHERE a = ';' -- x", 0, 27, "DELETE FROM t WHERE a = ';' RETURNING a"},
	} {
		b := binding{text: []byte(c.text)}
		if c.to > 0 {
			b.stmt = &sqlparse.Shape{First: c.from, Last: c.to}
		}
		if got := string(b.lead(" RETURNING a")); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestAWordThatMeansTheTimeIsFound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("2020-01-01,", 20)
	for text, want := range map[string]bool{
		"now": true, " NOW ": true, "tomorrow 10:00": true, "Today": true, "{now}": true, "{" + long + "yesterday}": true, " [" + long + "now)": true,
		"": false, "know": false, "nowhere": false, "2020-01-01": false, "infinity": false, long + "now": false, "{" + long + "}": false,
	} {
		if got := isMoment([]byte(text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
