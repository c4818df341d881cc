package admin

import (
	"time"

	"pgdrover/internal/config"
	"pgdrover/pooler"
)

// env is what the rows of a view are made from: one moment of one session's server.
type env struct {
	ctl  pooler.Control
	cfg  config.Controller
	opts *Options
	sess *pooler.AdminSession
	now  time.Time
	set  *registry
}

// view is a row of the view table: SHOW NAME, and a table of that name for SELECT.
type view struct {
	name      string // lower case
	meaning   string
	cols      []column
	adminOnly bool // users in stats_users may not see it
	// exact, if not 0, is how many columns SHOW has on the database "pgbouncer": known clients of PgBouncer
	// refuse to read more. SELECT has them all.
	exact int
	rows  func(*env) [][]any
}

// shown are the columns and rows of SHOW, given all of them.
func (v *view) shown(database string, cols []column, rows [][]any) ([]column, [][]any) {
	if v.exact == 0 || database != "pgbouncer" {
		return cols, rows
	}
	for i := range rows {
		rows[i] = rows[i][:v.exact]
	}
	return cols[:v.exact], rows
}

// field is a column of a view over rows of type T, together with how its value is had.
type field[T any] struct {
	column
	get func(T) any
}

// viewOf builds a view from a list of things and the fields to show of each.
func viewOf[T any](name, meaning string, list func(*env) []T, fields ...field[T]) *view {
	v := &view{name: name, meaning: meaning}
	for _, f := range fields {
		v.cols = append(v.cols, f.column)
	}
	v.rows = func(e *env) [][]any {
		things := list(e)
		rows := make([][]any, len(things))
		for i, t := range things {
			row := make([]any, len(fields))
			for j, f := range fields {
				row[j] = f.get(t)
			}
			rows[i] = row
		}
		return rows
	}
	return v
}

// The constructors of fields, by type.

func fText[T any](name, meaning string, get func(T) string) field[T] {
	return field[T]{column{name, tText, meaning}, func(t T) any { return oneLine(get(t)) }}
}

// fNull is fText with NULL for an empty text.
func fNull[T any](name, meaning string, get func(T) string) field[T] {
	return field[T]{column{name, tText, meaning}, func(t T) any {
		if s := get(t); s != "" {
			return oneLine(s)
		}
		return nil
	}}
}

func fInt4[T any](name, meaning string, get func(T) int) field[T] {
	return field[T]{column{name, tInt4, meaning}, func(t T) any { return int4(int64(get(t))) }}
}

func fInt8[T any](name, meaning string, get func(T) int64) field[T] {
	return field[T]{column{name, tInt8, meaning}, func(t T) any { return get(t) }}
}

func fNumeric[T any](name, meaning string, get func(T) int64) field[T] {
	return field[T]{column{name, tNumeric, meaning}, func(t T) any { return get(t) }}
}

// fSeconds shows a duration in seconds; 0 is NULL, because it stands for "not so now" wherever it is used.
func fSeconds[T any](name, meaning string, get func(T) time.Duration) field[T] {
	return field[T]{column{name, tFloat8, meaning}, func(t T) any {
		if d := get(t); d > 0 {
			return seconds(d)
		}
		return nil
	}}
}

// allViews is the view table, in the order of SHOW HELP: PgBouncer's, then ours.
func allViews() []*view {
	return []*view{
		viewDatabases(), viewPools(), viewPeerPools(), viewClients(), viewServers(), viewUsers(),
		viewSockets(), viewActiveSockets(), viewPeers(), viewConfig(), viewLists(), viewState(), viewMem(),
		viewStats(), viewStatsTotals(), viewStatsAverages(), viewTotals(),
		viewDNSHosts(), viewDNSZones(), viewVersion(),
		viewWaiters(), viewShards(), viewKeys(), viewTables(), viewPlacement(), viewChecks(), viewPlans(), viewColumns(),
	}
}
