package sqlparse

import "strings"

// QuoteIdent writes a name as a quoted identifier. It always quotes, so that no list of key words is needed. The name
// must not contain a zero byte, which no identifier can.
func QuoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral writes a string constant that every server reads alike, whatever its standard_conforming_strings: with
// a backslash in it, as E'…' behind a space, so that it does not run together with a name before it.
func QuoteLiteral(value string) string {
	value = strings.ReplaceAll(value, "'", "''")
	if strings.Contains(value, `\`) {
		return " E'" + strings.ReplaceAll(value, `\`, `\\`) + "'"
	}
	return "'" + value + "'"
}
