// Package stats holds counters and histograms. SHOW STATS reads them; nothing here knows what it counts for.
// All methods may be called from any goroutine.
package stats

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Counters count what passes through one pool. They belong to names and outlive pool objects.
type Counters struct {
	ServerAssignments, Xacts, Queries         atomic.Int64
	BytesReceived, BytesSent                  atomic.Int64 // from clients, to clients
	XactTime, QueryTime, WaitTime             atomic.Int64 // ns
	ClientParses, ServerParses, Binds, Logins atomic.Int64
}

// Totals is a reading of Counters; times in µs, as PgBouncer shows them.
type Totals struct {
	ServerAssignments, Xacts, Queries         int64
	BytesReceived, BytesSent                  int64
	XactTime, QueryTime, WaitTime             int64
	ClientParses, ServerParses, Binds, Logins int64
}

// Averages have the same fields: counts and bytes per second, times in µs per transaction, per query, per assignment.
type Averages Totals

// Read returns the counters as they are now.
func (c *Counters) Read() Totals {
	return Totals{
		ServerAssignments: c.ServerAssignments.Load(), Xacts: c.Xacts.Load(), Queries: c.Queries.Load(),
		BytesReceived: c.BytesReceived.Load(), BytesSent: c.BytesSent.Load(),
		XactTime: c.XactTime.Load() / 1000, QueryTime: c.QueryTime.Load() / 1000, WaitTime: c.WaitTime.Load() / 1000,
		ClientParses: c.ClientParses.Load(), ServerParses: c.ServerParses.Load(), Binds: c.Binds.Load(), Logins: c.Logins.Load(),
	}
}

// Add returns t + o.
func (t Totals) Add(o Totals) Totals {
	t.each(&o, func(a, b int64) int64 { return a + b })
	return t
}

// Sub returns t - o.
func (t Totals) Sub(o Totals) Totals {
	t.each(&o, func(a, b int64) int64 { return a - b })
	return t
}

func (t *Totals) each(o *Totals, f func(a, b int64) int64) {
	for _, p := range [...][2]*int64{
		{&t.ServerAssignments, &o.ServerAssignments},
		{&t.Xacts, &o.Xacts},
		{&t.Queries, &o.Queries},
		{&t.BytesReceived, &o.BytesReceived},
		{&t.BytesSent, &o.BytesSent},
		{&t.XactTime, &o.XactTime},
		{&t.QueryTime, &o.QueryTime},
		{&t.WaitTime, &o.WaitTime},
		{&t.ClientParses, &o.ClientParses},
		{&t.ServerParses, &o.ServerParses},
		{&t.Binds, &o.Binds},
		{&t.Logins, &o.Logins},
	} {
		*p[0] = f(*p[0], *p[1])
	}
}

// Average turns the difference of two readings, taken period apart, into averages.
func (t Totals) Average(period time.Duration) Averages {
	per := func(n int64) int64 { return int64(float64(n) / max(period.Seconds(), 1e-9)) }
	of := func(sum, n int64) int64 {
		if n == 0 {
			return 0
		}
		return sum / n
	}
	return Averages{
		ServerAssignments: per(t.ServerAssignments), Xacts: per(t.Xacts), Queries: per(t.Queries),
		BytesReceived: per(t.BytesReceived), BytesSent: per(t.BytesSent),
		XactTime: of(t.XactTime, t.Xacts), QueryTime: of(t.QueryTime, t.Queries), WaitTime: of(t.WaitTime, t.ServerAssignments),
		ClientParses: per(t.ClientParses), ServerParses: per(t.ServerParses), Binds: per(t.Binds), Logins: per(t.Logins),
	}
}

const (
	subBits = 3 // 8 buckets per power of two: at most 12.5 % error
	buckets = (64 - subBits + 1) << subBits
)

// Histogram counts durations in log-linear buckets.
type Histogram struct {
	n [buckets]atomic.Uint64
}

// Record counts one duration; negative ones count as 0.
func (h *Histogram) Record(d time.Duration) { h.n[bucket(uint64(max(d, 0)))].Add(1) }

func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	e := bits.Len64(v) - subBits - 1
	return e<<subBits + int(v>>e)
}

// upper is the largest value that falls into bucket i.
func upper(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	e := i>>subBits - 1
	return (uint64(i&(1<<subBits-1)|1<<subBits)+1)<<e - 1
}

// Quantiles of a histogram.
type Quantiles struct {
	Count         uint64
	P50, P95, P99 time.Duration // upper bound of the bucket, 0 without data
}

// Quantiles reads p50, p95 and p99.
func (h *Histogram) Quantiles() Quantiles {
	var n [buckets]uint64
	var q Quantiles
	for i := range h.n {
		n[i] = h.n[i].Load()
		q.Count += n[i]
	}
	if q.Count == 0 {
		return q
	}
	var seen uint64
	for i, c := range n {
		before := seen
		seen += c
		for _, p := range [...]struct {
			at  float64
			out *time.Duration
		}{{0.50, &q.P50}, {0.95, &q.P95}, {0.99, &q.P99}} {
			rank := uint64(p.at*float64(q.Count-1)) + 1
			if before < rank && rank <= seen {
				*p.out = time.Duration(upper(i))
			}
		}
	}
	return q
}
