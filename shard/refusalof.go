package shard

import "strings"

// RefusalOf returns the name of the refusal that an error with this SQLSTATE and message is, "" if it is none, or one whose message is not its
// own (a syntax error, a hint).
func RefusalOf(code, message string) string {
	for i := range refusals {
		r := &refusals[i]
		before, after, arg := strings.Cut(r.message, "%s")
		switch {
		case r.code != code || r.message == "%s":
		case !arg && message == r.message:
			return r.name
		case arg && before+after != "" && len(message) >= len(before)+len(after) && strings.HasPrefix(message, before) && strings.HasSuffix(message, after):
			return r.name
		}
	}
	return ""
}
