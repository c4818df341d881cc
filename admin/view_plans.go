package admin

import "pgdrover/pooler"

func viewPlans() *view {
	type p = pooler.PlanInfo
	return viewOf("plans", "cached plans of the sharded databases, one for each shape of a statement", func(e *env) []p { return e.ctl.Plans() },
		fText("database", "database as clients know it", func(r p) string { return r.Database }),
		fText("shape", "the statement, with ? for its constants", func(r p) string { return r.Shape }),
		fInt4("tier", "1: one shard; 2: several; 0: no server, or its session alone", func(r p) int { return r.Tier }),
		fText("kind", "forward, anywhere, gather, split, everywhere, …; or refused", func(r p) string { return r.Kind }),
		fNull("key", "sharding keys that say where it goes", func(r p) string { return r.Key }),
		fInt4("shards", "how many shards it can need", func(r p) int { return r.Shards }),
		fInt8("hits", "how often it ran", func(r p) int64 { return int64(r.Runs) }),
		fInt8("time", "time of all runs, µs; statements that were sent together share theirs evenly", func(r p) int64 { return r.Time.Microseconds() }),
		fInt8("bytes", "what the plan takes in memory, roughly", func(r p) int64 { return int64(r.Bytes) }),
		fNull("refused", "the construct for which it is refused", func(r p) string { return r.Refused }),
	)
}

func viewChecks() *view {
	type c = pooler.CheckInfo
	return viewOf("checks", "what does not fit between the catalogs of the shards and the shard map", func(e *env) []c { return e.ctl.Checks() },
		fText("database", "database as clients know it", func(r c) string { return r.Database }),
		fNull("schema", "schema of the table", func(r c) string { return r.Relation.Schema }),
		fNull("name", "table", func(r c) string { return r.Relation.Name }),
		fText("check", "what kind of problem; unread: the catalogs have not been read since the start, a change or RELOAD", func(r c) string {
			if r.Unread {
				return "unread"
			}
			return r.Code
		}),
		fNull("object", "the constraint, column, trigger or other table that it is about", func(r c) string { return r.Object }),
		fInt4("refuses", "1: statements that use the table are refused; 0: a warning", func(r c) int { return oneZero(!r.Unread && !r.Warning) }),
		fText("message", "what is wrong", func(r c) string {
			if r.Unread {
				return "the catalogs of the shards are read when the next statement of a client comes"
			}
			return r.Message
		}),
		fNull("hint", "what to do", func(r c) string {
			if r.Unread {
				return "ROUTE reads them too."
			}
			return r.Hint
		}),
		fNull("waiver", "the name that accepts it, in waive of the database; NULL: it cannot be accepted", func(r c) string { return r.Waiver }),
	)
}
