package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"syscall"
)

// bench is what all scenarios share.
type bench struct {
	dir          string // for everything that is written; readable by the poolers' account
	unprivileged *syscall.Credential
	pgPort       int
	pgbench      string // program
	seconds      int    // length of a pgbench run
	rounds       int
	bulkBytes    int64
	profiles     string // folder for CPU profiles, "" = none
	launched     int    // poolers started so far
	progress     io.Writer

	reference contender
	newer     contender // a PgBouncer that follows prepared statements
	noNewer   error     // why there is none
	candidate *contender
}

// row is one contender in one scenario, round by round, beside the reference at the same moment.
type row struct {
	contender contender
	role      string
	samples   []sample
	reference []sample
	err       error
}

// The roles of rows.
const (
	roleReference = "reference"
	roleSame      = "A/A" // the reference against itself
	roleDirect    = "direct"
	rolePlain     = "plain" // pgdrover in front of one PostgreSQL, where the reference has none
	roleCandidate = "candidate"
)

// result is a scenario's outcome.
type result struct {
	scenario  scenario
	reference row // its samples are those of all its pairs with another pooler
	rows      []row
	skipped   string // why there is nothing else
	err       error
}

// measure plays all rounds of a scenario.
func (b *bench) measure(ctx context.Context, sc scenario) (result, error) {
	res := result{scenario: sc}
	ref := b.reference
	if sc.against != layoutINI {
		if b.candidate == nil {
			res.skipped = "it compares pgdrover with itself"
			return res, nil
		}
		ref = b.candidate.as(sc.against)
	} else if sc.newer && !ref.prepared {
		if b.noNewer != nil {
			res.skipped = fmt.Sprintf("%s does not follow prepared statements in transaction mode, and there is no newer PgBouncer: %v", ref.name, b.noNewer)
			return res, nil
		}
		ref = b.newer
	}
	res.reference = row{contender: ref, role: roleReference}
	if sc.direct {
		res.rows = append(res.rows, row{contender: contender{name: "PostgreSQL alone"}, role: roleDirect})
	}
	res.rows = append(res.rows, row{contender: ref, role: roleSame})
	if sc.against == layoutDirect {
		res.rows = append(res.rows, row{contender: b.candidate.as(layoutPlain), role: rolePlain})
	}
	if b.candidate != nil {
		c := *b.candidate
		if sc.layout != layoutINI {
			c = c.as(sc.layout)
		}
		res.rows = append(res.rows, row{contender: c, role: roleCandidate})
	}

	field, err := b.lineUp(ctx, sc, &res)
	defer field.stop()
	if err != nil {
		return res, err
	}
	if sc.share > 0 {
		if sc.load, err = b.shareOf(ctx, sc, field.reference); err != nil {
			return res, err
		}
	}
	rounds := b.rounds
	if sc.rounds > 0 {
		rounds = sc.rounds
	}
	for round := range rounds {
		if sc.turns {
			err = b.takeTurns(ctx, sc, round, field, &res)
		} else {
			err = b.playPairs(ctx, sc, round, field, &res)
		}
		if err != nil {
			return res, err
		}
	}
	return res, nil
}

// lineup is the running contenders of a scenario; targets are in the order of the rows, nil where one did
// not start.
type lineup struct {
	reference *target
	targets   []*target
}

func (l lineup) stop() {
	for _, t := range append(l.targets, l.reference) {
		if t != nil {
			t.stop()
		}
	}
}

// lineUp starts everything. A contender that does not start is out; without the reference nothing goes.
func (b *bench) lineUp(ctx context.Context, sc scenario, res *result) (lineup, error) {
	auth := sc.auth
	if auth == "" {
		auth = authTrust
	}
	var l lineup
	var err error
	if l.reference, err = b.launch(ctx, res.reference.contender, auth, sc.name+" reference"); err != nil {
		return l, err
	}
	l.targets = make([]*target, len(res.rows))
	for i := range res.rows {
		r := &res.rows[i]
		label := sc.name
		if r.role != roleCandidate {
			label += " " + r.role
		}
		l.targets[i], r.err = b.launch(ctx, r.contender, auth, label)
	}
	return l, ctx.Err()
}

// shareOf returns the load with a rate: a share of what the reference does alone, half of it for each side.
func (b *bench) shareOf(ctx context.Context, sc scenario, ref *target) (load, error) {
	l, ok := sc.load.(*pgbenchLoad)
	if !ok {
		return nil, fmt.Errorf("%s: only pgbench has a rate", sc.name)
	}
	samples, err := l.run(ctx, b, []*target{ref}, sc.clients)
	if err == nil {
		err = samples[0].err
	}
	if err != nil {
		return nil, fmt.Errorf("find the full load: %w", err)
	}
	rated := *l
	rated.rate = samples[0].ops / samples[0].seconds * sc.share / 2
	return &rated, nil
}

// directRounds are enough for PostgreSQL alone: it stands there for orientation.
const directRounds = 3

// playPairs loads each contender together with the reference, half of the clients each. The side that is
// started first changes with the round.
func (b *bench) playPairs(ctx context.Context, sc scenario, round int, f lineup, res *result) error {
	for i := range res.rows {
		r := &res.rows[i]
		if r.err != nil || r.role == roleDirect && round >= directRounds {
			continue
		}
		sides := []*target{f.reference, f.targets[i]}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		samples, err := sc.load.run(ctx, b, sides, max(1, sc.clients/2))
		if err != nil {
			return err
		}
		if round%2 == 1 {
			slices.Reverse(samples)
		}
		if err := r.add(samples[1], samples[0]); err != nil {
			return err
		}
		if r.err == nil && r.role != roleDirect { // beside PostgreSQL alone it gets less of the machine
			res.reference.samples = append(res.reference.samples, samples[0])
		}
		fmt.Fprint(b.progress, ".")
	}
	return nil
}

// takeTurns loads every contender alone, one after the other; the first changes with the round.
func (b *bench) takeTurns(ctx context.Context, sc scenario, round int, f lineup, res *result) error {
	all := append([]*target{f.reference}, f.targets...)
	samples := make([]sample, len(all))
	for step := range all {
		i := (step + round) % len(all)
		if all[i] == nil || i > 0 && res.rows[i-1].err != nil {
			continue
		}
		s, err := sc.load.run(ctx, b, all[i:i+1], sc.clients)
		if err != nil {
			return err
		}
		samples[i] = s[0]
		fmt.Fprint(b.progress, ".")
	}
	res.reference.samples = append(res.reference.samples, samples[0])
	for i := range res.rows {
		if res.rows[i].err != nil {
			continue
		}
		if err := res.rows[i].add(samples[i+1], samples[0]); err != nil {
			return err
		}
	}
	return nil
}

// add notes a round. A failing contender is out of the scenario; a failing reference ends it.
func (r *row) add(own, reference sample) error {
	if reference.err != nil {
		return fmt.Errorf("reference: %w", reference.err)
	}
	if own.err != nil {
		r.err = own.err
		return nil
	}
	r.samples = append(r.samples, own)
	r.reference = append(r.reference, reference)
	return nil
}

// failures joins what went wrong in a result.
func (res result) failures() error {
	errs := []error{res.err}
	for _, r := range res.rows {
		if r.err != nil && r.role != roleDirect { // which is for orientation, and says in the table that it failed
			errs = append(errs, fmt.Errorf("%s: %s: %w", res.scenario.name, r.contender.name, r.err))
		}
	}
	return errors.Join(errs...)
}

// profileEnv asks pgdrover for a CPU profile of its whole life, written to the file of that name.
const profileEnv = "PGDROVER_CPUPROFILE"

// environment is what a pooler sees: as little as possible, so that libpq or Go variables of the caller do
// not change what is measured. GOMAXPROCS and GOGC pass, to be tried.
func (b *bench) environment(c contender, label string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	env = append(env, passedOn()...)
	if c.profile && b.profiles != "" {
		env = append(env, profileEnv+"="+b.profilePath(label))
	}
	return env
}

func (b *bench) profilePath(label string) string {
	return filepath.Join(b.profiles, slug(label)+".pprof")
}
