package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
)

// password asks for a password message and returns its text.
func (l *login) password(code uint32, data []byte) (string, error) {
	if err := l.m.SendAuth(code, data); err != nil {
		return "", fmt.Errorf("send password request: %w", err)
	}
	body, err := l.m.RecvPassword()
	if err != nil {
		return "", fmt.Errorf("receive password: %w", err)
	}
	text, rest, ok := bytes.Cut(body, []byte{0})
	switch {
	case !ok || len(rest) > 0:
		return "", &Error{Code: codeProtocol, Message: ErrPassword.Message, Detail: "password message is not one terminated string"}
	case len(text) > MaxPasswordLen:
		return "", ErrPasswordLong
	case len(text) == 0:
		return "", ErrEmptyPassword
	}
	return string(text), nil
}

// plain checks a password sent in clear. Every failure costs one PBKDF2, so that its time tells neither
// whether the user exists nor in which shape its password is stored.
func (l *login) plain(ctx context.Context) (Result, error) {
	given, err := l.password(AuthCleartext, nil)
	if err != nil {
		return Result{}, err
	}
	ok, hashed := false, false
	switch l.secret.kind {
	case KindPlain:
		ok = sameString(l.secret.text, given)
	case KindMD5:
		ok = sameString(l.secret.text, md5Hash(given, l.req.User))
	case KindSCRAM:
		hashed = true
		if ok, err = l.matchesSCRAM(ctx, l.secret, given); err != nil {
			return Result{}, err
		}
	}
	if ok && l.doomed == "" {
		return Result{Method: MethodPlain, Plain: given}, nil
	}
	if !hashed {
		if _, err := l.matchesSCRAM(ctx, l.mockSecret(l.req.User, KindSCRAM, l.iterations), given); err != nil {
			return Result{}, err
		}
	}
	return Result{}, l.wrongPassword()
}

// matchesSCRAM reports whether a password is the one that a SCRAM secret was made from.
func (l *login) matchesSCRAM(ctx context.Context, s Secret, password string) (bool, error) {
	prepared, salt := SASLprep(password), s.Salt()
	salted, err := l.hasher.salted(ctx, prepared, salt, s.iterations, false)
	if err != nil {
		return false, &Error{Code: codeInternal, Message: ErrPassword.Message, Err: err}
	}
	got := secretFromSalted(salted, salt, s.iterations)
	ok := subtle.ConstantTimeCompare(got.storedKey[:], s.storedKey[:]) == 1
	if ok {
		l.hasher.keep(prepared, salt, s.iterations, salted)
	}
	return ok, nil
}

// md5 checks md5(md5(password + user) + salt).
func (l *login) md5() (Result, error) {
	var salt [4]byte
	_, _ = rand.Read(salt[:])
	given, err := l.password(AuthMD5, salt[:])
	if err != nil {
		return Result{}, err
	}
	hash := l.secret.text
	if l.secret.kind == KindPlain {
		hash = md5Hash(l.secret.text, l.req.User)
	}
	if !sameString(md5Hash(hash[3:], string(salt[:])), given) || l.doomed != "" {
		return Result{}, l.wrongPassword()
	}
	return Result{Method: MethodMD5, MD5: hash}, nil
}

func (l *login) wrongPassword() error {
	why := l.doomed
	if why == "" {
		why = "wrong password"
	}
	return ErrPassword.with(why, nil)
}

// mayBe reports whether a name from outside the database (an operating system user, a certificate's common
// name) may log in as the user it asks for.
func (l *login) mayBe(systemName string) bool {
	if systemName == "" {
		return false
	}
	if l.req.MapName == "" {
		return systemName == l.req.User
	}
	return l.req.Ident.Match(l.req.MapName, systemName, l.req.User)
}

func (l *login) cert() (Result, error) {
	switch {
	case !l.req.CertVerified:
		return Result{}, ErrCert.with("no certificate of a trusted authority was given", nil)
	case !l.req.Known:
		return Result{}, ErrCert.with(l.doomed, nil)
	case !l.mayBe(l.req.CertCN):
		return Result{}, ErrCert.with(fmt.Sprintf("a certificate of %.128q may not be user %.128q", l.req.CertCN, l.req.User), nil)
	}
	return Result{Method: MethodCert}, nil
}

func (l *login) peer() (Result, error) {
	switch {
	case l.req.PeerUser == "":
		return Result{}, ErrPeer.with("not a Unix socket, or its peer has no user name", nil)
	case !l.req.Known:
		return Result{}, ErrPeer.with(l.doomed, nil)
	case !l.mayBe(l.req.PeerUser):
		return Result{}, ErrPeer.with(fmt.Sprintf("operating system user %.128q may not be user %.128q", l.req.PeerUser, l.req.User), nil)
	}
	return Result{Method: MethodPeer}, nil
}

// checkCert enforces clientcert= of the HBA rule.
func (l *login) checkCert() error {
	if l.req.RequireCert == CertNone {
		return nil
	}
	if !l.req.CertVerified {
		return ErrCert.with("the rule needs a certificate of a trusted authority besides", nil)
	}
	if l.req.RequireCert == CertFull && !l.mayBe(l.req.CertCN) {
		return ErrCert.with(fmt.Sprintf("a certificate of %.128q may not be user %.128q", l.req.CertCN, l.req.User), nil)
	}
	return nil
}
