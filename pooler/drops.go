package pooler

import "bytes"

// dropsStatements reports whether text, or one of several statements in it, is DEALLOCATE or DISCARD. What functions do is
// not seen: see ownNames.
func dropsStatements(text []byte) bool {
	for {
		text = skipBlank(text)
		if hasWord(text, "deallocate") || hasWord(text, "discard") {
			return true
		}
		i := bytes.IndexByte(text, ';') // perhaps in a literal, which does no harm
		if i < 0 {
			return false
		}
		text = text[i+1:]
	}
}

// skipBlank goes past white space and comments.
func skipBlank(b []byte) []byte {
	for len(b) > 0 {
		switch {
		case b[0] <= ' ' && b[0] != 0:
			b = b[1:]
		case bytes.HasPrefix(b, []byte("--")):
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				return nil
			}
			b = b[i+1:]
		case bytes.HasPrefix(b, []byte("/*")):
			depth, i := 1, 2
			for ; i < len(b) && depth > 0; i++ {
				switch {
				case bytes.HasPrefix(b[i:], []byte("/*")):
					depth++
					i++
				case bytes.HasPrefix(b[i:], []byte("*/")):
					depth--
					i++
				}
			}
			b = b[i:]
		default:
			return b
		}
	}
	return nil
}

// hasWord reports whether b begins with word, which is in lower case, in any case.
func hasWord(b []byte, word string) bool {
	return len(b) >= len(word) && b[0]|0x20 == word[0] && bytes.EqualFold(b[:len(word)], []byte(word))
}
