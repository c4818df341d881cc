package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// dialect is the notation in which a value was written.
type dialect uint8

const (
	dialectTOML    dialect = iota // typed; durations and sizes may be strings with units
	dialectINI                    // text, by PgBouncer's rules
	dialectSQL                    // text from SET or ALTER: PgBouncer's rules, units and boolean words besides
	dialectConnect                // a part of a URL or connect string, which must not be quoted in messages
)

// value is what a file or a command says for a key, not yet understood.
type value struct {
	raw     any // string, or for dialectTOML what go-toml makes of it
	dialect dialect
}

// parse turns v into the type that s wants: int64, bool, time.Duration, string or []string. Errors say
// what is wrong without naming the key, and do not quote the value of a secret.
func (s *Setting) parse(v value) (any, error) {
	parsed, err := s.parseKind(v)
	if err != nil {
		return nil, err
	}
	if n, ok := parsed.(int64); ok && s.Kind != KindValue && (n < s.Min || n > s.Max) {
		if s.Kind == KindMode {
			return nil, fmt.Errorf("must be from 0 to 0o777, not %#o; permission bits are written in octal", n)
		}
		return nil, fmt.Errorf("must be from %d to %d", s.Min, s.Max)
	}
	if text, ok := parsed.(string); ok && strings.ContainsRune(text, 0) {
		return nil, fmt.Errorf("must not contain a zero byte")
	}
	if s.check != nil {
		if err := s.check(parsed); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

func (s *Setting) parseKind(v value) (any, error) {
	if v.dialect != dialectTOML {
		return s.parseText(v.raw.(string), v.dialect)
	}
	if s.Kind == KindValue {
		return v.raw, nil
	}
	switch x := v.raw.(type) {
	case int64:
		switch s.Kind {
		case KindInt, KindSize, KindMode:
			return x, nil
		case KindDuration:
			return nonNil(seconds(float64(x)))
		case KindBool:
			if x == 0 || x == 1 {
				return x == 1, nil
			}
		}
	case float64:
		if s.Kind == KindDuration {
			return nonNil(seconds(x))
		}
	case bool:
		if s.Kind == KindBool {
			return x, nil
		}
	case string:
		switch s.Kind {
		case KindString, KindEnum, KindDuration, KindSize, KindList, KindMode:
			return s.parseText(x, v.dialect)
		}
	case []any:
		if s.Kind == KindList {
			return listOf(x)
		}
	}
	return nil, fmt.Errorf("must be %s, not %s", s.wants(), tomlTypeName(v.raw))
}

// nonNil exists because a typed nil or zero beside an error must not look like a result.
func nonNil[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (s *Setting) parseText(text string, d dialect) (any, error) {
	switch s.Kind {
	case KindInt, KindMode:
		return s.quoting(text, d)(nonNil(parseInt(text)))
	case KindSize:
		if d == dialectINI {
			return s.quoting(text, d)(nonNil(parseInt(text)))
		}
		return s.quoting(text, d)(nonNil(parseSize(text)))
	case KindBool:
		b, ok := parseBool(text, d)
		if !ok {
			return s.quoting(text, d)(nil, fmt.Errorf("must be %s", s.wants()))
		}
		return b, nil
	case KindDuration:
		if d == dialectINI {
			return s.quoting(text, d)(nonNil(parseSeconds(text)))
		}
		return s.quoting(text, d)(nonNil(parseDuration(text)))
	case KindEnum:
		word := strings.ToLower(strings.TrimSpace(text))
		if !slices.Contains(s.Words, word) {
			hint := ""
			if d != dialectConnect {
				hint = didYouMean(word, s.Words)
			}
			return s.quoting(text, d)(nil, fmt.Errorf("must be one of %s%s", strings.Join(s.Words, ", "), hint))
		}
		return word, nil
	case KindList:
		return splitList(text), nil
	default:
		return text, nil
	}
}

// quoting puts the text in front of an error unless it may be secret.
func (s *Setting) quoting(text string, d dialect) func(any, error) (any, error) {
	return func(v any, err error) (any, error) {
		if err == nil || s.Secret || d == dialectConnect {
			return v, err
		}
		if len(text) > 40 {
			text = text[:40] + "…"
		}
		return nil, fmt.Errorf("%q: %w", text, err)
	}
}

func parseBool(text string, d dialect) (b, ok bool) {
	switch strings.TrimSpace(text) {
	case "0":
		return false, true
	case "1":
		return true, true
	}
	if d == dialectSQL {
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "false", "off", "no":
			return false, true
		case "true", "on", "yes":
			return true, true
		}
	}
	return false, false
}

func splitList(text string) []string {
	var list []string
	for w := range strings.SplitSeq(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			list = append(list, w)
		}
	}
	return list
}

func listOf(items []any) (any, error) {
	var list []string
	for i, item := range items {
		w, ok := item.(string)
		switch {
		case !ok:
			return nil, fmt.Errorf("element %d must be a string, not %s", i+1, tomlTypeName(item))
		case strings.TrimSpace(w) == "":
			return nil, fmt.Errorf("element %d is empty", i+1)
		case strings.ContainsAny(w, ",\x00"):
			return nil, fmt.Errorf("element %d contains a comma or a zero byte", i+1)
		}
		list = append(list, strings.TrimSpace(w))
	}
	return list, nil
}

// wants describes the values that s takes.
func (s *Setting) wants() string {
	switch s.Kind {
	case KindInt:
		return "an integer"
	case KindBool:
		return "true or false (or 1 or 0)"
	case KindDuration:
		return `a number of seconds or a string such as "5min"`
	case KindSize:
		return `a number of bytes or a string such as "64kB"`
	case KindMode:
		return "an octal number such as 0o777"
	case KindList:
		return "an array of strings or one string with commas"
	default:
		return "a string"
	}
}

func tomlTypeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "a date or time"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// store writes what parse returned through the pointer that a row's field returned.
func store(field, parsed any) {
	switch f := field.(type) {
	case *int:
		*f = int(parsed.(int64))
	case *int64:
		*f = parsed.(int64)
	case **int:
		n := int(parsed.(int64))
		*f = &n
	case *bool:
		*f = parsed.(bool)
	case *time.Duration:
		*f = parsed.(time.Duration)
	case **time.Duration:
		d := parsed.(time.Duration)
		*f = &d
	case *string:
		if list, ok := parsed.([]string); ok {
			*f = strings.Join(list, ",")
		} else {
			*f = parsed.(string)
		}
	case *Secret:
		*f = Secret(parsed.(string))
	case *any:
		*f = parsed
	case *[]string:
		*f = parsed.([]string)
	case *PoolMode:
		*f = poolModeOf(parsed.(string))
	case **PoolMode:
		m := poolModeOf(parsed.(string))
		*f = &m
	default:
		panic(fmt.Sprintf("config: no way to store into %T", field)) // a row of the tables is wrong; tests visit all
	}
}

func poolModeOf(word string) PoolMode { return PoolMode(slices.Index(poolModeWords, word)) }

// formatField writes the value behind a pointer of a row's field as SHOW CONFIG does; unset is "".
func formatField(field any) string {
	switch f := field.(type) {
	case *int:
		return strconv.Itoa(*f)
	case *int64:
		return strconv.FormatInt(*f, 10)
	case **int:
		if *f != nil {
			return strconv.Itoa(**f)
		}
	case *bool:
		if *f {
			return "1"
		}
		return "0"
	case *time.Duration:
		return formatSeconds(*f)
	case **time.Duration:
		if *f != nil {
			return formatSeconds(**f)
		}
	case *string:
		return *f
	case *Secret:
		return f.String()
	case *[]string:
		return strings.Join(*f, ",")
	case *PoolMode:
		return f.String()
	case **PoolMode:
		if *f != nil {
			return (*f).String()
		}
	}
	return ""
}
