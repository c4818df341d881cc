package config

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// position is a place in a configuration file. The zero value is "nowhere".
type position struct {
	file      string
	line, col int // from 1; 0 if unknown
}

// String returns "file:line", the form in which SHOW CONFIG names the source of a value.
func (p position) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// Problem is one thing wrong with a configuration, or worth a warning. Its text never holds a password.
type Problem struct {
	File    string // "" if it is not in a file
	Line    int    // from 1; 0 if it concerns the file as a whole
	Col     int    // from 1; 0 if unknown
	Message string
}

// String returns "file:line:col: message", with the parts that are known.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Col > 0 {
				fmt.Fprintf(&b, ":%d", p.Col)
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Warning is a Problem that does not stop the configuration from being used.
type Warning = Problem

// Problems are all that is wrong with a configuration; as an error it prints one problem a line.
type Problems []Problem

// mostProblems is how many problems are named. A file that is no configuration at all has one in each line.
const mostProblems = 20

// Error joins the first problems with newlines, and says how many there are more.
func (p Problems) Error() string {
	named := p[:min(len(p), mostProblems)]
	s := make([]string, len(named))
	for i := range named {
		s[i] = named[i].String()
	}
	if n := len(p) - len(named); n > 0 {
		s = append(s, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(s, "\n")
}

// problemsOf returns the problems that err consists of.
func problemsOf(err error) Problems {
	if err == nil {
		return nil
	}
	var ps Problems
	if errors.As(err, &ps) {
		return ps
	}
	return Problems{{Message: err.Error()}}
}

// report collects problems and warnings while a configuration is read.
type report struct {
	problems Problems
	warnings []Warning
}

func (r *report) errorf(at position, format string, args ...any) {
	r.problems = append(r.problems, Problem{at.file, at.line, at.col, fmt.Sprintf(format, args...)})
}

func (r *report) warnf(at position, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{at.file, at.line, at.col, fmt.Sprintf(format, args...)})
}

// err returns the problems in the order of files and lines, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	order := map[string]int{}
	for _, p := range r.problems {
		if _, ok := order[p.File]; !ok {
			order[p.File] = len(order)
		}
	}
	sort.SliceStable(r.problems, func(i, j int) bool {
		a, b := r.problems[i], r.problems[j]
		if a.File != b.File {
			return order[a.File] < order[b.File]
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	return r.problems
}

// nearest returns the name that is most like word, or "" if none is like it. A name of which word is the
// beginning or the end, such as default_pool_size for pool_size, counts as much alike.
func nearest(word string, names []string) string {
	word = strings.ToLower(strings.ReplaceAll(word, "-", "_"))
	best, bestDistance := "", 1+max(2, min(len(word), 18)/3)
	for _, n := range names {
		d := editDistance(word, strings.ReplaceAll(n, "-", "_"))
		if len(word) >= 4 && d > 2 && (strings.HasSuffix(n, "_"+word) || strings.HasPrefix(n, word+"_")) {
			d = 2
		}
		if d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// didYouMean returns "; did you mean …?" for the nearest of names, or "".
func didYouMean(word string, names []string) string {
	if n := nearest(word, names); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours between a and b.
func editDistance(a, b string) int {
	if len(a) > 64 {
		a = a[:64] // no name is as long; bounds the work on foreign input
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// ProblemAt makes a problem at a place that is written as Source fields are: "file:line", or a file alone.
func ProblemAt(source, format string, args ...any) Problem {
	p := Problem{File: source, Message: fmt.Sprintf(format, args...)}
	if i := strings.LastIndexByte(source, ':'); i >= 0 {
		if line, err := strconv.Atoi(source[i+1:]); err == nil {
			p.File, p.Line = source[:i], line
		}
	}
	return p
}
