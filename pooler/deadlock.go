package pooler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A deadlock over several shards is one that no PostgreSQL sees whole. When a statement takes longer than deadlock_timeout, every shard is
// asked who waits for whom, what belongs to one session of ours is put together, and in a circle the youngest transaction is cancelled. Circles
// through sessions of other poolers, or past the pooler, are not found: lock_timeout ends those.

// queryBlocked lists the backends of a database that wait for others.
const queryBlocked = `SELECT pid, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(pid), ' ') FROM pg_catalog.pg_stat_activity ` +
	`WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND wait_event_type OPERATOR(pg_catalog.=) 'Lock'`

// blocked are the sessions that a session waits for, each with the shard on which it does.
type blocked map[*client]map[*client]string

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

// breakDeadlock cancels the youngest transaction of each circle.
func (p *Pooler) breakDeadlock(d *database) error {
	first, err := p.whoWaits(d)
	if len(circle(first)) == 0 {
		return err
	}
	// The shards were not asked at one moment: what is there twice is true.
	second, err := p.whoWaits(d)
	for c, on := range second {
		for o := range on {
			if _, ok := first[c][o]; !ok {
				delete(on, o)
			}
		}
	}
	for {
		ring := circle(second)
		if len(ring) == 0 {
			return err
		}
		victim := slices.MaxFunc(ring, func(a, b *client) int { return int(min(max(a.xactAt.Load()-b.xactAt.Load(), -1), 1)) })
		p.log.Warn().Uint64("client", victim.id).Str("database", d.name).Int("transactions", len(ring)).Msg("deadlock over shards: the youngest transaction is cancelled")
		victim.deadlock.Store(errDeadlock(ring, second))
		p.cancelClient(victim)
		delete(second, victim)
	}
}

func errDeadlock(ring []*client, waits blocked) *Error {
	lines := make([]string, len(ring))
	for i, c := range ring {
		o := ring[(i+1)%len(ring)]
		lines[i] = fmt.Sprintf("Client %d waits for client %d on shard %q.", c.id, o.id, waits[c][o])
	}
	return &Error{
		Severity: "ERROR", Code: "40P01", Message: "deadlock detected", Detail: strings.Join(lines, " "),
		Hint: "The transactions wait for each other on several shards. Try this one again.",
	}
}

// whoWaits asks every shard. Those that do not answer are left out, and err says so: a circle over the others is one all the same.
func (p *Pooler) whoWaits(d *database) (blocked, error) {
	type backend struct {
		shard string
		pid   uint32
	}
	of := map[backend]*client{}
	for _, pl := range p.poolsOf(d.name) {
		pl.mu.Lock()
		for s := range pl.servers {
			if c := s.link.Load(); c != nil {
				of[backend{pl.key.shard, s.sc.PID}] = c
			}
		}
		pl.mu.Unlock()
	}
	waits := blocked{}
	places := d.places()
	answers, err := onPlaces(places, func(at place) ([][]string, error) { return p.askOwn(d, at, 'I', appendQuery(nil, queryBlocked)) })
	for i, rows := range answers {
		name := places[i].name
		for _, r := range rows {
			pids := strings.Fields(r[0] + " " + r[1])
			var who *client
			for i, text := range pids {
				pid, err := strconv.ParseUint(text, 10, 32)
				if err != nil {
					continue // a prepared transaction is 0, anything else is not known
				}
				c := of[backend{name, uint32(pid)}]
				switch {
				case c == nil:
				case i == 0:
					who = c
				case who != nil && who != c:
					if waits[who] == nil {
						waits[who] = map[*client]string{}
					}
					waits[who][c] = name
				}
			}
		}
	}
	return waits, err
}

// circle returns sessions of which each waits for the next, and the last for the first; nil if there are none.
func circle(waits blocked) []*client {
	done := map[*client]bool{}
	var path []*client
	var walk func(*client) []*client
	walk = func(c *client) []*client {
		if i := slices.Index(path, c); i >= 0 {
			return slices.Clone(path[i:])
		}
		if done[c] {
			return nil
		}
		done[c] = true
		path = append(path, c)
		defer func() { path = path[:len(path)-1] }()
		for o := range waits[c] {
			if ring := walk(o); ring != nil {
				return ring
			}
		}
		return nil
	}
	for c := range waits {
		if ring := walk(c); ring != nil {
			return ring
		}
	}
	return nil
}
