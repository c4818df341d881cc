package pooler

import (
	"strings"
	"unicode"
)

// asReported returns what a server that reports base for a parameter would report after a SET to value, as far as that can be told here.
// Otherwise it returns value, and the server's spelling comes with the first statement.
func asReported(name, base, value string) string {
	switch name {
	case "DateStyle":
		return completeDateStyle(base, value)
	case "client_encoding":
		plain := func(s string) string { // as PostgreSQL compares the names of encodings
			return strings.Map(func(r rune) rune {
				if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
					return -1
				}
				return unicode.ToLower(r)
			}, s)
		}
		if plain(value) == plain(base) {
			return base
		}
	case "TimeZone", "IntervalStyle", "standard_conforming_strings":
		if strings.EqualFold(value, base) {
			return base
		}
	}
	return value
}

// completeDateStyle adds to a DateStyle what it leaves open. A SET of only the style or only the order keeps the other one, so that its
// meaning depends on what was there before: here that is what servers have after their login, and not what another client has left behind.
// (PostgreSQL would take postgresql.conf's value, before ALTER ROLE and ALTER DATABASE, which nobody can ask for. check_datestyle.)
func completeDateStyle(base, value string) string {
	style, order, ok := dateStyle(base, "", "")
	if !ok || style == "" || order == "" {
		return value
	}
	if style, order, ok = dateStyle(value, style, order); !ok {
		return value // the server says why
	}
	return style + ", " + order
}

// dateStyle lays the words of a DateStyle over a style and an order.
func dateStyle(words, style, order string) (_, _ string, ok bool) {
	var newStyle, newOrder string
	one := func(is *string, word string) bool {
		ok := *is == "" || *is == word
		*is = word
		return ok
	}
	for word := range strings.SplitSeq(strings.ToLower(words), ",") {
		switch word = strings.TrimSpace(word); {
		case word == "iso":
			ok = one(&newStyle, "ISO")
		case word == "sql":
			ok = one(&newStyle, "SQL")
		case strings.HasPrefix(word, "postgres"):
			ok = one(&newStyle, "Postgres")
		case word == "german":
			ok = one(&newStyle, "German")
			order = "DMY" // unless another one is named
		case word == "ymd":
			ok = one(&newOrder, "YMD")
		case word == "dmy", strings.HasPrefix(word, "euro"):
			ok = one(&newOrder, "DMY")
		case word == "mdy", word == "us", strings.HasPrefix(word, "noneuro"):
			ok = one(&newOrder, "MDY")
		default:
			ok = false
		}
		if !ok {
			return "", "", false
		}
	}
	if newStyle != "" {
		style = newStyle
	}
	if newOrder != "" {
		order = newOrder
	}
	return style, order, true
}
