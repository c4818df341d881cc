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
	"slices"
)

// scramClient is the client's half of one exchange.
type scramClient struct {
	cred      Credentials
	wrongType func(asked string) error

	gs2         string // GS2 header
	cbind       []byte // channel binding data of PLUS
	nonce       []byte // our half
	first       []byte // client-first-message-bare
	authMessage []byte
	serverKey   [scramKeyLen]byte
}

// saslStart picks a mechanism out of AuthenticationSASL and returns SASLInitialResponse.
func (l *Login) saslStart(data []byte) ([]byte, error) {
	var offered []string
	for len(data) > 0 && data[0] != 0 {
		name, rest, ok := bytes.Cut(data, []byte{0})
		if !ok {
			return nil, ErrServerSASLExchange.with("list of mechanisms is not terminated", nil)
		}
		offered = append(offered, string(name))
		data = rest
	}
	plus := slices.Contains(offered, mechSCRAMPlus)
	x := &scramClient{cred: l.cred, wrongType: l.wrongType, nonce: scramNonce()}
	mech := mechSCRAM
	switch {
	case plus && l.opt.ChannelBinding != nil:
		mech, x.gs2, x.cbind = mechSCRAMPlus, cbindPlus+",,", l.opt.ChannelBinding
	case plus && !l.opt.TLS:
		return nil, ErrServerSASLExchange.with("the server offers SCRAM-SHA-256-PLUS without TLS", nil)
	case !slices.Contains(offered, mechSCRAM):
		return nil, ErrServerMechanism.with(fmt.Sprintf("the server offers %.200q", offered), nil)
	case l.opt.ChannelBinding != nil:
		x.gs2 = "y,," // we could bind; a server that could as well will notice that its offer was removed
	default:
		x.gs2 = "n,,"
	}
	if x.cred.Plain == "" && len(x.cred.ClientKey) == 0 {
		return nil, l.wrongType(mech)
	}
	// The name in the startup packet counts, so this one stays empty, as libpq leaves it.
	x.first = append([]byte("n=,r="), x.nonce...)
	l.scram = x
	b := append([]byte(mech), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.gs2)+len(x.first)))
	return append(append(b, x.gs2...), x.first...), nil
}

// answer reads server-first-message and returns client-final-message.
func (x *scramClient) answer(ctx context.Context, h *Hasher, msg []byte) ([]byte, error) {
	nonce, salt, iterations, err := parseServerFirst(msg, x.nonce)
	if err != nil {
		return nil, ErrServerSASLExchange.with("", err)
	}
	clientKey, err := x.keys(ctx, h, salt, iterations)
	if err != nil {
		return nil, err
	}
	b := base64.StdEncoding.AppendEncode([]byte("c="), append([]byte(x.gs2), x.cbind...))
	b = append(append(b, ",r="...), nonce...)
	x.authMessage = bytes.Join([][]byte{x.first, msg, b}, []byte{','})
	stored := sha256.Sum256(clientKey[:])
	proof := xorKey(clientKey, hmacSHA256(stored[:], x.authMessage))
	return base64.StdEncoding.AppendEncode(append(b, ",p="...), proof[:]), nil
}

// keys returns ClientKey and sets serverKey: from a client's own login if the server holds the same secret, else
// from the password.
func (x *scramClient) keys(ctx context.Context, h *Hasher, salt []byte, iterations int) (clientKey [scramKeyLen]byte, err error) {
	if s := x.cred.SCRAM; len(x.cred.ClientKey) == scramKeyLen && len(x.cred.ServerKey) == scramKeyLen &&
		(s == nil || s.iterations == iterations && s.salt == string(salt)) {
		x.serverKey = [scramKeyLen]byte(x.cred.ServerKey)
		return [scramKeyLen]byte(x.cred.ClientKey), nil
	}
	if x.cred.Plain == "" {
		return clientKey, ErrServerPasswordType.with(fmt.Sprintf("the server's SCRAM secret of user %q has another salt or "+
			"iteration count than ours: store the server's own secret, or a plain password", x.cred.User), nil)
	}
	salted, err := h.salted(ctx, SASLprep(x.cred.Plain), salt, iterations, true)
	if err != nil {
		return clientKey, ErrServerSASLExchange.with("", err)
	}
	clientKey, x.serverKey = scramKeys(salted)
	return clientKey, nil
}

// verify reads server-final-message: the server proves that it knows the secret as well.
func (x *scramClient) verify(msg []byte) error {
	if e, _, err := attribute(msg, 'e'); err == nil {
		return ErrServerSASLExchange.with(fmt.Sprintf("the server says %.100q", e), nil)
	}
	v, _, err := attribute(msg, 'v')
	if err != nil {
		return ErrServerSignature.with("", err)
	}
	got, err := decode64(v)
	if err != nil {
		return ErrServerSignature.with("", err)
	}
	want := hmacSHA256(x.serverKey[:], x.authMessage)
	if subtle.ConstantTimeCompare(got, want[:]) != 1 {
		return ErrServerSignature.with("the server does not know the password it asked for", nil)
	}
	return nil
}

func parseServerFirst(msg, ours []byte) (nonce, salt []byte, iterations int, err error) {
	if bytes.HasPrefix(msg, []byte("m=")) {
		return nil, nil, 0, errors.New("mandatory SCRAM extensions are not supported")
	}
	nonce, rest, err := attribute(msg, 'r')
	if err != nil {
		return nil, nil, 0, err
	}
	if !printable(nonce) || len(nonce) <= len(ours) || !bytes.HasPrefix(nonce, ours) {
		return nil, nil, 0, errors.New("the server's nonce does not continue ours")
	}
	s, rest, err := attribute(rest, 's')
	if err != nil {
		return nil, nil, 0, err
	}
	if salt, err = decode64(s); err != nil || len(salt) == 0 {
		return nil, nil, 0, errors.New("broken salt")
	}
	i, _, err := attribute(rest, 'i')
	if err != nil {
		return nil, nil, 0, err
	}
	iterations, err = parseIterations(i)
	return nonce, salt, iterations, err
}
