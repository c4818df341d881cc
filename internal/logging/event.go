package logging

import (
	"bytes"
	"encoding/json"
)

// An event is one log event taken apart again, fields in the order in which they were added.
type event struct {
	raw     []byte // the object as zerolog made it
	message string
	subject string
	fields  []field // all but level, message and subject
}

// A field is one key of an event with its value.
type field struct {
	key   string
	value string // unquoted for strings, as in JSON for everything else
	text  bool   // whether it is a string
}

// Subject is the key of the field that the text formats put in front of the message: whom the line is
// about, such as "C-1f: shop/app@127.0.0.1:40112".
const Subject = "subject"

// parseEvent takes an object of JSON apart. What is not one becomes the message, as it is.
func parseEvent(p []byte) event {
	ev := event{raw: bytes.TrimSpace(p)}
	s := scanner{rest: ev.raw}
	ok := s.eat('{')
	for first := true; ok && !s.eat('}'); first = false {
		var f field
		if ok = first || s.eat(','); !ok {
			break
		}
		if f.key, ok = s.str(); !ok {
			break
		}
		if ok = s.eat(':'); !ok {
			break
		}
		if f.value, f.text, ok = s.value(); !ok {
			break
		}
		switch f.key {
		case "level":
		case "message":
			ev.message = f.value
		case Subject:
			ev.subject = f.value
		default:
			ev.fields = append(ev.fields, f)
		}
	}
	if !ok || len(s.rest) > 0 {
		return event{message: string(ev.raw)}
	}
	return ev
}

// A scanner reads JSON without blanks between its tokens, which is how zerolog writes it.
type scanner struct{ rest []byte }

func (s *scanner) eat(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// quoted cuts a string with its quotes off the rest.
func (s *scanner) quoted() (raw []byte, escaped, ok bool) {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false, false
	}
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			raw, s.rest = s.rest[:i+1], s.rest[i+1:]
			return raw, escaped, true
		}
	}
	return nil, false, false
}

func (s *scanner) str() (string, bool) {
	raw, escaped, ok := s.quoted()
	if !ok {
		return "", false
	}
	if !escaped {
		return string(raw[1 : len(raw)-1]), true
	}
	var v string
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", false
	}
	return v, true
}

// value reads any value; objects and arrays stay JSON.
func (s *scanner) value() (v string, text, ok bool) {
	if len(s.rest) > 0 && s.rest[0] == '"' {
		v, ok = s.str()
		return v, true, ok
	}
	whole, depth := s.rest, 0
	for len(s.rest) > 0 {
		switch c := s.rest[0]; {
		case c == '"':
			if _, _, ok := s.quoted(); !ok {
				return "", false, false
			}
			continue
		case c == '{' || c == '[':
			depth++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
		case depth == 0 && (c == ',' || c == '}'):
			v = string(whole[:len(whole)-len(s.rest)])
			return v, false, v != ""
		}
		s.rest = s.rest[1:]
	}
	return "", false, false
}
