package auth

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
)

// Names of SASL mechanisms.
const (
	mechSCRAM     = "SCRAM-SHA-256"
	mechSCRAMPlus = "SCRAM-SHA-256-PLUS"
)

// cbindPlus is the GS2 flag of the only kind of channel binding that PostgreSQL knows.
const cbindPlus = "p=tls-server-end-point"

const scramNonceLen = 18 // raw bytes, as PostgreSQL's SCRAM_RAW_NONCE_LEN

func hmacSHA256(key []byte, parts ...[]byte) (out [scramKeyLen]byte) {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	return out
}

// scramKeys derives ClientKey and ServerKey from a salted password (RFC 5802, section 3).
func scramKeys(salted [scramKeyLen]byte) (client, server [scramKeyLen]byte) {
	return hmacSHA256(salted[:], []byte("Client Key")), hmacSHA256(salted[:], []byte("Server Key"))
}

func scramNonce() []byte {
	raw := make([]byte, scramNonceLen)
	_, _ = rand.Read(raw)
	return base64.StdEncoding.AppendEncode(nil, raw)
}

func xorKey(a, b [scramKeyLen]byte) (out [scramKeyLen]byte) {
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}

// attribute cuts "x=value" off the front of a SCRAM message; the value ends at a comma.
func attribute(msg []byte, name byte) (value, rest []byte, err error) {
	if len(msg) < 2 || msg[0] != name || msg[1] != '=' {
		return nil, nil, fmt.Errorf("attribute %q is missing", name)
	}
	value, rest, _ = bytes.Cut(msg[2:], []byte{','})
	return value, rest, nil
}

// printable reports whether a nonce has only the characters that RFC 5802 allows, and at least one.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return len(b) > 0
}

func parseIterations(b []byte) (int, error) {
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 1 || n > MaxIterations {
		return 0, fmt.Errorf("iteration count is not a number in 1..%d", MaxIterations)
	}
	return n, nil
}

func decode64(b []byte) ([]byte, error) {
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, b)
	if err != nil {
		return nil, fmt.Errorf("broken base64: %w", err)
	}
	return out, nil
}

// TLSServerEndPoint returns the channel binding data of a server certificate (RFC 5929): its hash under the
// hash function of its signature, SHA-256 in place of MD5 and SHA-1. It is nil for signatures that have no
// hash function of their own (Ed25519), for which no binding is defined.
func TLSServerEndPoint(cert *x509.Certificate) []byte {
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return nil
	}
	d := h.New()
	d.Write(cert.Raw)
	return d.Sum(nil)
}
