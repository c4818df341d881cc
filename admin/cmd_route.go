package admin

import (
	"context"

	"pgdrover/shard"
)

// routeColumns are those of ROUTE.
func routeColumns() []field[shard.RouteRow] {
	type r = shard.RouteRow
	refusal := func(get func(*shard.Error) string) func(r) string {
		return func(r r) string {
			if r.Refused == nil {
				return ""
			}
			return get(r.Refused)
		}
	}
	whole := func(name string, get func(r) string) field[r] { // with its line ends
		return field[r]{column{name, tText, ""}, func(r r) any {
			if s := get(r); s != "" {
				return s
			}
			return nil
		}}
	}
	return []field[r]{
		fInt4("statement", "", func(r r) int { return r.Statement }),
		fInt4("tier", "", func(r r) int { return r.Tier }),
		fText("kind", "", func(r r) string { return r.Kind }),
		fNull("shard", "", func(r r) string { return r.Shard }),
		fNull("key", "", func(r r) string { return r.Key }),
		whole("text", func(r r) string { return r.Text }),
		fNull("code", "", refusal(func(e *shard.Error) string { return e.Code })),
		fNull("construct", "", refusal(func(e *shard.Error) string { return e.Construct })),
		fNull("message", "", refusal(func(e *shard.Error) string { return e.Message })),
		fNull("detail", "", refusal(func(e *shard.Error) string { return e.Detail })),
		fNull("hint", "", refusal(func(e *shard.Error) string { return e.Hint })),
	}
}

// routeCommand explains where a statement goes, without running it.
func routeCommand() *command {
	fields := routeColumns()
	cols := make([]column, len(fields))
	for i, f := range fields {
		cols[i] = f.column
	}
	return &command{
		syntax: []string{"ROUTE <database> [ AS <role*> ] <sql>"}, perm: permAdmin, logged: true, waits: true,
		help:    "where 'SELECT …' would go: tier, kind, shards, key, and the text for each shard; or why it is refused",
		columns: func(*session, args) []column { return cols },
		run: func(ctx context.Context, s *session, a args) (*result, error) {
			role, err := roleName(a["role"])
			if err != nil {
				return nil, err
			}
			rows, err := s.srv.ctl.Route(ctx, a["database"], role, a["sql"])
			if err != nil {
				return nil, err
			}
			r := &result{cols: cols, tag: "ROUTE"}
			for _, row := range rows {
				out := make([]any, len(fields))
				for i, f := range fields {
					out[i] = f.get(row)
				}
				r.rows = append(r.rows, out)
			}
			return r, nil
		},
	}
}
