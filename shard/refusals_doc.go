package shard

import (
	"fmt"
	"strings"
)

// RefusalsDoc returns the table of refusals in Markdown, for the manual.
func RefusalsDoc() string {
	var b strings.Builder
	b.WriteString("| refused | SQLSTATE | message | why, and the way out |\n|---|---|---|---|\n")
	for i := range refusals {
		r := &refusals[i]
		message := strings.ReplaceAll(r.message, "%s", "…")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.name, r.code, message, strings.TrimSpace(r.why+" "+r.hint))
	}
	return strings.ReplaceAll(b.String(), "||", `\|\|`)
}
