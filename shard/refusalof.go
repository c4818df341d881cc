package shard

import "strings"

// RefusalOf returns the name of the refusal that an error with these fields is, "" if it is none, or one whose message is not its own (a
// syntax error, a hint). PostgreSQL has some of the codes and messages too; then the detail or the hint tells.
func RefusalOf(code, message, detail, hint string) string {
	for i := range refusals {
		r := &refusals[i]
		before, after, arg := strings.Cut(r.message, "%s")
		switch {
		case r.code != code || before+after == "":
		case code != codeNotSupported && (r.why == "" || detail != r.why) && (r.hint == "" || hint != r.hint):
		case !arg && message == r.message:
			return r.name
		case arg && len(message) >= len(before)+len(after) && strings.HasPrefix(message, before) && strings.HasSuffix(message, after):
			return r.name
		}
	}
	return ""
}
