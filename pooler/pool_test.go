package pooler

import (
	"errors"
	"testing"
	"time"

	"pgdrover/internal/config"
)

// Servers that were opened together do not end together: between two there is lifetime/pool_size.
func TestServerLifetimeIsSpread(t *testing.T) {
	t.Parallel()
	p := &pool{}
	p.conf.Store(&config.PoolSettings{PoolSize: 10, ServerLifetime: 1000 * time.Second})
	life := int64(1000 * time.Second)
	at, closed := life, 0
	for range 500 { // half of the lifetime, looked at each second
		if p.expire(life, at) {
			closed++
		}
		at += int64(time.Second)
	}
	if closed != 5 {
		t.Errorf("%d of 10 servers closed in half a lifetime, want 5", closed)
	}
}

// After a restart of PostgreSQL all servers of a pool are opened at once, and fail at once: the next attempt comes as soon as after one that fails.
func TestAttemptsThatFailTogetherCountOnce(t *testing.T) {
	t.Parallel()
	f := newRig(t, "").pool(config.PoolTransaction)
	begun := now()
	pause := func(since int64) time.Duration {
		f.pl.mu.Lock()
		defer f.pl.mu.Unlock()
		f.pl.failed(errors.New("connection refused"), since)
		return time.Duration(f.pl.retryAt - f.pl.lastErrAt)
	}
	one := pause(begun)
	for range 20 {
		if got := pause(begun); got != one {
			t.Fatalf("after another one of the same moment: %s, want %s", got, one)
		}
	}
	if got := pause(now()); got != 2*one {
		t.Errorf("after one that was begun later: %s, want %s", got, 2*one)
	}
}

func TestGoodbyeIsToldFromAQuery(t *testing.T) {
	t.Parallel()
	record := func(typ byte, n int) string {
		return string([]byte{typ, 3, 3, byte(n >> 8), byte(n)}) + string(make([]byte, n))
	}
	for _, m := range []struct {
		name string
		b    string
		tls  bool
		want bool
	}{
		{"Terminate", "X\x00\x00\x00\x04", false, true},
		{"a query before it", "Q\x00\x00\x00\x06;\x00X\x00\x00\x00\x04", false, false},
		{"half of it", "X\x00\x00", false, false},
		{"an alert of TLS 1.2", record(tlsAlert, 26), true, true},
		{"an alert of TLS 1.3", record(tlsData, 19), true, true},
		{"Terminate and an alert", record(tlsData, 22) + record(tlsData, 19), true, true},
		{"a query over TLS", record(tlsData, 40), true, false},
		{"part of a record", record(tlsData, 19)[:10], true, false},
		{"part of a header", record(tlsData, 19)[:3], true, false},
	} {
		if got := isGoodbye([]byte(m.b), m.tls); got != m.want {
			t.Errorf("%s: got %t, want %t", m.name, got, m.want)
		}
	}
}
