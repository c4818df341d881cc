package admin

import (
	"pgdrover/internal/stats"
	"pgdrover/pooler"
)

// counter is one of the counters of SHOW STATS and its relatives, under the names it has in each of them.
type counter struct {
	total, avg string // in SHOW STATS
	plain      string // in SHOW STATS_TOTALS
	plainAvg   string // in SHOW STATS_AVERAGES
	totals     string // in SHOW TOTALS, behind total_ and avg_
	meaning    string
	average    string // what the average is
	get        func(*stats.Totals) int64
	// weight is set for averages per event: what to weigh them by when databases are added up.
	weight func(*stats.Totals) int64
}

// counters is the table of counters, in PgBouncer's order.
func counters() []counter {
	type t = *stats.Totals
	perSecond := "per second"
	xacts := func(s t) int64 { return s.Xacts }
	queries := func(s t) int64 { return s.Queries }
	assigned := func(s t) int64 { return s.ServerAssignments }
	return []counter{
		{"total_server_assignment_count", "avg_server_assignment_count", "server_assignment_count", "server_assignment_count", "server_assignment_count", "servers handed to a client", perSecond, assigned, nil},
		{"total_xact_count", "avg_xact_count", "xact_count", "xact_count", "xact_count", "transactions", perSecond, xacts, nil},
		{"total_query_count", "avg_query_count", "query_count", "query_count", "query_count", "queries", perSecond, queries, nil},
		{"total_received", "avg_recv", "bytes_received", "bytes_received", "client_bytes", "bytes received from clients", perSecond, func(s t) int64 { return s.BytesReceived }, nil},
		{"total_sent", "avg_sent", "bytes_sent", "bytes_sent", "server_bytes", "bytes sent to clients", perSecond, func(s t) int64 { return s.BytesSent }, nil},
		{"total_xact_time", "avg_xact_time", "xact_time", "xact_time", "xact_time", "µs in transactions", "µs of a transaction", func(s t) int64 { return s.XactTime }, xacts},
		{"total_query_time", "avg_query_time", "query_time", "query_time", "query_time", "µs in queries", "µs of a query", func(s t) int64 { return s.QueryTime }, queries},
		{"total_wait_time", "avg_wait_time", "wait_time", "wait_time", "wait_time", "µs that clients waited for a server", "µs waited for a server", func(s t) int64 { return s.WaitTime }, assigned},
		{"total_client_parse_count", "avg_client_parse_count", "client_parse_count", "avg_client_parse_count", "ps_client_parse_count", "statements prepared by clients", perSecond, func(s t) int64 { return s.ClientParses }, nil},
		{"total_server_parse_count", "avg_server_parse_count", "server_parse_count", "avg_server_parse_count", "ps_server_parse_count", "statements prepared on servers", perSecond, func(s t) int64 { return s.ServerParses }, nil},
		{"total_bind_count", "avg_bind_count", "bind_count", "avg_bind_count", "ps_bind_count", "prepared statements readied for execution", perSecond, func(s t) int64 { return s.Binds }, nil},
		{"total_client_login_count", "avg_client_login_count", "client_login_count", "avg_client_login_count", "client_login_count", "logins of clients", perSecond, func(s t) int64 { return s.Logins }, nil},
	}
}

type dbStats = *pooler.DatabaseStats

func statsFields(total, avg func(counter) string) []field[dbStats] {
	fields := []field[dbStats]{fText("database", "database name as clients know it", func(r dbStats) string { return r.Database })}
	if total != nil {
		for _, c := range counters() {
			fields = append(fields, fNumeric(total(c), c.meaning+", since start", func(r dbStats) int64 { return c.get(&r.Total) }))
		}
	}
	if avg != nil {
		for _, c := range counters() {
			fields = append(fields, fNumeric(avg(c), c.meaning+": "+c.average+", over the last stats_period",
				func(r dbStats) int64 { return c.get((*stats.Totals)(&r.Average)) }))
		}
	}
	return fields
}

func listStats(e *env) []dbStats {
	all := e.ctl.Stats()
	out := make([]dbStats, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

func viewStats() *view {
	return viewOf("stats", "counters of each database, since start and on average", listStats,
		statsFields(func(c counter) string { return c.total }, func(c counter) string { return c.avg })...)
}

func viewStatsTotals() *view {
	return viewOf("stats_totals", "counters of each database since start", listStats,
		statsFields(func(c counter) string { return c.plain }, nil)...)
}

func viewStatsAverages() *view {
	return viewOf("stats_averages", "averages of each database over the last stats_period", listStats,
		statsFields(nil, func(c counter) string { return c.plainAvg })...)
}

type namedCount struct {
	name  string
	value int64
}

// totalsOf adds databases up. Averages per event are weighed by their events.
func totalsOf(all []pooler.DatabaseStats) []namedCount {
	var rows []namedCount
	for _, c := range counters() {
		var n int64
		for i := range all {
			n += c.get(&all[i].Total)
		}
		rows = append(rows, namedCount{"total_" + c.totals, n})
	}
	for _, c := range counters() {
		var sum, weights float64
		for i := range all {
			avg := (*stats.Totals)(&all[i].Average)
			w := 1.0
			if c.weight != nil {
				w = float64(c.weight(avg))
				weights += w
			}
			sum += float64(c.get(avg)) * w
		}
		switch {
		case c.weight == nil:
		case weights > 0:
			sum /= weights
		default: // fewer than one event per second everywhere: the largest says more than 0
			for i := range all {
				sum = max(sum, float64(c.get((*stats.Totals)(&all[i].Average))))
			}
		}
		rows = append(rows, namedCount{"avg_" + c.totals, int64(sum)})
	}
	return rows
}

func viewTotals() *view {
	return viewOf("totals", "counters of all databases together", func(e *env) []namedCount { return totalsOf(e.ctl.Stats()) },
		fText("name", "counter, as in SHOW STATS", func(r namedCount) string { return r.name }),
		fNumeric("value", "its value", func(r namedCount) int64 { return r.value }),
	)
}
