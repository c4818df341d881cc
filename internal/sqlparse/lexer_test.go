package sqlparse

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pg_query "github.com/pganalyze/pg_query_go/v5"
)

func lexAll(sql string, backslashes bool) (out []string) {
	lx := Lexer{Text: []byte(sql), Backslashes: backslashes}
	for {
		t := lx.Next()
		switch t.Kind {
		case EndOfText:
			return out
		case Invalid:
			return append(out, "!"+lx.Problem)
		}
		out = append(out, sql[t.Start:t.End])
	}
}

func TestTokensEndWherePostgreSQLEndsThem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sql, want string }{
		{"a=-1", "a|=|-|1"},
		{"a@-1", "a|@-|1"},
		{"a<=-b", "a|<=|-|b"},
		{"a+-+-b", "a|+|-|+|-|b"},
		{"a!=-b", "a|!=-|b"},
		{"a*/*c*/b", "a|*|/*c*/|b"},
		{"a+--c\nb", "a|+|--c|b"},
		{"/* a /* b */ c */d", "/* a /* b */ c */|d"},
		{"/*/*/**/*/*/x", "/*/*/**/*/*/|x"},
		{"'a'\n'b' 'c'", "'a'\n'b'|'c'"},
		{"'a' -- x\n -- y\n 'b'", "'a' -- x\n -- y\n 'b'"},
		{"'a' /* x */\n'b'", "'a'|/* x */|'b'"},
		{"b'1''0'", "b'1'|'0'"},
		{`E'\'' 'x'`, `E'\''|'x'`},
		{`'\' x`, `'\'|x`},
		{`U&'\0061' u&"x" u & 'x' u&x`, `U&'\0061'|u&"x"|u|&|'x'|u|&|x`},
		{"$1$a$b$a$$$$$ a$b$c", "$1|$a$b$a$|$$$$|a$b$c"},
		{"$a$ $b$a$ x", "$a$ $b$a$|x"},
		{"1..2 1.5 .5 5. 1e5 1_0.0_1e1_0 0x1f 0b1_1", "1|..|2|1.5|.5|5.|1e5|1_0.0_1e1_0|0x1f|0b1_1"},
		{"a::int:=x=>y.z:1", "a|::|int|:=|x|=>|y|.|z|:|1"},
		{"1a", "!" + problemJunk},
		{"1e+", "!" + problemJunk},
		{"1__0", "!" + problemJunk},
		{"0x", "!" + problemHexInteger},
		{"0o8", "!" + problemOctalInteger},
		{"0b2", "!" + problemBinaryInteger},
		{"'a", "!" + problemString},
		{`E'a\'`, "!" + problemString},
		{"$$a$", "!" + problemDollarString},
		{`"a`, "!" + problemIdentifier},
		{`""`, "!" + problemEmptyName},
		{"/* /* */", "!" + problemComment},
		{"b'1", "!" + problemBitString},
		{"x'1", "!" + problemHexString},
		{"$ ", "!" + problemSyntax},
		{`\`, "!" + problemSyntax},
		{strings.Repeat("*", 64), "!" + problemOperator},
	} {
		if got := strings.Join(lexAll(tt.sql, false), "|"); got != tt.want {
			t.Errorf("tokens of %q\n got %s\nwant %s", tt.sql, got, tt.want)
		}
	}
}

func TestABackslashEscapesInPlainStringsOnlyWithoutStandardConformingStrings(t *testing.T) {
	t.Parallel()
	const sql = `'a\'b' 'c'`
	if got := strings.Join(lexAll(sql, true), "|"); got != `'a\'b'|'c'` {
		t.Errorf("off: %s", got)
	}
	if got := strings.Join(lexAll(sql, false), "|"); got != `'a\'|b' '|c|!`+problemString {
		t.Errorf("on: %s", got)
	}
}

// compareScan compares our tokens with those of PostgreSQL's own scanner.
func compareScan(t *testing.T, sql string) {
	t.Helper()
	if strings.IndexByte(sql, 0) >= 0 {
		return
	}
	var got, want []string
	lx := Lexer{Text: []byte(sql)}
	invalid := ""
	unsure, ends := map[int]bool{}, map[int]int{}
	for invalid == "" {
		k := lx.Next()
		if k.Kind == EndOfText {
			break
		}
		if k.Kind == Invalid {
			invalid = lx.Problem
			break
		}
		if k.Kind == Comment {
			continue
		}
		if k.Kind == NationalString {
			got = append(got, fmt.Sprintf("%d-%d", k.Start, k.Start+1))
			k.Start++
		}
		if end := k.End; k.Kind == UnicodeIdentifier || k.Kind == UnicodeString {
			unsure[k.Start], ends[k.Start] = true, end // the scanner does not say where these end
		} else if raw := sql[k.Start:end]; k.Kind >= String && k.Kind <= HexString && strings.Contains(raw, "--") && strings.ContainsAny(raw, "\r\n") {
			return // pg_query does not know comments between the parts of a string: see standard.go
		}
		got = append(got, fmt.Sprintf("%d-%d", k.Start, k.End))
	}
	if invalid == problemSyntax {
		return // the scanner goes on, the parser does not
	}
	scanned, err := pg_query.Scan(sql)
	if (err != nil) != (invalid != "") {
		// Escapes are checked when values are read, not when tokens are cut.
		if err != nil && (strings.Contains(err.Error(), "nicode") || strings.Contains(err.Error(), "UTF-8")) {
			return
		}
		t.Fatalf("%q: we say %q, PostgreSQL says %v", sql, invalid, err)
	}
	if err != nil || invalid != "" {
		if err != nil && invalid != "" && !strings.HasPrefix(err.Error(), invalid) {
			t.Fatalf("%q: we say %q, PostgreSQL says %v", sql, invalid, err)
		}
		return
	}
	for _, k := range scanned.GetTokens() {
		if k.GetToken() == pg_query.Token_SQL_COMMENT || k.GetToken() == pg_query.Token_C_COMMENT {
			continue
		}
		end := int(k.GetEnd())
		if unsure[int(k.GetStart())] {
			end = ends[int(k.GetStart())]
		}
		want = append(want, fmt.Sprintf("%d-%d", k.GetStart(), end))
	}
	if g, w := strings.Join(got, " "), strings.Join(want, " "); g != w {
		t.Fatalf("tokens of %q\n got %s\nwant %s", sql, g, w)
	}
}

var lexSeeds = []string{
	"a=-1 @-1 +-+-b <=-1 *//*x*/ !=-- c\n2", "'a' --x\n'b' b'1''0' E'\\'\\\\' U&'x' $a$ $b$a$ $$ $ $$", "1..2 .5 5. 1e5 1e 0x1f 0b12 1_0 $1a",
	"/* /* */ */ x", "\"a\"\"b\" u&\"c\" N'x' x'1'", "'unterminated", "/*", "$x$", "'a'\r\n\t'b'", "a\vb", "é ü$1", "=+-@ -+ ->> #>-",
}

func FuzzLexerAgreesWithPostgreSQL(f *testing.F) {
	for _, s := range append(corpus(), lexSeeds...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if len(sql) > 4096 {
			return
		}
		compareScan(t, sql)
	})
}

func FuzzLexerAlwaysAdvancesWithinTheText(f *testing.F) {
	for _, s := range append(corpus(), lexSeeds...) {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, backslashes bool) {
		lx := Lexer{Text: text, Backslashes: backslashes}
		last := 0
		for {
			k := lx.Next()
			if k.Start < last || k.End < k.Start || k.End > len(text) || lx.Pos != k.End {
				t.Fatalf("token %+v behind %d of %q", k, last, text)
			}
			if k.Kind == EndOfText {
				break
			}
			if k.End == k.Start {
				t.Fatalf("empty token %+v of %q", k, text)
			}
			if k.Kind == Invalid && lx.Problem == "" {
				t.Fatalf("invalid without a problem: %q", text)
			}
			last = k.End
		}
		folder := NewFolder(testSeed)
		err := folder.Fold(text, backslashes)
		var syntax *SyntaxError
		var hint *HintError
		if err != nil && !errors.As(err, &syntax) && !errors.As(err, &hint) {
			t.Fatalf("untyped error %v", err)
		}
		if err == nil {
			checkStatements(t, folder, text)
		}
		var values Values
		if SplitValues(text, 0, len(text), backslashes, &values) {
			for _, r := range values.Rows {
				Cells(nil, text, r, backslashes)
			}
		}
		if _, err := ExpressionEnd(text, min(3, len(text)), backslashes); err != nil && err.Error() == "" {
			t.Fatal("empty error")
		}
	})
}

// checkStatements checks that statements are in order and that nothing but semicolons, space and comments is between.
func checkStatements(t *testing.T, f *Folder, text []byte) {
	t.Helper()
	at := 0
	gap := func(from, to int) {
		lx := Lexer{Text: text[:to], Pos: from}
		for {
			k := lx.NextCode()
			if k.Kind == EndOfText {
				return
			}
			if text[k.Start] != ';' {
				t.Fatalf("token at %d of %q belongs to no statement", k.Start, text)
			}
		}
	}
	for i := range f.Statements {
		s := &f.Statements[i]
		if s.Start < at || s.First < s.Start || s.Last < s.First || s.End < s.Last || s.End > len(text) {
			t.Fatalf("statement %+v of %q", s, text)
		}
		gap(at, s.First)
		gap(s.Last, s.End)
		at = s.End
		for _, l := range f.LiteralsOf(s) {
			if int(l.Start) < s.First || int(l.End) > s.Last || l.Start >= l.End {
				t.Fatalf("literal %+v outside statement %+v", l, s)
			}
			_, _ = l.AppendValue(nil, text)
			_, _ = l.Int(text)
		}
		if got := f.AppendText(nil, s, 0, 1<<30); !f.Overflow && len(got) == 0 {
			t.Fatalf("statement without text: %+v", s)
		}
	}
	gap(at, len(text))
}

// Before, each sign of +-+-… read the run of operator bytes behind it again; 4 MB would have taken hours.
func TestLexingHostileTextTakesLinearTime(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"signs": "+-", "comments": "/*", "comment ends": "*/", "dollars": "$", "tags": "$a", "quotes": "'", "strings": "'a' ",
		"string and comment": "'a'--x\n", "double quotes": `"`, "backslashes": `E'\`, "digits": "1_", "dots": ".", "brackets": "(",
		"minus": "- ", "hints": "/*shard=a*/", "semicolons": ";",
	} {
		small := strings.Repeat(unit, 50_000/len(unit))
		large := strings.Repeat(small, 16)
		measure := func(s string) time.Duration {
			best := time.Hour
			for range 3 {
				begin := time.Now()
				f := NewFolder(testSeed)
				_ = f.Fold([]byte(s), false)
				best = min(best, time.Since(begin))
			}
			return best
		}
		// Linear is a factor of 16, quadratic one of 256. The floor is for a busy machine: quadratic takes seconds.
		if a, b := measure(small), measure(large); b > 128*max(a, 2*time.Millisecond) {
			t.Errorf("%s: %v for 50 kB, %v for 800 kB", name, a, b)
		}
	}
}
