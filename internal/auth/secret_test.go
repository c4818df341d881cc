package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestParseSecret(t *testing.T) {
	t.Parallel()
	scram := scramSecret(t, "pw").Reveal()
	for in, want := range map[string]Kind{
		"":                                     KindNone,
		"secret":                               KindPlain,
		"md5":                                  KindPlain,
		"md5" + strings.Repeat("0", 32):        KindMD5,
		"md5" + strings.Repeat("A", 32):        KindPlain,
		"md5" + strings.Repeat("0", 31):        KindPlain,
		"md5" + strings.Repeat("g", 32):        KindPlain,
		scram:                                  KindSCRAM,
		scram + "x":                            KindPlain,
		scram[:len(scram)-1]:                   KindPlain,
		"SCRAM-SHA-256$":                       KindPlain,
		"SCRAM-SHA-256$0:AAAA$AAAA:AAAA":       KindPlain,
		strings.Replace(scram, "4096", "x", 1): KindPlain,
		strings.Replace(scram, "4096", "99999999999", 1): KindPlain,
	} {
		s := ParseSecret(in)
		if s.Kind() != want {
			t.Errorf("%q: got %v", in, s.Kind())
		}
		if s.Reveal() != in {
			t.Errorf("%q comes back as %q", in, s.Reveal())
		}
	}
	if got := MD5Secret("pw", "ann").Reveal(); got != "md5ccad3a4e82a97ead3d9cf7adf4cb3f96" && len(got) != 35 {
		t.Errorf("got %s", got)
	}
	for _, n := range []int{0, -1, MaxIterations + 1} {
		if _, err := NewSCRAMSecret("x", n, nil); err == nil {
			t.Errorf("%d iterations are accepted", n)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	secret := ParseSecret("hush-hush")
	cred := NewCredentials("ann", secret, &Result{Plain: "hush-hush"})
	for _, v := range []any{secret, &secret, cred, Request{Secret: secret}, struct{ S Secret }{secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, "hush") || strings.Contains(out, "68757368") {
				t.Errorf("%s of %T: %s", verb, v, out)
			}
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:AAAA$" + strings.Repeat("A", 43) + "=:" + strings.Repeat("A", 43) + "=")
	f.Add("md5" + strings.Repeat("0", 32))
	f.Fuzz(func(t *testing.T, s string) {
		a := ParseSecret(s)
		if b := ParseSecret(a.Reveal()); a != b {
			t.Fatalf("%q: %#v becomes another secret when it is written and read", s, a)
		}
	})
}

func TestSASLprep(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":              "plain",
		"I\u00adX":           "IX",
		"\u00aa":             "a",
		"\u2168":             "IX",
		"a\u00a0b":           "a b",
		"\u200b":             " ", // a space to C.1.2 before it is nothing to B.1
		"\u00ad":             "\u00ad",
		"e\u0301":            "\u00e9",
		"\u0627\u0031":       "\u0627\u0031",       // ends left to right: not allowed, so unchanged
		"\u0627\u2168":       "\u0627\u2168",       // mixes directions
		"\u2168\u0007":       "\u2168\u0007",       // control character
		"\u2168\U0001f600":   "\u2168\U0001f600",   // unassigned in Unicode 3.2
		"\u2168\xff":         "\u2168\xff",         // not UTF-8
		"\u0627\u0628\u00ad": "\u0627\u0628",       // right to left throughout
		"\ufb01\u0020\u2126": "fi \u03a9",          // ligature and ohm sign
		"\u2168\ue000":       "\u2168\ue000",       // private use
		"\u212b\u0300":       "\u00c5\u0300",       // composed
		"pass\u1680word":     "pass word",          // ogham space
		"\u3000":             " ",                  // ideographic space
		"\ufeffbom":          "bom",                // byte order mark
		"\u0340x":            "\u0340x",            // prohibited, though normalisation would make it U+0300
		"\u1806\u180b\ufe00": "\u1806\u180b\ufe00", // nothing remains
	} {
		if got := SASLprep(in); got != want {
			t.Errorf("%+q\n got %+q\nwant %+q", in, got, want)
		}
	}
}

func FuzzSASLprep(f *testing.F) {
	f.Add("I\u00adX\u0627")
	f.Fuzz(func(t *testing.T, s string) {
		if SASLprep(s) == "" && s != "" {
			t.Fatalf("%+q becomes the empty password", s)
		}
	})
}

func TestHasherComputesOnceAndForgetsTheOldest(t *testing.T) {
	t.Parallel()
	h := NewHasher(HasherOptions{Entries: 2, Parallel: 1})
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[[scramKeyLen]byte]bool{}
	for range 20 {
		wg.Go(func() {
			got, err := h.salted(ctx, "pw", []byte("salt"), 4096, true)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			seen[got] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(seen) != 1 || h.Len() != 1 {
		t.Errorf("%d results, %d cached", len(seen), h.Len())
	}
	for i := range 5 {
		if _, err := h.salted(ctx, fmt.Sprint(i), []byte("salt"), 10, true); err != nil {
			t.Fatal(err)
		}
	}
	if h.Len() != 2 {
		t.Errorf("%d results are cached where 2 may be", h.Len())
	}
	if _, err := h.salted(ctx, "guess", []byte("salt"), 10, false); err != nil || h.Len() != 2 {
		t.Errorf("a guess: %v, %d cached", err, h.Len())
	}
}

func TestHasherWaitsForTheContextOnly(t *testing.T) {
	t.Parallel()
	h := NewHasher(HasherOptions{Parallel: 1})
	h.sem <- struct{}{} // somebody computes
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.salted(ctx, "pw", []byte("salt"), 10, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// One that waits for a computation that is given up computes itself.
	first, giveUp := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { _, err := h.salted(first, "pw", []byte("salt"), 10, true); done <- err }()
	for started := false; !started; {
		h.mu.Lock()
		started = len(h.calls) == 1
		h.mu.Unlock()
	}
	go func() { _, err := h.salted(context.Background(), "pw", []byte("salt"), 10, true); done <- err }()
	giveUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-h.sem
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPeerCredentials(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	cred, err := PeerCredentials(s.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	if int(cred.UID) != os.Getuid() || cred.PID != os.Getpid() {
		t.Errorf("got %+v", cred)
	}
	if name, err := cred.UserName(); err != nil || name == "" {
		t.Errorf("got %q, %v", name, err)
	}
	if _, err := (PeerCred{UID: 4294967290}).UserName(); err == nil {
		t.Error("a uid without a name has one")
	}
}
