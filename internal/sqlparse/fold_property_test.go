package sqlparse

import (
	"fmt"
	"math/rand/v2"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// otherLiteral returns the text of another literal that the parser must treat alike.
func otherLiteral(r *rand.Rand, class Class) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	switch class {
	case ClassInt4:
		return pick("0", "7", "2147483647", "007", fmt.Sprint(r.Int32()))
	case ClassInt8:
		return pick("2147483648", "9223372036854775807", fmt.Sprint(r.Int64()|1<<40))
	case ClassNumeric:
		return pick("1.5", ".5", "5.", "1e10", "2.5e-3", "9223372036854775808", "99999999999999999999")
	case ClassBit:
		return pick("b'0'", "B'1010'")
	case ClassHex:
		return pick("x'0'", "X'1Fab'")
	}
	return pick("''", "'x'", "'it''s ; -- /* '", "'a'\n'b'", `E'a\'b\n\u00e9'`, "$$it's$$", "$t$ $$ ; $t$", "'é'", "'shard=b'")
}

// otherText writes the text anew with other literals, other white space and comments.
func otherText(r *rand.Rand, f *Folder, text []byte) []byte {
	var out []byte
	at := 0
	for _, l := range f.Literals {
		out = append(out, text[at:l.Start]...)
		out = append(out, ' ')
		out = append(out, otherLiteral(r, l.Class)...)
		out = append(out, []string{" ", " /* c */ ", "\t", " /* ; */"}[r.IntN(4)]...)
		at = int(l.End)
	}
	return append(out, text[at:]...)
}

// masked parses a text and clears locations and the values of lifted literals, and says how many of those it met.
func masked(t *testing.T, f *Folder, text []byte) (*pg_query.ParseResult, int) {
	t.Helper()
	tree, err := pg_query.Parse(string(text))
	if err != nil {
		t.Fatalf("parsing %q: %v", text, err)
	}
	lifted := map[int32]bool{} // by place: the parser copies some constants
	walk(tree.ProtoReflect(), func(m protoreflect.Message) {
		c, ok := m.Interface().(*pg_query.A_Const)
		if !ok || c.GetLocation() < 0 {
			return
		}
		for i := range f.Statements {
			s := &f.Statements[i]
			if loc := int(c.GetLocation()); loc < s.First || loc >= s.Last {
				continue
			}
			if n, negative, ok := f.LiteralAt(s, int(c.GetLocation()), false); ok {
				lifted[f.LiteralsOf(s)[n].Start] = true
				checkConstant(t, c, f.LiteralsOf(s)[n], negative, text)
				c.Val = nil
			}
		}
	})
	dropLocations(tree.ProtoReflect())
	return tree, len(lifted)
}

// checkConstant compares the parser's value with ours.
func checkConstant(t *testing.T, c *pg_query.A_Const, l Literal, negative bool, text []byte) {
	t.Helper()
	raw := text[l.Start:l.End]
	value, err := l.AppendValue(nil, text)
	if err != nil {
		t.Fatalf("value of %s: %v", raw, err)
	}
	got, want := string(value), ""
	switch v := c.GetVal().(type) {
	case *pg_query.A_Const_Ival:
		n, ok := l.Int(text)
		if negative {
			n = -n
		}
		if !ok {
			t.Errorf("%s has no integer value", raw)
		}
		got, want = fmt.Sprint(n), fmt.Sprint(v.Ival.GetIval())
	case *pg_query.A_Const_Fval:
		if want = v.Fval.GetFval(); negative {
			got = "-" + got
		}
	case *pg_query.A_Const_Sval:
		want = v.Sval.GetSval()
	case *pg_query.A_Const_Bsval:
		want = v.Bsval.GetBsval()[1:]
	}
	if got != want {
		t.Errorf("value of %s is %q, the parser says %q", raw, got, want)
	}
}

func checkSound(t *testing.T, sql string, seed uint64) {
	t.Helper()
	text := []byte(sql)
	one := NewFolder(testSeed)
	if err := one.Fold(text, false); err != nil {
		return
	}
	if one.Overflow {
		return
	}
	tree, lifted := masked(t, one, text)
	if lifted != len(one.Literals) {
		t.Fatalf("%q has %d lifted literals, %d of them are constants of the tree: %s", sql, len(one.Literals), lifted, visible(one.buf))
	}
	if len(tree.GetStmts()) != len(one.Statements) {
		t.Fatalf("%q has %d statements, we found %d", sql, len(tree.GetStmts()), len(one.Statements))
	}
	other := otherText(rand.New(rand.NewPCG(seed, 1)), one, text)
	two := NewFolder(testSeed)
	if err := two.Fold(other, false); err != nil {
		t.Fatalf("folding %q, made from %q: %v", other, sql, err)
	}
	if visible(one.buf) != visible(two.buf) {
		t.Fatalf("folded text\n of %q\n is %s\n of %q\n is %s", text, visible(one.buf), other, visible(two.buf))
	}
	for i := range one.Statements {
		if one.Statements[i].Hash != two.Statements[i].Hash {
			t.Fatalf("statement %d of %q and %q has two hashes", i, text, other)
		}
	}
	tree2, _ := masked(t, two, other)
	if !proto.Equal(tree, tree2) {
		t.Fatalf("the trees of %q and %q differ in more than lifted literals (%s)", text, other, visible(one.buf))
	}
	// A folded text with its literals put back is the same SQL.
	var again []byte
	for i := range two.Statements {
		again = append(two.AppendText(again, &two.Statements[i], 0, 1<<30), ';')
	}
	three := NewFolder(testSeed)
	if err := three.Fold(again, false); err != nil {
		t.Fatalf("folding %q: %v", again, err)
	}
	tree3, _ := masked(t, three, again)
	if !proto.Equal(tree, tree3) {
		t.Fatalf("the trees of %q and %q differ", text, again)
	}
}

func TestTextsThatFoldAlikeHaveTreesThatDifferOnlyInLiftedLiterals(t *testing.T) {
	t.Parallel()
	for _, sql := range corpus() {
		for seed := range uint64(4) {
			checkSound(t, sql, seed)
		}
	}
}

func FuzzTextsThatFoldAlikeParseAlike(f *testing.F) {
	p := newParser(f)
	for i, s := range corpus() {
		f.Add(s, uint64(i))
	}
	f.Fuzz(func(t *testing.T, sql string, seed uint64) {
		if len(sql) > 2048 {
			return
		}
		if _, err := p.Parse(testContext(t), []byte(sql), false); err != nil {
			return
		}
		checkSound(t, sql, seed)
	})
}

func FuzzStatementsEndWhereTheParserEndsThem(f *testing.F) {
	p := newParser(f)
	for _, s := range corpus() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if len(sql) > 2048 {
			return
		}
		tree, err := p.Parse(testContext(t), []byte(sql), false)
		if err != nil {
			return
		}
		folder := NewFolder(testSeed)
		if err := folder.Fold([]byte(sql), false); err != nil || folder.AtomicBody {
			return
		}
		split, err := pg_query.SplitWithParser(sql, false)
		if err != nil {
			t.Fatal(err)
		}
		if len(split) != len(folder.Statements) || len(split) != len(tree.Statements) {
			t.Fatalf("%q: the parser finds %d statements, we %d", sql, len(split), len(folder.Statements))
		}
		for i := range folder.Statements {
			s, n := folder.Statements[i], tree.Statements[i]
			if got := sql[s.Start:s.End]; got != split[i] || s.Start != n.Start || s.End != n.Start+n.Len {
				t.Fatalf("statement %d of %q\n got %q\nwant %q", i, sql, got, split[i])
			}
		}
	})
}
