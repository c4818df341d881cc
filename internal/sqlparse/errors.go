package sqlparse

import "fmt"

// SyntaxError says that text is not SQL as PostgreSQL 16 knows it. A server of another version may disagree, so a
// router asks one before it tells a client.
type SyntaxError struct {
	// Message is in PostgreSQL's words.
	Message string
	// Position counts characters from 1 at the start of the whole text, as in an ErrorResponse; 0 is unknown.
	Position int
}

func (e *SyntaxError) Error() string { return e.Message }

// TooComplexError says that text was not given to the parser, because the parser or this process might not survive
// it. The limits are those of Limits.
type TooComplexError struct {
	// Limit names what there is too much of, in plain words.
	Limit string
	// Value is how much was found, at least; Max is how much is allowed. Both are 0 if the parse tree was too deep
	// to be read.
	Value, Max int
}

func (e *TooComplexError) Error() string {
	if e.Max == 0 {
		return "statement is too complex to be analysed: " + e.Limit
	}
	return fmt.Sprintf("statement is too complex to be analysed: %s is %d, the limit is %d", e.Limit, e.Value, e.Max)
}

// EncodingError says that text, or a string constant in it once its escapes are resolved, is not UTF-8 or contains
// a zero byte.
type EncodingError struct {
	// Position counts characters from 1; 0 is unknown.
	Position int
	// Bytes is the sequence in PostgreSQL's notation: 0xff.
	Bytes string
}

func (e *EncodingError) Error() string {
	if e.Bytes == "" {
		return `invalid byte sequence for encoding "UTF8"`
	}
	return `invalid byte sequence for encoding "UTF8": ` + e.Bytes
}

// HintError says that the routing hints in the comments of one statement cannot be followed.
type HintError struct {
	// Message says what is wrong, Detail quotes the comment.
	Message, Detail string
	// Position is where the comment begins, in characters from 1.
	Position int
}

func (e *HintError) Error() string { return e.Message }
