package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
)

// Authentication request codes of the protocol, as sent with [Messenger.SendAuth].
const (
	AuthOK           uint32 = 0
	AuthCleartext    uint32 = 3
	AuthMD5          uint32 = 5
	AuthSASL         uint32 = 10
	AuthSASLContinue uint32 = 11
	AuthSASLFinal    uint32 = 12
)

// Messenger carries the messages of one login to and from the client.
type Messenger interface {
	// SendAuth sends an Authentication message ('R') and sees to it that it leaves before the next
	// RecvPassword waits, or with what is said to the client after the login. data is not kept.
	SendAuth(code uint32, data []byte) error
	// RecvPassword returns the body of the next message, which must be a 'p'. The body is valid until the
	// next call. The implementation bounds its length (MaxPasswordLen and a few bytes are enough).
	RecvPassword() (body []byte, err error)
}

// Request is what is known of a client when it has to prove who it is.
type Request struct {
	Method Method // not MethodHBA
	User   string
	Known  bool   // whether the user exists
	Secret Secret // what is stored for the user; zero if nothing is

	// MockLike is the kind of secret that most users have: a user that does not exist behaves like one that
	// has such a secret. Zero means KindSCRAM.
	MockLike Kind
	// MockIterations is the iteration count of made-up SCRAM secrets; 0 means ScramIterations.
	MockIterations int
	// ScramIterations is used for secrets made on the fly; 0 means DefaultIterations.
	ScramIterations int

	// ChannelBinding is the tls-server-end-point hash of the certificate that this connection was given
	// (see TLSServerEndPoint), nil without TLS or if the certificate has none: then PLUS is not offered.
	ChannelBinding []byte

	// CertVerified says that the client showed a certificate that a configured authority signed.
	CertVerified bool
	CertCN       string // common name of that certificate
	// RequireCert is clientcert= of the HBA rule: a certificate is needed besides the method's proof.
	RequireCert CertMode

	PeerUser string // operating system user at the other end of a Unix socket; "" if there is none

	// Ident and MapName say which operating system users and certificate names may be which user. With an
	// empty MapName the names must be equal.
	Ident   *Ident
	MapName string
}

// Result is a login that succeeded, with whatever of it can be used to log in to a server.
type Result struct {
	Method Method // how the client proved itself: MethodSCRAM also where md5 was asked for

	// ClientKey and ServerKey are set after SCRAM against a stored SCRAM secret, which is then in SCRAM:
	// a server that holds the same secret accepts them.
	ClientKey []byte
	ServerKey []byte
	SCRAM     Secret

	Plain string // the password itself, after method plain
	MD5   string // the MD5 hash of password and user, after method md5
}

// Over returns what is known after r, if earlier logins of the same user have proved prev: a client that proved nothing of use
// to a server takes nothing away, and what r lacks is kept. Neither is changed; the answer may be one of them.
func (r *Result) Over(prev *Result) *Result {
	password, keys := r.Plain != "" || r.MD5 != "", len(r.ClientKey) > 0
	switch {
	case !password && !keys:
		return prev
	case prev == nil || password && keys:
		return r
	}
	both := *r
	if password {
		both.ClientKey, both.ServerKey, both.SCRAM = prev.ClientKey, prev.ServerKey, prev.SCRAM
	} else {
		both.Plain, both.MD5 = prev.Plain, prev.MD5
	}
	return &both
}

// VerifierOptions are the parts of a Verifier; all may be zero.
type VerifierOptions struct {
	Hasher *Hasher // nil: one of its own
	// MockNonce is the secret from which made-up salts and keys are derived; nil means a random one, so that
	// they change with each process. Nodes that share it cannot be told apart, which is what they should.
	MockNonce []byte
}

// Verifier checks the proofs of clients. It is safe for concurrent use.
type Verifier struct {
	hasher *Hasher
	mocks  *Hasher // results for made-up users, apart so that they evict nothing
	nonce  []byte
}

// NewVerifier returns a Verifier.
func NewVerifier(o VerifierOptions) *Verifier {
	v := &Verifier{hasher: o.Hasher, nonce: o.MockNonce}
	if v.hasher == nil {
		v.hasher = NewHasher(HasherOptions{})
	}
	v.mocks = v.hasher.sibling(mockCacheEntries)
	if v.nonce == nil {
		v.nonce = make([]byte, 32)
		_, _ = rand.Read(v.nonce)
	}
	return v
}

// derive returns bytes that depend on the nonce, on what they are for and on the user, and on nothing else.
func (v *Verifier) derive(purpose, user string) []byte {
	h := hmac.New(sha256.New, v.nonce)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write([]byte(user))
	return h.Sum(nil)
}

func (v *Verifier) salt(user string) []byte { return v.derive("salt", user)[:scramSalt] }

// mockSecret makes up a secret of the given kind that nobody knows.
func (v *Verifier) mockSecret(user string, kind Kind, iterations int) Secret {
	switch kind {
	case KindPlain:
		return Secret{kind: KindPlain, text: hex.EncodeToString(v.derive("password", user))}
	case KindMD5:
		return MD5Secret(hex.EncodeToString(v.derive("password", user)), user)
	default:
		s := Secret{kind: KindSCRAM, iterations: iterations, salt: string(v.salt(user))}
		copy(s.storedKey[:], v.derive("stored", user))
		copy(s.serverKey[:], v.derive("server", user))
		return s
	}
}

// login is the state of one call of Authenticate.
type login struct {
	*Verifier
	m          Messenger
	req        Request
	secret     Secret // req.Secret or a made-up one
	doomed     string // why the login fails whatever the client says; "" if it does not
	iterations int
}

// Authenticate runs the exchange of req.Method and returns what the client proved. It does not send
// AuthenticationOk: the caller does, when nothing else stands in the client's way. Errors of the Messenger are
// returned wrapped; everything else is an *Error. It can take as long as the client does, but waits for a
// processor only until ctx is done.
func (v *Verifier) Authenticate(ctx context.Context, m Messenger, req Request) (Result, error) {
	l := &login{Verifier: v, m: m, req: req, secret: req.Secret, iterations: req.ScramIterations}
	if l.iterations <= 0 {
		l.iterations = DefaultIterations
	}
	switch {
	case !req.Known:
		l.doomed = "user does not exist"
	case l.secret.IsZero():
		l.doomed = "no password is stored"
	}
	if l.doomed != "" && req.Method.AsksPassword() {
		n := l.iterations
		if req.MockIterations > 0 {
			n = req.MockIterations
		}
		l.secret = v.mockSecret(req.User, req.MockLike, n)
	}
	res, err := l.run(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := l.checkCert(); err != nil {
		return Result{}, err
	}
	return res, nil
}

func (l *login) run(ctx context.Context) (Result, error) {
	switch l.req.Method {
	case MethodAny:
		return Result{Method: MethodAny}, nil
	case MethodTrust:
		if !l.req.Known {
			return Result{}, ErrTrust.with(l.doomed, nil)
		}
		return Result{Method: MethodTrust}, nil
	case MethodReject:
		return Result{}, ErrReject
	case MethodPlain:
		return l.plain(ctx)
	case MethodMD5:
		if l.secret.kind == KindSCRAM {
			return l.scram(ctx)
		}
		return l.md5()
	case MethodSCRAM:
		return l.scram(ctx)
	case MethodCert:
		return l.cert()
	case MethodPeer:
		return l.peer()
	default:
		return Result{}, &Error{
			Code: codeInternal, Message: "login rejected",
			Detail: fmt.Sprintf("authentication method %q cannot be run", string(l.req.Method)),
		}
	}
}

// sameString compares in time that depends on the length of b, the client's, only.
func sameString(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
