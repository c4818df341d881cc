package admin

import (
	"sort"
	"strings"
)

// log writes an admin action down: who, from where, what, and how it went.
func (s *session) log(c *call, err error) {
	if c.perm(s) != permAdmin {
		return
	}
	name := strings.ToLower(c.args["setting"])
	if err == nil {
		s.acted = true
	}
	e := s.srv.opts.Log.Info()
	if err != nil {
		e = s.srv.opts.Log.Warn().Str("error", masked(name, oneLine(err.Error())))
	}
	e.Str("user", s.client.User).Str("addr", s.client.Addr).Str("command", c.describe()).Msg("admin command")
}

// describe writes a command with its arguments in one line, without secrets.
func (c *call) describe() string {
	var words, captured []string
	for k := range c.args {
		if k == strings.ToUpper(k) {
			words = append(words, k)
		} else {
			captured = append(captured, k)
		}
	}
	sort.Strings(captured)
	// The keywords in the order of the pattern that matched.
	text := c.cmd.word()
	for _, f := range strings.Fields(c.cmd.syntax[0]) {
		for _, w := range words {
			if f == w && w != text {
				text += " " + w
			}
		}
	}
	for _, k := range captured {
		v := c.args[k]
		switch k {
		case "value":
			v = masked(strings.ToLower(c.args["setting"]), v)
		case "sql":
			v = "…"
		case "options":
			v = optionNames(v)
		}
		text += " " + k + "=" + oneLine(v)
	}
	return text
}
