package catalog

import "strings"

// quoteIdent returns a name as SQL writes it, always quoted: whether it is a keyword depends on the server's version.
func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteName(n Name) string { return quoteIdent(n.Schema) + "." + quoteIdent(n.Name) }

// quoteLiteral returns a constant that reads the same whatever standard_conforming_strings is.
func quoteLiteral(s string) string {
	if strings.Contains(s, `\`) {
		return ` E'` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}

// String returns the name with its schema, unquoted.
func (n Name) String() string { return n.Schema + "." + n.Name }
