package config

import (
	"fmt"
	"strings"
)

const (
	maxIncludeDepth = 10   // how deep %include may nest, as in PgBouncer
	maxIncludes     = 1000 // how many there may be; nesting alone would allow for any number
)

// iniReader reads pgbouncer.ini. What a section header says holds on into and out of included files.
type iniReader struct {
	doc      *document
	files    *fileSet
	rep      *report
	section  string
	seen     bool // whether there was a [pgbouncer]
	included int
}

// readINI turns the text of a pgbouncer.ini into a document. Relative names in it, of included files too,
// count from the working directory.
func readINI(file string, text []byte, files *fileSet, rep *report) *document {
	r := &iniReader{doc: &document{}, files: files, rep: rep}
	r.read(file, text, 0)
	if !r.seen && len(rep.problems) == 0 {
		rep.errorf(position{file: file}, "there is no [pgbouncer] section")
	}
	return r.doc
}

func (r *iniReader) read(file string, text []byte, depth int) {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		at := position{file: file, line: n}
		line = strings.Trim(line, blanks)
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
		case line[0] == '[':
			r.header(line, at)
		case line[0] == '%':
			r.include(line, at, depth)
		default:
			r.keyValue(line, at)
		}
	}
}

func (r *iniReader) header(line string, at position) {
	name, ok := strings.CutSuffix(line[1:], "]")
	if !ok || strings.ContainsAny(name, "[]") {
		r.rep.errorf(at, "a section header must be [NAME] and nothing else")
		return
	}
	r.section = name
	if name == "pgbouncer" {
		if r.seen {
			r.rep.warnf(at, "[pgbouncer] begins again here; what was set above it is back at its default")
		}
		r.seen, r.doc.settings = true, nil
		return
	}
	if r.doc.section(name) == nil {
		r.section = "?" // its lines would only repeat the error
		r.rep.errorf(at, "unknown section [%s]%s", name, didYouMean(name, append([]string{"pgbouncer"}, sectionNames...)))
	}
}

func (r *iniReader) include(line string, at position, depth int) {
	rest, ok := strings.CutPrefix(line, "%include")
	file := strings.Trim(rest, blanks)
	switch {
	case !ok || file == "" || strings.IndexByte(blanks, rest[0]) < 0:
		r.rep.errorf(at, "a line that begins with %% must be %%include FILE")
		return
	case depth+1 > maxIncludeDepth:
		r.rep.errorf(at, "%%include is nested deeper than %d", maxIncludeDepth)
		return
	}
	if r.included++; r.included > maxIncludes {
		if r.included == maxIncludes+1 {
			r.rep.errorf(at, "more than %d files are included", maxIncludes)
		}
		return
	}
	text, err := r.files.read(file)
	if err != nil {
		r.rep.errorf(at, "%%include: cannot read %s: %v", file, why(err))
		return
	}
	r.read(file, text, depth+1)
}

func (r *iniReader) keyValue(line string, at position) {
	key, text, err := splitKey(line)
	if err != nil {
		r.rep.errorf(at, "syntax error: %v", err)
		return
	}
	switch r.section {
	case "?":
	case "":
		r.rep.errorf(at, "%s stands above the first section; [pgbouncer] is missing", key)
	case "pgbouncer":
		r.doc.settings = append(r.doc.settings, entry{key: key, value: value{text, dialectINI}, at: at})
	default:
		r.object(key, text, at)
	}
}

// object reads a line of [databases], [users] or [peers].
func (r *iniReader) object(name, text string, at position) {
	pairs, err := parsePairs(text, false)
	if err != nil {
		r.rep.errorf(at, "%s in [%s]: %v", name, r.section, err)
		return
	}
	o := object{name: name, at: at}
	password := false
	for i, p := range pairs {
		known := r.knows(p.key)
		switch {
		case p.value == "":
			r.rep.errorf(at, "%s in [%s]: the value of part %d is empty", name, r.section, i+1)
		case password && !known:
			r.rep.errorf(at, "%s in [%s]: part %d, after the password, has an unknown name; a password with blanks needs single quotes",
				name, r.section, i+1)
		default:
			o.entries = append(o.entries, entry{key: p.key, value: value{p.value, dialectINI}, at: at})
		}
		password = password || p.key == "password"
	}
	objects := r.doc.section(r.section)
	if old := find(*objects, name); old != nil {
		r.rep.warnf(at, "%s in [%s] is also on line %d; this line is used", name, r.section, old.at.line)
		*old = o
		return
	}
	*objects = append(*objects, o)
}

// knows reports whether the entries of the current section have such a key.
func (r *iniReader) knows(key string) bool {
	var ok bool
	switch r.section {
	case "databases":
		_, ok = databaseTable.byName[key]
	case "users":
		_, ok = userTable.byName[key]
	default:
		_, ok = peerTable.byName[key]
	}
	return ok
}

// splitKey splits "key = value". The key is bare or in single or double quotes, which are doubled inside.
// The errors do not quote the line.
func splitKey(line string) (key, text string, err error) {
	rest := ""
	if q := line[0]; q == '\'' || q == '"' {
		var b strings.Builder
		i := 1
		for ; i < len(line); i++ {
			if line[i] == q {
				if i+1 < len(line) && line[i+1] == q {
					i++
				} else {
					break
				}
			}
			b.WriteByte(line[i])
		}
		if i >= len(line) {
			return "", "", fmt.Errorf("the name has no closing quote")
		}
		key, rest = b.String(), line[i+1:]
	} else {
		i := strings.IndexFunc(line, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.*-", c))
		})
		if i < 0 {
			i = len(line)
		}
		key, rest = line[:i], line[i:]
	}
	rest = strings.TrimLeft(rest, blanks)
	switch {
	case key == "":
		return "", "", fmt.Errorf("the line must be NAME = VALUE; names with other characters than letters, digits, _ . * - need quotes")
	case !strings.HasPrefix(rest, "="):
		return "", "", fmt.Errorf("there is no = after the name")
	}
	return key, strings.Trim(rest[1:], blanks), nil
}
