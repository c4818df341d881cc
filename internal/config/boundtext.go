package config

import (
	"fmt"
	"strconv"
	"strings"
)

// String writes the bound in PostgreSQL's syntax.
func (b Bound) String() string {
	list := func(values []BoundValue) string {
		parts := make([]string, len(values))
		for i, v := range values {
			parts[i] = v.String()
		}
		return "(" + strings.Join(parts, ", ") + ")"
	}
	switch b.Kind {
	case BoundHash:
		return fmt.Sprintf("FOR VALUES WITH (MODULUS %d, REMAINDER %d)", b.Modulus, b.Remainder)
	case BoundRange:
		return "FOR VALUES FROM " + list(b.From) + " TO " + list(b.To)
	case BoundList:
		return "FOR VALUES IN " + list(b.In)
	default:
		return "DEFAULT"
	}
}

// ParseBound reads a partition bound in PostgreSQL's syntax: FOR VALUES WITH (MODULUS 4, REMAINDER 0), FOR VALUES FROM (1) TO
// (MAXVALUE), FOR VALUES IN ('a', NULL) or DEFAULT. Values are constants.
func ParseBound(text string) (Bound, error) {
	s := scan(text)
	b := s.bound()
	return b, s.end()
}

// parsePlaced reads the name of a shard and the bound that it holds.
func parsePlaced(text string) (Bound, error) {
	s := scan(text)
	b := s.placed()
	return b, s.end()
}

// ParsePlacement reads (shard bound, …).
func ParsePlacement(text string) ([]Bound, error) {
	s := scan(text)
	var bounds []Bound
	s.list(func() { bounds = append(bounds, s.placed()) })
	return bounds, s.end()
}

// ParseTableName reads a name with or without schema, as SQL writes it.
func ParseTableName(text string) (TableName, error) {
	s := scan(text)
	t := TableName{Schema: defaultSchema, Name: s.name()}
	if s.takeOp(".") {
		t.Schema, t.Name = t.Name, s.name()
	}
	return t, s.end()
}

// ParseNames reads names with commas between them, as SQL writes them, with or without parentheses around them.
func ParseNames(text string) ([]string, error) {
	s := scan(text)
	var names []string
	if s.tok == "(" && s.kind == scanOp {
		s.list(func() { names = append(names, s.name()) })
		return names, s.end()
	}
	for {
		names = append(names, s.name())
		if !s.takeOp(",") {
			return names, s.end()
		}
	}
}

// ParseTypes reads the name of a type, or several in parentheses. Words are put in lower case, with one blank between them.
func ParseTypes(text string) ([]string, error) {
	s := scan(text)
	var types []string
	if s.tok == "(" && s.kind == scanOp {
		s.list(func() { types = append(types, s.typeName()) })
	} else {
		types = append(types, s.typeName())
	}
	return types, s.end()
}

// Option is one "name value" of a list in parentheses.
type Option struct{ Name, Value string }

// ParseOptions reads (name value, …), with or without = between name and value. A value that is one word needs no quotes.
func ParseOptions(text string) ([]Option, error) {
	s := scan(text)
	var options []Option
	s.list(func() {
		o := Option{Name: s.name()}
		s.takeOp("=")
		if s.kind == scanWord {
			o.Value = s.tok
			s.next()
		} else {
			o.Value = s.constant("a value").Text
		}
		options = append(options, o)
	})
	return options, s.end()
}

// typeName reads words, parentheses with numbers, and a schema.
func (s *scanner) typeName() string {
	var b strings.Builder
	for s.err == nil {
		switch {
		case s.kind == scanWord || s.kind == scanName:
			if b.Len() > 0 && !strings.HasSuffix(b.String(), ".") {
				b.WriteByte(' ')
			}
			if s.kind == scanName {
				b.WriteString(quoteName(s.tok))
			} else {
				b.WriteString(foldName(s.tok))
			}
			s.next()
		case s.kind == scanOp && s.tok == "." && b.Len() > 0:
			b.WriteByte('.')
			s.next()
		case s.kind == scanOp && s.tok == "(" && b.Len() > 0:
			var numbers []string
			s.list(func() {
				if s.kind != scanNumber {
					s.expected("a number")
					return
				}
				numbers = append(numbers, s.tok)
				s.next()
			})
			b.WriteString("(" + strings.Join(numbers, ",") + ")")
		case b.Len() == 0:
			s.expected("a type")
		default:
			return b.String()
		}
	}
	return b.String()
}

// placed reads a shard and its bound. Names of shards are ours and taken as they are written, quoted or not.
func (s *scanner) placed() Bound {
	shard := s.tok
	if s.name(); s.err != nil {
		return Bound{}
	}
	b := s.bound()
	b.Shard = shard
	return b
}

func (s *scanner) bound() Bound {
	if s.takeWord("DEFAULT") {
		return Bound{Kind: BoundDefault}
	}
	if !s.isWord("FOR") {
		s.expected("FOR VALUES or DEFAULT")
	}
	s.next()
	s.word("VALUES")
	switch {
	case s.takeWord("WITH"):
		return s.hashBound()
	case s.takeWord("FROM"):
		b := Bound{Kind: BoundRange}
		s.list(func() { b.From = append(b.From, s.boundValue("MINVALUE", "MAXVALUE")) })
		s.word("TO")
		s.list(func() { b.To = append(b.To, s.boundValue("MINVALUE", "MAXVALUE")) })
		return b
	case s.takeWord("IN"):
		b := Bound{Kind: BoundList}
		s.list(func() { b.In = append(b.In, s.boundValue("NULL")) })
		return b
	}
	s.expected("WITH, FROM or IN")
	return Bound{}
}

// hashBound reads (MODULUS m, REMAINDER r), in either order as PostgreSQL does.
func (s *scanner) hashBound() Bound {
	b := Bound{Kind: BoundHash}
	seen := map[string]bool{}
	s.list(func() {
		for word, to := range map[string]*int{"MODULUS": &b.Modulus, "REMAINDER": &b.Remainder} {
			if !s.isWord(word) || seen[word] {
				continue
			}
			seen[word] = true
			s.next()
			n, err := strconv.ParseInt(s.tok, 10, 32)
			if s.kind != scanNumber || err != nil {
				s.expected("an integer")
				return
			}
			*to = int(n)
			s.next()
			return
		}
		s.expected("MODULUS or REMAINDER, each once,")
	})
	if s.err == nil && len(seen) < 2 {
		s.fail("MODULUS and REMAINDER must both be given")
	}
	return b
}

// boundValue reads a constant or one of the keywords.
func (s *scanner) boundValue(words ...string) BoundValue {
	for _, w := range words {
		if s.takeWord(w) {
			return BoundValue{Word: w}
		}
	}
	return s.constant("a constant or " + strings.Join(words, " or "))
}

func (s *scanner) constant(what string) BoundValue {
	v := BoundValue{Text: s.tok}
	switch {
	case s.kind == scanString:
	case s.kind == scanNumber:
		v.Bare = true
	case s.isWord("TRUE", "FALSE"):
		v.Text, v.Bare = strings.ToLower(s.tok), true
	default:
		s.expected(what)
	}
	s.next()
	return v
}

// quoteName writes a name so that SQL reads it as it is.
func quoteName(name string) string {
	for i := range len(name) {
		if c := name[i]; !isNamePart(c, i == 0) || c >= 'A' && c <= 'Z' {
			return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
	}
	if name == "" {
		return `""`
	}
	return name
}

// plainTableName reads a table's name as configuration files write it: as it is, with a dot after the schema. A part that has a dot
// itself stands in double quotes.
func plainTableName(text string) (TableName, error) {
	part := func() (string, error) {
		if strings.HasPrefix(text, `"`) {
			s := &scanner{rest: text}
			s.quoted(scanName)
			text = s.rest
			return s.tok, s.err
		}
		end := strings.IndexByte(text, '.')
		if end < 0 {
			end = len(text)
		}
		name := text[:end]
		text = text[end:]
		if name == "" || strings.ContainsAny(name, "\x00\"") {
			return "", fmt.Errorf("must be a table or schema.table")
		}
		return name, nil
	}
	t := TableName{Schema: defaultSchema}
	var err error
	if t.Name, err = part(); err != nil {
		return t, err
	}
	if strings.HasPrefix(text, ".") {
		text = text[1:]
		t.Schema = t.Name
		if t.Name, err = part(); err != nil {
			return t, err
		}
	}
	if text != "" {
		return t, fmt.Errorf("must be a table or schema.table; a name that has a dot stands in double quotes")
	}
	return t, nil
}

// plain writes the name as plainTableName reads it.
func (t TableName) plain() string {
	part := func(name string) string {
		if strings.ContainsAny(name, `."`) || name == "" {
			return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
		return name
	}
	if t.Schema == defaultSchema {
		return part(t.Name)
	}
	return part(t.Schema) + "." + part(t.Name)
}
