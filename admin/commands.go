package admin

import (
	"context"
	"strings"
)

// permission says who may run a command.
type permission uint8

const (
	permStats permission = iota // every user of the admin database
	permAdmin                   // users in admin_users
)

func (p permission) String() string {
	if p == permAdmin {
		return "admin"
	}
	return "stats"
}

// command is a row of the command table.
type command struct {
	syntax []string // patterns; the first is the one to show
	perm   permission
	// permFor overrides perm where it depends on the arguments.
	permFor func(*session, args) permission
	help    string // one line; "" keeps it out of SHOW HELP
	// waits marks commands that a cancel request, or the client's leaving, interrupts.
	waits bool
	// logged marks admin actions.
	logged bool
	// columns tells the columns before the command runs; nil for commands without a result.
	columns func(*session, args) []column
	run     func(context.Context, *session, args) (*result, error)

	patterns []pattern // syntax, compiled
}

// word is the first keyword of the command.
func (c *command) word() string { w, _, _ := strings.Cut(c.syntax[0], " "); return w }

// alike counts the words at the beginning of a text that are those of the command, names aside.
func (c *command) alike(toks []token) int {
	n := 0
	for _, w := range strings.Fields(c.syntax[0]) {
		if n >= len(toks) || !(w[0] == '<' && n > 0 || toks[n].is(w)) {
			break
		}
		n++
	}
	return n
}

// display is the syntax for people: the first pattern, without its finer points.
func (c *command) display() string {
	return strings.NewReplacer("[ ", "[", " ]", "]", "{ = | TO }", "=", "{ ", "{", " }", "}", "( ", "(", " )", ")", "...>", ">", "**>", ">", "*>", ">").Replace(c.syntax[0])
}

// result is what a command answers.
type result struct {
	cols    []column // nil: no row set
	rows    [][]any
	tag     string
	notices []notice
	after   func() // run once the answer has been sent
}

// registry holds both tables and what is derived from them. It is immutable.
type registry struct {
	commands []*command
	views    []*view
	byName   map[string]*view
}

func newRegistry() *registry {
	r := &registry{views: allViews(), byName: map[string]*view{}}
	for _, v := range r.views {
		r.byName[v.name] = v
	}
	r.commands = append(r.commands, showCommands(r.views)...)
	r.commands = append(r.commands, settingCommands()...)
	r.commands = append(r.commands, processCommands()...)
	r.commands = append(r.commands, shardingCommands()...)
	r.commands = append(r.commands, installCommands()...)
	r.commands = append(r.commands, routeCommand())
	r.commands = append(r.commands, sessionCommands()...)
	for _, c := range r.commands {
		for _, s := range c.syntax {
			c.patterns = append(c.patterns, mustPattern(s))
		}
	}
	return r
}

// call is a command with its arguments, ready to run.
type call struct {
	text string
	cmd  *command
	args args
	sel  *selectQuery // set instead of cmd for SQL over the views
}

// find parses one statement.
func (r *registry) find(st statement) (*call, error) {
	toks := st.toks
	first := toks[0]
	if v := r.bareSelect(toks); v != nil {
		toks = []token{{kind: kWord, val: "SHOW"}, toks[1]}
	} else if first.is("SELECT") || first.is("WITH") || first.is("VALUES") || first.is("(") {
		sel, err := newSelect(st, r)
		if err != nil {
			return nil, err
		}
		return &call{text: st.text, sel: sel}, nil
	}
	var near *command
	alike := 0 // keywords at the beginning that the nearest command has in common with the text
	for _, c := range r.commands {
		for _, p := range c.patterns {
			if a := p.match(toks); a != nil {
				return &call{text: st.text, cmd: c, args: a}, nil
			}
		}
		if n := c.alike(toks); n > alike && c.help != "" {
			near, alike = c, n
		}
	}
	err := errInvalidCommand(st.text)
	switch {
	case near != nil && !first.is("SHOW") && (alike > 1 || !first.is("CREATE") && !first.is("DROP")):
		err.hint = "The syntax is " + near.display() + "."
	case first.is("INSERT"), first.is("UPDATE"), first.is("DELETE"), first.is("CREATE"), first.is("DROP"), first.is("EXPLAIN"):
		err.hint = "In the admin database, SQL may only SELECT from the views that SHOW HELP lists."
	}
	return nil, err
}

// bareSelect recognises PgBouncer's SELECT x for SHOW x.
func (r *registry) bareSelect(toks []token) *view {
	if len(toks) == 2 && toks[0].is("SELECT") && toks[1].kind == kWord {
		return r.byName[strings.ToLower(toks[1].val)]
	}
	return nil
}

func (c *call) perm(s *session) permission {
	if c.sel != nil {
		for _, v := range c.sel.views {
			if v.adminOnly {
				return permAdmin
			}
		}
		return permStats
	}
	if c.cmd.permFor != nil {
		return c.cmd.permFor(s, c.args)
	}
	return c.cmd.perm
}

func (c *call) waits() bool { return c.sel != nil || c.cmd.waits }

// tagged is the result of a command that only has a tag.
func tagged(tag string) (*result, error) { return &result{tag: tag}, nil }
