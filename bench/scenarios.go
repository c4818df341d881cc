package main

import "fmt"

// scenario is one comparison.
type scenario struct {
	name    string
	load    load
	clients int
	metrics []metric
	goals   []goal
	auth    string // of the poolers
	// layout of the candidate and against, that of pgdrover as the reference; layoutINI compares with PgBouncer.
	layout, against layout
	// newer asks for a reference that follows prepared statements in transaction mode.
	newer bool
	// turns loads one contender after the other with all clients, in place of two at the same moment with
	// half of them each.
	turns bool
	// direct also measures PostgreSQL without a pooler.
	direct bool
	rounds int // 0 = as the flags say
	quick  bool
	// share first finds out what the reference can do, and then loads both sides together with this share of it; 0: as fast as they can.
	share float64
}

// goal is what pgdrover is to reach in a scenario.
type goal struct {
	metric string
	ratio  bool // to the reference, median of rounds; else the figure itself
	limit  float64
	more   bool // at least the limit; else at most
}

func (g goal) String() string {
	sign, times := "≤", ""
	if g.more {
		sign = "≥"
	}
	if g.ratio {
		times = " ×"
	}
	return fmt.Sprintf("%s %s %.4g%s", g.metric, sign, g.limit, times)
}

// met says whether a measured value reaches the goal; NaN does not.
func (g goal) met(v float64) bool {
	if g.more {
		return v >= g.limit
	}
	return v <= g.limit
}

// protocols are pgbench's select-only runs, and the single shortest statement.
var protocols = []struct {
	name, protocol, script string
	newer                  bool
	cpu                    float64 // goal: CPU per transaction, × the reference
	throughput             bool    // goal: at least the reference's, with more than one client
}{
	{name: "select-only simple", protocol: "simple", cpu: 1.2, throughput: true},
	{name: "select-only extended", protocol: "extended", cpu: 1.25},
	{name: "select-only prepared", protocol: "prepared", newer: true, cpu: 1.0, throughput: true},
	{name: "SELECT 1", protocol: "simple", script: "SELECT 1;", cpu: 1.2},
}

// Sizes of the loads that do not follow the flags.
const (
	crowdedClients = 1000
	idleClients    = 2000
	connectClients = 16
	tenthClients   = 16
	besideSmall    = 4
	besideBig      = 6
)

// scenarios is everything that is measured, in the order of the report.
func scenarios(quick bool) []scenario {
	transactions := []metric{perSecond("tps"), p50(), p99(), cpuPer("µs/txn", 1e-6)}
	var all []scenario
	for _, p := range protocols {
		for _, clients := range []int{1, 16, 100} {
			s := scenario{
				name:    fmt.Sprintf("%s, %s", p.name, plural(clients, "client")),
				load:    &pgbenchLoad{protocol: p.protocol, script: p.script},
				clients: clients,
				metrics: transactions,
				goals:   []goal{{metric: "CPU", ratio: true, limit: p.cpu}},
				newer:   p.newer,
				direct:  true,
				quick:   clients == 16,
			}
			if p.throughput && clients > 1 {
				s.goals = append(s.goals, goal{metric: "tps", ratio: true, limit: 1, more: true})
			}
			all = append(all, s)
		}
	}
	for _, p := range protocols {
		all = append(all, scenario{
			name:    p.name + " at a tenth of the load",
			load:    &pgbenchLoad{protocol: p.protocol, script: p.script},
			clients: tenthClients,
			metrics: transactions,
			goals:   []goal{{metric: "CPU", ratio: true, limit: p.cpu}},
			newer:   p.newer,
			direct:  true,
			share:   0.1,
			quick:   p.protocol == "simple" && p.script == "",
		})
	}
	crowded := scenario{
		name:    fmt.Sprintf("select-only simple, %s", plural(crowdedClients, "client")),
		load:    &pgbenchLoad{protocol: "simple", seconds: 8, wholeTail: true},
		clients: crowdedClients,
		metrics: []metric{perSecond("tps"), p50(), p99(), tail(), cpuPer("µs/txn", 1e-6)},
		goals:   []goal{{metric: "p99/p50", limit: 3}},
		turns:   true,
		rounds:  2,
		quick:   true,
	}
	if quick {
		crowded.load, crowded.rounds = &pgbenchLoad{protocol: "simple", seconds: 5, wholeTail: true}, 1
	}
	all = append(all, crowded)
	all = append(all, scenario{
		name: fmt.Sprintf("select-only simple, %s at 400/s beside %d that fetch 1.4 MB", plural(besideSmall, "client"), besideBig),
		load: &pgbenchLoad{
			protocol: "simple", seconds: 4, rate: 400,
			beside: &beside{script: "SELECT repeat('x', 1000) FROM generate_series(1, 1400);", clients: besideBig},
		},
		clients: besideSmall,
		metrics: []metric{p50(), p99(), besidePerSecond("results")},
		goals: []goal{
			{metric: "p99", ratio: true, limit: 2},
			{metric: "results", ratio: true, limit: 1.3, more: true},
		},
		turns:  true,
		rounds: 3,
		direct: true,
	})
	for _, auth := range []string{authTrust, authSCRAM} {
		all = append(all, scenario{
			name:    fmt.Sprintf("connect, SELECT 1, disconnect; %s", auth),
			load:    &pgbenchLoad{protocol: "simple", script: "SELECT 1;", reconnect: true},
			clients: connectClients,
			metrics: []metric{perSecond("conn"), cpuPer("µs/conn", 1e-6)},
			goals:   []goal{{metric: "conn", ratio: true, limit: 1, more: true}},
			auth:    auth,
			direct:  true,
			quick:   true,
		})
	}
	const rows = "SELECT repeat('x', 1000) FROM generate_series(1, %d)"
	for _, b := range []struct {
		name string
		load *bulkLoad
	}{
		{"big result", &bulkLoad{sql: rows}},
		{"COPY out", &bulkLoad{sql: "COPY (" + rows + ") TO STDOUT"}},
		// Rows are read and dropped: storing them would measure the disk.
		{"COPY in", &bulkLoad{sql: "COPY bulk FROM STDIN WHERE false", into: &copyText}},
		{"COPY in, binary", &bulkLoad{sql: "COPY bulk FROM STDIN (FORMAT binary) WHERE false", into: &copyBinary}},
	} {
		all = append(all, scenario{
			name:    b.name,
			load:    b.load,
			clients: 2,
			metrics: []metric{perSecond("MB"), cpuPer("ms/MB", 1e-3)},
			goals: []goal{
				{metric: "CPU", ratio: true, limit: 0.5},
				{metric: "MB", ratio: true, limit: 1.3, more: true},
			},
			direct: true,
			quick:  true,
		})
	}
	all = append(all, scenario{
		name:    fmt.Sprintf("memory, %d idle clients", idleClients),
		load:    idleLoad{},
		clients: idleClients,
		metrics: []metric{memory()},
		goals:   []goal{{metric: "RSS", limit: 10}},
		turns:   true,
		rounds:  1,
		quick:   true,
	})
	return append(all, shardingScenarios()...)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
