package oracle

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/shard"
)

// names are what differs between two messages of one kind.
var names = regexp.MustCompile(`"[^"]*"|\b[a-z_]+\.[a-z_]+\b|\bshard [a-z]\b`)

// postgresRefuses are messages with the code of refusals that only PostgreSQL has: the plain side must have them too.
var postgresRefuses = regexp.MustCompile(`^FOR [A-Z ]+ is not allowed with |^FULL JOIN is only supported with `)

// refusalOf names the refusal that an error is, "" if it is none. A code alone says that for 0A000 only: PostgreSQL raises that
// too, but the plain side can be asked only where nobody else could have.
func refusalOf(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return ""
	}
	if name := shard.RefusalOf(e.Code, e.Message, e.Detail, e.Hint); name != "" {
		return name
	}
	if e.Code == "22023" && strings.HasPrefix(e.Message, "no shard is placed for the key ") {
		return "routing hint to no shard"
	}
	if e.Code == "0A000" && !postgresRefuses.MatchString(e.Message) {
		return "other: " + names.ReplaceAllString(e.Message, "…")
	}
	return ""
}

// count is how often something was answered or refused.
type count struct {
	answered, failed, refused int // failed: answered by the same error as the plain side's
	reasons                   map[string]int
}

func (c *count) all() int { return c.answered + c.refused }

// A tally counts statements by construct. It may be used from any goroutine.
type tally struct {
	mu      sync.Mutex
	total   count             // guarded by mu
	pinned  map[string]*count // by construct, statements with a key at the top; guarded by mu
	rest    map[string]*count // other statements; guarded by mu
	errors  map[string]int    // by SQLSTATE; guarded by mu
	example map[string]string // of pinned statements that were refused, by reason; guarded by mu
	late    int               // statements that took too long on the plain side; guarded by mu
	slowest []slow            // by how much longer the sharded side took, longest first; guarded by mu
}

// A slow is how long a statement took on both sides.
type slow struct {
	sharded, plain time.Duration
	text           string
}

// mostSlow is how many of the slowest statements are reported.
const mostSlow = 5

// took notes how long both sides took.
func (t *tally) took(steps []step, sharded, plain time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	behind := func(s slow) time.Duration { return s.sharded - s.plain }
	if len(t.slowest) < mostSlow || sharded-plain > behind(t.slowest[mostSlow-1]) {
		t.slowest = append(t.slowest[:min(len(t.slowest), mostSlow-1)], slow{sharded, plain, unit(steps).String()})
		slices.SortFunc(t.slowest, func(a, b slow) int { return cmp.Compare(behind(b), behind(a)) })
	}
}

// tooSlow counts statements to which the plain side had no answer in time.
func (t *tally) tooSlow(steps []step) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late += len(steps)
}

func newTally() *tally {
	return &tally{pinned: map[string]*count{}, rest: map[string]*count{}, example: map[string]string{}, errors: map[string]int{}}
}

func (t *tally) each(steps []step, f func(c *count)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range steps {
		s := &steps[i]
		f(&t.total)
		by := t.rest
		if s.pinned {
			by = t.pinned
		}
		for _, tag := range append([]string{"all"}, s.tags...) {
			if by[tag] == nil {
				by[tag] = &count{}
			}
			f(by[tag])
		}
	}
}

func (t *tally) answered(steps []step, code string) {
	t.each(steps, func(c *count) {
		c.answered++
		if code != "" {
			c.failed++
		}
	})
	if t != nil && code != "" {
		t.mu.Lock()
		t.errors[code]++
		t.mu.Unlock()
	}
}

func (t *tally) refused(steps []step, reason string) {
	t.each(steps, func(c *count) {
		c.refused++
		if c.reasons == nil {
			c.reasons = map[string]int{}
		}
		c.reasons[reason]++
	})
	if t != nil && len(steps) == 1 && steps[0].pinned {
		t.mu.Lock()
		if e := t.example[reason]; e == "" || len(e) > len(steps[0].sql) {
			t.example[reason] = steps[0].sql
		}
		t.mu.Unlock()
	}
}

// String is the report.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d statements, %s answered (%s of those by an error, the same as of one PostgreSQL)\n", t.total.all(), share(t.total.answered, t.total.all()), share(t.total.failed, t.total.answered))
	b.WriteString("errors:")
	for _, code := range byCount(t.errors) {
		fmt.Fprintf(&b, " %s %d", code, t.errors[code])
	}
	b.WriteString("\nrefused:\n")
	reasons(&b, &t.total, "  ")
	for _, part := range []struct {
		title string
		by    map[string]*count
	}{{"with the key, by construct:", t.pinned}, {"others, by construct:", t.rest}} {
		b.WriteString(part.title + "\n")
		for _, tag := range slices.Sorted(maps.Keys(part.by)) {
			c := part.by[tag]
			fmt.Fprintf(&b, "  %-28s %7d  %s answered\n", tag, c.all(), share(c.answered, c.all()))
		}
	}
	if c := t.pinned["all"]; c != nil && c.refused > 0 {
		b.WriteString("refused with the key, with the shortest example:\n")
		for _, r := range byCount(c.reasons) {
			fmt.Fprintf(&b, "  %7d  %s: %s\n", c.reasons[r], r, t.example[r])
		}
	}
	fmt.Fprintf(&b, "without an answer of one PostgreSQL in time: %d\nwhere the shards took longest in comparison:\n", t.late)
	for _, s := range t.slowest {
		fmt.Fprintf(&b, "  %v instead of %v:\n%s", s.sharded.Round(time.Millisecond), s.plain.Round(time.Millisecond), s.text)
	}
	return b.String()
}

// progress is one line on the way.
func (t *tally) progress() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%d statements so far, %s answered", t.total.all(), share(t.total.answered, t.total.all()))
}

func reasons(b *strings.Builder, c *count, indent string) {
	for _, r := range byCount(c.reasons) {
		fmt.Fprintf(b, "%s%7d  %s  %s\n", indent, c.reasons[r], share(c.reasons[r], c.all()), r)
	}
}

func byCount(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(m[b]-m[a], strings.Compare(a, b)) })
}

func share(n, of int) string {
	if of == 0 {
		return "    -"
	}
	return fmt.Sprintf("%5.1f %%", 100*float64(n)/float64(of))
}
