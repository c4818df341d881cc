package pgtest

import (
	"context"
	"testing"
	"time"
)

// Start starts a cluster for a test, which ends with it. When the test fails, the end of the server's log
// is shown.
func Start(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	var o Options
	for _, opt := range opts {
		opt(&o)
	}
	c, err := New(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	cleanUp(tb, c)
	return c
}

// StartReplica starts a streaming replica of primary for a test, which ends with it.
func StartReplica(tb testing.TB, primary *Cluster, opts ...Option) *Cluster {
	tb.Helper()
	c, err := primary.NewReplica(tb.Context(), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	cleanUp(tb, c)
	return c
}

func cleanUp(tb testing.TB, c *Cluster) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the log of PostgreSQL on port %d ends with:\n%s", c.Port, tail(c.Log(), 4000))
		}
		if err := c.Close(); err != nil {
			tb.Errorf("closing PostgreSQL on port %d: %v", c.Port, err)
		}
	})
}

// MustExec runs statements as the superuser in a database and ends the test on an error.
func (c *Cluster) MustExec(tb testing.TB, db string, sql ...string) {
	tb.Helper()
	if err := c.ExecIn(tb.Context(), db, sql...); err != nil {
		tb.Fatal(err)
	}
}

// MustValue returns the first column of the first row of a query; it ends the test on an error.
func (c *Cluster) MustValue(tb testing.TB, db, sql string) string {
	tb.Helper()
	v, err := c.ValueIn(tb.Context(), db, sql)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// StartCA creates a CA for a test, in a folder that goes with it.
func StartCA(tb testing.TB, name string) *CA {
	tb.Helper()
	ca, err := NewCA(tb.TempDir(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

// Eventually calls cond until it returns nil, and ends the test with cond's last error when timeout has
// passed. It is how a test waits for a state that something else brings about.
func Eventually(tb testing.TB, timeout time.Duration, cond func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), timeout) // also in a Cleanup
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		last = cond()
		return last == nil, nil
	})
	if err != nil {
		tb.Fatalf("not so after %v: %v", timeout, last)
	}
}
