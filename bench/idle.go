package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// idleLoad connects many clients, lets each run one query, and looks at what the pooler's resident memory
// grew by for each of them once they are silent.
type idleLoad struct{}

func (idleLoad) run(ctx context.Context, _ *bench, targets []*target, clients int) ([]sample, error) {
	samples := make([]sample, len(targets))
	for i, t := range targets {
		samples[i] = sample{ops: nan, seconds: nan, cpu: nan, p50: nan, p99: nan}
		samples[i].kib, samples[i].err = idleMemory(ctx, t, clients)
	}
	return samples, ctx.Err()
}

func idleMemory(ctx context.Context, t *target, clients int) (float64, error) {
	if t.proc == nil {
		return nan, nil
	}
	// The process has served one query when it was started: what every pooler has once is in the base.
	before, err := rssOf(t.proc.pid())
	if err != nil {
		return nan, err
	}
	sessions, err := crowd(ctx, t.port, clients)
	defer func() {
		for _, s := range sessions {
			if s != nil {
				s.close()
			}
		}
	}()
	if err != nil {
		return nan, err
	}
	after, err := steadyRSS(ctx, t.proc.pid())
	if err != nil {
		return nan, err
	}
	return (after - before) / float64(clients), nil
}

// crowd logs in n clients, several at a time; each has run a query when it returns.
func crowd(ctx context.Context, port, n int) ([]*session, error) {
	const atOnce = 16
	sessions := make([]*session, n)
	errs := make([]error, atOnce)
	var workers sync.WaitGroup
	for w := range atOnce {
		workers.Go(func() {
			for i := w; i < n && errs[w] == nil; i += atOnce {
				s, err := login(ctx, port)
				if err == nil {
					sessions[i] = s
					err = s.query("SELECT 1")
				}
				if err != nil {
					errs[w] = fmt.Errorf("client %d of %d: %w", i+1, n, err)
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return sessions, err
		}
	}
	return sessions, ctx.Err()
}

// steadyRSS reads the resident memory until it has not moved by 1 % for a second, or for ten seconds:
// garbage-collected programs give memory back with a delay.
func steadyRSS(ctx context.Context, pid int) (float64, error) {
	const step, calm, patience = 250 * time.Millisecond, 4, 40
	last, still := 0.0, 0
	for range patience {
		now, err := rssOf(pid)
		if err != nil {
			return nan, err
		}
		if math.Abs(now-last) > last/100 {
			last, still = now, 0
		} else if still++; still == calm {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nan, ctx.Err()
		case <-time.After(step):
		}
	}
	return last, nil
}
