package sqlparse

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSpliceReplacesRangesInOrder(t *testing.T) {
	t.Parallel()
	text := []byte("SELECT a FROM t LIMIT 10")
	for _, tt := range []struct {
		edits []Edit
		want  string
	}{
		{nil, "SELECT a FROM t LIMIT 10"},
		{[]Edit{{7, 8, "a, b"}, {22, 24, "99"}}, "SELECT a, b FROM t LIMIT 99"},
		{[]Edit{{0, 0, "/* x */ "}, {0, 0, "y "}, {24, 24, ";"}}, "/* x */ y SELECT a FROM t LIMIT 10;"},
		{[]Edit{{15, 24, ""}}, "SELECT a FROM t"},
		{[]Edit{{7, 9, ""}, {8, 9, ""}}, "error"},
		{[]Edit{{5, 4, ""}}, "error"},
		{[]Edit{{0, 25, ""}}, "error"},
		{[]Edit{{-1, 0, ""}}, "error"},
	} {
		got, err := Splice(text, tt.edits)
		if err != nil {
			got = []byte("error")
		}
		if string(got) != tt.want {
			t.Errorf("%v\n got %s\nwant %s", tt.edits, got, tt.want)
		}
	}
	if string(text) != "SELECT a FROM t LIMIT 10" {
		t.Error("the text was changed")
	}
}

func TestAnExpressionEndsBeforeWhatCannotContinueIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ before, want, after string }{
		{"SELECT a FROM t LIMIT ", "10", " OFFSET 5"},
		{"SELECT a FROM t LIMIT ", "$1 + (2 * 3)", " -- c\n FOR UPDATE"},
		{"SELECT a FROM t LIMIT ", "10", " ; SELECT 2"},
		{"SELECT ", "f(a, b) + CASE WHEN x THEN 1 ELSE 2 END", ", c FROM t"},
		{"SELECT ", "a IS DISTINCT FROM b", " FROM t"},
		{"SELECT ", "extract(year FROM b)", " AS y FROM t"},
		{"SELECT ", "t.order", " FROM t"},
		{"SELECT (", "a || ', ' || (SELECT x FROM y LIMIT 1)", ") FROM t"},
		{"SELECT a FROM t FETCH FIRST ", "5", " ROWS ONLY"},
		{"SELECT ", "ROW(1, 2) = (a, b)", " FROM t"},
		{"SELECT a FROM t ORDER BY ", `b COLLATE "C"`, " DESC NULLS LAST, c"},
		{"SELECT ", "'a'\n'b'", ""},
		{"SELECT ", "", "FROM t"},
		{"SELECT ", "", ""},
	} {
		sql := tt.before + tt.want + tt.after
		end, err := ExpressionEnd([]byte(sql), len(tt.before), false)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%q has an expression", sql)
			}
			continue
		}
		if err != nil || sql[len(tt.before):end] != tt.want {
			t.Errorf("%q: ends at %d, %v", sql, end, err)
		}
	}
	for _, sql := range []string{"(1", "CASE 1", "'x", ")", "a + (b, c"} {
		if end, err := ExpressionEnd([]byte(sql), 0, false); err == nil && end != 1 {
			t.Errorf("%q ends at %d", sql, end)
		}
	}
}

func TestQuotedValuesAreReadBackWhateverTheServersStrings(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	rapid.Check(t, func(t *rapid.T) {
		value := strings.ReplaceAll(rapid.StringOf(rapid.RuneFrom([]rune(`ab'"\ éü`+"\n"))).Draw(t, "value"), "\x00", "")
		backslashes := rapid.Bool().Draw(t, "backslashes")
		sql := "SELECT a AS " + QuoteIdent("n"+value[:min(len(value), 0)]+strings.Repeat(`"`, len(value)%5)) + ", x=" + QuoteLiteral(value)
		tree, err := p.Parse(t.Context(), []byte(sql), backslashes)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		targets := tree.Statements[0].Node.GetSelectStmt().GetTargetList()
		if got := targets[1].GetResTarget().GetVal().GetAExpr().GetRexpr().GetAConst().GetSval().GetSval(); got != value {
			t.Fatalf("%s is read as %q", sql, got)
		}
		if got, want := targets[0].GetResTarget().GetName(), "n"+strings.Repeat(`"`, len(value)%5); got != want {
			t.Fatalf("%s: the name is %q", sql, got)
		}
	})
}

func TestPositionsCountCharacters(t *testing.T) {
	t.Parallel()
	text := []byte("aü€😀\xffz")
	for _, tt := range []struct{ offset, position int }{{0, 1}, {1, 2}, {3, 3}, {6, 4}, {10, 5}, {11, 6}, {12, 7}} {
		if got := CharPosition(text, tt.offset); got != tt.position {
			t.Errorf("byte %d is character %d, want %d", tt.offset, got, tt.position)
		}
		if got := ByteOffset(text, tt.position); got != tt.offset {
			t.Errorf("character %d is byte %d, want %d", tt.position, got, tt.offset)
		}
	}
	if CharPosition(text, -5) != 1 || CharPosition(text, 99) != 7 || ByteOffset(text, 99) != 12 || ByteOffset(text, -1) != 0 {
		t.Error("offsets out of range")
	}
}
