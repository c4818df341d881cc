package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// scram runs the server's side of a SCRAM-SHA-256(-PLUS) exchange.
func (l *login) scram(ctx context.Context) (Result, error) {
	if l.doomed == "" && l.secret.kind == KindMD5 {
		l.doomed = "an MD5 hash is stored, which SCRAM cannot use"
	}
	if l.secret.kind == KindMD5 {
		l.secret = l.mockSecret(l.req.User, KindSCRAM, l.iterations)
	}
	stored := l.secret.kind == KindSCRAM
	secret, err := l.scramSecret(ctx)
	if err != nil {
		return Result{}, err
	}
	x := scramServer{secret: secret, cbind: l.req.ChannelBinding}
	if err := l.m.SendAuth(AuthSASL, x.mechanisms()); err != nil {
		return Result{}, fmt.Errorf("send SASL mechanisms: %w", err)
	}
	body, err := l.m.RecvPassword()
	if err != nil {
		return Result{}, fmt.Errorf("receive SASL response: %w", err)
	}
	first, err := x.initial(body)
	if err != nil {
		return Result{}, err
	}
	reply, err := x.first(first, scramNonce())
	if err != nil {
		return Result{}, saslProtocol(err)
	}
	if err := l.m.SendAuth(AuthSASLContinue, reply); err != nil {
		return Result{}, fmt.Errorf("send SASL challenge: %w", err)
	}
	if body, err = l.m.RecvPassword(); err != nil {
		return Result{}, fmt.Errorf("receive SASL response: %w", err)
	}
	clientKey, ok, err := x.final(body)
	if err != nil {
		return Result{}, saslProtocol(err)
	}
	if l.doomed != "" || !ok {
		why := l.doomed
		if why == "" {
			why = "wrong password"
		}
		return Result{}, ErrSASL.with(why, nil)
	}
	if err := l.m.SendAuth(AuthSASLFinal, x.signature()); err != nil {
		return Result{}, fmt.Errorf("send SASL outcome: %w", err)
	}
	res := Result{Method: MethodSCRAM}
	if stored {
		res.ClientKey, res.ServerKey, res.SCRAM = clientKey, bytes.Clone(secret.serverKey[:]), secret
	}
	return res, nil
}

func saslProtocol(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrSASLProtocol.with("", err)
}

// scramSecret returns the SCRAM secret to check against: the stored one, or one made from the plain password.
// The salt of the latter is the one that the same name would have if the user did not exist.
func (l *login) scramSecret(ctx context.Context) (Secret, error) {
	if l.secret.kind == KindSCRAM {
		return l.secret, nil
	}
	h := l.hasher
	if l.doomed != "" {
		h = l.mocks
	}
	salt := l.salt(l.req.User)
	salted, err := h.salted(ctx, SASLprep(l.secret.text), salt, l.iterations, true)
	if err != nil {
		return Secret{}, &Error{Code: codeInternal, Message: ErrSASL.Message, Err: err}
	}
	return secretFromSalted(salted, salt, l.iterations), nil
}

// scramServer is the server's half of one exchange.
type scramServer struct {
	secret Secret
	cbind  []byte // channel binding data; nil: PLUS is not offered

	plus        bool   // the client chose PLUS
	gs2         []byte // the client's GS2 header, "n,,"
	clientFirst []byte // client-first-message-bare
	serverFirst []byte
	nonce       []byte // both halves
	authMessage []byte
}

// mechanisms is the data of AuthenticationSASL.
func (x *scramServer) mechanisms() []byte {
	var b []byte
	if x.cbind != nil {
		b = append(append(b, mechSCRAMPlus...), 0)
	}
	return append(append(b, mechSCRAM...), 0, 0)
}

// initial takes SASLInitialResponse apart and returns the client's first message.
func (x *scramServer) initial(body []byte) ([]byte, error) {
	name, rest, ok := bytes.Cut(body, []byte{0})
	if !ok || len(rest) < 4 {
		return nil, ErrSASLProtocol.with("malformed SASLInitialResponse", nil)
	}
	switch {
	case string(name) == mechSCRAM:
	case string(name) == mechSCRAMPlus && x.cbind != nil:
		x.plus = true
	default:
		return nil, ErrSASLMechanism.with(fmt.Sprintf("%.40q", name), nil)
	}
	n, data := int32(binary.BigEndian.Uint32(rest)), rest[4:]
	if n == -1 && len(data) == 0 {
		// The client wants to be asked first; SCRAM has the client speak first, so nothing is to be said.
		return nil, ErrSASLProtocol.with("SASLInitialResponse without a first message", nil)
	}
	if n < 0 || int(n) != len(data) {
		return nil, ErrSASLProtocol.with("malformed SASLInitialResponse", nil)
	}
	return data, nil
}

// first reads client-first-message and returns server-first-message. ours is the server's half of the nonce.
func (x *scramServer) first(msg, ours []byte) ([]byte, error) {
	flag, rest, ok := bytes.Cut(msg, []byte{','})
	if !ok {
		return nil, errors.New("client-first-message has no GS2 header")
	}
	switch {
	case string(flag) == "n":
		if x.plus {
			return nil, errors.New("SCRAM-SHA-256-PLUS without channel binding")
		}
	case string(flag) == "y":
		// The client could bind but believes that we cannot.
		if x.plus {
			return nil, errors.New("SCRAM-SHA-256-PLUS without channel binding")
		}
		if x.cbind != nil {
			return nil, errors.New("the client did not see our offer of SCRAM-SHA-256-PLUS: somebody removed it")
		}
	case string(flag) == cbindPlus:
		if !x.plus {
			return nil, errors.New("channel binding without SCRAM-SHA-256-PLUS")
		}
	case bytes.HasPrefix(flag, []byte("p=")):
		return nil, fmt.Errorf("unsupported channel binding type %.40q", flag[2:])
	default:
		return nil, errors.New("client-first-message has a broken channel binding flag")
	}
	authzid, bare, ok := bytes.Cut(rest, []byte{','})
	if !ok {
		return nil, errors.New("client-first-message has no GS2 header")
	}
	if len(authzid) > 0 {
		return nil, errors.New("authorization identities are not supported")
	}
	x.gs2 = bytes.Clone(msg[:len(msg)-len(bare)])
	x.clientFirst = bytes.Clone(bare)
	if bytes.HasPrefix(bare, []byte("m=")) {
		return nil, errors.New("mandatory SCRAM extensions are not supported")
	}
	// The name is the startup packet's; what is said here is ignored, as PostgreSQL does.
	_, rest, err := attribute(bare, 'n')
	if err != nil {
		return nil, err
	}
	nonce, _, err := attribute(rest, 'r')
	if err != nil {
		return nil, err
	}
	if !printable(nonce) {
		return nil, errors.New("client nonce has characters that are not allowed")
	}
	x.nonce = append(bytes.Clone(nonce), ours...)
	b := append([]byte("r="), x.nonce...)
	b = append(b, ",s="...)
	b = base64.StdEncoding.AppendEncode(b, []byte(x.secret.salt))
	b = append(b, ",i="...)
	x.serverFirst = strconv.AppendInt(b, int64(x.secret.iterations), 10)
	return x.serverFirst, nil
}

// final reads client-final-message. ok says whether the proof is right; clientKey is then the client's key.
func (x *scramServer) final(msg []byte) (clientKey []byte, ok bool, err error) {
	i := bytes.LastIndex(msg, []byte(",p="))
	if i < 0 {
		return nil, false, errors.New("client-final-message has no proof")
	}
	withoutProof := msg[:i]
	proof, err := decode64(msg[i+3:])
	if err != nil || len(proof) != scramKeyLen {
		return nil, false, errors.New("client-final-message has a malformed proof")
	}
	cbind, rest, err := attribute(withoutProof, 'c')
	if err != nil {
		return nil, false, err
	}
	got, err := decode64(cbind)
	if err != nil {
		return nil, false, err
	}
	want := bytes.Clone(x.gs2)
	if x.plus {
		want = append(want, x.cbind...)
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		if x.plus {
			return nil, false, ErrSASL.with("channel binding does not match: the client sees another certificate", nil)
		}
		return nil, false, errors.New("channel binding flags differ between the client's messages")
	}
	nonce, _, err := attribute(rest, 'r')
	if err != nil {
		return nil, false, err
	}
	if !bytes.Equal(nonce, x.nonce) {
		return nil, false, errors.New("nonce does not match")
	}
	x.authMessage = bytes.Join([][]byte{x.clientFirst, x.serverFirst, withoutProof}, []byte{','})
	key := xorKey([scramKeyLen]byte(proof), hmacSHA256(x.secret.storedKey[:], x.authMessage))
	stored := sha256.Sum256(key[:])
	return key[:], subtle.ConstantTimeCompare(stored[:], x.secret.storedKey[:]) == 1, nil
}

// signature is server-final-message.
func (x *scramServer) signature() []byte {
	sig := hmacSHA256(x.secret.serverKey[:], x.authMessage)
	return base64.StdEncoding.AppendEncode([]byte("v="), sig[:])
}
