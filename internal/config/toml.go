package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readTOML turns the text of a TOML file into a document. Whether the keys exist and the values make
// sense is not looked at here, only that tables stand where tables belong.
func readTOML(file string, text []byte, src source, rep *report) *document {
	doc := &document{}
	tree, err := parseTOML(file, text)
	if err != nil {
		rep.problems = append(rep.problems, problemsOf(err)...)
		return doc
	}
	places := locateTOML(file, text)
	for _, key := range sortedKeys(tree, "", places) {
		at := places.at(key)
		objects := doc.section(key)
		if objects == nil {
			doc.settings = append(doc.settings, entry{key: key, value: value{tree[key], dialectTOML}, at: at, source: src})
			continue
		}
		section, ok := tree[key].(map[string]any)
		if !ok {
			rep.errorf(at, "%q must be a table: write [%s.NAME] and its keys below", key, key)
			continue
		}
		for _, name := range sortedKeys(section, key, places) {
			at := places.at(key, name)
			body, ok := section[name].(map[string]any)
			if !ok {
				rep.errorf(at, "%q in [%s] must be a table: write [%s.%s] and its keys below",
					name, key, key, tomlKey(name))
				continue
			}
			o := object{name: name, at: at, source: src}
			for _, k := range sortedKeys(body, key+"\x00"+name, places) {
				o.entries = append(o.entries, entry{
					key: k, value: value{body[k], dialectTOML}, at: places.at(key, name, k), source: src,
					places: places, path: strings.Join([]string{key, name, k}, "\x00"),
				})
			}
			*objects = append(*objects, o)
		}
	}
	return doc
}

// parseTOML decodes text. Its errors have positions and do not quote the text.
func parseTOML(file string, text []byte) (map[string]any, error) {
	tree := map[string]any{}
	err := toml.Unmarshal(text, &tree)
	if err == nil {
		return tree, nil
	}
	p := Problem{File: file, Message: quotedRune.ReplaceAllString(gotRune.ReplaceAllString(strings.TrimPrefix(err.Error(), "toml: "), "but got something else"), "")}
	var d *toml.DecodeError
	if errors.As(err, &d) {
		p.Line, p.Col = d.Position()
		if m := syntaxMessage(lineOf(text, p.Line)); m != "" {
			p.Message = m
		}
	}
	return nil, Problems{p}
}

// How go-toml names the character it stumbled over, which may be the first of a password.
var (
	gotRune    = regexp.MustCompile(`but got U\+[0-9A-F]+( '.{1,4}')?`)
	quotedRune = regexp.MustCompile(`:? U\+[0-9A-F]+( '.{1,4}')?`)
)

var (
	bareValue  = regexp.MustCompile(`^\s*([\w.-]+)\s*=\s*([A-Za-z_/*]\w*|\d+\.\d+\.|\d[\d.]*[A-Za-z])`)
	noValue    = regexp.MustCompile(`^\s*[\w.-]+\s*=\s*(#.*)?$`)
	noEquals   = regexp.MustCompile(`^\s*([\w-]+)(\s*:|\s+[^\s=])`)
	openHeader = regexp.MustCompile(`^\s*\[[^\]]*$`)
)

// syntaxMessage names what people get wrong who come from another format, and "" for anything else. It does not quote a value.
func syntaxMessage(line string) string {
	m := bareValue.FindStringSubmatch(line)
	switch {
	case m != nil && m[2] != "true" && m[2] != "false":
		return fmt.Sprintf(`the value of %s needs quotes: %s = "…"`, m[1], m[1])
	case noValue.MatchString(line):
		return "the value is missing"
	case noEquals.MatchString(line):
		return fmt.Sprintf("expected %s = value", noEquals.FindStringSubmatch(line)[1])
	case openHeader.MatchString(line):
		return "expected ] at the end of the table's name"
	}
	return ""
}

// lineOf returns a line of text, counted from 1.
func lineOf(text []byte, n int) string {
	for i := 1; i < n; i++ {
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return string(line)
}

// tomlPlaces maps the path of a key, joined with zero bytes, to where it stands first. The elements of an array are named by
// their numbers, from 0.
type tomlPlaces struct {
	file   string
	places map[string]position
}

func (t *tomlPlaces) at(path ...string) position {
	if p, ok := t.places[strings.Join(path, "\x00")]; ok {
		return p
	}
	return position{file: t.file}
}

// locateTOML finds the keys of a text that has been parsed without error.
func locateTOML(file string, text []byte) *tomlPlaces {
	t := &tomlPlaces{file: file, places: map[string]position{}}
	lines := lineStarts(text)
	note := func(path string, r unstable.Range) {
		if _, ok := t.places[path]; ok || r.Length == 0 {
			return
		}
		line := sort.SearchInts(lines, int(r.Offset)+1)
		t.places[path] = position{file, line, int(r.Offset) - lines[line-1] + 1}
	}
	arrays := map[string]int{} // arrays of tables, and how many elements they have so far
	// key notes a dotted key below prefix, and returns the whole path. An array of tables on the way stands for its last element;
	// element says that the key itself begins a new one.
	key := func(prefix string, it unstable.Iterator, element bool) string {
		for it.Next() {
			if prefix != "" {
				prefix += "\x00"
			}
			prefix += string(it.Node().Data)
			note(prefix, it.Node().Raw)
			if element && it.IsLast() {
				arrays[prefix]++
			}
			if n := arrays[prefix]; n > 0 {
				prefix += "\x00" + strconv.Itoa(n-1)
				note(prefix, it.Node().Raw)
			}
		}
		return prefix
	}
	var inline func(prefix string, n *unstable.Node)
	inline = func(prefix string, n *unstable.Node) {
		i := 0
		for it := n.Children(); (n.Kind == unstable.InlineTable || n.Kind == unstable.Array) && it.Next(); {
			switch e := it.Node(); {
			case n.Kind == unstable.Array && e.Kind != unstable.Comment:
				path := prefix + "\x00" + strconv.Itoa(i)
				note(path, e.Raw)
				inline(path, e)
				i++
			case e.Kind == unstable.KeyValue:
				inline(key(prefix, e.Key(), false), e.Value())
			}
		}
	}
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = key("", e.Key(), e.Kind == unstable.ArrayTable)
		case unstable.KeyValue:
			inline(key(table, e.Key(), false), e.Value())
		}
	}
	return t
}

// lineStarts returns the offset at which each line begins.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for i, c := range text {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// sortedKeys returns the keys of a table in the order of the file.
func sortedKeys(m map[string]any, prefix string, places *tomlPlaces) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	path := func(k string) string {
		if prefix == "" {
			return k
		}
		return prefix + "\x00" + k
	}
	slices.SortFunc(keys, func(a, b string) int {
		p, q := places.places[path(a)], places.places[path(b)]
		return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.col, q.col), cmp.Compare(a, b))
	})
	return keys
}

// tomlKey writes a key bare if it can be, quoted otherwise.
func tomlKey(k string) string {
	for _, c := range k {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return tomlString(k)
		}
	}
	if k == "" {
		return `""`
	}
	return k
}

// tomlString writes a basic string.
func tomlString(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20 || c == 0x7f:
			b.WriteString(`\u00`)
			b.WriteByte(hex[c>>4&15])
			b.WriteByte(hex[c&15])
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
