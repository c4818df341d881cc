package shard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// mover carries out an UPDATE that moves rows.
type mover struct {
	fx     *fixture
	plan   *Plan
	args   [][]byte
	types  []uint32
	got    outcome
	failed error
}

// moveRows carries out an UPDATE that moves rows.
func (fx *fixture) moveRows(ctx context.Context, plan *Plan, c *planCase) outcome {
	_, declared, values, _, _ := c.conditions()
	m := mover{fx: fx, plan: plan, types: declared}
	for _, v := range values {
		arg := []byte(v)
		if v == "NULL" {
			arg = nil
		}
		m.args = append(m.args, arg)
	}
	if plan.Move.Rows == nil {
		m.one(ctx, c.statement, values)
	} else {
		m.each(ctx, c.statement)
	}
	var pe *pgconn.PgError
	var se *Error
	switch {
	case errors.As(m.failed, &pe):
		return outcome{code: pe.Code}
	case errors.As(m.failed, &se):
		return outcome{code: se.Code}
	case m.failed != nil:
		return outcome{code: m.failed.Error()}
	}
	slices.Sort(m.got.rows)
	return m.got
}

// one has all rows go to the first part.
func (m *mover) one(ctx context.Context, statement string, values textParams) {
	to := m.plan.Parts[0].Shard
	m.got = run1(ctx, m.fx.shards[to], statement, values)
	if m.got.code != "" {
		return
	}
	for _, part := range m.plan.Parts[1:] {
		m.store(ctx, to, m.run(ctx, part.Shard, part.Text, m.formats()))
	}
}

// each has each row go to a shard of its own.
func (m *mover) each(ctx context.Context, statement string) {
	rows := m.plan.Move.Rows
	stay, away, to := map[int]*Places{}, map[int]*Places{}, map[[2]int]*Places{}
	for i, part := range m.plan.Parts {
		at := part.Shard
		described, err := m.fx.shards[at].Prepare(ctx, "", statement, m.types)
		if err != nil {
			m.failed = err
			return
		}
		if i == 0 {
			m.types = described.ParamOIDs
		}
		stay[at], away[at] = &Places{}, &Places{}
		for _, row := range m.run(ctx, at, part.Text, append([]int16{0, 0}, slices.Repeat([]int16{1}, rows.Keys())...)).Rows {
			n, err := rows.Locate(row[2:])
			switch {
			case err != nil:
				m.failed = err
				return
			case n < 0 || n == at:
				stay[at].Add(row[0], row[1])
				continue
			}
			if to[[2]int{at, n}] == nil {
				to[[2]int{at, n}] = &Places{}
			}
			to[[2]int{at, n}].Add(row[0], row[1])
			away[at].Add(row[0], row[1])
		}
	}
	for at, p := range stay {
		m.note(m.run(ctx, at, rows.Update(p), nil))
	}
	for way, p := range to {
		m.store(ctx, way[1], m.run(ctx, way[0], rows.Values(p), m.formats()))
	}
	m.args, m.types = nil, nil
	for at, p := range away {
		m.run(ctx, at, rows.Remove(p), nil)
	}
}

func (m *mover) formats() (formats []int16) {
	for _, col := range m.plan.Move.Columns {
		if col.Binary {
			formats = append(formats, 1)
		} else {
			formats = append(formats, 0)
		}
	}
	return formats
}

// run runs a text with the statement's parameters.
func (m *mover) run(ctx context.Context, at int, text []byte, formats []int16) *pgconn.Result {
	if m.failed != nil {
		return &pgconn.Result{}
	}
	res := m.fx.shards[at].ExecParams(ctx, string(text), m.args, m.types, nil, formats).Read()
	m.failed = res.Err
	return res
}

// store inserts rows on a shard.
func (m *mover) store(ctx context.Context, to int, from *pgconn.Result) {
	for _, row := range from.Rows {
		types := make([]uint32, len(row))
		for i, col := range m.plan.Move.Columns {
			if col.Typed {
				types[i] = from.FieldDescriptions[i].DataTypeOID
			}
		}
		if m.failed != nil {
			return
		}
		res := m.fx.shards[to].ExecParams(ctx, string(m.plan.Move.Insert), row, types, m.formats(), nil).Read()
		m.failed = res.Err
		m.note(res)
	}
}

// note adds up what the client would get.
func (m *mover) note(res *pgconn.Result) {
	m.got.count += res.CommandTag.RowsAffected()
	for _, row := range res.Rows {
		var texts []string
		for _, f := range row {
			if f == nil {
				f = []byte("NULL")
			}
			texts = append(texts, string(f))
		}
		m.got.rows = append(m.got.rows, strings.Join(texts, "|"))
	}
}

func TestPlacesAreOneConditionForEachTable(t *testing.T) {
	t.Parallel()
	var p Places
	if got := p.where("t"); got != " WHERE false" {
		t.Errorf("none: %q", got)
	}
	for _, row := range [][2]string{{"16400", "(0,1)"}, {"16405", "(0,1)"}, {"16400", "(7,12)"}} {
		p.Add([]byte(row[0]), []byte(row[1]))
	}
	want := ` WHERE t.tableoid OPERATOR(pg_catalog.=) 16400 AND t.ctid OPERATOR(pg_catalog.=) ANY ('{"(0,1)","(7,12)"}'::pg_catalog.tid[])` +
		` OR t.tableoid OPERATOR(pg_catalog.=) 16405 AND t.ctid OPERATOR(pg_catalog.=) ANY ('{"(0,1)"}'::pg_catalog.tid[])`
	if got := p.where("t"); got != want || p.Count != 3 {
		t.Errorf("%d rows:\n got %s\nwant %s", p.Count, got, want)
	}
}
