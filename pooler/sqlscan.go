package pooler

import (
	"bytes"
	"strings"
)

// reset is a command that puts a parameter back to what the session began with.
type reset struct {
	name    string // in lower case; "" for all of them
	local   bool   // SET LOCAL x TO DEFAULT
	discard bool   // DISCARD ALL
	relied  bool   // the text goes on with statements that may depend on it
}

// touches reports whether r resets the parameter. RESET ALL leaves the role alone.
func (r reset) touches(name string) bool {
	if r.name == "" && !r.discard {
		return !strings.EqualFold(name, "role") && !strings.EqualFold(name, "session_authorization")
	}
	return r.discard || strings.EqualFold(r.name, name) || r.name == "session_authorization" && strings.EqualFold(name, "role") // which goes with it
}

// findResets lists the commands of a text that reset parameters.
func findResets(text []byte) []reset {
	var rs []reset
	l := sqlScanner{text: text}
	for {
		words, more := l.statement()
		if r, ok := resetOf(words); ok {
			rs = append(rs, r)
		} else if len(words) > 0 && !harmless(words[0]) {
			for i := range rs {
				rs[i].relied = true
			}
		}
		if !more {
			return rs
		}
	}
}

// harmless reports whether a statement that begins with this word does the same whatever parameters there are.
func harmless(word string) bool {
	switch word {
	case "set", "listen", "unlisten", "close", "deallocate", "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "discard":
		return true
	}
	return false
}

// resetOf tells what a statement resets, by its first words.
func resetOf(w []string) (reset, bool) {
	at := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	switch at(0) {
	case "discard":
		return reset{discard: true}, at(1) == "all"
	case "reset":
		name, _ := parameterName(w[1:])
		if name == "all" {
			name = ""
		}
		return reset{name: name}, len(w) > 1 && name != "transaction"
	case "set":
	default:
		return reset{}, false
	}
	r, rest := reset{}, w[1:]
	switch {
	case at(1) == "local":
		r.local, rest = true, w[2:]
	case at(1) == "session" && at(2) != "authorization" && at(2) != "characteristics":
		rest = w[2:]
	}
	r.name, rest = parameterName(rest)
	switch {
	case r.name == "client_encoding" && len(rest) == 0: // SET NAMES
		return r, true
	case r.name == "" || len(rest) == 0:
		return r, false
	case rest[0] == "to" || rest[0] == "=":
		return r, len(rest) > 1 && rest[1] == "default"
	}
	return r, rest[0] == "default" || r.name == "timezone" && rest[0] == "local"
}

// parameterName reads a parameter's name, in any of the ways that SET and RESET have for it.
func parameterName(w []string) (name string, rest []string) {
	switch {
	case len(w) == 0:
		return "", nil
	case len(w) > 1 && w[0] == "time" && w[1] == "zone":
		return "timezone", w[2:]
	case len(w) > 1 && w[0] == "session" && w[1] == "authorization":
		return "session_authorization", w[2:]
	case w[0] == "names":
		return "client_encoding", w[1:]
	}
	name, w = w[0], w[1:]
	for len(w) > 1 && w[0] == "." {
		name, w = name+"."+w[1], w[2:]
	}
	return name, w
}

// sqlScanner reads SQL by words. It knows what PostgreSQL's lexer takes for one token, as far as that decides where a
// statement ends.
type sqlScanner struct {
	text []byte
	at   int
}

// maxWords is how many words of a statement are of interest.
const maxWords = 12

// statement returns the first words of the next statement: words and quoted names in lower case, or single other
// characters; and whether a semicolon follows.
func (l *sqlScanner) statement() (words []string, more bool) {
	for l.at < len(l.text) {
		from := l.at
		ch := l.text[l.at]
		l.at++
		word := ""
		switch {
		case ch == ';':
			return words, true
		case ch == 0:
			l.at = len(l.text)
			return words, false
		case ch <= ' ':
			continue
		case ch == '-' && l.peek() == '-':
			l.skipTo("\n")
			continue
		case ch == '/' && l.peek() == '*':
			l.comment()
			continue
		case ch == '\'':
			l.quoted('\'', false)
			word = "'"
		case (ch == 'e' || ch == 'E') && l.peek() == '\'':
			l.at++
			l.quoted('\'', true)
			word = "'"
		case ch == '"':
			l.quoted('"', false)
			word = strings.ToLower(strings.ReplaceAll(string(bytes.Trim(l.text[from:l.at], `"`)), `""`, `"`))
		case ch == '$' && l.dollar(from):
			word = "'"
		case isWordByte(ch):
			for l.at < len(l.text) && isWordByte(l.text[l.at]) {
				l.at++
			}
			word = strings.ToLower(string(l.text[from:l.at]))
		default:
			word = string(ch)
		}
		if len(words) < maxWords {
			words = append(words, word)
		}
	}
	return words, false
}

func (l *sqlScanner) peek() byte {
	if l.at < len(l.text) {
		return l.text[l.at]
	}
	return 0
}

// skipTo goes behind the next occurrence of s, or to the end.
func (l *sqlScanner) skipTo(s string) {
	if i := bytes.Index(l.text[l.at:], []byte(s)); i >= 0 {
		l.at += i + len(s)
		return
	}
	l.at = len(l.text)
}

// comment goes behind a comment, which may have others in it.
func (l *sqlScanner) comment() {
	depth := 1
	for l.at++; l.at < len(l.text) && depth > 0; l.at++ {
		rest := l.text[l.at:]
		switch {
		case bytes.HasPrefix(rest, []byte("*/")):
			depth--
			l.at++
		case bytes.HasPrefix(rest, []byte("/*")):
			depth++
			l.at++
		}
	}
}

// quoted goes behind the closing quote.
func (l *sqlScanner) quoted(q byte, backslash bool) {
	for l.at < len(l.text) {
		ch := l.text[l.at]
		l.at++
		switch {
		case ch == '\\' && backslash:
			l.at = min(l.at+1, len(l.text))
		case ch != q:
		case l.peek() == q:
			l.at++
		default:
			return
		}
	}
}

// dollar goes behind a dollar-quoted string that begins at from, if one does.
func (l *sqlScanner) dollar(from int) bool {
	i := l.at
	for i < len(l.text) && isWordByte(l.text[i]) && l.text[i] != '$' {
		i++
	}
	if i >= len(l.text) || l.text[i] != '$' || i > l.at && l.text[l.at] >= '0' && l.text[l.at] <= '9' {
		return false
	}
	tag := string(l.text[from : i+1])
	l.at = i + 1
	l.skipTo(tag)
	return true
}
