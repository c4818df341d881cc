package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Limits of the files that pg_hba.conf and pg_ident.conf are made of.
const (
	maxIncludeDepth = 10      // PostgreSQL's CONF_FILE_MAX_DEPTH
	maxConfLines    = 100_000 // over all files
	maxConfFiles    = 1000    // read because another named them
)

// confToken is one word. A quoted word has no special meaning.
type confToken struct {
	text   string
	quoted bool
}

// confLine is one line: fields, each of which is a list of words that were separated by commas.
type confLine struct {
	file   string
	line   int
	fields [][]confToken
}

func (l *confLine) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{l.file, l.line}, args...)...)
}

// confReader reads files in the syntax that pg_hba.conf and pg_ident.conf share.
type confReader struct {
	readFile func(name string) ([]byte, error)
	readDir  func(name string) ([]os.DirEntry, error)
	opens    *int     // how many files were read, shared with the readers of lists
	files    []string // all that were read because another named them
	lines    []confLine
}

func newConfReader() *confReader {
	return &confReader{readFile: os.ReadFile, readDir: os.ReadDir, opens: new(int)}
}

// read adds the lines of a file, and those of what it includes, to r.lines.
func (r *confReader) read(file string, data []byte, depth int) error {
	rest, number := string(data), 0
	for rest != "" {
		var text string
		number++
		line := confLine{file: file, line: number}
		text, rest, _ = strings.Cut(rest, "\n")
		text = strings.TrimSuffix(text, "\r")
		for strings.HasSuffix(text, `\`) && rest != "" {
			var next string
			next, rest, _ = strings.Cut(rest, "\n")
			text = strings.TrimSuffix(text, `\`) + strings.TrimSuffix(next, "\r")
			number++
		}
		if strings.ContainsRune(text, 0) {
			return line.errorf("NUL byte")
		}
		var err error
		if line.fields, err = r.fields(text, &line, depth); err != nil {
			return err
		}
		if len(line.fields) == 0 {
			continue
		}
		if done, err := r.include(&line, depth); done || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if r.lines = append(r.lines, line); len(r.lines) > maxConfLines {
			return line.errorf("more than %d lines", maxConfLines)
		}
	}
	return nil
}

// fields cuts a line into fields.
func (r *confReader) fields(text string, line *confLine, depth int) ([][]confToken, error) {
	var fields [][]confToken
	for {
		var field []confToken
		comma := true
		for comma {
			var tok confToken
			var ok bool
			var err error
			if tok, text, comma, ok, err = nextToken(text); err != nil {
				return nil, line.errorf("%w", err)
			}
			if !ok {
				break
			}
			if !tok.quoted && len(tok.text) > 1 && tok.text[0] == '@' {
				words, err := r.list(tok.text[1:], line, depth)
				if err != nil {
					return nil, err
				}
				if field = append(field, words...); field == nil {
					// An empty field would shift those behind it.
					return nil, line.errorf("%s names nothing", tok.text)
				}
				continue
			}
			field = append(field, tok)
		}
		if field == nil {
			if strings.TrimLeft(text, " \t\f\v\r") == "" {
				return fields, nil
			}
			continue
		}
		fields = append(fields, field)
	}
}

// list reads the words of an @file.
func (r *confReader) list(name string, from *confLine, depth int) ([]confToken, error) {
	data, path, err := r.open(name, from, depth)
	if err != nil {
		return nil, err
	}
	sub := &confReader{readFile: r.readFile, readDir: r.readDir, opens: r.opens}
	err = sub.read(path, data, depth+1)
	r.files = append(r.files, sub.files...)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", from.file, from.line, err)
	}
	var words []confToken
	for _, l := range sub.lines {
		for _, f := range l.fields {
			words = append(words, f...)
		}
	}
	if len(words) > maxConfLines {
		return nil, from.errorf("more than %d words in %s", maxConfLines, path)
	}
	return words, nil
}

func (r *confReader) open(name string, from *confLine, depth int) (data []byte, path string, err error) {
	if depth >= maxIncludeDepth {
		return nil, "", from.errorf("%s: files are included more than %d deep", name, maxIncludeDepth)
	}
	if *r.opens++; *r.opens > maxConfFiles {
		return nil, "", from.errorf("more than %d files are included", maxConfFiles)
	}
	path = name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(from.file), path)
	}
	if !slices.Contains(r.files, path) {
		r.files = append(r.files, path)
	}
	if data, err = r.readFile(path); err != nil {
		return nil, path, from.errorf("%w", err)
	}
	return data, path, nil
}

// include runs the directives include, include_if_exists and include_dir.
func (r *confReader) include(line *confLine, depth int) (done bool, err error) {
	word := line.fields[0][0]
	if len(line.fields[0]) != 1 || word.quoted || !strings.HasPrefix(word.text, "include") {
		return false, nil
	}
	switch word.text {
	case "include", "include_if_exists", "include_dir":
	default:
		return false, nil
	}
	if len(line.fields) != 2 || len(line.fields[1]) != 1 {
		return true, line.errorf("%s takes one name", word.text)
	}
	name := line.fields[1][0].text
	if word.text == "include_dir" {
		return true, r.includeDir(name, line, depth)
	}
	data, path, err := r.open(name, line, depth)
	if err != nil {
		if word.text == "include_if_exists" && errors.Is(err, os.ErrNotExist) {
			return true, nil
		}
		return true, err
	}
	return true, r.read(path, data, depth+1)
}

func (r *confReader) includeDir(name string, line *confLine, depth int) error {
	dir := name
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(line.file), dir)
	}
	entries, err := r.readDir(dir)
	if err != nil {
		return line.errorf("%w", err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); !e.IsDir() && strings.HasSuffix(n, ".conf") && !strings.HasPrefix(n, ".") {
			names = append(names, filepath.Join(dir, n))
		}
	}
	sort.Strings(names)
	for _, n := range names {
		data, path, err := r.open(n, line, depth)
		if err != nil {
			return err
		}
		if err := r.read(path, data, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// nextToken cuts the next word off a line. comma says that the list goes on behind it; ok is false at the end
// of the line. The quoting rules are PostgreSQL's: quotes may open and close inside a word, "" inside quotes
// is a quote, and a word counts as quoted if it begins with one.
func nextToken(s string) (tok confToken, rest string, comma, ok bool, err error) {
	s = strings.TrimLeft(s, ", \t\f\v\r")
	var b strings.Builder
	inQuote, wasQuote, any := false, false, false
	i := 0
	for ; i < len(s); i++ {
		c := s[i]
		if !inQuote {
			if c == '#' {
				s, i = s[:i], i-1
				continue
			}
			if c == ' ' || c == '\t' || c == '\f' || c == '\v' || c == '\r' || c == ',' {
				break
			}
		}
		if c != '"' {
			any, wasQuote = true, false
			b.WriteByte(c)
			continue
		}
		if wasQuote {
			b.WriteByte('"')
		}
		if !any && b.Len() == 0 {
			tok.quoted = true
		}
		wasQuote = inQuote && !wasQuote
		inQuote = !inQuote
		any = true
	}
	if inQuote {
		return tok, "", false, false, errors.New("quote is not closed")
	}
	if i > len(s) {
		i = len(s)
	}
	tok.text, rest = b.String(), s[i:]
	comma = strings.HasPrefix(rest, ",")
	return tok, rest, comma, any, nil
}
