package sqlparse

import (
	"hash/maphash"
	"math"
	"sort"
)

// MaxLiterals is how many literals are lifted out of one text; more are counted, not kept, and Folder.Overflow is set.
const MaxLiterals = 1 << 15

// MaxFolded is the largest folded text in bytes; beyond it Folder.Overflow is set too.
const MaxFolded = 1 << 20

// Folder brings SQL texts that differ only in literals, white space, comments and case to one form, so that they share
// a plan. It is reused from text to text and then allocates nothing. One goroutine may use it at a time. What
// its fields and methods return is valid until the next Fold.
//
// In the folded text each token is followed by one space, words are in lower case, and a lifted literal is one
// control byte. Nothing else is changed, so reading it token by token gives the tokens of the text, and two texts with
// the same folded text have the same parse tree but for the values of lifted literals.
type Folder struct {
	// Statements are those of the text, empty ones left out.
	Statements []Shape
	// Literals are all lifted literals, in order.
	Literals []Literal
	// Overflow says that there were too many literals or that the text is too long: Statements have their places and
	// hints, but neither folded text nor literals nor a hash.
	Overflow bool
	// NewNumbers says that a number is written as only PostgreSQL 16 and later read it: 1_000, 0x1F, 0o17, 0b11. Before
	// 15 a server read 0x1F as 0 AS x1f. Such numbers are not lifted.
	NewNumbers bool
	// AtomicBody says that the text has a BEGIN ATOMIC body. Only the parser is certain where that ends.
	AtomicBody bool

	text    []byte
	seed    maphash.Seed
	buf     []byte
	scratch []byte
}

// Shape is one statement of a folded text.
type Shape struct {
	// Start and End are the statement's place: from behind the semicolon before it to its own, or to the end of the
	// text. White space and comments count, as in the parser's tree.
	Start, End int
	// First and Last are the same without white space and comments around it.
	First, Last int
	// Kind is what the first word says.
	Kind Kind
	// Hint is what the comments between Start and End ask for. Comments behind a last semicolon count as well.
	Hint Hint
	// Hash is over the folded text of the statement, with the folder's seed.
	Hash uint64

	foldStart, foldEnd int
	litStart, litEnd   int
}

// NewFolder returns a folder whose hashes use the seed.
func NewFolder(seed maphash.Seed) *Folder { return &Folder{seed: seed} }

// Fold reads a text. backslashes says that standard_conforming_strings is off. The text is kept until the next
// Fold and must not change. It fails with *SyntaxError if the text cannot be cut into tokens and with *HintError if routing
// hints contradict each other; what it found before is then of no use.
func (f *Folder) Fold(text []byte, backslashes bool) error {
	f.Statements, f.Literals, f.buf = f.Statements[:0], f.Literals[:0], f.buf[:0]
	f.Overflow, f.NewNumbers, f.AtomicBody = false, false, false
	f.text = text
	if len(text) > math.MaxInt32/2 {
		return &TooComplexError{Limit: "its length in bytes", Value: len(text), Max: math.MaxInt32 / 2}
	}
	lx := Lexer{Text: text, Backslashes: backslashes}
	st := folding{zone: -1}
	for {
		t := lx.Next()
		switch t.Kind {
		case Comment:
			if err := st.shape.Hint.add(text, t.Start, t.End); err != nil {
				return err
			}
			continue
		case Invalid:
			return problemAt(text, lx.Problem, t.Start, t.End)
		case EndOfText:
			f.finish(&st, len(text), len(text))
			return f.trailing(&st)
		}
		if text[t.Start] == ';' && t.Kind == Punctuation && st.split.semicolon() {
			f.finish(&st, t.Start, t.End)
			continue
		}
		if !st.begun {
			st.begin(t, len(f.buf), len(f.Literals))
		}
		st.shape.Last = t.End
		f.token(&st, t)
	}
}

// folding is the state of one statement while it is folded.
type folding struct {
	shape Shape
	begun bool
	split splitter

	// The tokens before this one, youngest first.
	prev, prev2, prev3 seen
	depth              int
	zone               int // literal integers at this depth and deeper stay: ORDER BY, GROUP BY, DISTINCT ON; -1: none
	zoneAll            bool
	typeName           bool // since :: or AS only words and points
	modifiers          bool // between the parentheses of a type, as far as there were only integers
}

// seen is what later tokens must know of an earlier one.
type seen struct {
	kind TokenKind
	char byte // of Punctuation
	kw   keyword
}

func (s seen) is(char byte) bool { return s.kind == Punctuation && s.char == char }

func (st *folding) begin(t Token, fold, lits int) {
	st.begun = true
	st.shape.First = t.Start
	st.shape.foldStart, st.shape.litStart = fold, lits
	if t.Kind == Punctuation {
		st.shape.Kind = KindSelect // an open parenthesis, or no SQL
	}
}

// finish ends the statement at end and begins the next at next.
func (f *Folder) finish(st *folding, end, next int) {
	s := &st.shape
	if st.begun {
		s.End = end
		s.foldEnd, s.litEnd = len(f.buf), len(f.Literals)
		if !f.Overflow {
			s.Hash = maphash.Bytes(f.seed, f.buf[s.foldStart:])
		}
		f.Statements = append(f.Statements, *s)
	}
	hint := s.Hint
	empty := !st.begun
	*st = folding{zone: -1, shape: Shape{Start: next}}
	if empty {
		st.shape.Hint = hint // a comment before a stray semicolon is for the statement behind it
	}
	if f.Overflow {
		for i := range f.Statements {
			f.Statements[i].Hash = 0
		}
	}
}

// trailing gives hints behind the last semicolon to the last statement.
func (f *Folder) trailing(st *folding) error {
	if st.shape.Hint.Empty() || len(f.Statements) == 0 {
		return nil
	}
	last := &f.Statements[len(f.Statements)-1]
	if problem := last.Hint.merge(st.shape.Hint); problem != "" {
		return &HintError{Message: problem, Position: CharPosition(f.text, last.End)}
	}
	return nil
}

// Folded returns the folded text of a statement.
func (f *Folder) Folded(s *Shape) []byte { return f.buf[s.foldStart:s.foldEnd] }

// LiteralsOf returns the literals lifted out of a statement; an index into it is a literal's ordinal. Literal.Fold
// counts from the start of the whole folded text.
func (f *Folder) LiteralsOf(s *Shape) []Literal { return f.Literals[s.litStart:s.litEnd] }

// Keep returns the folded text of a statement with the literals of the given ordinals, which ascend, left in as they are
// written, and its hash: the shape of a plan that depends on their values. The text is valid until the next call of
// Keep or Fold.
func (f *Folder) Keep(s *Shape, ordinals []int) (folded []byte, hash uint64) {
	lits := f.LiteralsOf(s)
	out, from := f.scratch[:0], s.foldStart
	for _, n := range ordinals {
		if n < 0 || n >= len(lits) || int(lits[n].Fold) < from {
			continue
		}
		out = append(out, f.buf[from:lits[n].Fold]...)
		out = append(out, f.text[lits[n].Start:lits[n].End]...)
		from = int(lits[n].Fold) + 1
	}
	out = append(out, f.buf[from:s.foldEnd]...)
	f.scratch = out
	return out, maphash.Bytes(f.seed, out)
}

// LiteralAt returns the ordinal of the literal of s that a constant of the parse tree is, given its location: the
// literal begins there, or only minus signs and comments stand between. The parser takes - 5 for one constant at the place of
// the sign; negative says that the number of signs is odd.
func (f *Folder) LiteralAt(s *Shape, location int, backslashes bool) (ordinal int, negative, ok bool) {
	lits := f.LiteralsOf(s)
	n := sort.Search(len(lits), func(i int) bool { return int(lits[i].Start) >= location })
	if n == len(lits) || location < 0 {
		return 0, false, false
	}
	lx := Lexer{Text: f.text, Pos: location, Backslashes: backslashes}
	for {
		switch t := lx.NextCode(); {
		case t.Start == int(lits[n].Start):
			return n, negative, true
		case t.Kind == Operator && t.End == t.Start+1 && f.text[t.Start] == '-':
			negative = !negative
		default:
			return 0, false, false
		}
	}
}

// FoldOffset returns where the token that begins at a place of the text begins in the folded text of s. It reads the
// statement again; plans that rewrite need it once, when they are made.
func (f *Folder) FoldOffset(s *Shape, location int, backslashes bool) (offset int, ok bool) {
	lits := f.LiteralsOf(s)
	lx := Lexer{Text: f.text[:s.End], Pos: s.Start, Backslashes: backslashes}
	for at := s.foldStart; ; {
		t := lx.NextCode()
		if t.Kind == EndOfText || t.Kind == Invalid || t.Start > location {
			return 0, false
		}
		if t.Start == location {
			return at - s.foldStart, true
		}
		if len(lits) > 0 && t.Start == int(lits[0].Start) {
			lits = lits[1:]
			at += 2
			continue
		}
		at += t.End - t.Start + 1
	}
}

// AppendText appends the part [from, to) of the folded text of s, with the literals of this text in their places: SQL
// again. A plan that was made for another text of the same shape builds its statements from such parts.
func (f *Folder) AppendText(dst []byte, s *Shape, from, to int) []byte {
	folded := f.Folded(s)
	to = max(0, min(to, len(folded)))
	from = max(0, min(from, to))
	lits := f.LiteralsOf(s)
	lits = lits[sort.Search(len(lits), func(i int) bool { return int(lits[i].Fold)-s.foldStart >= from }):]
	for _, l := range lits {
		at := int(l.Fold) - s.foldStart
		if at >= to {
			break
		}
		dst = append(dst, folded[from:at]...)
		dst = append(dst, f.text[l.Start:l.End]...)
		from = at + 1
	}
	return append(dst, folded[from:to]...)
}
