package admin

import (
	"slices"

	"pgdrover/internal/config"
)

type setting struct {
	name string
	config.Origin
}

func listSettings(e *env) []setting {
	origins := e.cfg.Origins()
	out := make([]setting, 0, len(origins))
	for name, o := range origins {
		out = append(out, setting{name, o})
	}
	slices.SortFunc(out, func(a, b setting) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

func viewConfig() *view {
	v := viewOf("config", "settings: value, where it came from, and where a change takes effect", listSettings,
		fText("key", "name", func(r setting) string { return r.name }),
		fText("value", "value in force", func(r setting) string { return r.Value }),
		fText("default", "value without any configuration", func(r setting) string { return r.Default }),
		fText("changeable", "yes if RELOAD and SET can change it", func(r setting) string { return yesNo(r.Changeable) }),
		fText("source", "default, file:line, auto (config.auto.toml) or SET", func(r setting) string { return r.Source }),
		fText("applies", "where a change takes effect", func(r setting) string { return r.Applies }),
		fNull("shadows", "file:line of the value that auto or SET hides", func(r setting) string { return r.Shadows }),
		fNull("pending", "value that waits for a restart", func(r setting) string { return r.Pending }),
		fText("meaning", "what it is", func(r setting) string { return r.Meaning }),
	)
	v.exact = 4 // pgbouncer_exporter counts them
	return v
}

type viewColumn struct {
	view string
	column
}

func viewColumns() *view {
	return viewOf("columns", "the columns of every view, their types and meanings", func(e *env) []viewColumn {
		var out []viewColumn
		for _, v := range e.set.views {
			for _, c := range v.cols {
				out = append(out, viewColumn{v.name, c})
			}
		}
		return out
	},
		fText("view", "name of the view", func(r viewColumn) string { return r.view }),
		fText("name", "name of the column", func(r viewColumn) string { return r.name }),
		fText("type", "its PostgreSQL type", func(r viewColumn) string { return r.typ.info().name }),
		fText("meaning", "what it is", func(r viewColumn) string { return r.meaning }),
	)
}
