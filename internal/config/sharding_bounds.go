package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// buildBound reads an element of placement.
func (b *builder) buildBound(n node, inside string) (Bound, bool) {
	what := "a bound of " + inside
	if text, ok := n.raw.(string); ok {
		bound, err := parsePlaced(text)
		if err != nil {
			b.errorf(n.at, "%s: %q: %v", what, text, err)
		}
		return bound, err == nil
	}
	if _, ok := n.raw.(map[string]any); !ok {
		b.errorf(n.at, "%s must be a table or a string such as \"a FOR VALUES WITH (MODULUS 2, REMAINDER 0)\", not %s", what, tomlTypeName(n.raw))
		return Bound{}, false
	}
	before := len(b.problems)
	var keys boundKeys
	seen := apply(b, boundTable, &keys, n.entries(), what)
	if len(b.problems) > before {
		return Bound{}, false
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { _, ok := seen[name]; return ok })
	}
	var kinds []string
	for _, k := range []struct {
		word string
		is   bool
	}{
		{"modulus and remainder", has("modulus", "remainder")},
		{"from and to", has("from", "to")},
		{"in", has("in")},
		{"default", keys.isDefault},
	} {
		if k.is {
			kinds = append(kinds, k.word)
		}
	}
	bound := Bound{Shard: keys.shard}
	var err error
	switch {
	case keys.shard == "":
		err = fmt.Errorf("has no shard")
	case len(kinds) == 0:
		err = fmt.Errorf("says no values: give modulus and remainder, from and to, in, or default = true")
	case len(kinds) > 1:
		err = fmt.Errorf("has %s, which exclude each other", strings.Join(kinds, " as well as "))
	case keys.isDefault:
		bound.Kind = BoundDefault
	case has("in"):
		bound.Kind = BoundList
		if _, isList := keys.in.([]any); !isList {
			err = fmt.Errorf("has an in that is not an array")
		} else {
			bound.In, err = boundValues(keys.in)
		}
	case has("from", "to"):
		bound.Kind = BoundRange
		if bound.From, err = boundValues(keys.from); err == nil {
			bound.To, err = boundValues(keys.to)
		}
		// What is left out is open; the number of columns is that of the other side.
		bound.From = openEnd(bound.From, len(bound.To), "MINVALUE")
		bound.To = openEnd(bound.To, len(bound.From), "MAXVALUE")
	case keys.modulus == nil || keys.remainder == nil:
		err = fmt.Errorf("needs both modulus and remainder")
	default:
		bound.Kind, bound.Modulus, bound.Remainder = BoundHash, *keys.modulus, *keys.remainder
	}
	if err != nil {
		b.errorf(n.at, "%s %v", what, err)
		return Bound{}, false
	}
	return bound, true
}

func openEnd(values []BoundValue, n int, word string) []BoundValue {
	if values != nil {
		return values
	}
	return slices.Repeat([]BoundValue{{Word: word}}, n)
}

// boundValues turns TOML values into those of a bound; nil stays nil.
func boundValues(raw any) ([]BoundValue, error) {
	if raw == nil {
		return nil, nil
	}
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("has an empty array of values")
	}
	out := make([]BoundValue, len(list))
	for i, v := range list {
		switch v := v.(type) {
		case string:
			if strings.IndexByte(v, 0) >= 0 {
				return nil, fmt.Errorf("has a value with a zero byte")
			}
			out[i] = BoundValue{Text: v}
		case int64:
			out[i] = BoundValue{Text: strconv.FormatInt(v, 10), Bare: true}
		case bool:
			out[i] = BoundValue{Text: strconv.FormatBool(v), Bare: true}
		case time.Time:
			out[i] = BoundValue{Text: v.Format("2006-01-02 15:04:05.999999999Z07:00")}
		case toml.LocalDate:
			out[i] = BoundValue{Text: v.String()}
		case toml.LocalTime:
			out[i] = BoundValue{Text: v.String()}
		case toml.LocalDateTime:
			out[i] = BoundValue{Text: strings.Replace(v.String(), "T", " ", 1)}
		case float64:
			return nil, fmt.Errorf("has the float %v; write it as a string, because floats are rounded", v)
		default:
			return nil, fmt.Errorf("has a value that is %s", tomlTypeName(v))
		}
	}
	return out, nil
}
