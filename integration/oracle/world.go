package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A World is a sharded database behind pgdrover and a plain one with the same rows.
type World struct {
	Name   string
	duel   *duel
	plain  *database
	shards []*database
	note   func(*Found) // told of each difference when it is found; may be nil
}

// reset brings back the first rows everywhere and ends sessions, so that a case runs as the first of its kind.
func (w *World) reset(ctx context.Context, sessions bool) error {
	if sessions {
		w.duel.sharded.close()
		w.duel.plain.close()
	}
	for _, d := range append([]*database{w.plain}, w.shards...) {
		if err := d.reset(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	w.duel.inserted = 0
	return nil
}

// close ends the sessions.
func (w *World) close() {
	w.duel.sharded.close()
	w.duel.plain.close()
	for _, d := range append([]*database{w.plain}, w.shards...) {
		if d != nil && d.conn != nil {
			_ = d.conn.Close(context.Background())
		}
	}
}

// Found is a difference with the case that shows it.
type Found struct {
	World string
	Case  unit
	Diff  *difference
	Note  string
}

func (f *Found) String() string {
	return fmt.Sprintf("%s: %s\n-- case for testdata --\n%s-- end --%s", f.World, f.Diff, f.Case, f.Note)
}

// checkEvery is how many units run between two looks at the tables.
const checkEvery = 150

// Play makes up units from a seed and runs them until stop says so or most differences were found. The error is one of the machinery.
func (w *World) Play(ctx context.Context, seed uint64, most int, stop func(units int) bool) (found []*Found, err error) {
	var history []unit
	for n := 0; !stop(n) && ctx.Err() == nil; n++ {
		u := makeUnit(seed + uint64(n)*0x9e3779b97f4a7c15)
		diff := w.duel.run(ctx, u)
		if ctx.Err() != nil {
			break
		}
		if u.writes() {
			history = append(history, u)
		}
		if diff == nil && w.duel.torn {
			w.duel.torn, history = false, nil
			if err := w.reset(ctx, true); err != nil {
				return found, err
			}
			continue
		}
		if diff == nil && (w.duel.full() || (n+1)%checkEvery == 0 && len(history) > 0) {
			if diff, err = w.compareContents(ctx); err != nil {
				return found, err
			}
			if diff != nil {
				if u, err = w.culprit(ctx, history); err != nil {
					return found, err
				}
			}
			history = nil
			if diff == nil {
				if err := w.reset(ctx, false); err != nil {
					return found, err
				}
			}
		}
		if diff == nil {
			continue
		}
		f, err := w.minimise(ctx, u, diff)
		if err == nil && f.Note != "" && len(history) > 0 { // it comes of what an earlier unit wrote
			if u, err = w.culprit(ctx, history); err == nil {
				var own *difference
				if own, err = w.Case(ctx, u); err == nil && own != nil {
					f, err = w.minimise(ctx, u, own)
				}
			}
		}
		if err != nil {
			return found, err
		}
		f.Note += fmt.Sprintf("\nunit %d of seed %d", n, seed)
		found = append(found, f)
		if w.note != nil {
			w.note(f)
		}
		history = nil
		if err := w.reset(ctx, true); err != nil {
			return found, err
		}
		if len(found) >= most {
			break
		}
	}
	return found, nil
}

// culprit finds the unit after which the tables differ.
func (w *World) culprit(ctx context.Context, history []unit) (unit, error) {
	if err := w.reset(ctx, true); err != nil {
		return nil, err
	}
	tally := w.duel.tally
	w.duel.tally = nil
	defer func() { w.duel.tally = tally }()
	for _, u := range history {
		w.duel.run(ctx, u)
		diff, err := w.compareContents(ctx)
		if err != nil || diff != nil {
			return u, err
		}
	}
	var all unit
	for _, u := range history {
		all = append(all, u...)
	}
	return all, nil
}

// Case runs a unit from the first rows.
func (w *World) Case(ctx context.Context, u unit) (*difference, error) {
	if err := w.reset(ctx, true); err != nil {
		return nil, err
	}
	if diff := w.duel.run(ctx, u); diff != nil {
		return diff, nil
	}
	return w.compareContents(ctx)
}

// openWorld prepares the databases of a world. connect opens one past pgdrover; sharded and plain are connection strings.
func openWorld(ctx context.Context, t *topology, connect func(shard int) (*pgx.Conn, string, error), sharded, plain string, tally *tally) (*World, error) {
	w := &World{Name: t.name, duel: &duel{sharded: newSession(sharded), plain: newSession(plain), tally: tally}}
	var where map[string][]string
	for s := -1; s < t.shards; s++ {
		conn, name, err := connect(s)
		if err != nil {
			return w, err
		}
		d := &database{name: name, conn: conn, shard: s}
		if s < 0 {
			w.plain = d
			if where, err = conditions(ctx, conn, t); err != nil {
				return w, fmt.Errorf("%s: %w", name, err)
			}
		} else {
			w.shards = append(w.shards, d)
		}
		if err := d.prepare(ctx, t, where); err != nil {
			return w, fmt.Errorf("%s: %w", name, err)
		}
		// All databases plan alike from the start, not when autovacuum gets there.
		if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
			return w, fmt.Errorf("%s: %w", name, err)
		}
	}
	diff, err := w.compareContents(ctx)
	if err == nil && diff != nil {
		err = errors.New(strings.TrimSpace("the rows are not the same to begin with: " + diff.Error()))
	}
	return w, err
}
