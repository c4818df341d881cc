package sqlparse

// token appends one token to the folded text, or lifts it.
func (f *Folder) token(st *folding, t Token) {
	raw := f.text[t.Start:t.End]
	now := seen{kind: t.Kind}
	switch t.Kind {
	case Word:
		start := len(f.buf)
		f.buf = appendLower(f.buf, raw)
		word := f.buf[start:]
		now.kw = keywordOf(word)
		if st.prev.kind == EndOfText {
			st.shape.Kind = kindOfWord(word)
		}
		st.split.word(now.kw, word, st.prev)
		f.AtomicBody = f.AtomicBody || st.split.atomic > 0
		st.word(now.kw, word)
		f.buf = append(f.buf, ' ')
		f.bound()
	case Punctuation:
		now.char = raw[0]
		st.punctuation(now.char)
		f.append(raw)
	case Cast:
		st.typeName, st.modifiers = true, false
		f.append(raw)
	case Integer, Numeric, String, EscapeString, DollarString, BitString, HexString:
		f.literal(st, t, raw)
	default:
		if t.Kind != QuotedIdentifier && t.Kind != UnicodeIdentifier {
			st.typeName = false
		}
		if t.Kind != Operator || (raw[0] != '-' && raw[0] != '+') {
			st.modifiers = false
		}
		f.append(raw)
	}
	st.prev3, st.prev2, st.prev = st.prev2, st.prev, now
}

// literal lifts a literal, or keeps it where its value is, or may be, part of the statement's form.
func (f *Folder) literal(st *folding, t Token, raw []byte) {
	st.typeName = false
	class, _ := literalClass(f.text, t)
	keep := !st.shape.Kind.lifts() || (st.zone >= 0 && st.depth >= st.zone && (st.zoneAll || t.Kind == Integer))
	switch t.Kind {
	case Integer, Numeric:
		if newNumber(raw) {
			f.NewNumbers = true
			keep = true
		}
		keep = keep || st.modifiers || st.prev.is('[') && !st.arrayConstructor()
	default:
		st.modifiers = false
		keep = keep || st.typedConstant()
	}
	if keep || f.Overflow {
		f.append(raw)
		return
	}
	if len(f.Literals) == MaxLiterals {
		f.overflow()
		return
	}
	f.Literals = append(f.Literals, Literal{Start: int32(t.Start), End: int32(t.End), Fold: int32(len(f.buf)), Class: class})
	f.buf = append(f.buf, placeholder[class], ' ')
}

// arrayConstructor says whether the bracket before this token certainly opens ARRAY[…] or a row of it, rather than a
// subscript or the bounds of an array type, as in x::int[3], which are no constants to the parser.
func (st *folding) arrayConstructor() bool {
	if st.prev2.kw != kwArray {
		return st.prev2.is('[')
	}
	switch st.prev3.kind {
	case Operator:
		return true
	case Punctuation:
		return st.prev3.char == '(' || st.prev3.char == ',' || st.prev3.char == '['
	case Word:
		return beforeExpression(st.prev3.kw)
	}
	return false
}

// typedConstant says whether a string here may be typed by what stands before it: date '…', interval(3) '…', or belongs
// to another string: UESCAPE '…'.
func (st *folding) typedConstant() bool {
	switch st.prev.kind {
	case Word:
		return !beforeExpression(st.prev.kw)
	case Punctuation:
		return st.prev.char == ')' || st.prev.char == ']'
	case Operator, Cast, EndOfText:
		return false
	}
	return true
}

func (st *folding) word(kw keyword, word []byte) {
	st.modifiers = false
	if beforeExpression(kw) && st.prev.kw != kwAs && (st.prev.kind == Word || st.prev.kind == QuotedIdentifier) {
		st.typeName = false // FROM t AS a WHERE a.b IN (1): no type's name goes on with such a word
	}
	switch kw {
	case kwAs:
		st.typeName = true
	case kwType, kwNone:
	case kwBy:
		if st.prev.kw == kwOrder || st.prev.kw == kwGroup {
			st.setZone(st.depth)
		}
	case kwOn:
		if st.prev.kw == kwDistinct {
			st.setZone(st.depth + 1)
		}
	case kwConflict:
		// The options of an operator class are plain integers in the tree.
		if st.prev.kw == kwOn {
			if st.zone < 0 || st.zone > st.depth {
				st.zone = st.depth
			}
			st.zoneAll = true
		}
	case kwDo, kwWhere:
		if st.zoneAll && st.depth == st.zone {
			st.zone, st.zoneAll = -1, false
		}
	case kwZoneEnd:
		// A word behind a point or AS is a name.
		if st.depth == st.zone && !st.zoneAll && !st.prev.is('.') && st.prev.kw != kwAs {
			st.zone = -1
		}
	}
}

func (st *folding) setZone(depth int) {
	if st.zone < 0 {
		st.zone = depth
	}
}

func (st *folding) punctuation(c byte) {
	switch c {
	case '(', '[':
		st.depth++
		st.modifiers = c == '(' && (st.typeName || st.prev.kw == kwType)
	case ')', ']':
		st.depth--
		if st.depth < st.zone {
			st.zone, st.zoneAll = -1, false
		}
		st.modifiers = false
	case ',':
	default:
		st.modifiers = false
	}
	if c != '.' {
		st.typeName = false
	}
	st.split.punctuation(c)
}

func (f *Folder) append(raw []byte) {
	if f.Overflow {
		return
	}
	f.buf = append(f.buf, raw...)
	f.buf = append(f.buf, ' ')
	f.bound()
}

// bound keeps the buffer within MaxFolded, give or take a token.
func (f *Folder) bound() {
	if len(f.buf) > MaxFolded || f.Overflow {
		f.overflow()
	}
}

// overflow gives up folding; words still pass through the buffer.
func (f *Folder) overflow() {
	f.Overflow = true
	f.buf, f.Literals = f.buf[:0], f.Literals[:0]
}

func appendLower(dst, word []byte) []byte {
	for _, c := range word {
		dst = append(dst, lower[c])
	}
	return dst
}

// newNumber says whether a number is written with underscores or in another base than ten.
func newNumber(raw []byte) bool {
	for i, c := range raw {
		if c == '_' || (i == 1 && raw[0] == '0' && byteClass[c] == byteLetter && lower[c] != 'e') {
			return true
		}
	}
	return false
}
