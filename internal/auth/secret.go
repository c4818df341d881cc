package auth

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Kind says what a stored secret is.
type Kind uint8

// Kinds of stored secrets.
const (
	KindNone  Kind = iota // nothing stored, or an empty password: never matches
	KindPlain             // the password itself
	KindMD5               // "md5" + hex(md5(password + user))
	KindSCRAM             // SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey
)

// String returns the kind's name for messages.
func (k Kind) String() string {
	switch k {
	case KindPlain:
		return "plain password"
	case KindMD5:
		return "MD5 hash"
	case KindSCRAM:
		return "SCRAM secret"
	default:
		return "no password"
	}
}

// DefaultIterations is PostgreSQL's and PgBouncer's default for scram_iterations.
const DefaultIterations = 4096

// MaxIterations bounds the iteration counts that we accept from stored secrets and from servers, so that
// nobody can keep a processor busy for minutes with one message.
const MaxIterations = 10_000_000

// MaxPasswordLen is PgBouncer's limit on the length of a password, in bytes.
const MaxPasswordLen = 65530

const (
	scramPrefix = "SCRAM-SHA-256$"
	scramKeyLen = sha256.Size
	scramSalt   = 16 // bytes of a salt of ours, as PostgreSQL's
)

// Secret is a stored password in one of its shapes. The zero Secret matches nothing. Secrets are immutable,
// may be copied, and print without their content.
type Secret struct {
	kind       Kind
	text       string // plain password, md5… hash
	iterations int
	salt       string
	storedKey  [scramKeyLen]byte
	serverKey  [scramKeyLen]byte
}

// ParseSecret reads a stored password by its shape, as PostgreSQL and PgBouncer do: what looks neither like an
// MD5 hash nor like a SCRAM secret is the password itself.
func ParseSecret(s string) Secret {
	switch {
	case s == "":
		return Secret{}
	case isMD5(s):
		return Secret{kind: KindMD5, text: s}
	}
	if sec, err := parseSCRAM(s); err == nil {
		return sec
	}
	return Secret{kind: KindPlain, text: s}
}

func isMD5(s string) bool {
	if len(s) != 35 || s[:3] != "md5" {
		return false
	}
	for i := 3; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func parseSCRAM(s string) (Secret, error) {
	sec := Secret{kind: KindSCRAM}
	rest, ok := strings.CutPrefix(s, scramPrefix)
	if !ok {
		return sec, fmt.Errorf("no %s prefix", scramPrefix)
	}
	iter, rest, ok1 := strings.Cut(rest, ":")
	salt, rest, ok2 := strings.Cut(rest, "$")
	stored, server, ok3 := strings.Cut(rest, ":")
	if !ok1 || !ok2 || !ok3 {
		return sec, fmt.Errorf("not of the form iterations:salt$StoredKey:ServerKey")
	}
	n, err := strconv.Atoi(iter)
	if err != nil || n < 1 || n > MaxIterations {
		return sec, fmt.Errorf("iteration count is not a number in 1..%d", MaxIterations)
	}
	sec.iterations = n
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil || len(raw) == 0 {
		return sec, fmt.Errorf("salt is not base64")
	}
	sec.salt = string(raw)
	if !decodeKey(&sec.storedKey, stored) || !decodeKey(&sec.serverKey, server) {
		return sec, fmt.Errorf("a key is not base64 of %d bytes", scramKeyLen)
	}
	return sec, nil
}

func decodeKey(dst *[scramKeyLen]byte, s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) == scramKeyLen && copy(dst[:], b) == scramKeyLen
}

// MD5Secret returns the MD5 hash that PostgreSQL stores for a password of user.
func MD5Secret(password, user string) Secret {
	return Secret{kind: KindMD5, text: md5Hash(password, user)}
}

// md5Hash returns "md5" + hex(md5(a + b)), the shape of stored hashes and of answers alike.
func md5Hash(a, b string) string {
	sum := md5.Sum([]byte(a + b))
	return "md5" + hex.EncodeToString(sum[:])
}

// NewSCRAMSecret derives the SCRAM secret of a password. A nil salt means a random one. It runs PBKDF2 in the
// calling goroutine, without any cache. Iterations outside 1..MaxIterations are an error.
func NewSCRAMSecret(password string, iterations int, salt []byte) (Secret, error) {
	if iterations < 1 || iterations > MaxIterations {
		return Secret{}, fmt.Errorf("SCRAM iteration count %d is outside 1..%d", iterations, MaxIterations)
	}
	if salt == nil {
		salt = make([]byte, scramSalt)
		_, _ = rand.Read(salt) // crypto/rand never fails: it crashes the program instead
	}
	salted, err := pbkdf2SHA256(SASLprep(password), salt, iterations)
	if err != nil {
		return Secret{}, err
	}
	return secretFromSalted(salted, salt, iterations), nil
}

func secretFromSalted(salted [scramKeyLen]byte, salt []byte, iterations int) Secret {
	client, server := scramKeys(salted)
	return Secret{
		kind: KindSCRAM, iterations: iterations, salt: string(salt),
		storedKey: sha256.Sum256(client[:]), serverKey: server,
	}
}

// Kind says what the secret is.
func (s Secret) Kind() Kind { return s.kind }

// IsZero reports whether nothing is stored.
func (s Secret) IsZero() bool { return s.kind == KindNone }

// Iterations returns the iteration count of a SCRAM secret, 0 for others.
func (s Secret) Iterations() int { return s.iterations }

// Salt returns a copy of the salt of a SCRAM secret, nil for others.
func (s Secret) Salt() []byte {
	if s.kind != KindSCRAM {
		return nil
	}
	return []byte(s.salt)
}

// Reveal returns the secret as it is stored in userlist.txt or pg_authid. Never log it.
func (s Secret) Reveal() string {
	if s.kind != KindSCRAM {
		return s.text
	}
	b64 := base64.StdEncoding.EncodeToString
	return scramPrefix + strconv.Itoa(s.iterations) + ":" + b64([]byte(s.salt)) + "$" +
		b64(s.storedKey[:]) + ":" + b64(s.serverKey[:])
}

// String tells the kind only.
func (s Secret) String() string { return "(" + s.kind.String() + ")" }

// GoString tells the kind only, so that %#v does not print the secret either.
func (s Secret) GoString() string { return s.String() }

// Format tells the kind only, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }
