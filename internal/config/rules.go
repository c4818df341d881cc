package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The rules on single values that a kind and a range cannot express.

func positiveDuration(v any) error {
	if v.(time.Duration) <= 0 {
		return errors.New("must be more than 0")
	}
	return nil
}

func notAdminDatabase(v any) error {
	if IsAdminDatabase(v.(string)) {
		return fmt.Errorf("%q is the admin database, which cannot run queries", v)
	}
	return nil
}

var tlsProtocolWords = []string{
	"secure", "default", "all", "legacy", "tlsv1", "tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3",
}

// tlsProtocols accepts what libtls does: words separated by commas or colons, ! taking one away.
func tlsProtocols(v any) error {
	for _, w := range strings.FieldsFunc(v.(string), func(r rune) bool { return r == ',' || r == ':' || r == ' ' }) {
		w = strings.ToLower(strings.TrimPrefix(w, "!"))
		if !slices.Contains(tlsProtocolWords, w) {
			return fmt.Errorf("%q is not one of %s", w, strings.Join(tlsProtocolWords, ", "))
		}
	}
	return nil
}
