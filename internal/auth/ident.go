package auth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Ident is a parsed pg_ident.conf: which operating system users and certificate names may be which user of
// the database. It is immutable; a nil *Ident has no maps.
type Ident struct {
	lines []identLine
	files []string
}

type identLine struct {
	name   string
	system identName
	user   identName
}

// identName is one side of a line.
type identName struct {
	text string
	all  bool // the keyword "all", database side only
	re   *regexp.Regexp
}

// ParseIdent parses a pg_ident.conf: lines of map name, system user and database user. A system user that
// begins with a slash is a regular expression (Go's, RE2), whose first parenthesised group replaces \1 in the
// database user. Errors name file and line and are for the whole file.
func ParseIdent(file string, data []byte) (*Ident, error) {
	return parseIdent(newConfReader(), file, data)
}

func parseIdent(r *confReader, file string, data []byte) (*Ident, error) {
	if err := r.read(file, data, 0); err != nil {
		return nil, err
	}
	id := &Ident{files: r.files}
	for i := range r.lines {
		l, err := parseIdentLine(&r.lines[i])
		if err != nil {
			return nil, err
		}
		id.lines = append(id.lines, l)
	}
	return id, nil
}

// Files returns the other files that were read because the file names them, for watching them.
func (id *Ident) Files() []string {
	if id == nil {
		return nil
	}
	return slices.Clone(id.files)
}

func parseIdentLine(l *confLine) (out identLine, err error) {
	if len(l.fields) != 3 {
		return out, l.errorf("a line has a map name, a system user and a database user; this one has %d fields", len(l.fields))
	}
	for _, f := range l.fields {
		if len(f) != 1 {
			return out, l.errorf("a field has several values")
		}
	}
	system, user := l.fields[1][0], l.fields[2][0]
	out.name = l.fields[0][0].text
	if out.system, err = newIdentName(system); err != nil {
		return out, l.errorf("%w", err)
	}
	if !user.quoted && strings.HasPrefix(user.text, "+") {
		return out, l.errorf("%s is not supported, since role memberships are not known here", user.text)
	}
	if out.user, err = newIdentName(user); err != nil {
		return out, l.errorf("%w", err)
	}
	out.user.all = !user.quoted && user.text == "all"
	if strings.Contains(user.text, `\1`) && out.user.re == nil && (out.system.re == nil || out.system.re.NumSubexp() == 0) {
		return out, l.errorf(`the database user has \1, but the system user is not a regular expression with parentheses`)
	}
	return out, nil
}

func newIdentName(w confToken) (identName, error) {
	n := identName{text: w.text}
	if expr, ok := strings.CutPrefix(w.text, "/"); ok {
		re, err := regexp.Compile(expr)
		if err != nil {
			return n, fmt.Errorf("regular expression %q: %w", expr, err)
		}
		n.re = re
	}
	return n, nil
}

// Match reports whether map name lets a system user log in as a database user. Lines of the same map add up.
func (id *Ident) Match(name, system, user string) bool {
	if id == nil {
		return false
	}
	for i := range id.lines {
		if l := &id.lines[i]; l.name == name && l.matches(system, user) {
			return true
		}
	}
	return false
}

func (l *identLine) matches(system, user string) bool {
	want := l.user.text
	if l.system.re == nil {
		if l.system.text != system {
			return false
		}
	} else {
		groups := l.system.re.FindStringSubmatch(system)
		if groups == nil {
			return false
		}
		if len(groups) > 1 && l.user.re == nil {
			want = strings.Replace(want, `\1`, groups[1], 1)
		}
	}
	switch {
	case l.user.all:
		return true
	case l.user.re != nil:
		return l.user.re.MatchString(user)
	default:
		return want == user
	}
}
