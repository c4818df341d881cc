package sqlparse

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func splitValues(sql string) string {
	var v Values
	if !SplitValues([]byte(sql), 0, len(sql), false, &v) {
		return "no"
	}
	out := sql[:v.Head]
	for _, r := range v.Rows {
		out += "|" + sql[r.Start:r.End]
	}
	return fmt.Sprintf("%s|%s %d", out, sql[v.Tail:], v.Columns)
}

func TestRowsOfAnInsertAreFoundWithoutTheParser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sql, want string }{
		{"INSERT INTO t (a, b) VALUES (1, 'x)'), (2, f(3, (4))) , (5, ARRAY[6,7]) RETURNING a", "INSERT INTO t (a, b) VALUES|(1, 'x)')|(2, f(3, (4)))|(5, ARRAY[6,7])| RETURNING a 2"},
		{"insert into t values(1)", "insert into t values|(1)| 1"},
		{"WITH q AS (INSERT INTO u VALUES (9) RETURNING *) INSERT INTO t VALUES (1, 2) ON CONFLICT DO NOTHING", "WITH q AS (INSERT INTO u VALUES (9) RETURNING *) INSERT INTO t VALUES|(1, 2)| ON CONFLICT DO NOTHING 2"},
		{"INSERT INTO values (values) VALUES (1)", "INSERT INTO values (values) VALUES|(1)| 1"},
		{"INSERT INTO s.values AS values VALUES (1) -- end", "INSERT INTO s.values AS values VALUES|(1)| -- end 1"},
		{"/* x */ INSERT INTO t VALUES /* y */ (1) /* z */ , (2)", "/* x */ INSERT INTO t VALUES|(1)|(2)| 1"},
		{"INSERT INTO t VALUES (1) UNION SELECT 2", "no"},
		{"INSERT INTO t VALUES (1), (2) ORDER BY 1", "no"},
		{"INSERT INTO t SELECT 1 FROM (VALUES (1)) v", "no"},
		{"INSERT INTO t (VALUES (1))", "no"},
		{"INSERT INTO t DEFAULT VALUES", "no"},
		{"INSERT INTO t VALUES (1", "no"},
		{"INSERT INTO t VALUES (1]", "no"},
		{"INSERT INTO t VALUES (1), ", "no"},
		{"WITH insert AS (SELECT 1) VALUES (1)", "no"},
		{"VALUES (1)", "no"},
		{"UPDATE t SET a = 1", "no"},
		{"", "no"},
	} {
		if got := splitValues(tt.sql); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.sql, got, tt.want)
		}
	}
}

func TestCellsTellConstantsFromExpressions(t *testing.T) {
	t.Parallel()
	sql := "(1, -2, - 1.5, 'a,b', E'c', $3, NULL, default, TRUE, false, 1 + 2, f(3, 4), 5::int, -'6', date '7', (8), -x, , ARRAY[1,2])"
	var got []string
	for _, c := range Cells(nil, []byte(sql), Span{0, len(sql)}, false) {
		s := fmt.Sprintf("%d", c.Kind)
		switch c.Kind {
		case CellLiteral:
			s = sql[c.Literal.Start:c.Literal.End]
			if c.Negative {
				s = "neg " + s
			}
		case CellParameter:
			s = fmt.Sprintf("$%d", c.Parameter)
		case CellOther:
			s = "other " + sql[c.Start:c.End]
		}
		got = append(got, s)
	}
	want := fmt.Sprintf("1|neg 2|neg 1.5|'a,b'|E'c'|$3|%d|%d|%d|%d|other 1 + 2|other f(3, 4)|other 5::int|other -'6'|other date '7'|other (8)|other -x|other |other ARRAY[1,2]", CellNull, CellDefault, CellTrue, CellFalse)
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

func TestALargeInsertIsParsedByItsFirstRow(t *testing.T) {
	t.Parallel()
	sql := []byte("INSERT INTO t (a, b) VALUES " + strings.Repeat("(1, 'some text'), ", 500_000) + "(2, 'x') RETURNING a")
	begin := time.Now()
	var v Values
	if !SplitValues(sql, 0, len(sql), false, &v) || len(v.Rows) != 500_001 {
		t.Fatalf("%d rows", len(v.Rows))
	}
	t.Logf("%d bytes in %v", len(sql), time.Since(begin))
	short, err := Splice(sql, []Edit{{Start: v.Rows[0].End, End: v.Tail}})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := newParser(t).Parse(testContext(t), short, false)
	if err != nil {
		t.Fatal(err)
	}
	insert := tree.Statements[0].Node.GetInsertStmt()
	if n := len(insert.GetSelectStmt().GetSelectStmt().GetValuesLists()); n != 1 || len(insert.GetReturningList()) != 1 {
		t.Errorf("%d rows parsed", n)
	}
}
