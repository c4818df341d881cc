package catalog

import "pgdrover/internal/sqlparse"

func quoteName(n Name) string {
	return sqlparse.QuoteIdent(n.Schema) + "." + sqlparse.QuoteIdent(n.Name)
}

// String returns the name with its schema, unquoted.
func (n Name) String() string { return n.Schema + "." + n.Name }
