package pooler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A deadlock over several shards is one that no PostgreSQL sees whole. When a statement takes longer than deadlock_timeout, every shard is
// asked who waits for whom, the backends of one session are put together, and in a circle the youngest transaction is cancelled. Which backends
// work for one session each pgdrover writes down on the shards (pgdrover.backends) when one of its own is late, so that all of them see the same
// graph; whoever has the youngest in a circle cancels it, and the others leave it to that one. Every session in a circle waits, so its pgdrover
// will have written.

// queryBlocked lists the backends of a database that wait for others.
const queryBlocked = `SELECT pid, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(pid), ' ') FROM pg_catalog.pg_stat_activity ` +
	`WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND wait_event_type OPERATOR(pg_catalog.=) 'Lock'`

// queryBackends writes down whom backends work for, and lists those of all pgdrovers.
const queryBackends = `SELECT pid, session FROM pgdrover.backends($1::pg_catalog.int4[], $2::pg_catalog.text[])`

// A shardBackend is a backend of one shard.
type shardBackend struct {
	shard string
	pid   uint32
}

// A party waits, or is waited for, as one: the session of a client with all its backends, or a backend of which no more is known.
type party struct {
	began  int64  // the session's transaction, in microseconds since 1970; 0 for a backend
	node   string // whose session it is
	client uint64
	shardBackend
}

// text is how a session is written down.
func (y party) text() string { return fmt.Sprintf("%d %s %d", y.began, y.node, y.client) }

// parseParty reads what text has written.
func parseParty(text string) (y party, ok bool) {
	n, err := fmt.Sscanf(text, "%d %s %d", &y.began, &y.node, &y.client)
	return y, err == nil && n == 3 && y.began > 0
}

// younger orders parties by the age of their transactions, in the same way on every node.
func younger(a, b party) int {
	return cmp.Or(cmp.Compare(a.began, b.began), cmp.Compare(a.node, b.node), cmp.Compare(a.client, b.client))
}

func (p *Pooler) partyOf(c *client) party {
	return party{began: wallTime(c.xactAt.Load()).UnixMicro(), node: p.node, client: c.id}
}

// blocked are the parties that a party waits for, each with the shard on which it does.
type blocked map[party]map[party]string

// sweepDeadlocks looks for deadlocks where a statement is late.
func (p *Pooler) sweepDeadlocks() {
	late := int64(p.settings().DeadlockTimeout)
	if late == 0 {
		return
	}
	t := now()
	seen := map[*database]bool{}
	for _, c := range p.allClients() {
		at := c.queryAt.Load()
		if c.router == nil || seen[c.db] || at == 0 || t-at < late || c.state.Load() == stateWaiting {
			continue
		}
		seen[c.db] = true
		d := c.db
		if d.conf.Load().RecoveryUser == "" || d.looking.Swap(true) {
			continue
		}
		p.wg.Go(func() {
			defer d.looking.Store(false)
			if err := p.breakDeadlock(d); err != nil && p.ctx.Err() == nil {
				p.log.Warn().Err(err).Str("database", d.name).Msg("looking for deadlocks over shards failed")
			}
			select { // a statement that is only slow is not looked at all the time
			case <-time.After(time.Duration(late)):
			case <-p.ctx.Done():
			}
		})
	}
}

// breakDeadlock cancels the youngest transaction of each circle, if it is ours.
func (p *Pooler) breakDeadlock(d *database) error {
	first, err := p.whoWaits(d)
	if len(circle(first)) == 0 {
		return err
	}
	// The shards were not asked at one moment: what is there twice is true.
	second, err := p.whoWaits(d)
	for y, on := range second {
		for o := range on {
			if _, ok := first[y][o]; !ok {
				delete(on, o)
			}
		}
	}
	for {
		ring := circle(second)
		if len(ring) == 0 {
			return err
		}
		victim := slices.MaxFunc(ring, younger)
		if c := p.clientOf(victim); c != nil {
			p.log.Warn().Uint64("client", c.id).Str("database", d.name).Int("transactions", len(ring)).Msg("deadlock over shards: the youngest transaction is cancelled")
			c.deadlock.Store(p.errDeadlock(ring, second))
			p.cancelClient(c)
		}
		delete(second, victim)
	}
}

// clientOf returns the client whose transaction a party is; nil if it is none of ours, or over.
func (p *Pooler) clientOf(y party) *client {
	p.mu.Lock()
	c := p.clients[y.client]
	p.mu.Unlock()
	if c == nil || p.partyOf(c) != y {
		return nil
	}
	return c
}

func (p *Pooler) errDeadlock(ring []party, waits blocked) *Error {
	name := func(y party) string {
		switch {
		case y.began == 0:
			return fmt.Sprintf("backend %d of shard %q", y.pid, y.shard)
		case y.node != p.node:
			return fmt.Sprintf("client %d of another pgdrover", y.client)
		}
		return fmt.Sprintf("client %d", y.client)
	}
	lines := make([]string, len(ring))
	for i, y := range ring {
		o := ring[(i+1)%len(ring)]
		line := fmt.Sprintf("%s waits for %s on shard %q.", name(y), name(o), waits[y][o])
		lines[i] = strings.ToUpper(line[:1]) + line[1:]
	}
	return &Error{
		Severity: "ERROR", Code: "40P01", Message: "deadlock detected", Detail: strings.Join(lines, " "),
		Hint: "The transactions wait for each other on several shards. Try this one again.",
	}
}

// whoWaits asks every shard. Those that do not answer are left out, and err says so: a circle over the others is one all the same.
func (p *Pooler) whoWaits(d *database) (blocked, error) {
	places := d.places()
	of, err := p.whoWorks(d, places)
	waits := blocked{}
	answers, werr := onPlaces(places, func(at place) ([][]string, error) { return p.askOwn(d, at, 'I', appendQuery(nil, queryBlocked)) })
	for i, rows := range answers {
		name := places[i].name
		for _, r := range rows {
			var who party
			for i, text := range strings.Fields(r[0] + " " + r[1]) {
				pid, err := strconv.ParseUint(text, 10, 32)
				if err != nil || pid == 0 {
					continue // a prepared transaction is 0
				}
				b := shardBackend{name, uint32(pid)}
				y, ok := of[b]
				if !ok {
					y = party{shardBackend: b}
				}
				switch {
				case i == 0:
					who = y
				case who != y:
					if waits[who] == nil {
						waits[who] = map[party]string{}
					}
					waits[who][y] = name
				}
			}
		}
	}
	return waits, errors.Join(err, werr)
}

// whoWorks tells whom the backends of a database work for, and lets the other pgdrovers know of ours. err says which shards have not told
// theirs.
func (p *Pooler) whoWorks(d *database, places []place) (map[shardBackend]party, error) {
	of := map[shardBackend]party{}
	links := map[*client]int{}
	for _, pl := range p.poolsOf(d.name) {
		pl.mu.Lock()
		for s := range pl.servers {
			if c := s.link.Load(); c != nil {
				of[shardBackend{pl.key.shard, s.sc.PID}] = p.partyOf(c)
				links[c]++
			}
		}
		pl.mu.Unlock()
	}
	several := map[party]bool{} // a circle over shards leads through sessions with several backends
	for c, n := range links {
		if n > 1 && c.queryAt.Load() != 0 {
			several[p.partyOf(c)] = true
		}
	}
	answers, err := onPlaces(places, func(at place) ([][]string, error) {
		var ours []shardBackend
		for b, y := range of {
			if b.shard == at.name && several[y] {
				ours = append(ours, b)
			}
		}
		rows, err := p.writeBackends(d, at, ours, func(b shardBackend) string { return of[b].text() })
		// A backend may have gone on to somebody else before it was written down.
		wrong := slices.DeleteFunc(ours, func(b shardBackend) bool { return p.clientOf(of[b]) != nil })
		if err == nil && len(wrong) > 0 {
			rows, err = p.writeBackends(d, at, wrong, func(shardBackend) string { return "" })
		}
		return rows, err
	})
	for i, rows := range answers {
		for _, r := range rows {
			pid, perr := strconv.ParseUint(r[0], 10, 32)
			y, ok := parseParty(r[1])
			b := shardBackend{places[i].name, uint32(pid)}
			if _, ours := of[b]; perr == nil && ok && !ours {
				of[b] = y
			}
		}
	}
	return of, err
}

// writeBackends writes down for whom backends of ours work, "" for nobody any more, and returns all that is written on that shard.
func (p *Pooler) writeBackends(d *database, at place, ours []shardBackend, session func(shardBackend) string) ([][]string, error) {
	pids := textArray(len(ours), func(i int) *string { s := strconv.FormatUint(uint64(ours[i].pid), 10); return &s })
	sessions := textArray(len(ours), func(i int) *string { s := session(ours[i]); return &s })
	return p.askOwn(d, at, 'I', extendedQuery(queryBackends, pids, sessions))
}

// circle returns parties of which each waits for the next, and the last for the first; nil if there are none.
func circle(waits blocked) []party {
	done := map[party]bool{}
	var path []party
	var walk func(party) []party
	walk = func(y party) []party {
		if i := slices.Index(path, y); i >= 0 {
			return slices.Clone(path[i:])
		}
		if done[y] {
			return nil
		}
		done[y] = true
		path = append(path, y)
		defer func() { path = path[:len(path)-1] }()
		for o := range waits[y] {
			if ring := walk(o); ring != nil {
				return ring
			}
		}
		return nil
	}
	for y := range waits {
		if ring := walk(y); ring != nil {
			return ring
		}
	}
	return nil
}
