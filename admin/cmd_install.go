package admin

import (
	"context"
	"fmt"

	"pgdrover/internal/config"
	"pgdrover/pooler"
)

// installCommands put into the databases of the shards what pgdrover needs there, and take it away.
func installCommands() []*command {
	return []*command{
		installing("ALTER DATABASE <database> INSTALL GUARD [ AS <role*> ]", "installed", pooler.InstallGuard,
			"have every shard refuse rows that the shard map puts elsewhere, whoever writes them"),
		installing("ALTER DATABASE <database> REMOVE GUARD [ AS <role*> ]", "removed", pooler.RemoveGuard, "undo that"),
		installing("ALTER DATABASE <database> INSTALL TWO PHASE [ FOR <roles*> ] [ AS <role*> ]", "installed", pooler.InstallTwoPhase,
			"let roles write to several shards in one transaction"),
		installing("ALTER DATABASE <database> INSTALL NEXT ID [ AS <role*> ]", "installed", pooler.InstallNextID,
			"create pgdrover.next_id(), which makes numbers that are unique over all shards"),
		{
			syntax: []string{"SHOW TWO_PHASE ON DATABASE <database> [ FOR <roles*> ]"},
			help:   "the SQL that INSTALL TWO PHASE runs on every shard, for somebody else to run",
			columns: func(*session, args) []column {
				return []column{{name: "sql", typ: tText}}
			},
			run: func(_ context.Context, s *session, a args) (*result, error) {
				roles, err := roleNames(a["roles"])
				if err != nil {
					return nil, err
				}
				sql, err := s.srv.ctl.TwoPhaseSQL(a["database"], roles)
				if err != nil {
					return nil, err
				}
				r := &result{cols: []column{{name: "sql", typ: tText}}, tag: "SHOW"}
				for _, q := range sql {
					r.rows = append(r.rows, []any{q + ";"})
				}
				return r, nil
			},
		},
	}
}

// installing makes a command out of an installation.
func installing(syntax, done string, what pooler.Installed, help string) *command {
	return &command{
		syntax: []string{syntax}, perm: permAdmin, logged: true, waits: true, help: help,
		run: func(ctx context.Context, s *session, a args) (*result, error) {
			in := pooler.Installation{What: what}
			var err error
			if in.Roles, err = roleNames(a["roles"]); err != nil {
				return nil, err
			}
			if in.As, err = roleName(a["role"]); err != nil {
				return nil, err
			}
			shards, err := s.srv.ctl.Install(ctx, a["database"], in)
			if err != nil {
				return nil, err
			}
			r := &result{tag: "ALTER DATABASE"}
			for _, name := range shards {
				r.notices = append(r.notices, notice{severity: "NOTICE", code: "00000", msg: fmt.Sprintf("shard %q: %s", name, done)})
			}
			return r, nil
		},
	}
}

// roleNames reads a list of roles, folded as in SQL; an empty text is an empty list.
func roleNames(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	names, err := config.ParseNames(text)
	if err != nil {
		return nil, errf(codeSyntax, "%s", err)
	}
	return names, nil
}

func roleName(text string) (string, error) {
	names, err := roleNames(text)
	switch {
	case err != nil:
		return "", err
	case len(names) > 1:
		return "", errf(codeSyntax, "one role expected")
	case len(names) == 0:
		return "", nil
	}
	return names[0], nil
}
