package admin

import (
	"fmt"
	"math"
	"strings"
)

// A pattern is the syntax of a command in the notation of the manual, from which the matcher is built:
//
//	WORD        a keyword
//	<name>      one name: a word, "quoted" or 'quoted'
//	<value...>  one or more values, separated by commas
//	<rest...>   anything up to the end
//	<text*>     as little as will do, but something: SQL for another parser; at most maxText tokens
//	<text**>    likewise of any length; once in a pattern, because it is tried at every length
//	[ x ]       optional
//	{ x | y }   either
//	other       that operator
type pattern struct {
	text string
	root node
}

// args are what a pattern captured: names by their label in the pattern, keywords by themselves.
type args map[string]string

func (a args) has(label string) bool { _, ok := a[label]; return ok }

// node matches a run of tokens. next is called with what is left and says whether the whole matches;
// captures are undone when it does not.
type node interface {
	match(toks []token, into args, next func([]token) bool) bool
}

type (
	keyword  string
	operator string
	capture  string // label of <name>
	values   string // label of <name...>
	text     struct {
		label string // of <name*>
		most  int    // tokens
	}
	sequence []node
	either   []node
)

func (k keyword) match(toks []token, into args, next func([]token) bool) bool {
	if len(toks) == 0 || toks[0].kind != kWord || !toks[0].is(string(k)) {
		return false
	}
	_, had := into[string(k)]
	into[string(k)] = toks[0].val
	if next(toks[1:]) {
		return true
	}
	if !had {
		delete(into, string(k))
	}
	return false
}

func (o operator) match(toks []token, _ args, next func([]token) bool) bool {
	return len(toks) > 0 && toks[0].kind == kOp && toks[0].val == string(o) && next(toks[1:])
}

func (c capture) match(toks []token, into args, next func([]token) bool) bool {
	val, n := takeName(toks)
	if n == 0 {
		return false
	}
	into[string(c)] = val
	if next(toks[n:]) {
		return true
	}
	delete(into, string(c))
	return false
}

func (v values) match(toks []token, into args, next func([]token) bool) bool {
	var vals []string
	rest := toks
	if string(v) == "rest" {
		if len(toks) == 0 {
			return false
		}
		rest = nil
	} else {
		for {
			val, n := takeName(rest)
			if n == 0 {
				return false
			}
			vals, rest = append(vals, val), rest[n:]
			if len(rest) == 0 || !rest[0].is(",") {
				break
			}
			rest = rest[1:]
		}
	}
	into[string(v)] = strings.Join(vals, ", ")
	if next(rest) {
		return true
	}
	delete(into, string(v))
	return false
}

func (x text) match(toks []token, into args, next func([]token) bool) bool {
	for n := 1; n <= min(len(toks), x.most); n++ {
		// What follows does not look at the captures: they are of use once the whole has matched.
		if next(toks[n:]) {
			into[x.label] = sourceOf(toks[:n])
			return true
		}
	}
	return false
}

// maxText is enough for a key of 32 columns with their types.
const maxText = 256

// sourceOf writes tokens as SQL again, with plain quotes.
func sourceOf(toks []token) string {
	var b strings.Builder
	for i, t := range toks {
		if i > 0 && t.space {
			b.WriteByte(' ')
		}
		switch t.kind {
		case kString:
			b.WriteString("'" + strings.ReplaceAll(t.val, "'", "''") + "'")
		case kQuoted:
			b.WriteString(`"` + strings.ReplaceAll(t.val, `"`, `""`) + `"`)
		case kParam:
			b.WriteString("$" + t.val)
		default:
			b.WriteString(t.val)
		}
	}
	return b.String()
}

func (s sequence) match(toks []token, into args, next func([]token) bool) bool {
	if len(s) == 0 {
		return next(toks)
	}
	return s[0].match(toks, into, func(rest []token) bool { return s[1:].match(rest, into, next) })
}

func (e either) match(toks []token, into args, next func([]token) bool) bool {
	for _, n := range e {
		if n.match(toks, into, next) {
			return true
		}
	}
	return false
}

// takeName reads a name or value: a quoted one, or words, numbers and signs without white space between
// them (my-db, 10.0.0.1, -1, /etc/x), as far as they are no part of the syntax.
func takeName(toks []token) (string, int) {
	if len(toks) == 0 {
		return "", 0
	}
	if k := toks[0].kind; k == kQuoted || k == kString {
		return toks[0].val, 1
	}
	var b strings.Builder
	n := 0
	for ; n < len(toks); n++ {
		t := toks[n]
		if n > 0 && t.space || t.kind == kQuoted || t.kind == kString || t.kind == kParam ||
			t.kind == kOp && strings.ContainsAny(t.val, "=,()|<>!") {
			break
		}
		b.WriteString(t.val)
	}
	return b.String(), n
}

// mustPattern compiles a pattern of the command table; a mistake there is found by any test.
func mustPattern(text string) pattern {
	p := patternParser{words: strings.Fields(padBrackets(text))}
	root := p.sequence("")
	if p.pos != len(p.words) {
		panic(fmt.Sprintf("admin: bad pattern %q", text))
	}
	return pattern{text: text, root: root}
}

func padBrackets(s string) string {
	return strings.NewReplacer("[", " [ ", "]", " ] ", "{", " { ", "}", " } ", "|", " | ").Replace(s)
}

type patternParser struct {
	words []string
	pos   int
}

// sequence parses up to the closing bracket, which it leaves; "|" makes alternatives.
func (p *patternParser) sequence(closing string) node {
	var alts either
	var seq sequence
	for p.pos < len(p.words) && p.words[p.pos] != closing {
		w := p.words[p.pos]
		p.pos++
		switch {
		case w == "|":
			alts, seq = append(alts, seq), nil
		case w == "[":
			seq = append(seq, either{p.bracket("]"), sequence{}})
		case w == "{":
			seq = append(seq, p.bracket("}"))
		case strings.HasSuffix(w, "...>"):
			seq = append(seq, values(w[1:len(w)-4]))
		case strings.HasSuffix(w, "**>"):
			seq = append(seq, text{w[1 : len(w)-3], math.MaxInt})
		case strings.HasSuffix(w, "*>"):
			seq = append(seq, text{w[1 : len(w)-2], maxText})
		case w[0] == '<':
			seq = append(seq, capture(w[1:len(w)-1]))
		case isWordStart(w[0]):
			seq = append(seq, keyword(w))
		default:
			seq = append(seq, operator(w))
		}
	}
	if alts == nil {
		return seq
	}
	return append(alts, seq)
}

func (p *patternParser) bracket(closing string) node {
	n := p.sequence(closing)
	p.pos++ // the bracket itself; a missing one fails mustPattern
	return n
}

// match returns what the pattern captures of the tokens, or nil.
func (p pattern) match(toks []token) args {
	into := args{}
	if p.root.match(toks, into, func(rest []token) bool { return len(rest) == 0 }) {
		return into
	}
	return nil
}
