package sqlparse

import "unicode/utf8"

// CharPosition turns a byte offset in text into a position as PostgreSQL reports it: in characters, from 1. Offsets
// out of range are moved to the nearest end; each byte that is not UTF-8 counts as one character.
func CharPosition(text []byte, offset int) int {
	return 1 + utf8.RuneCount(text[:max(0, min(offset, len(text)))])
}

// ByteOffset is the inverse: the offset of the character at the 1-based position, at most len(text).
func ByteOffset(text []byte, position int) int {
	offset := 0
	for ; position > 1 && offset < len(text); position-- {
		_, n := utf8.DecodeRune(text[offset:])
		offset += n
	}
	return offset
}

// maxNear bounds the text that an error message quotes, in bytes; PostgreSQL quotes all that is left of the text.
const maxNear = 200

// problemAt words a lexical problem as PostgreSQL does.
func problemAt(text []byte, problem string, start, end int) *SyntaxError {
	message := problem + " at end of input"
	if start < len(text) {
		near := text[start:end]
		if len(near) > maxNear {
			near = near[:maxNear]
			for len(near) > 0 && !utf8.Valid(near) && len(near) > maxNear-utf8.UTFMax {
				near = near[:len(near)-1]
			}
		}
		message = problem + ` at or near "` + string(near) + `"`
	}
	return &SyntaxError{Message: message, Position: CharPosition(text, start)}
}
