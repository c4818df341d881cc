package oracle

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/sqlparse"
)

// A difference is what must not be: the sharded side neither refused nor said the same.
type difference struct {
	kind  string // rows, order, columns, tag, error, status, lost, content; errors with their codes
	text  string
	write string // the statement, for the report
}

func (d *difference) Error() string { return d.kind + ": " + d.text }

// A duel is the two sides.
type duel struct {
	sharded, plain *session
	tally          *tally
	torn           bool // a write may have happened on one side only, because the other one took too long
	explained      explained
	routed         bool // the sharded side is sharded indeed
	inserted       int  // rows since the first rows were there, also those that were rolled back
}

// mostInserted bounds inserted, as far as one statement lets it. INSERT … SELECT multiplies rows, and joins of what became of them would take
// minutes on any server.
const mostInserted = 300

// full says that the tables have grown enough: they must be brought back before anything else.
func (d *duel) full() bool { return d.inserted > mostInserted }

// grown counts the rows that an exchange has put in.
func (d *duel) grown(o *outcome) {
	for i := range o.results {
		var n int
		if _, err := fmt.Sscanf(o.results[i].tag, "INSERT 0 %d", &n); err == nil {
			d.inserted += n
		}
	}
}

// run does a unit on both sides and returns the first difference, nil if there is none. Both sides are outside of a transaction
// afterwards.
func (d *duel) run(ctx context.Context, u unit) *difference {
	diff := d.steps(ctx, u)
	for _, s := range []*session{d.sharded, d.plain} {
		if s.conn != nil && (s.conn.IsClosed() || s.conn.TxStatus() != 'I') {
			if s.conn.IsClosed() || s.run(ctx, []step{{sql: "ROLLBACK"}}).code != "" {
				s.close()
			}
		}
	}
	return diff
}

func (d *duel) steps(ctx context.Context, u unit) *difference {
	for i := 0; i < len(u) && !d.full(); {
		n := i + 1
		for n < len(u) && u[n-1].more {
			n++
		}
		if diff := d.exchange(ctx, u[i:n]); diff != nil {
			diff.write = u[n-1].sql
			return diff
		}
		i = n
	}
	return nil
}

// exchange runs steps that belong together, on the sharded side first. A refusal there is answered on the plain side by what does the
// same to a transaction: an error.
func (d *duel) exchange(ctx context.Context, steps []step) *difference {
	got := d.sharded.run(ctx, steps)
	if ctx.Err() != nil {
		return nil
	}
	if diff := d.asExplained(steps, &got); diff != nil {
		return diff
	}
	if reason := refusalOf(got.err); reason != "" {
		d.tally.refused(steps, reason)
		return d.afterRefusal(ctx, steps, &got)
	}
	want := d.plain.run(ctx, steps)
	if ctx.Err() != nil {
		return nil
	}
	d.grown(&want)
	d.tally.took(steps, got.took, want.took)
	if want.code == codeLate { // nobody knows the right answer
		d.tally.tooSlow(steps)
		d.torn = true
		d.sharded.close()
		return nil
	}
	d.tally.answered(steps, want.code)
	return d.compare(ctx, steps, &got, &want)
}

// planHead is the first line of an EXPLAIN.
var planHead = regexp.MustCompile(`^"(Shard [a-e]|Any Shard, here [a-e]|[A-Z][a-z ]+ on Shards [a-e](, [a-e])*|Shard of pgdrover\.next_id\(\), here [a-e])  \(tier=[12]`)

// An explained is what became of an EXPLAIN.
type explained struct {
	sql    string
	reason string // of its refusal
}

// asExplained compares what became of a statement with what became of its EXPLAIN just before: what an EXPLAIN explains is not refused.
func (d *duel) asExplained(steps []step, got *outcome) *difference {
	before := d.explained
	reason := refusalOf(got.err)
	d.explained = explained{}
	if len(steps) > 1 {
		return nil
	}
	if steps[0].planned {
		d.explained = explained{strings.TrimPrefix(steps[0].sql, "EXPLAIN "), reason}
		return nil
	}
	// Writes that are taken apart have no EXPLAIN; some statements are refused while they run only.
	if before.sql == "" || before.sql != steps[0].sql || before.reason != "" || reason == "" || strings.HasPrefix(reason, "other: ") {
		return nil
	}
	return &difference{kind: "plan", text: fmt.Sprintf("EXPLAIN is answered, and the statement refused: %s", reason)}
}

// afterRefusal has the plain side do what was done before the refusal, and then fail.
func (d *duel) afterRefusal(ctx context.Context, steps []step, got *outcome) *difference {
	const failure = "SELECT 1/0"
	done := len(got.results)
	same := append(append([]step{}, steps[:min(done, len(steps))]...), step{sql: failure, extended: len(steps) > 1})
	if len(steps) == 1 {
		text := steps[0]
		text.sql = failure
		if parts := statements(steps[0].sql); !text.extended && done > 0 && done < len(parts) {
			text.sql = strings.Join(parts[:done], ";") + ";" + failure
		}
		text.extended, text.params = false, nil
		same = []step{text}
	}
	want := d.plain.run(ctx, same)
	if ctx.Err() != nil {
		return nil
	}
	if want.code == codeLate {
		d.torn = true
		d.sharded.close()
		return nil
	}
	want.code, got.described = got.code, nil
	return d.compare(ctx, same, got, &want)
}

// statements takes a text apart.
func statements(sql string) []string {
	f := sqlparse.NewFolder(maphash.MakeSeed())
	if f.Fold([]byte(sql), false) != nil {
		return nil
	}
	var out []string
	for i := range f.Statements {
		out = append(out, sql[f.Statements[i].First:f.Statements[i].Last])
	}
	return out
}

func (d *duel) compare(ctx context.Context, steps []step, got, want *outcome) *difference {
	loose := slices.ContainsFunc(steps, func(s step) bool { return s.loose })
	switch {
	case got.code != want.code && !(loose && got.code != "" && want.code != "" && got.code != "lost" && got.code != codeLate):
		kind := "error " + got.code + "/" + want.code
		if got.code == "lost" || got.code == codeLate {
			kind = got.code
		}
		return &difference{kind: kind, text: fmt.Sprintf("sharded: %s (%v)\nplain:   %s (%v)", describe(got), got.took.Round(time.Millisecond), describe(want), want.took.Round(time.Millisecond))}
	case got.status != want.status:
		return &difference{kind: "status", text: fmt.Sprintf("sharded: %c, plain: %c (%s)", got.status, want.status, describe(want))}
	case got.described != nil && want.described != nil && !slices.Equal(got.described, want.described): // a refusal may have kept one side from it
		return &difference{kind: "columns", text: fmt.Sprintf("Describe\nsharded: %v\nplain:   %v", got.described, want.described)}
	case len(got.results) != len(want.results):
		return &difference{kind: "rows", text: fmt.Sprintf("sharded: %d results, plain: %d results", len(got.results), len(want.results))}
	}
	for i := range want.results {
		g, w := &got.results[i], &want.results[i]
		// In a text of several statements only the last one's order is known; which is enough.
		last := i == len(want.results)-1
		st := &steps[len(steps)-1]
		if len(steps) > 1 { // a pipeline; what comes behind an error has no result
			st, last = &steps[i], true
		}
		if diff := d.compareResult(ctx, st, last, g, w); diff != nil {
			return diff
		}
	}
	return nil
}

func (d *duel) compareResult(ctx context.Context, st *step, own bool, got, want *result) *difference {
	if !slices.Equal(got.columns, want.columns) {
		return &difference{kind: "columns", text: fmt.Sprintf("\nsharded: %q\nplain:   %q", got.columns, want.columns)}
	}
	if st.planned {
		if d.routed && (len(got.rows) == 0 || !planHead.MatchString(got.rows[0])) {
			return &difference{kind: "plan", text: fmt.Sprintf("%q does not say where the statement goes", got.rows[:min(1, len(got.rows))])}
		}
		return nil
	}
	if got.tag != want.tag {
		return &difference{kind: "tag", text: fmt.Sprintf("sharded: %s, plain: %s%s", got.tag, want.tag, rowsDiffer(got.rows, want.rows))}
	}
	if slices.Equal(got.rows, want.rows) {
		return nil
	}
	if own && st.ordered {
		g, w := slices.Sorted(slices.Values(got.rows)), slices.Sorted(slices.Values(want.rows))
		if slices.Equal(g, w) {
			return &difference{kind: "order", text: fmt.Sprintf("\nsharded: %s\nplain:   %s", clip(got.rows), clip(want.rows))}
		}
	}
	if own && st.full != "" {
		return d.subset(ctx, st, got, want)
	}
	if text := rowsDiffer(got.rows, want.rows); text != "" {
		return &difference{kind: "rows", text: text}
	}
	return nil
}

// subset checks the rows of a LIMIT: they must be as many, and among the rows without LIMIT.
func (d *duel) subset(ctx context.Context, st *step, got, want *result) *difference {
	whole := *st
	whole.sql, whole.full, whole.prepared = st.full, "", ""
	if d.plain.conn.TxStatus() == 'E' {
		return nil
	}
	all := d.plain.run(ctx, []step{whole})
	if all.code == codeLate {
		d.torn = true
		d.sharded.close()
		return nil
	}
	if all.code != "" || len(all.results) != 1 {
		return &difference{kind: "error", text: fmt.Sprintf("the statement without LIMIT: %s: %v", all.code, all.err)}
	}
	left := map[string]int{}
	for _, r := range all.results[0].rows {
		left[r]++
	}
	for _, r := range got.rows {
		if left[r]--; left[r] < 0 {
			return &difference{kind: "rows", text: "a row that is not in the result without LIMIT, or too often: " + r}
		}
	}
	if len(got.rows) != len(want.rows) {
		return &difference{kind: "rows", text: fmt.Sprintf("sharded: %d rows, plain: %d", len(got.rows), len(want.rows))}
	}
	return nil
}

// rowsDiffer compares multisets; "" if they are equal.
func rowsDiffer(got, want []string) string {
	n := map[string]int{}
	for _, r := range want {
		n[r]++
	}
	var extra, missing []string
	for _, r := range got {
		if n[r]--; n[r] < 0 {
			extra = append(extra, r)
		}
	}
	for r, k := range n {
		for range k {
			missing = append(missing, r)
		}
	}
	if len(extra)+len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return fmt.Sprintf("\n%d rows instead of %d\nonly sharded: %s\nonly plain:   %s", len(got), len(want), clip(extra), clip(missing))
}

func clip(rows []string) string {
	const most = 8
	if len(rows) > most {
		return strings.Join(rows[:most], " | ") + fmt.Sprintf(" | … %d in all", len(rows))
	}
	return strings.Join(rows, " | ")
}

func describe(o *outcome) string {
	if o.err == nil {
		var tags []string
		for _, r := range o.results {
			tags = append(tags, r.tag)
		}
		return "no error, " + strings.Join(tags, "; ")
	}
	var pg *pgconn.PgError
	if errors.As(o.err, &pg) {
		return fmt.Sprintf("%s %s (detail: %s)", pg.Code, pg.Message, pg.Detail)
	}
	return o.err.Error()
}
