package auth

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Credentials are all that is known of a user for logging in to a server. Any of them may be missing.
type Credentials struct {
	User  string
	Plain string // the password
	MD5   string // "md5…" hash of the password and this very user name
	// ClientKey and ServerKey come from a client's proof (Result) against the secret in SCRAM.
	ClientKey []byte
	ServerKey []byte
	SCRAM     *Secret
}

// NewCredentials puts together what can be used to log in to a server as user: the stored secret, if it is
// that user's, and what a client's own login proved, if the client is that user. res may be nil.
func NewCredentials(user string, stored Secret, res *Result) Credentials {
	c := Credentials{User: user}
	switch stored.kind {
	case KindPlain:
		c.Plain = stored.text
	case KindMD5:
		c.MD5 = stored.text
	case KindSCRAM:
		c.SCRAM = &stored
	}
	if res == nil {
		return c
	}
	if c.Plain == "" {
		c.Plain = res.Plain
	}
	if c.MD5 == "" {
		c.MD5 = res.MD5
	}
	if len(res.ClientKey) > 0 {
		sec := res.SCRAM
		c.ClientKey, c.ServerKey, c.SCRAM = res.ClientKey, res.ServerKey, &sec
	}
	return c
}

// String tells which kinds of credentials there are, not what they are.
func (c Credentials) String() string {
	return fmt.Sprintf("credentials of %q (plain %t, md5 %t, scram keys %t)",
		c.User, c.Plain != "", c.MD5 != "", len(c.ClientKey) > 0)
}

// GoString is String, so that %#v does not print secrets either.
func (c Credentials) GoString() string { return c.String() }

// LoginOptions are what a Login needs besides credentials.
type LoginOptions struct {
	Hasher *Hasher // nil: salted passwords are not cached, nor is PBKDF2 bounded
	TLS    bool    // whether the connection is encrypted
	// ChannelBinding is the tls-server-end-point hash of the server's certificate; nil without TLS, or if it
	// cannot be had.
	ChannelBinding []byte
}

// Login answers the authentication requests of one server. It is for one connection and one goroutine.
type Login struct {
	cred  Credentials
	opt   LoginOptions
	scram *scramClient
	step  loginStep
}

type loginStep uint8

const (
	stepStart     loginStep = iota
	stepAnswered            // a password was sent: only AuthenticationOk may follow
	stepSASL                // SASL's first message was sent
	stepSASLFinal           // SASL's last message was sent, the server's signature must follow
	stepDone
)

// NewLogin starts a login.
func NewLogin(c Credentials, o LoginOptions) *Login { return &Login{cred: c, opt: o} }

// Answer takes the body of an Authentication message ('R', code first) and returns the body of the password
// message ('p') to send, nil for none. done is true for AuthenticationOk. Errors are *Error.
func (l *Login) Answer(ctx context.Context, body []byte) (reply []byte, done bool, err error) {
	if len(body) < 4 {
		return nil, false, ErrServerPasswordPhase.with("message is too short", nil)
	}
	code, data := binary.BigEndian.Uint32(body), body[4:]
	switch {
	case code == AuthOK && (l.step == stepStart || l.step == stepAnswered):
		l.step = stepDone
		return nil, true, nil
	case code == AuthOK && l.step != stepDone:
		// A server that skips its signature did not prove that it knows the secret.
		return nil, false, ErrServerSignature.with("the server ended the SASL exchange without proving itself", nil)
	case code == AuthCleartext && l.step == stepStart:
		l.step = stepAnswered
		reply, err = l.cleartext()
	case code == AuthMD5 && l.step == stepStart:
		l.step = stepAnswered
		reply, err = l.md5(data)
	case code == AuthSASL && l.step == stepStart:
		l.step = stepSASL
		reply, err = l.saslStart(data)
	case code == AuthSASLContinue && l.step == stepSASL:
		l.step = stepSASLFinal
		reply, err = l.scram.answer(ctx, l.opt.Hasher, data)
	case code == AuthSASLFinal && l.step == stepSASLFinal:
		l.step = stepAnswered
		err = l.scram.verify(data)
	case l.step == stepStart:
		err = ErrServerAuthMethod.with("the server asks for "+authCodeName(code), nil)
	default:
		err = ErrServerPasswordPhase.with(fmt.Sprintf("code %d (%s) out of turn", code, authCodeName(code)), nil)
	}
	return reply, false, err
}

// authCodeName names what PostgreSQL may ask for, so that an unsupported method is called by its name.
func authCodeName(code uint32) string {
	switch code {
	case AuthOK:
		return "nothing"
	case 2:
		return "Kerberos V5"
	case AuthCleartext:
		return "a cleartext password"
	case 4:
		return "a crypt()ed password"
	case AuthMD5:
		return "an MD5 password"
	case 6:
		return "SCM credentials"
	case 7, 8:
		return "GSSAPI"
	case 9:
		return "SSPI"
	case AuthSASL, AuthSASLContinue, AuthSASLFinal:
		return "SASL"
	default:
		return fmt.Sprintf("authentication code %d", code)
	}
}

func (l *Login) cleartext() ([]byte, error) {
	if l.cred.Plain == "" {
		return nil, l.wrongType("a cleartext password")
	}
	return append([]byte(l.cred.Plain), 0), nil
}

func (l *Login) md5(salt []byte) ([]byte, error) {
	if len(salt) != 4 {
		return nil, ErrServerPasswordPhase.with("MD5 salt is not 4 bytes long", nil)
	}
	hash := l.cred.MD5
	if l.cred.Plain != "" {
		hash = md5Hash(l.cred.Plain, l.cred.User)
	}
	if hash == "" {
		return nil, l.wrongType("an MD5 password")
	}
	return append([]byte(md5Hash(hash[3:], string(salt))), 0), nil
}

// wrongType explains which of our credentials do not fit what the server asks for.
func (l *Login) wrongType(asked string) error {
	have := "no password is known"
	switch {
	case len(l.cred.ClientKey) > 0:
		have = "only SCRAM keys are known"
	case l.cred.Plain != "":
		have = "a plain password is known"
	case l.cred.MD5 != "":
		have = "only an MD5 hash is known"
	case l.cred.SCRAM != nil:
		have = "only a SCRAM secret is known, and no client has logged in with it"
	}
	return ErrServerPasswordType.with(fmt.Sprintf("the server asks for %s, and of user %q %s", asked, l.cred.User, have), nil)
}
