package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// The example of RFC 7677, section 3, for both halves.
func TestRFC7677(t *testing.T) {
	t.Parallel()
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	secret, err := NewSCRAMSecret("pencil", 4096, salt)
	if err != nil {
		t.Fatal(err)
	}
	const (
		cnonce, snonce = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		serverFirst    = "r=" + cnonce + snonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		clientFinal    = "c=biws,r=" + cnonce + snonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		serverFinal    = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	s := scramServer{secret: secret}
	got, err := s.first([]byte("n,,n=user,r="+cnonce), []byte(snonce))
	if err != nil || string(got) != serverFirst {
		t.Fatalf("server-first-message\n got %s, %v\nwant %s", got, err, serverFirst)
	}
	key, ok, err := s.final([]byte(clientFinal))
	if err != nil || !ok {
		t.Fatalf("the proof is refused: %v", err)
	}
	if sig := s.signature(); string(sig) != serverFinal {
		t.Errorf("server-final-message\n got %s\nwant %s", sig, serverFinal)
	}
	x := scramClient{cred: Credentials{Plain: "pencil"}, gs2: "n,,", nonce: []byte(cnonce), first: []byte("n=user,r=" + cnonce)}
	if got, err = x.answer(context.Background(), nil, []byte(serverFirst)); err != nil || string(got) != clientFinal {
		t.Fatalf("client-final-message\n got %s, %v\nwant %s", got, err, clientFinal)
	}
	if err := x.verify([]byte(serverFinal)); err != nil {
		t.Error(err)
	}
	x.cred = Credentials{ClientKey: key, ServerKey: secret.serverKey[:], SCRAM: &secret}
	if got, err = x.answer(context.Background(), nil, []byte(serverFirst)); err != nil || string(got) != clientFinal {
		t.Errorf("with keys taken from the proof\n got %s, %v\nwant %s", got, err, clientFinal)
	}
}

func TestChannelBinding(t *testing.T) {
	t.Parallel()
	v := NewVerifier(VerifierOptions{})
	hash, elsewhere := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	secret := scramSecret(t, "pw")
	tests := []struct {
		name           string
		server, client []byte
		tls            bool
		want           *Error
		plus           bool
	}{
		{"both can", hash, hash, true, nil, true},
		{"the client sees another certificate", hash, elsewhere, true, ErrSASL, true},
		{"the server cannot", nil, hash, true, nil, false},
		{"the client cannot", hash, nil, true, nil, false},
		{"without TLS", nil, nil, false, nil, false},
		{"offered without TLS", hash, nil, false, ErrServerSASLExchange, false},
	}
	for _, tc := range tests {
		req := Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: secret, ChannelBinding: tc.server}
		l := &loopback{client: NewLogin(Credentials{User: "ann", Plain: "pw"}, LoginOptions{TLS: tc.tls, ChannelBinding: tc.client})}
		plus := false
		l.tamper = func(_ int, b []byte) []byte {
			plus = plus || bytes.HasPrefix(b, []byte("SCRAM-SHA-256-PLUS\x00"))
			return b
		}
		_, err := v.Authenticate(context.Background(), l, req)
		if tc.want == nil && err != nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.want)
		}
		if plus != tc.plus {
			t.Errorf("%s: PLUS chosen: %t", tc.name, plus)
		}
	}
}

// A man in the middle who takes PLUS out of the server's offer is found out by the client's flag.
func TestDowngradeIsRefused(t *testing.T) {
	t.Parallel()
	hash := bytes.Repeat([]byte{1}, 32)
	s := scramServer{secret: scramSecret(t, "pw"), cbind: hash}
	l := NewLogin(Credentials{User: "ann", Plain: "pw"}, LoginOptions{TLS: true, ChannelBinding: hash})
	body, _, err := l.Answer(context.Background(), authBody(AuthSASL, []byte("SCRAM-SHA-256\x00\x00")))
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.initial(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.first(first, scramNonce()); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("got %v", err)
	}
}

func initialResponse(mech, data string) string {
	b := append([]byte(mech), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return string(b) + data
}

func TestSASLViolations(t *testing.T) {
	t.Parallel()
	const nonce = "0123456789"
	ok := initialResponse(mechSCRAM, "n,,n=,r="+nonce)
	tests := []struct {
		name, first string
		final       func(serverFirst string) string
		want        *Error
	}{
		{"no mechanism", "", nil, ErrSASLProtocol},
		{"unknown mechanism", initialResponse("PLAIN", "x"), nil, ErrSASLMechanism},
		{"PLUS without TLS", initialResponse(mechSCRAMPlus, cbindPlus+",,n=,r="+nonce), nil, ErrSASLMechanism},
		{"length missing", mechSCRAM + "\x00", nil, ErrSASLProtocol},
		{"no initial response", mechSCRAM + "\x00\xff\xff\xff\xff", nil, ErrSASLProtocol},
		{"length too long", mechSCRAM + "\x00\x00\x00\x00\x05n,,", nil, ErrSASLProtocol},
		{"length negative", mechSCRAM + "\x00\xff\xff\xff\x00n,,", nil, ErrSASLProtocol},
		{"empty message", initialResponse(mechSCRAM, ""), nil, ErrSASLProtocol},
		{"binding without PLUS", initialResponse(mechSCRAM, cbindPlus+",,n=,r="+nonce), nil, ErrSASLProtocol},
		{"unknown binding", initialResponse(mechSCRAM, "p=tls-unique,,n=,r="+nonce), nil, ErrSASLProtocol},
		{"unknown flag", initialResponse(mechSCRAM, "x,,n=,r="+nonce), nil, ErrSASLProtocol},
		{"authorization identity", initialResponse(mechSCRAM, "n,a=root,n=,r="+nonce), nil, ErrSASLProtocol},
		{"mandatory extension", initialResponse(mechSCRAM, "n,,m=x,n=,r="+nonce), nil, ErrSASLProtocol},
		{"no nonce", initialResponse(mechSCRAM, "n,,n=ann"), nil, ErrSASLProtocol},
		{"empty nonce", initialResponse(mechSCRAM, "n,,n=ann,r="), nil, ErrSASLProtocol},
		{"unprintable nonce", initialResponse(mechSCRAM, "n,,n=ann,r=a\x01"), nil, ErrSASLProtocol},
		{"no proof", ok, func(s string) string { return "c=biws," + s }, ErrSASLProtocol},
		{"short proof", ok, func(s string) string { return "c=biws," + s + ",p=AAAA" }, ErrSASLProtocol},
		{"proof is not base64", ok, func(s string) string { return "c=biws," + s + ",p=???" }, ErrSASLProtocol},
		{"other nonce", ok, func(string) string { return "c=biws,r=x,p=" + strings.Repeat("A", 43) + "=" }, ErrSASLProtocol},
		{"other GS2 header", ok, func(s string) string { return "c=eSws," + s + ",p=" + strings.Repeat("A", 43) + "=" }, ErrSASLProtocol},
		{"wrong proof", ok, func(s string) string { return "c=biws," + s + ",p=" + strings.Repeat("A", 43) + "=" }, ErrSASL},
	}
	v := NewVerifier(VerifierOptions{})
	secret := scramSecret(t, "pw")
	for _, tc := range tests {
		m := &script{first: tc.first, final: tc.final}
		_, err := v.Authenticate(context.Background(), m, Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: secret})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.want)
		}
	}
}

// script is a client that says what a test wants.
type script struct {
	first string
	final func(serverFirst string) string
	data  []byte
	n     int
}

func (s *script) SendAuth(_ uint32, data []byte) error {
	s.data = bytes.Clone(data)
	return nil
}

func (s *script) RecvPassword() ([]byte, error) {
	if s.n++; s.n == 1 {
		return []byte(s.first), nil
	}
	if s.final == nil {
		return nil, errors.New("nothing more to say")
	}
	nonce, _, _ := strings.Cut(string(s.data), ",")
	return []byte(s.final(nonce)), nil
}

func TestServersThatDoNotProveThemselves(t *testing.T) {
	t.Parallel()
	secret := scramSecret(t, "pw")
	start := func() (*Login, *scramServer) {
		l, s := NewLogin(Credentials{User: "ann", Plain: "pw"}, LoginOptions{}), &scramServer{secret: secret}
		body, _, err := l.Answer(context.Background(), authBody(AuthSASL, s.mechanisms()))
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.initial(body)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := s.first(first, scramNonce())
		if err != nil {
			t.Fatal(err)
		}
		if body, _, err = l.Answer(context.Background(), authBody(AuthSASLContinue, reply)); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := s.final(body); !ok || err != nil {
			t.Fatal("the proof is refused")
		}
		return l, s
	}
	tests := []struct {
		name string
		code uint32
		data string
		want *Error
	}{
		{"no signature", AuthOK, "", ErrServerSignature},
		{"wrong signature", AuthSASLFinal, "v=" + strings.Repeat("A", 43) + "=", ErrServerSignature},
		{"malformed signature", AuthSASLFinal, "v=!", ErrServerSignature},
		{"empty final message", AuthSASLFinal, "", ErrServerSignature},
		{"error", AuthSASLFinal, "e=other-error", ErrServerSASLExchange},
		{"another request", AuthCleartext, "", ErrServerPasswordPhase},
	}
	for _, tc := range tests {
		l, _ := start()
		if _, _, err := l.Answer(context.Background(), authBody(tc.code, []byte(tc.data))); !errors.Is(err, tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.want)
		}
	}
	l, s := start()
	if _, _, err := l.Answer(context.Background(), authBody(AuthSASLFinal, s.signature())); err != nil {
		t.Error(err)
	}
}

func TestLoginRefusals(t *testing.T) {
	t.Parallel()
	all := Credentials{User: "ann", Plain: "pw"}
	tests := []struct {
		name string
		cred Credentials
		body []byte
		want *Error
	}{
		{"short message", all, []byte{0, 0}, ErrServerPasswordPhase},
		{"GSSAPI", all, authBody(7, nil), ErrServerAuthMethod},
		{"unknown code", all, authBody(99, nil), ErrServerAuthMethod},
		{"MD5 without salt", all, authBody(AuthMD5, nil), ErrServerPasswordPhase},
		{"MD5 without password", Credentials{User: "ann"}, authBody(AuthMD5, []byte("salt")), ErrServerPasswordType},
		{"cleartext with a hash", Credentials{User: "ann", MD5: MD5Secret("a", "b").Reveal()}, authBody(AuthCleartext, nil), ErrServerPasswordType},
		{"SCRAM with a hash", Credentials{User: "ann", MD5: MD5Secret("a", "b").Reveal()}, authBody(AuthSASL, []byte("SCRAM-SHA-256\x00\x00")), ErrServerPasswordType},
		{"no SCRAM", all, authBody(AuthSASL, []byte("OAUTHBEARER\x00\x00")), ErrServerMechanism},
		{"no mechanism", all, authBody(AuthSASL, nil), ErrServerMechanism},
		{"list not terminated", all, authBody(AuthSASL, []byte("SCRAM")), ErrServerSASLExchange},
		{"final first", all, authBody(AuthSASLFinal, nil), ErrServerAuthMethod},
	}
	for _, tc := range tests {
		if _, _, err := NewLogin(tc.cred, LoginOptions{}).Answer(context.Background(), tc.body); !errors.Is(err, tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.want)
		}
	}
}

func TestServerFirstMessageIsBounded(t *testing.T) {
	t.Parallel()
	for _, msg := range []string{
		"", "r=", "r=abc", "r=abcd", "r=abcd,s=", "r=abcd,s=AAAA", "r=abcd,s=AAAA,i=0", "r=abcd,s=AAAA,i=x", "r=abcd,s=AAAA,i=99999999999",
		"r=abcd,s=AAAA,i=2147483647", "r=xbcd,s=AAAA,i=1", "m=1,r=abcd,s=AAAA,i=1", "r=abcd,s=!,i=1",
	} {
		if _, _, _, err := parseServerFirst([]byte(msg), []byte("abc")); err == nil {
			t.Errorf("%q is accepted", msg)
		}
	}
}

func FuzzScramServer(f *testing.F) {
	f.Add([]byte(initialResponse(mechSCRAM, "n,,n=,r=abc")), []byte("c=biws,r=abcdef,p=AAAA"), false)
	f.Add([]byte(initialResponse(mechSCRAMPlus, cbindPlus+",,n=,r=abc")), []byte("c=,r=,p="), true)
	secret := Secret{kind: KindSCRAM, iterations: 4096, salt: "0123456789abcdef"}
	f.Fuzz(func(t *testing.T, first, final []byte, tls bool) {
		s := scramServer{secret: secret}
		if tls {
			s.cbind = []byte("binding")
		}
		body, err := s.initial(first)
		if err != nil {
			return
		}
		if _, err := s.first(body, []byte("def")); err != nil {
			return
		}
		if _, ok, _ := s.final(final); ok {
			t.Fatal("a proof without a password")
		}
	})
}

func FuzzLoginAnswer(f *testing.F) {
	f.Add(authBody(AuthSASL, []byte("SCRAM-SHA-256\x00\x00")), authBody(AuthSASLContinue, []byte("r=x,s=AAAA,i=1")), true)
	f.Add(authBody(AuthMD5, []byte("salt")), authBody(AuthOK, nil), false)
	f.Fuzz(func(t *testing.T, a, b []byte, tls bool) {
		l := NewLogin(Credentials{User: "u", Plain: "p"}, LoginOptions{TLS: tls})
		for _, body := range [][]byte{a, b} {
			if _, done, err := l.Answer(context.Background(), body); done || err != nil {
				return
			}
		}
	})
}
