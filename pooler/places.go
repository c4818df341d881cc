package pooler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgdrover/internal/config"
)

// place is where a shard is, or was.
type place struct {
	name string
	conf *config.Database
	was  *retired // nil for where it is now
}

// place is where the server of a leg is, whatever the configuration says by now.
func (l *leg) place() place { return place{name: l.pool.key.shard, conf: l.srv.conf} }

// retired is the server of a shard before a reload took the shard out or moved it. Recovery looks after it until nobody works there for us any
// more and nothing is prepared.
type retired struct {
	place
	pools []*pool // of those who may work there
	err   error   // why it could not be looked at, and is left alone until again; of recoverLoop
	again int64
}

// retireAgain is how long a retired server that cannot be reached is left alone.
const retireAgain = 30 * time.Second

// samePlace reports whether two shards are on the same server and database, as far as the configuration tells.
func samePlace(a, b *config.Database) bool {
	return a.DBName == b.DBName && a.Port == b.Port && slices.Equal(a.Hosts, b.Hosts)
}

// retire keeps the servers of d that a new configuration has no more. The caller holds p.mu.
func (p *Pooler) retire(d *database, old *config.Database) {
	conf := d.conf.Load()
	for i := range old.Shards {
		name := old.Shards[i].Name
		was, is := old.ShardServer(name), conf.ShardServer(name)
		if is != nil && samePlace(was, is) {
			continue
		}
		r := &retired{place: place{name: name, conf: was}}
		r.was = r
		for k, pl := range p.pools {
			if pl.db == d && k.shard == name {
				r.pools = append(r.pools, pl)
			}
		}
		d.retired = append(d.retired, r)
	}
	d.retired = slices.DeleteFunc(d.retired, func(r *retired) bool { // it is back
		is := conf.ShardServer(r.name)
		return is != nil && samePlace(r.conf, is)
	})
}

// inUse reports whether somebody still works there for us.
func (r *retired) inUse() bool {
	return slices.ContainsFunc(r.pools, func(pl *pool) bool {
		pl.mu.Lock()
		defer pl.mu.Unlock()
		if pl.connecting > 0 {
			return true
		}
		for s := range pl.servers {
			if samePlace(s.conf, r.conf) {
				return true
			}
		}
		return false
	})
}

// forgetRetired is called when nothing is left to do there.
func (p *Pooler) forgetRetired(d *database, r *retired) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.retired = slices.DeleteFunc(d.retired, func(o *retired) bool { return o == r })
}

// places lists where the shards of d are.
func (d *database) places() []place {
	sh := d.sharding.Load()
	if sh == nil {
		return nil
	}
	var out []place
	for _, name := range sh.m.Shards() {
		out = append(out, place{name: name, conf: sh.conf.ShardServer(name)})
	}
	return out
}

// allPlaces are also those where shards were, and where something may be left.
func (p *Pooler) allPlaces(d *database) []place {
	out := d.places()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range d.retired {
		out = append(out, r.place)
	}
	return out
}

// onPlaces does something everywhere at once, so that one server that does not answer holds up none of the others. Results are in
// the order of places; those of servers that failed are empty.
func onPlaces[T any](places []place, do func(place) (T, error)) ([]T, error) {
	out := make([]T, len(places))
	errs := make([]error, len(places))
	var wg sync.WaitGroup
	for i, at := range places {
		wg.Go(func() {
			if r := at.was; r != nil && now() < r.again {
				errs[i] = r.err
				return
			}
			var err error
			if out[i], err = do(at); err != nil {
				errs[i] = fmt.Errorf("shard %q%s: %w", at.name, at.where(), err)
				if at.was != nil {
					at.was.err, at.was.again = errs[i], now()+int64(retireAgain)
				}
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// where tells a retired place from the one that has its name now.
func (at place) where() string {
	if at.was == nil {
		return ""
	}
	return fmt.Sprintf(" where it was before (%s, %s)", strings.Join(at.conf.Hosts, ","), at.conf.DBName)
}
