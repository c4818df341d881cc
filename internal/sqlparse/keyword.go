package sqlparse

// keyword is what a word means to folding, splitting and the gate.
type keyword uint8

const (
	kwNone keyword = iota
	// Words that shape a statement.
	kwArray
	kwAs
	kwAtomic
	kwBegin
	kwBy
	kwCase
	kwConflict
	kwDistinct
	kwDo
	kwEnd
	kwFloat
	kwGroup
	kwOn
	kwOrder
	kwWhere
	kwZoneEnd // ends ORDER BY or GROUP BY
	kwType    // a type or function that takes a modifier in parentheses
	kwDeep    // each one makes the parse tree one level deeper
	kwBefore  // an expression may follow
)

// keywordOf classifies a lower-case word.
func keywordOf(word []byte) keyword {
	if len(word) < 2 || len(word) > 17 {
		return kwNone
	}
	switch string(word) {
	case "array":
		return kwArray
	case "as":
		return kwAs
	case "atomic":
		return kwAtomic
	case "begin":
		return kwBegin
	case "by":
		return kwBy
	case "case":
		return kwCase
	case "conflict":
		return kwConflict
	case "distinct":
		return kwDistinct
	case "do":
		return kwDo
	case "end":
		return kwEnd
	case "group":
		return kwGroup
	case "on":
		return kwOn
	case "order":
		return kwOrder
	case "where":
		return kwWhere
	case "limit", "offset", "fetch", "for", "having", "window", "returning":
		return kwZoneEnd
	case "union", "intersect", "except":
		return kwZoneEnd
	case "float", "current_time", "current_timestamp", "localtime", "localtimestamp", "interval", "time", "timestamp",
		"bit", "varying", "char", "character", "nchar", "numeric", "decimal", "dec", "varchar", "second":
		return kwType
	case "join", "not", "collate", "at", "is", "isnull", "notnull":
		return kwDeep
	case "select", "all", "and", "or", "like", "ilike", "to", "between", "symmetric", "escape", "when", "then", "else",
		"in", "from", "placing", "using", "values", "zone":
		return kwBefore
	}
	return kwNone
}

// deepens says whether a word adds a level to the parse tree.
func deepens(kw keyword, word []byte) bool {
	switch kw {
	case kwDeep, kwCase:
		return true
	case kwZoneEnd:
		switch string(word) {
		case "union", "intersect", "except":
			return true
		}
	}
	return false
}

// beforeExpression says whether a word can stand before an expression and is no type's name: a string behind
// any other word may be a constant of the type that the word names, as in date '2024-01-01'.
func beforeExpression(kw keyword) bool {
	switch kw {
	case kwBefore, kwBy, kwCase, kwDistinct, kwOn, kwWhere, kwZoneEnd:
		return true
	}
	return false
}

// wordBuffer is room for the lower-case form of a word that may be a key word.
type wordBuffer [24]byte

// keyword folds a word into the buffer and classifies it.
func (b *wordBuffer) keyword(word []byte) (keyword, []byte) {
	if len(word) > 17 {
		return kwNone, nil
	}
	for i, c := range word {
		b[i] = lower[c]
	}
	return keywordOf(b[:len(word)]), b[:len(word)]
}
