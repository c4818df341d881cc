package sqlparse

import "bytes"

// The C parser reads text as if standard_conforming_strings were on, and has no way to tell it otherwise. For clients
// that switched it off, strings with backslashes are rewritten in place: the contents without escapes are never longer
// than with them, and spaces behind the string fill the gap, so that no location in the tree changes.
//
// Neither does it know that 'a' -- comment
// 'b' is one string. There, spaces take the place of the comment.
//
// Other comments keep only their ends: the C scanner reads the operator characters in a nested comment again for each
// level, and those in a comment behind an operator again for each operator, so that a few megabytes kept it busy for many
// minutes.

// checkEscapes refuses strings whose escapes PostgreSQL would refuse; the parser lets some of them pass and cuts the
// value short. rewrite says that the string means something else to the parser.
func checkEscapes(text []byte, t Token, backslashes bool) (rewrite bool, err error) {
	raw := text[t.Start:t.End]
	if bytes.IndexByte(raw, '\\') < 0 {
		return false, nil
	}
	if t.Kind == NationalString && !backslashes {
		return false, nil
	}
	l := Literal{Start: int32(t.Start), End: int32(t.End), Class: ClassEscape}
	if _, err := l.AppendValue(nil, text); err != nil {
		return false, err
	}
	return backslashes && raw[0] != 'e' && raw[0] != 'E', nil
}

// mayHaveGap says whether there may be a comment between the parts of a string.
func mayHaveGap(raw []byte) bool {
	return bytes.ContainsAny(raw, "\r\n") && bytes.Contains(raw, []byte("--"))
}

// standardStrings returns a copy of text, of the same length, that means to the C parser what text means to
// PostgreSQL. The text has passed the gate.
func standardStrings(text []byte, backslashes bool) []byte {
	out := bytes.Clone(text)
	lx := Lexer{Text: text, Backslashes: backslashes}
	for {
		t := lx.Next()
		raw := out[t.Start:t.End]
		switch t.Kind {
		case EndOfText, Invalid:
			return out
		case Comment:
			body := raw[2:]
			if raw[0] == '/' {
				body = raw[2 : len(raw)-2]
			}
			for i := range body {
				body[i] = ' '
			}
		case String, UnicodeString, BitString, HexString:
			blankGaps(raw, t.Kind)
		case EscapeString, NationalString:
			explicit := raw[0] == 'e' || raw[0] == 'E' || (t.Kind == NationalString && !backslashes)
			if explicit || bytes.IndexByte(raw, '\\') < 0 {
				blankGaps(raw, t.Kind)
			} else {
				unescape(raw)
			}
		}
	}
}

// unescape writes a string with backslash escapes as one without, padded with spaces.
func unescape(raw []byte) {
	at := bytes.IndexByte(raw, '\'') + 1
	content, _, _ := appendEscaped(nil, raw[at:])
	for _, c := range content {
		if c == '\'' {
			raw[at] = c
			at++
		}
		raw[at] = c
		at++
	}
	raw[at] = '\''
	for at++; at < len(raw); at++ {
		raw[at] = ' '
	}
}

// blankGaps overwrites the comments between the parts of a string with spaces.
func blankGaps(raw []byte, kind TokenKind) {
	if !mayHaveGap(raw) {
		return
	}
	for i := bytes.IndexByte(raw, '\'') + 1; i < len(raw); i++ {
		switch {
		case raw[i] == '\\' && kind == EscapeString:
			i++
		case raw[i] != '\'':
		case i+1 < len(raw) && raw[i+1] == '\'' && kind != BitString && kind != HexString:
			i++
		default:
			next := continuation(raw, i+1)
			if next < 0 {
				return
			}
			for n := i + 1; n < next-1; n++ {
				if raw[n] == '-' {
					end := lineEnd(raw, n)
					for ; n < end; n++ {
						raw[n] = ' '
					}
				}
			}
			i = next - 1
		}
	}
}
