package shard

import (
	"context"
	"errors"
	"strings"
)

// RouteRow explains where a statement goes, on one shard. ROUTE shows these rows.
type RouteRow struct {
	Statement int    // of the text, from 1
	Tier      int    // 0 for what the session does itself
	Kind      string // a Kind, or "refused"
	Shard     string // "" where it is any, or none
	Key       string // what pins the statement: "customer = 42"
	Text      string // what the shard is sent
	Reason    string // of a refusal: message, DETAIL and HINT
	Refused   *Error // the refusal
}

// Route explains where the statements of a simple query go, without running them. A refusal is a row; the error is that of ctx.
func (db *DB) Route(ctx context.Context, env Env, text []byte) ([]RouteRow, error) {
	stmts, err := db.Query(ctx, env, text)
	var refused *Error
	if errors.As(err, &refused) {
		reason := refused.Message
		for _, more := range [...]string{refused.Detail, refused.Hint} {
			if more != "" {
				reason += "\n" + more
			}
		}
		return []RouteRow{{Statement: 1, Kind: "refused", Text: string(text), Reason: reason, Refused: refused}}, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []RouteRow
	for i := range stmts {
		s := &stmts[i]
		own := text[s.Start:s.End]
		row := RouteRow{Statement: i + 1, Tier: s.Plan.Tier, Kind: s.Plan.Kind.String(), Key: s.Plan.Key, Text: string(own)}
		if key := db.keyText(env, s, text); key != "" {
			row.Key = key
		}
		if s.Plan.Kind == NextID || s.Plan.Inner != nil && s.Plan.Inner.Kind == NextID {
			row.Key += " = pgdrover.next_id()" // which shard that is nobody knows before
		}
		parts := s.Plan.Parts
		if s.Plan.Inner != nil {
			parts = s.Plan.Inner.Parts
			if n, ok := s.Plan.Inner.One(); ok && len(parts) == 0 {
				parts = []Part{{Shard: n}}
			}
		}
		if s.Plan.Kind == Forward {
			parts = []Part{{Shard: s.Plan.Shard}}
		}
		if len(parts) == 0 {
			rows = append(rows, row)
		}
		for _, p := range parts {
			row.Shard, row.Text = db.m.Shards()[p.Shard], string(own)
			if p.Text != nil {
				row.Text = string(p.Text)
			}
			rows = append(rows, row)
		}
		if move := s.Plan.Move; move != nil {
			row.Shard, row.Text = db.m.Shards()[parts[0].Shard], string(move.Insert)
			if move.Rows != nil { // each row has a shard of its own
				row.Shard = ""
				for _, text := range move.Rows.shown() {
					row.Text = text
					rows = append(rows, row)
				}
				row.Text = string(move.Insert)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// maxKeyValues is how many values of a key Route shows.
const maxKeyValues = 10

// keyText writes the key of a statement with its values.
func (db *DB) keyText(env Env, s *Statement, text []byte) string {
	if s.entry == nil || s.Plan.Key == "hint" || len(s.entry.shape.rels) == 0 {
		return ""
	}
	sh := s.entry.shape
	w := db.folders.Get().(*workspace)
	defer db.folders.Put(w)
	if w.folder.Fold(text[s.Start:s.End], !env.StringsPlain) != nil || len(w.folder.Statements) != 1 {
		return ""
	}
	b := binding{text: text[s.Start:s.End], literals: w.folder.LiteralsOf(&w.folder.Statements[0])}
	var keys []string
	for i := range sh.rels {
		r := &sh.rels[i]
		if len(r.combos) == 0 {
			continue
		}
		var columns []string
		for _, p := range r.combos[0] {
			values, ok := b.values(sh, p)
			if !ok {
				return ""
			}
			var texts []string
			for n, v := range values {
				if n == maxKeyValues {
					texts = append(texts, "…")
					break
				}
				texts = append(texts, v.Text())
			}
			columns = append(columns, strings.Join(texts, " or "))
		}
		key := r.table.Key.Name + " = " + strings.Join(columns, ", ")
		if !contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, "; ")
}
