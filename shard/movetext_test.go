package shard

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/sqlparse"
)

func TestAnUpdateIsCutAtItsOwnKeyWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want updateText
	}{
		{"UPDATE t SET a = 1", updateText{target: "t", items: []setText{{"a", "1"}}}},
		{
			"/* x */ update public.t AS s set A=(1, 2), \"B \"\" c\" = f(a, b) -- ,\n , c = CASE WHEN x THEN 1 ELSE 2 END where a = 1 returning * ; ",
			updateText{target: "public.t AS s", items: []setText{{"a", "(1, 2)"}, {`B " c`, "f(a, b)"}, {"c", "CASE WHEN x THEN 1 ELSE 2 END"}}, where: " where a = 1", returning: " returning *"},
		},
		{"UPDATE set SET set = set.set RETURNING set.set", updateText{target: "set", items: []setText{{"set", "set.set"}}, returning: " RETURNING set.set"}},
		{"UPDATE x.set AS set SET a = t.where, b = 'where'", updateText{target: "x.set AS set", items: []setText{{"a", "t.where"}, {"b", "'where'"}}}},
		{"UPDATE t s SET a = ARRAY[1, 2] WHERE (SELECT 1 WHERE true) = 1", updateText{target: "t s", items: []setText{{"a", "ARRAY[1, 2]"}}, where: " WHERE (SELECT 1 WHERE true) = 1"}},
	} {
		got, ok := cutUpdate([]byte(c.text), false)
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(updateText{}, setText{})); d != "" || !ok {
			t.Errorf("%s: %v\n%s", c.text, ok, d)
		}
	}
	for _, text := range []string{"", "UPDATE", "UPDATE t", "UPDATE t SET", "UPDATE ONLY t SET a = 1", "UPDATE t SET (a, b) = (1, 2)", "UPDATE t SET a[1] = 1", "UPDATE t SET a = ", "DELETE FROM t", "UPDATE t SET a = 'x"} {
		if got, ok := cutUpdate([]byte(text), false); ok {
			t.Errorf("%q was cut: %+v", text, got)
		}
	}
}

func FuzzCutUpdate(f *testing.F) {
	for _, s := range []string{"UPDATE t SET a = 1, b = 'x' WHERE c RETURNING d", "update set set set = set", "UPDATE t SET a = E'\\'' || $$,$$ /* */ -- \n, b = c.where"} {
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, backslashes bool) {
		m, ok := cutUpdate([]byte(text), backslashes)
		if !ok {
			return
		}
		// Put together again, it is the same tokens, so the same statement.
		out := "UPDATE " + m.target + " SET "
		for i, item := range m.items {
			if i > 0 {
				out += ", "
			}
			out += sqlparse.QuoteIdent(item.column) + " = " + item.value
		}
		again, ok := cutUpdate([]byte(out+m.where+m.returning), backslashes)
		if !ok || !slices.Equal(m.items, again.items) || m.where != again.where || m.returning != again.returning || m.target != again.target {
			t.Errorf("%q was cut into %+v, and that into %+v", text, m, again)
		}
		if strings.Contains(m.target, ";") && !strings.Contains(m.target, `"`) {
			t.Errorf("%q: target %q", text, m.target)
		}
	})
}
