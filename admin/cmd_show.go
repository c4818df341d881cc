package admin

import (
	"context"
	"strings"
)

// showCommands are SHOW HELP, one SHOW for each view, and SHOW of a setting.
func showCommands(views []*view) []*command {
	cmds := []*command{{
		syntax: []string{"SHOW HELP", "HELP"}, help: "this text", run: showHelp,
	}}
	for _, v := range views {
		perm := permStats
		if v.adminOnly {
			perm = permAdmin
		}
		cmds = append(cmds, &command{
			syntax: []string{"SHOW " + strings.ToUpper(v.name)}, perm: perm, help: v.meaning,
			columns: func(s *session, _ args) []column {
				cols, _ := v.shown(s.client.Database, v.cols, nil)
				return cols
			},
			run: func(_ context.Context, s *session, _ args) (*result, error) {
				cols, rows := v.shown(s.client.Database, v.cols, v.rows(s.env()))
				return &result{cols: cols, rows: rows, tag: "SHOW"}, nil
			},
		})
	}
	return append(cmds,
		&command{
			syntax: []string{"SHOW FDS"}, perm: permAdmin,
			run: func(context.Context, *session, args) (*result, error) {
				return nil, errf(codeNotSupported, "SHOW FDS is not supported").
					withDetail("It hands open connections to a new process of PgBouncer.")
			},
		},
		&command{
			syntax: []string{"SHOW TRANSACTION ISOLATION LEVEL"},
			columns: func(*session, args) []column {
				return []column{{name: "transaction_isolation", typ: tText}}
			},
			run: func(_ context.Context, s *session, _ args) (*result, error) {
				return showSetting(s, "transaction_isolation")
			},
		},
		&command{
			syntax: []string{"SHOW <setting>"}, help: "the value of one setting",
			columns: func(_ *session, a args) []column {
				return []column{{name: strings.ToLower(a["setting"]), typ: tText}}
			},
			run: func(_ context.Context, s *session, a args) (*result, error) { return showSetting(s, a["setting"]) },
		})
}

func showSetting(s *session, name string) (*result, error) {
	asked := name
	name = strings.ToLower(name)
	show := func(value string) (*result, error) {
		return &result{cols: []column{{name: name, typ: tText}}, rows: [][]any{{value}}, tag: "SHOW"}, nil
	}
	origins := s.srv.cfg.Origins()
	if o, ok := origins[name]; ok {
		return show(o.Value)
	}
	if v, ok := driverSetting(s, name); ok {
		return show(v)
	}
	err := errInvalidCommand("SHOW " + asked)
	known := make([]string, 0, len(origins)+len(s.srv.set.views))
	for k := range origins {
		known = append(known, k)
	}
	for _, v := range s.srv.set.views {
		known = append(known, v.name)
	}
	if near := nearest(name, known); near != "" {
		err.hint = "Perhaps you meant SHOW " + strings.ToUpper(near) + "."
	}
	return nil, err
}

func showHelp(_ context.Context, s *session, _ args) (*result, error) {
	return &result{tag: "SHOW", notices: []notice{{
		severity: "NOTICE", code: "00000", msg: "Console usage", detail: s.srv.set.help(),
	}}}, nil
}

// helpWidth is where the explanations begin in SHOW HELP; a longer command has a line of its own.
const helpWidth = 34

// help is the text of SHOW HELP.
func (r *registry) help() string {
	var b strings.Builder
	line := func(syntax, help string) {
		b.WriteString("\n  " + syntax)
		if len(syntax) > helpWidth-4 {
			b.WriteString("\n" + strings.Repeat(" ", helpWidth))
		} else {
			b.WriteString(strings.Repeat(" ", helpWidth-2-len(syntax)))
		}
		b.WriteString(help)
	}
	for _, c := range r.commands {
		switch {
		case c.help == "":
		case c.perm == permAdmin:
			line(c.display(), c.help+" (admin)")
		default:
			line(c.display(), c.help)
		}
	}
	line("SELECT ... FROM pools JOIN ...", "SQL over the views that SHOW knows")
	return b.String()
}
