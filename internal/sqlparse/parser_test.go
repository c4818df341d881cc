package sqlparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestParseFindsEachStatementWithItsPlaceAndKind(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	sql := "SELECT 'é'; ;with x as (select 1) DELETE FROM t; COMMIT -- end"
	tree, err := p.Parse(testContext(t), []byte(sql), false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range tree.Statements {
		got = append(got, fmt.Sprintf("%d:%s", s.Kind, sql[s.Start:s.Start+s.Len]))
	}
	want := fmt.Sprintf("%d:SELECT 'é'|%d:with x as (select 1) DELETE FROM t|%d: COMMIT -- end", KindSelect, KindDelete, KindTransaction)
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	if tree, err := p.Parse(testContext(t), []byte(" -- nothing"), false); err != nil || len(tree.Statements) != 0 {
		t.Errorf("an empty text: %v, %v", tree, err)
	}
}

func TestErrorsAreTypedAndCountCharacters(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	for _, tt := range []struct {
		sql         string
		backslashes bool
		want        string
	}{
		{"SELEC 1", false, `syntax 1: syntax error at or near "SELEC"`},
		{"SELECT 'ü€' FROM FROM", false, `syntax 18: syntax error at or near "FROM"`},
		{"/*" + strings.Repeat("é", 1000) + "*/ FROM", false, `syntax 1006: syntax error at or near "FROM"`},
		{`SELECT 'ü\u00fc' FROM FROM`, true, `syntax 23: syntax error at or near "FROM"`},
		{"SELECT 1; SELECT (", false, "syntax 19: syntax error at end of input"},
		{"SELECT 'ü", false, `syntax 8: unterminated quoted string at or near "'ü"`},
		{"SELECT \"\"", false, `syntax 8: zero-length delimited identifier at or near """"`},
		{"SELECT 1a", false, `syntax 8: trailing junk after numeric literal at or near "1a"`},
		{"SELECT $70000", false, `syntax 8: there is no parameter $70000 at or near "$70000"`},
		{"SELECT 'a\x00'", false, `encoding 10: invalid byte sequence for encoding "UTF8": 0x00`},
		{"SELECT 'ü\xff'", false, `encoding 10: invalid byte sequence for encoding "UTF8": 0xff`},
		{"SELECT E'\\xff'", false, `encoding 8: invalid byte sequence for encoding "UTF8": 0xff`},
		{"SELECT E'a\\000b'", false, `encoding 8: invalid byte sequence for encoding "UTF8": 0x00`},
		{"SELECT E'ü\\u12'", false, `syntax 11: invalid Unicode escape`},
		{"SELECT E'\\ud800x'", false, `syntax 16: invalid Unicode surrogate pair`},
		{"SELECT '\\u12'", false, ""},
		{"SELECT '\\u12'", true, `syntax 9: invalid Unicode escape`},
		{"SELECT U&'a'", true, `syntax 8: unsafe use of string constant with Unicode escapes at or near "U&'a'"`},
	} {
		_, err := p.Parse(testContext(t), []byte(tt.sql), tt.backslashes)
		got := ""
		var (
			syntax   *SyntaxError
			encoding *EncodingError
		)
		switch {
		case errors.As(err, &syntax):
			got = fmt.Sprintf("syntax %d: %s", syntax.Position, err)
		case errors.As(err, &encoding):
			got = fmt.Sprintf("encoding %d: %s", encoding.Position, err)
		case err != nil:
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q\n got %s\nwant %s", tt.sql, got, tt.want)
		}
	}
}

// The C parser takes E'\000' for the end of the string and knows no comment between the parts of one.
func TestStringsMeanToTheParserWhatTheyMeanToTheServer(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	for _, tt := range []struct {
		sql         string
		backslashes bool
		want        []string
	}{
		{`SELECT 'a\'b', 'it''s \\x' , E'\t', 'plain'`, true, []string{"a'b", `it's \x`, "\t", "plain"}},
		{`SELECT 'a\'b'`, false, nil},
		{`SELECT 'a\nb', 'ü\u00fc', 'x\'y'`, true, []string{"a\nb", "üü", "x'y"}},
		{"SELECT 'a' -- it's\n -- two\n'b', 'c'", false, []string{"ab", "c"}},
		{"SELECT 'a\\n' -- it's\n'b', E'c\\'' --\n'd', 'e''--'\n'f'", true, []string{"a\nb", "c'd", "e'--f"}},
		{"SELECT b'10' -- x\n'11'", false, []string{"b1011"}},
	} {
		tree, err := p.Parse(testContext(t), []byte(tt.sql), tt.backslashes)
		if (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		if err != nil {
			continue
		}
		var got []string
		walk(tree.Statements[0].Node.ProtoReflect(), func(m protoreflect.Message) {
			if c, ok := m.Interface().(*pg_query.A_Const); ok {
				got = append(got, c.GetSval().GetSval()+c.GetBsval().GetBsval())
				if q := tt.sql[c.GetLocation()]; q != '\'' && q != 'E' && q != 'b' {
					t.Errorf("%s: a constant at %d", tt.sql, c.GetLocation())
				}
			}
		})
		if strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("%s\n got %q\nwant %q", tt.sql, got, tt.want)
		}
	}
}

// hostile returns texts that bring the C code down, or nearly, if they are long enough; n is the number of repetitions.
func hostile(n int) map[string]string {
	rep := strings.Repeat
	return map[string]string{
		"IN list":             "SELECT 1 WHERE x IN (1" + rep(",12345678", n) + ")",
		"string list":         "SELECT 1 WHERE x IN ('a'" + rep(",'a'", n) + ")",
		"parentheses":         "SELECT " + rep("(", n) + "1" + rep(")", n),
		"brackets":            "SELECT ARRAY" + rep("[", n) + "1" + rep("]", n),
		"subscripts":          "SELECT a" + rep("[1]", n),
		"additions":           "SELECT 1" + rep("+1", n),
		"signs":               "SELECT " + rep("- ", n) + "x",
		"signs in a row":      "SELECT " + rep("+-", n) + "x",
		"casts":               "SELECT 1" + rep("::int", n),
		"collations":          "SELECT a" + rep(` COLLATE "C"`, n),
		"time zones":          "SELECT a" + rep(" AT TIME ZONE 'x'", n),
		"is null":             "SELECT " + rep("(", n) + "a" + rep(" IS NULL)", n),
		"unions":              "SELECT 1" + rep(" UNION SELECT 1", n),
		"excepts":             rep("(SELECT 1 EXCEPT ", n) + "SELECT 1" + rep(")", n),
		"subselects":          rep("SELECT (", n) + "SELECT 1" + rep(")", n),
		"subselects in FROM":  rep("SELECT * FROM (", n) + "SELECT 1" + rep(") x", n),
		"CTEs":                rep("WITH x AS (", n) + "SELECT 1" + rep(") SELECT 1", n),
		"nots":                "SELECT " + rep("NOT ", n) + "true",
		"cases":               "SELECT " + rep("CASE WHEN true THEN ", n) + "1" + rep(" END", n),
		"elses":               "SELECT " + rep("CASE WHEN true THEN 1 ELSE ", n) + "1" + rep(" END", n),
		"cases and names":     "SELECT " + rep("CASE WHEN (SELECT 1 AS end) = 1 THEN ", n) + "1" + rep(" END", n),
		"joins":               "SELECT 1 FROM a" + rep(" JOIN b ON true", n),
		"nested joins":        "SELECT 1 FROM a" + rep(" JOIN b", n) + rep(" ON true", n),
		"cross joins":         "SELECT 1 FROM a" + rep(" CROSS JOIN b", n),
		"ands":                "SELECT 1 WHERE a = 1" + rep(" AND a = 1", n),
		"ors":                 "SELECT 1 WHERE a = 1" + rep(" OR a = 1", n),
		"ands and ors":        "SELECT 1 WHERE a = 1" + rep(" AND a = 1 OR a = 1", n),
		"nested ands":         "SELECT 1 WHERE " + rep("(a AND (b OR ", n) + "c" + rep("))", n),
		"calls":               "SELECT " + rep("f(", n) + "1" + rep(")", n),
		"likes":               "SELECT " + rep("(a LIKE ", n) + "b" + rep(")", n),
		"comments":            "SELECT 1" + rep("/*", n) + rep("*/", n),
		"statements":          rep("SELECT 1;", n),
		"names":               "SELECT " + rep("a.", n) + "b",
		"columns":             "SELECT a" + rep(", "+rep("é", 40), n),
		"rows":                "INSERT INTO t VALUES (1,-2)" + rep(",(1,-2)", n),
		"empty statements":    rep(";", n),
		"operators by name":   "SELECT 1" + rep(" OPERATOR(pg_catalog.+) 1", n),
		"intervals":           "SELECT " + rep("interval '1' ", n),
		"everything together": "SELECT " + rep("(CASE WHEN NOT - a::int + 1 IS NULL THEN (SELECT ARRAY[", n/9+1) + "1" + rep("]) END)", n/9+1),
	}
}

// Each text is as long as the highest limits allow and is parsed by a process of its own on a stack of 2 MiB, so that a crash
// shows. The gate counts, so that every text is tried at the largest number of repetitions that passes it.
func TestNothingThatPassesTheGateCrashesTheParser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), "/bin/sh", "-c", `ulimit -S -s 2048 && exec "$0" -test.run '^TestHostileChild$' -test.v`, exe)
	cmd.Env = append(os.Environ(), hostileChild+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("all survived")) {
		t.Fatalf("the child ended with %v:\n%s", err, out[max(0, len(out)-4000):])
	}
}

const hostileChild = "SQLPARSE_HOSTILE_CHILD"

func TestHostileChild(t *testing.T) {
	if os.Getenv(hostileChild) == "" {
		t.Skip("runs in a process of its own, started by another test")
	}
	limits := Limits{Bytes: maxBytes, Code: 128 << 10, Nesting: maxNesting, Operators: maxOperators}
	p, err := NewParser(limits)
	if err != nil {
		t.Fatal(err)
	}
	for name := range hostile(1) {
		// The largest number of repetitions that passes.
		low, high := 0, 1<<17
		for low+1 < high {
			n := (low + high) / 2
			if p.Check([]byte(hostile(n)[name]), false) == nil {
				low = n
			} else {
				high = n
			}
		}
		sql := hostile(low)[name]
		t.Logf("%s: %d repetitions, %d bytes", name, low, len(sql))
		_, err := p.Parse(testContext(t), []byte(sql), false)
		t.Logf("  %.200v", err)
	}
	t.Log("all survived")
}

func TestTheGateRefusesWhatMightCrashTheParser(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	texts := hostile(100_000)
	texts["IN list"] = "SELECT 1 WHERE x IN (1" + strings.Repeat(",12345678", 1_200_000) + ")" // 10 MB
	for name, sql := range texts {
		var complex *TooComplexError
		_, err := p.Parse(testContext(t), []byte(sql), false)
		switch name {
		case "comments", "nested ands", "intervals", "signs in a row":
			var syntax *SyntaxError
			if err != nil && !errors.As(err, &complex) && !errors.As(err, &syntax) {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if !errors.As(err, &complex) {
				t.Errorf("%s: %.200v", name, err)
			}
		}
	}
}

func TestOrdinaryTextsPassTheGate(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	for name, sql := range map[string]string{
		"long string":       "INSERT INTO t VALUES ('" + strings.Repeat("x", 5<<20) + "')",
		"negative numbers":  "INSERT INTO t VALUES (-1)" + strings.Repeat(", (-1, -2.5)", 4000),
		"many comparisons":  "SELECT 1 WHERE a = 1" + strings.Repeat(" OR a = -1", 4000),
		"many placeholders": "SELECT 1 WHERE a IN ($1" + strings.Repeat(", $1000", 7000) + ")",
		"long names":        "SELECT " + strings.Repeat("é", 100) + " AS " + strings.Repeat("x", 100),
	} {
		if _, err := p.Parse(testContext(t), []byte(sql), false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimitsThatTheParserWouldNotSurviveAreRefused(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Limits){
		func(l *Limits) { l.Operators = 30_000 },
		func(l *Limits) { l.Nesting = 10_000 },
		func(l *Limits) { l.Code = 0 },
		func(l *Limits) { l.Bytes = -1 },
	} {
		l := DefaultLimits()
		change(&l)
		if _, err := NewParser(l); err == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}

func TestWaitingForTheParserEndsWithTheContext(t *testing.T) {
	t.Parallel()
	p := newParser(t)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := p.Parse(ctx, []byte("select 1"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-p.slots
	if _, err := p.Parse(testContext(t), []byte("select 1"), false); err != nil {
		t.Error(err)
	}
	if len(p.slots) != cap(p.slots)-1 {
		t.Error("the slot was not given back")
	}
}
