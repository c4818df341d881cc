package oracle

import (
	"context"
	"strings"

	"pgdrover/internal/sqlparse"
)

// maxTrials bounds the search for a smaller case.
const maxTrials = 600

// maxHangs bounds it where a trial takes as long as an exchange may.
const maxHangs = 6

// shrinker makes a case smaller as long as it shows a difference of the same kind.
type shrinker struct {
	w      *World
	kind   string
	trials int
	most   int
	best   *difference
	err    error
}

// minimise finds a smaller case with the same kind of difference.
func (w *World) minimise(ctx context.Context, u unit, first *difference) (*Found, error) {
	tally := w.duel.tally
	w.duel.tally = nil
	defer func() { w.duel.tally = tally }()
	s := &shrinker{w: w, kind: first.kind, best: first, most: maxTrials}
	if first.kind == "lost" || first.kind == codeLate || strings.Contains(first.kind, "57014") {
		s.most = maxHangs
	}
	f := &Found{World: w.Name, Case: u, Diff: first}
	if !s.shows(ctx, u) {
		f.Note = " (it does not show alone)"
		return f, s.err
	}
	for changed := true; changed && s.err == nil && s.trials < s.most; {
		changed = false
		for i := len(u) - 1; i >= 0 && len(u) > 1; i-- {
			if smaller := append(append(unit{}, u[:i]...), u[i+1:]...); s.shows(ctx, smaller) {
				u, changed = smaller, true
			}
		}
		for i := range u {
			if u[i].full != "" {
				continue // what the rows are compared with would have to shrink alike
			}
			if sql, ok := s.text(ctx, u, i); ok {
				u = u.with(i, sql)
				changed = true
			}
			for lines := strings.SplitAfter(u[i].data, "\n"); len(lines) > 1; {
				lines = lines[:len(lines)-1]
				smaller := u.with(i, u[i].sql)
				smaller[i].data = strings.Join(lines, "")
				if s.shows(ctx, smaller) {
					u, changed = smaller, true
				}
			}
		}
	}
	f.Case, f.Diff = u, s.best
	return f, s.err
}

func (u unit) with(i int, sql string) unit {
	out := append(unit{}, u...)
	out[i].sql = sql
	return out
}

// shows says whether a unit still shows the difference.
func (s *shrinker) shows(ctx context.Context, u unit) bool {
	if s.err != nil || s.trials >= s.most {
		return false
	}
	s.trials++
	diff, err := s.w.Case(ctx, u)
	if err != nil || ctx.Err() != nil {
		s.err = err
		return false
	}
	if diff == nil || diff.kind != s.kind {
		return false
	}
	s.best = diff
	return true
}

// text makes one statement shorter by leaving out stretches of tokens in which brackets are balanced, long ones first.
func (s *shrinker) text(ctx context.Context, u unit, i int) (string, bool) {
	sql, any := u[i].sql, false
	for length := len(tokens(sql)); length > 0; length = length * 2 / 3 {
		for from := 0; ; {
			list := tokens(sql)
			if from+length > len(list) {
				break
			}
			if smaller, ok := without(list, from, length); ok && s.shows(ctx, u.with(i, smaller)) {
				sql, any = smaller, true
				continue
			}
			from++
		}
		if length == 1 {
			break
		}
	}
	return sql, any
}

func tokens(sql string) []string {
	var out []string
	lx := sqlparse.Lexer{Text: []byte(sql)}
	for {
		t := lx.NextCode()
		if t.Start >= t.End || t.End > len(sql) {
			return out
		}
		out = append(out, sql[t.Start:t.End])
	}
}

// without leaves tokens out. It is not ok if brackets were torn, a parameter would vanish, or a result would begin to depend on chance.
func without(list []string, from, n int) (string, bool) {
	depth := 0
	for _, t := range list[from : from+n] {
		switch t {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		}
		if depth < 0 || strings.HasPrefix(t, "$") {
			return "", false
		}
	}
	if depth != 0 {
		return "", false
	}
	rest := append(append([]string{}, list[:from]...), list[from+n:]...)
	var chance, order, had int
	for _, t := range list {
		if strings.EqualFold(t, "ORDER") {
			had++
		}
	}
	for _, t := range rest {
		switch strings.ToUpper(t) {
		case "LIMIT", "OFFSET", "OVER", "FETCH", "DISTINCT", "STRING_AGG":
			chance++
		case "ORDER":
			order++
		}
	}
	return strings.Join(rest, " "), len(rest) > 0 && (chance == 0 || order == had)
}
