package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

func TestResolver(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	calls := 0
	answer := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("::1")}
	var fail error
	r, err := NewResolver(ResolverOptions{
		MaxTTL: 10 * time.Second, NXDomainTTL: 3 * time.Second, Now: func() time.Time { return now },
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			calls++
			return append([]netip.Addr(nil), answer...), fail
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	look := func(want string, wantCalls int) {
		t.Helper()
		got, err := r.Lookup(ctx, "Db.Example")
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != want || calls != wantCalls {
			t.Errorf("\n got %s after %d lookups\nwant %s after %d", text, calls, want, wantCalls)
		}
	}
	look("[10.0.0.1 10.0.0.2 ::1]", 1)
	look("[10.0.0.2 10.0.0.1 ::1]", 1)
	now = now.Add(4 * time.Second)
	if s := r.Snapshot(); len(s) != 1 || s[0].Host != "db.example" || s[0].TTL != 6*time.Second || len(s[0].Addrs) != 3 || s[0].Pending {
		t.Errorf("got %+v", s)
	}
	now = now.Add(6 * time.Second)
	look("[10.0.0.1 10.0.0.2 ::1]", 2)
	// A name server that fails does not take the host away; one that denies the name does.
	now, fail = now.Add(10*time.Second), errors.New("SERVFAIL")
	look("[10.0.0.2 10.0.0.1 ::1]", 3)
	look("[10.0.0.1 10.0.0.2 ::1]", 3)
	now, fail = now.Add(3*time.Second), &net.DNSError{Err: "no such host", Name: "db.example", IsNotFound: true}
	look("lookup db.example: no such host", 4)
	look("lookup db.example: no such host", 4)
	now, fail = now.Add(3*time.Second), nil
	look("[10.0.0.2 10.0.0.1 ::1]", 5)
	r.Forget()
	look("[10.0.0.1 10.0.0.2 ::1]", 6)
	if got, err := r.Lookup(ctx, "192.0.2.1"); err != nil || len(got) != 1 || calls != 6 {
		t.Errorf("address: %v, %v", got, err)
	}
}

func TestResolverSharesLookups(t *testing.T) {
	t.Parallel()
	started, release, ended := make(chan struct{}, 10), make(chan struct{}), make(chan error, 10)
	r, err := NewResolver(ResolverOptions{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		started <- struct{}{}
		select {
		case <-release:
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		case <-ctx.Done():
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 3)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, err := r.Lookup(ctx, "a"); done <- err }()
	<-started
	if s := r.Snapshot(); !s[0].Pending {
		t.Errorf("got %+v", s)
	}
	// Nobody else waits, so the lookup is given up with its caller.
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended

	first, leave := context.WithCancel(context.Background())
	go func() { _, err := r.Lookup(first, "a"); done <- err }()
	<-started
	for range 2 {
		go func() { _, err := r.Lookup(context.Background(), "a"); done <- err }()
	}
	pgtest.Eventually(t, 10*time.Second, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if q := r.names["a"].query; q == nil || q.wait != 3 {
			return errors.New("not all wait yet")
		}
		return nil
	})
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(started) != 0 {
		t.Error("one name was looked up several times at once")
	}
}

func TestResolvConf(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/resolv.conf"
	for text, want := range map[string]string{
		"# x\nsearch a b\nnameserver 192.0.2.1\nnameserver ::1\n": "[192.0.2.1:53 [::1]:53]",
		"search a":       "no nameserver",
		"nameserver":     "without an address",
		"nameserver a.b": "ParseAddr",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		servers, err := nameservers(file)
		if got := fmt.Sprint(servers, err); !strings.Contains(got, want) {
			t.Errorf("%q: got %s", text, got)
		}
	}
	if _, err := NewResolver(ResolverOptions{ResolvConf: "/nonexistent"}); err == nil {
		t.Error("a missing file is accepted")
	}
}
