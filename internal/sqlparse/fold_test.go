package sqlparse

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyLiteralsThatAreConstantsOfTheTreeAreLifted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sql, want string }{
		{"SELECT  A,b FROM T where id=42;", "select a , b from t where id = ?i "},
		{"select 1, 3000000000, 1.5, 'x', E'x', $$x$$, b'1', x'1', $1, null, true", "select ?i , ?I , ?n , ?s , ?s , ?s , ?b , ?x , $1 , null , true "},
		{"select -1, - 1", "select - ?i , - ?i "},
		{`select "A 1", U&"b", U&'c', N'd', date 'e', interval(3) 'f', "t" 'g'`, `select "A 1" , U&"b" , U&'c' , N'd' , date 'e' , interval ( 3 ) 'f' , "t" 'g' `},
		{"select a from t order by 1, 2 desc limit 5 offset 6", "select a from t order by 1 , 2 desc limit ?i offset ?i "},
		{"select a from t group by 1, lower('x') having count(*) > 2", "select a from t group by 1 , lower ( ?s ) having count ( * ) > ?i "},
		{"select distinct on (1) 2 from t", "select distinct on ( 1 ) ?i from t "},
		{"select (select a from u order by 1), 2", "select ( select a from u order by 1 ) , ?i "},
		{"select a::numeric(10,2), cast(b as varchar(5)), c::float(3), d::x.y(4), 5", "select a :: numeric ( 10 , 2 ) , cast ( b as varchar ( 5 ) ) , c :: float ( 3 ) , d :: x . y ( 4 ) , ?i "},
		{"select 1 from t as x where x.a in (2, 3) or x.b::s.c(4) in (5)", "select ?i from t as x where x . a in ( ?i , ?i ) or x . b :: s . c ( 4 ) in ( ?i ) "},
		{"insert into t as \"X\" values (1, 2)", "insert into t as \"X\" values ( ?i , ?i ) "},
		{"select cast(a as interval day to second(3)), a::\"in\"(4)", "select cast ( a as interval day to second ( 3 ) ) , a :: \"in\" ( 4 ) "},
		{"select a::int[3], b[1], array[2], '{}'::int array[4]", "select a :: int [ 3 ] , b [ 1 ] , array [ ?i ] , ?s :: int array [ 4 ] "},
		{"select current_timestamp(3), now()", "select current_timestamp ( 3 ) , now ( ) "},
		{"select 1_000, 0x1F, 1e5", "select 1_000 , 0x1F , ?n "},
		{"fetch 5 from c", "fetch 5 from c "},
		{"explain select 1", "explain select 1 "},
		{"with a as materialized (select 1) values (2)", "with a as materialized ( select ?i ) values ( ?i ) "},
		{"insert into t values (1,'a') on conflict (a o (x = 1)) where b = 2 do update set c = 3", "insert into t values ( ?i , ?s ) on conflict ( a o ( x = 1 ) ) where b = ?i do update set c = ?i "},
		{"a/**/b -- c", "a b "},
	} {
		f := fold(t, tt.sql)
		if got := visible(f.buf); got != tt.want {
			t.Errorf("folding %q\n got %s\nwant %s", tt.sql, got, tt.want)
		}
	}
}

func TestEachStatementOfAStringHasItsOwnPlaceKindAndLiterals(t *testing.T) {
	t.Parallel()
	sql := "BEGIN ;; /* x */ select 1; update t set a = 'x'; with q as (select 2) select 3 -- end"
	f := fold(t, sql)
	type row struct {
		Text, Core, Folded string
		Kind               Kind
		Literals           int
	}
	var got []row
	for i := range f.Statements {
		s := &f.Statements[i]
		got = append(got, row{sql[s.Start:s.End], sql[s.First:s.Last], visible(f.Folded(s)), s.Kind, len(f.LiteralsOf(s))})
	}
	want := []row{
		{"BEGIN ", "BEGIN", "begin ", KindTransaction, 0},
		{" /* x */ select 1", "select 1", "select ?i ", KindSelect, 1},
		{" update t set a = 'x'", "update t set a = 'x'", "update t set a = ?s ", KindUpdate, 1},
		{" with q as (select 2) select 3 -- end", "with q as (select 2) select 3", "with q as ( select ?i ) select ?i ", KindWith, 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHintsAreFoundInCommentsAndContradictionsRefused(t *testing.T) {
	t.Parallel()
	const none = "-"
	for _, tt := range []struct{ sql, shard, key, problem string }{
		{"/* shard=b */ select 1", "b", none, ""},
		{"select 1 /* shard_key=42 */", none, "42", ""},
		{"select 1; -- shard_key='it''s'", none, "it's", ""},
		{"/*shard='b',traceparent='00-5b-01'*/ select 1", "b", none, ""},
		{"/* shard = b */ select /* SHARD='b' */ 1", "b", none, ""},
		{"/* shard=b shard_key=-7 */ select 1", "b", "-7", ""},
		{"/* shard_key='' */ select 1", none, "", ""},
		{"select '/* shard=b */', \"/* shard=c */\"", none, none, ""},
		{"/* application='x', route='y' */ select 1", none, none, ""},
		{"/* where t.shard = 5 and x=2 */ select 1", none, none, ""},
		{"/* the shard b */ select 1", none, none, ""},
		{"/* shard=a */ select /* shard=b */ 1", none, none, "contradicting routing hints in one statement"},
		{"/* shard=a shard=b */ select 1", none, none, "contradicting routing hints in one statement"},
		{"/* shard=a */ select 1; /* shard=b */", none, none, "contradicting routing hints in one statement"},
		{"/* go to shard=b please */ select 1", none, none, "malformed routing hint"},
		{"/* shard= */ select 1", none, none, "malformed routing hint"},
		{"/* shard='b */ select 1", none, none, "malformed routing hint"},
		{"/* shard='' */ select 1", none, none, "routing hint without a value"},
		{"/* shard_key='a%20b' */ select 1", none, none, `routing hint with % or \ in its value, which can be read in two ways`},
	} {
		f := NewFolder(testSeed)
		err := f.Fold([]byte(tt.sql), false)
		if tt.problem != "" {
			var hint *HintError
			if !errors.As(err, &hint) || hint.Message != tt.problem {
				t.Errorf("%q: error %v, want %q", tt.sql, err, tt.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.sql, err)
			continue
		}
		shard, key := none, none
		if v, ok := f.Statements[0].Hint.Shard(); ok {
			shard = v
		}
		if v, ok := f.Statements[0].Hint.Key(); ok {
			key = v
		}
		if shard != tt.shard || key != tt.key {
			t.Errorf("%q: shard %q key %q, want %q and %q", tt.sql, shard, key, tt.shard, tt.key)
		}
	}
}

func TestAHintBelongsToItsOwnStatement(t *testing.T) {
	t.Parallel()
	f := fold(t, "/* shard=a */ select 1; /* shard=b */ select 2; select 3")
	var got []string
	for _, s := range f.Statements {
		name, _ := s.Hint.Shard()
		got = append(got, name)
	}
	if diff := cmp.Diff([]string{"a", "b", ""}, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeptLiteralsMakeADifferentShape(t *testing.T) {
	t.Parallel()
	a, b := fold(t, "select 1, 'x', 3"), fold(t, "select 1, 'y', 4")
	sa, sb := &a.Statements[0], &b.Statements[0]
	if sa.Hash != sb.Hash {
		t.Fatal("the shapes differ")
	}
	textA, hashA := a.Keep(sa, []int{0})
	textB, hashB := b.Keep(sb, []int{0})
	if visible(textA) != "select 1 , ?s , ?i " || string(textA) != string(textB) || hashA != hashB {
		t.Errorf("keeping the first: %q %q", textA, textB)
	}
	textA, hashA = a.Keep(sa, []int{1, 2})
	textB, hashB = b.Keep(sb, []int{1, 2})
	if visible(textA) != "select ?i , 'x' , 3 " || visible(textB) != "select ?i , 'y' , 4 " || hashA == hashB {
		t.Errorf("keeping the others: %q %q", textA, textB)
	}
	if all, hash := a.Keep(sa, nil); string(all) != string(a.Folded(sa)) || hash != sa.Hash {
		t.Errorf("keeping none: %q", all)
	}
}

func TestAPlanOfOneTextWritesAnotherOfTheSameShape(t *testing.T) {
	t.Parallel()
	first := "SELECT a  FROM t WHERE b='x' LIMIT /* c */ 10"
	a := fold(t, first)
	at, ok := a.FoldOffset(&a.Statements[0], strings.Index(first, "10"), false)
	if !ok {
		t.Fatal("no offset")
	}
	if _, ok := a.FoldOffset(&a.Statements[0], 1, false); ok {
		t.Error("found an offset within a token")
	}
	b := fold(t, "select a from t where b = 'a longer one' limit 7")
	s := &b.Statements[0]
	got := b.AppendText(nil, s, 0, at)
	got = append(got, "99"...)
	got = b.AppendText(got, s, at+1, 1<<20)
	if want := "select a from t where b = 'a longer one' limit 99 "; string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTooManyLiteralsAreCountedButNotKept(t *testing.T) {
	t.Parallel()
	sql := "select " + strings.Repeat("1,", MaxLiterals) + "2 /* shard=b */; select 3"
	f := fold(t, sql)
	if !f.Overflow || len(f.Statements) != 2 || len(f.Literals) != 0 || f.Statements[0].Hash != 0 {
		t.Errorf("overflow %v, %d statements, %d literals", f.Overflow, len(f.Statements), len(f.Literals))
	}
	if name, _ := f.Statements[0].Hint.Shard(); name != "b" {
		t.Error("hint is lost")
	}
	f = fold(t, "select 'x"+strings.Repeat("y", 2*MaxFolded)+"'")
	if f.Overflow || len(f.Literals) != 1 {
		t.Error("a long literal is lifted like a short one")
	}
	if f = fold(t, "select U&'x"+strings.Repeat("y", 2*MaxFolded)+"'"); !f.Overflow {
		t.Error("folded text without bound")
	}
}

func TestNumbersThatOldServersReadOtherwiseAreReported(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{"select 1_0": true, "select 0x1": true, "select 0O7": true, "select 1e5, 10, 0.5, 0e1": false} {
		if got := fold(t, sql).NewNumbers; got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
}

func TestFoldingDoesNotAllocate(t *testing.T) {
	for _, sql := range append(corpus(), "/* shard_key='42' */ select 1") {
		text := []byte(sql)
		f := fold(t, sql)
		if n := testing.AllocsPerRun(20, func() {
			if err := f.Fold(text, false); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations for %q", n, sql)
		}
	}
}

func BenchmarkFold(b *testing.B) {
	for name, sql := range map[string]string{
		"select":  "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
		"update":  "UPDATE pgbench_accounts SET abalance = abalance + -4711 WHERE aid = 12345 AND note = 'hello world'",
		"insert":  "INSERT INTO t (a, b, c) VALUES " + strings.Repeat("(12345, 'some text', 1.5), ", 999) + "(1, 'x', 2)",
		"comment": "/* route='users#show', traceparent='00-0af7651916cd43dd8448eb211c80319c-01' */ SELECT name FROM users WHERE id = 7",
	} {
		b.Run(name, func(b *testing.B) {
			f := NewFolder(testSeed)
			text := []byte(sql)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Fold(text, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
