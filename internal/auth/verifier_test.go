package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatLoginsProveAddsUp(t *testing.T) {
	t.Parallel()
	trust := &Result{Method: MethodTrust}
	plain := &Result{Method: MethodPlain, Plain: "s3cret"}
	hash := &Result{Method: MethodMD5, MD5: "md5…"}
	scram := &Result{Method: MethodSCRAM, ClientKey: []byte("client"), ServerKey: []byte("server"), SCRAM: scramSecret(t, "s3cret")}
	newer := &Result{Method: MethodSCRAM, ClientKey: []byte("newer"), ServerKey: []byte("server"), SCRAM: scramSecret(t, "other")}
	for _, tc := range []struct {
		name     string
		then     *Result // of the newest login
		known    *Result
		password string
		hash     string
		keys     string
	}{
		{"nothing, the first", trust, nil, "", "", ""},
		{"keys, the first", scram, nil, "", "", "client"},
		{"nothing after keys", trust, scram, "", "", "client"},
		{"nothing after a password", trust, plain, "s3cret", "", ""},
		{"keys after keys", newer, scram, "", "", "newer"},
		{"keys after a password", scram, plain, "s3cret", "", "client"},
		{"a password after keys", plain, scram, "s3cret", "", "client"},
		{"a hash after keys", hash, scram, "", "md5…", "client"},
		{"a hash after a password, which would be used first", hash, plain, "", "md5…", ""},
		{"a password after a hash", plain, hash, "s3cret", "", ""},
	} {
		got := tc.then.Over(tc.known)
		if got == nil {
			got = &Result{}
		}
		if got.Plain != tc.password || got.MD5 != tc.hash || string(got.ClientKey) != tc.keys {
			t.Errorf("%s:\n got %q, %q, %q\nwant %q, %q, %q", tc.name, got.Plain, got.MD5, got.ClientKey, tc.password, tc.hash, tc.keys)
		}
		if len(got.ClientKey) > 0 && got.SCRAM.IsZero() {
			t.Errorf("%s: the keys are without their secret", tc.name)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	plain := ParseSecret("s3cret")
	md5 := MD5Secret("s3cret", "ann")
	scram := scramSecret(t, "s3cret")
	right := Credentials{User: "ann", Plain: "s3cret"}
	wrong := Credentials{User: "ann", Plain: "other"}
	tests := []struct {
		name   string
		method Method
		secret Secret
		cred   Credentials
		want   *Error
		as     Method
	}{
		{"plain, plain stored", MethodPlain, plain, right, nil, MethodPlain},
		{"plain, md5 stored", MethodPlain, md5, right, nil, MethodPlain},
		{"plain, scram stored", MethodPlain, scram, right, nil, MethodPlain},
		{"plain, nothing stored", MethodPlain, Secret{}, right, ErrPassword, ""},
		{"plain, plain stored, wrong", MethodPlain, plain, wrong, ErrPassword, ""},
		{"plain, md5 stored, wrong", MethodPlain, md5, wrong, ErrPassword, ""},
		{"plain, scram stored, wrong", MethodPlain, scram, wrong, ErrPassword, ""},
		{"md5, plain stored", MethodMD5, plain, right, nil, MethodMD5},
		{"md5, md5 stored", MethodMD5, md5, right, nil, MethodMD5},
		{"md5, client knows the hash only", MethodMD5, md5, Credentials{User: "ann", MD5: md5.Reveal()}, nil, MethodMD5},
		{"md5, scram stored becomes scram", MethodMD5, scram, right, nil, MethodSCRAM},
		{"md5, plain stored, wrong", MethodMD5, plain, wrong, ErrPassword, ""},
		{"md5, md5 stored, wrong", MethodMD5, md5, wrong, ErrPassword, ""},
		{"md5, scram stored, wrong", MethodMD5, scram, wrong, ErrSASL, ""},
		{"scram, plain stored", MethodSCRAM, plain, right, nil, MethodSCRAM},
		{"scram, md5 stored", MethodSCRAM, md5, right, ErrSASL, ""},
		{"scram, scram stored", MethodSCRAM, scram, right, nil, MethodSCRAM},
		{"scram, plain stored, wrong", MethodSCRAM, plain, wrong, ErrSASL, ""},
		{"scram, scram stored, wrong", MethodSCRAM, scram, wrong, ErrSASL, ""},
		{"scram, nothing stored", MethodSCRAM, Secret{}, right, ErrSASL, ""},
		{"trust", MethodTrust, Secret{}, Credentials{}, nil, MethodTrust},
		{"any", MethodAny, Secret{}, Credentials{}, nil, MethodAny},
		{"reject", MethodReject, plain, right, ErrReject, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			req := Request{Method: tc.method, User: "ann", Known: true, Secret: tc.secret}
			res, _, err := runLogin(t, v, req, tc.cred, LoginOptions{})
			if tc.want != nil {
				if !errors.Is(err, tc.want) {
					t.Fatalf("error\n got %v\nwant %v", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Method != tc.as {
				t.Errorf("method\n got %s\nwant %s", res.Method, tc.as)
			}
			if got := len(res.ClientKey) > 0; got != (tc.as == MethodSCRAM && tc.secret.Kind() == KindSCRAM) {
				t.Errorf("keys for passing through: %t", got)
			}
			if (res.Plain != "") != (tc.as == MethodPlain) || (res.MD5 != "") != (tc.as == MethodMD5) {
				t.Errorf("reusable secrets are wrong: %q %q", res.Plain, res.MD5)
			}
		})
	}
}

func TestUnknownUsersAreRefused(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	for method, want := range map[Method]*Error{
		MethodPlain: ErrPassword, MethodMD5: ErrSASL, MethodSCRAM: ErrSASL, MethodTrust: ErrTrust,
		MethodCert: ErrCert, MethodPeer: ErrPeer, MethodHBA: {Code: "XX000", Message: "login rejected"},
	} {
		req := Request{Method: method, User: "bob", CertCN: "bob", CertVerified: true, PeerUser: "bob"}
		_, _, err := runLogin(t, v, req, Credentials{User: "bob", Plain: "x"}, LoginOptions{})
		if !errors.Is(err, want) {
			t.Errorf("%s: error\n got %v\nwant %v", method, err, want)
		}
	}
}

func TestEmptyPasswords(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	for _, method := range []Method{MethodPlain, MethodMD5} {
		l := &loopback{t: t, client: NewLogin(Credentials{User: "ann", Plain: "x"}, LoginOptions{})}
		l.tamper = func(int, []byte) []byte { return []byte{0} }
		_, err := v.Authenticate(context.Background(), l, Request{Method: method, User: "ann", Known: true, Secret: ParseSecret("x")})
		if !errors.Is(err, ErrEmptyPassword) {
			t.Errorf("%s: got %v", method, err)
		}
	}
	// A stored password that is empty matches nothing, not even a proof made from the empty password.
	req := Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: ParseSecret("")}
	l := &loopback{t: t, client: NewLogin(Credentials{User: "ann", Plain: "x"}, LoginOptions{})}
	if _, err := v.Authenticate(context.Background(), l, req); !errors.Is(err, ErrSASL) {
		t.Errorf("empty stored password: got %v", err)
	}
}

func TestPasswordMessageMustBeOneString(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	for _, body := range []string{"", "secret", "secret\x00more\x00", "secret\x00\x00"} {
		l := &loopback{t: t, client: NewLogin(Credentials{User: "ann", Plain: "x"}, LoginOptions{})}
		l.tamper = func(int, []byte) []byte { return []byte(body) }
		_, err := v.Authenticate(context.Background(), l, Request{Method: MethodPlain, User: "ann", Known: true, Secret: ParseSecret("secret")})
		var e *Error
		if !errors.As(err, &e) || e.Code != "08P01" {
			t.Errorf("%q: got %v", body, err)
		}
	}
}

// What an unknown user sees must be what a known one with a wrong password sees: the same requests, the same
// salt each time, the same iteration count, the same error.
func TestMockExchangeLooksLikeAKnownUsers(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{MockNonce: []byte("nonce")})
	other := NewVerifier(VerifierOptions{MockNonce: []byte("another")})
	stored, err := NewSCRAMSecret("s3cret", 5000, nil)
	if err != nil {
		t.Fatal(err)
	}
	type view struct {
		Codes []uint32
		Shape string
		Err   string
	}
	look := func(v *Verifier, user string, known bool, s Secret, like Kind) (view, string) {
		req := Request{Method: MethodSCRAM, User: user, Known: known, Secret: s, MockLike: like, ScramIterations: 5000}
		_, l, err := runLogin(t, v, req, Credentials{User: user, Plain: "guess"}, LoginOptions{})
		var e *Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		_, salt, _, perr := parseServerFirst(l.data[1], nil)
		if perr != nil {
			t.Fatal(perr)
		}
		shape := string(l.data[0]) + string(l.data[1][bytes.LastIndexByte(l.data[1], ','):]) + string(rune('0'+len(salt)))
		return view{l.codes, shape, e.Code + e.Message}, base64.StdEncoding.EncodeToString(salt)
	}
	want, _ := look(v, "ann", true, stored, 0)
	salts := map[string]string{}
	for _, c := range []struct {
		name  string
		known bool
		s     Secret
		like  Kind
	}{
		{"unknown like scram", false, Secret{}, KindSCRAM},
		{"unknown again", false, Secret{}, KindSCRAM},
		{"unknown like plain", false, Secret{}, KindPlain},
		{"unknown like md5", false, Secret{}, KindMD5},
		{"known without password", true, Secret{}, 0},
		{"known with md5", true, MD5Secret("s3cret", "bob"), 0},
		{"known with plain", true, ParseSecret("s3cret"), 0},
	} {
		got, salt := look(v, "bob", c.known, c.s, c.like)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-known +this):\n%s", c.name, d)
		}
		salts[salt] = c.name
	}
	if len(salts) != 1 {
		t.Errorf("the salt of one user changes: %v", salts)
	}
	if _, salt := look(other, "bob", false, Secret{}, 0); salts[salt] != "" {
		t.Error("the salt does not depend on the nonce")
	}
	if _, salt := look(v, "eve", false, Secret{}, 0); salts[salt] != "" {
		t.Error("two users have the same salt")
	}
}

func TestMD5OfUnknownUserLooksLikeMost(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	for like, want := range map[Kind]uint32{KindNone: AuthSASL, KindSCRAM: AuthSASL, KindMD5: AuthMD5, KindPlain: AuthMD5} {
		_, l, err := runLogin(t, v, Request{Method: MethodMD5, User: "bob", MockLike: like}, Credentials{User: "bob", Plain: "x"}, LoginOptions{})
		if err == nil || l.codes[0] != want {
			t.Errorf("like %v: asked for %d (want %d), error %v", like, l.codes[0], want, err)
		}
	}
}

func TestPassThrough(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	secret := scramSecret(t, "s3cret")
	req := Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: secret}
	res, _, err := runLogin(t, v, req, Credentials{User: "ann", Plain: "s3cret"}, LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cred := NewCredentials("ann", ParseSecret(secret.Reveal()), &res)
	if cred.Plain != "" {
		t.Fatal("a password appeared")
	}
	if _, _, err := runLogin(t, v, req, cred, LoginOptions{}); err != nil {
		t.Errorf("server with the same secret: %v", err)
	}
	req.Secret = scramSecret(t, "s3cret")
	_, _, err = runLogin(t, v, req, cred, LoginOptions{})
	if !errors.Is(err, ErrServerPasswordType) {
		t.Errorf("server with another secret of the same password: %v", err)
	}
	cred.Plain = "s3cret"
	if _, _, err := runLogin(t, v, req, cred, LoginOptions{}); err != nil {
		t.Errorf("the password is not used where the keys do not fit: %v", err)
	}
	// A stored secret alone proves nothing.
	if _, _, err = runLogin(t, v, req, NewCredentials("ann", secret, nil), LoginOptions{}); !errors.Is(err, ErrServerPasswordType) {
		t.Errorf("secret without keys: %v", err)
	}
}

func TestAdHocSecretIsNotPassedThrough(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	res, _, err := runLogin(t, v, Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: ParseSecret("pw")},
		Credentials{User: "ann", Plain: "pw"}, LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.ClientKey != nil || res.ServerKey != nil || !res.SCRAM.IsZero() {
		t.Error("keys of a secret made on the fly were handed out")
	}
}

func TestCertAndPeer(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	ident, err := ParseIdent("ident", []byte("m  /^(.*)@corp$  \\1\nm root ann"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		req  Request
		want *Error
	}{
		{"cert of the user", Request{Method: MethodCert, CertVerified: true, CertCN: "ann"}, nil},
		{"cert of another", Request{Method: MethodCert, CertVerified: true, CertCN: "bob"}, ErrCert},
		{"cert without a name", Request{Method: MethodCert, CertVerified: true}, ErrCert},
		{"cert not verified", Request{Method: MethodCert, CertCN: "ann"}, ErrCert},
		{"cert with a map", Request{Method: MethodCert, CertVerified: true, CertCN: "ann@corp", MapName: "m", Ident: ident}, nil},
		{"cert not in the map", Request{Method: MethodCert, CertVerified: true, CertCN: "ann", MapName: "m", Ident: ident}, ErrCert},
		{"map without a file", Request{Method: MethodCert, CertVerified: true, CertCN: "ann", MapName: "m"}, ErrCert},
		{"peer of the user", Request{Method: MethodPeer, PeerUser: "ann"}, nil},
		{"peer of another", Request{Method: MethodPeer, PeerUser: "root"}, ErrPeer},
		{"peer in the map", Request{Method: MethodPeer, PeerUser: "root", MapName: "m", Ident: ident}, nil},
		{"peer over TCP", Request{Method: MethodPeer}, ErrPeer},
		{"trust with clientcert, none shown", Request{Method: MethodTrust, RequireCert: CertCA}, ErrCert},
		{"trust with clientcert", Request{Method: MethodTrust, RequireCert: CertCA, CertVerified: true, CertCN: "bob"}, nil},
		{"trust with clientcert verify-full", Request{Method: MethodTrust, RequireCert: CertFull, CertVerified: true, CertCN: "bob"}, ErrCert},
	}
	for _, tc := range tests {
		tc.req.User, tc.req.Known = "ann", true
		_, _, err := runLogin(t, v, tc.req, Credentials{}, LoginOptions{})
		if tc.want == nil && err != nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.want)
		}
	}
}

func TestParseMethod(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Method{"md5": MethodMD5, "plain": MethodPlain, "password": MethodPlain, "SCRAM-SHA-256": MethodSCRAM, "hba": MethodHBA} {
		if got, err := ParseMethod(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "ldap", "pam", "gss", "reject"} {
		_, err := ParseMethod(in)
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte("supported are any, trust, plain")) {
			t.Errorf("%q: got %v", in, err)
		}
	}
}
