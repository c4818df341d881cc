package connect

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// cipher is a cipher suite of TLS 1.2 and before under its OpenSSL name, with the words of OpenSSL's cipher
// lists that stand for it.
type cipher struct {
	id    uint16
	name  string
	words string // separated by blanks
}

// ciphers are all that crypto/tls has, best first.
var ciphers = [...]cipher{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "HIGH ECDHE aECDSA AESGCM AES AES128 SHA256 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "HIGH ECDHE aRSA AESGCM AES AES128 SHA256 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "HIGH ECDHE aECDSA AESGCM AES AES256 SHA384 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "HIGH ECDHE aRSA AESGCM AES AES256 SHA384 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "HIGH ECDHE aECDSA CHACHA20 SHA256 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "HIGH ECDHE aRSA CHACHA20 SHA256 TLSv1.2 AEAD"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "HIGH ECDHE aECDSA AES AES128 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "HIGH ECDHE aRSA AES AES128 SHA SHA1"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "HIGH ECDHE aECDSA AES AES256 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "HIGH ECDHE aRSA AES AES256 SHA SHA1"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "HIGH ECDHE aECDSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "HIGH ECDHE aRSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "HIGH kRSA aRSA AESGCM AES AES128 SHA256 TLSv1.2 AEAD"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "HIGH kRSA aRSA AESGCM AES AES256 SHA384 TLSv1.2 AEAD"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "HIGH kRSA aRSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "HIGH kRSA aRSA AES AES128 SHA SHA1"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "HIGH kRSA aRSA AES AES256 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA", "MEDIUM ECDHE aRSA 3DES SHA SHA1"},
	{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA", "MEDIUM kRSA aRSA 3DES SHA SHA1"},
	{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, "ECDHE-ECDSA-RC4-SHA", "LOW ECDHE aECDSA RC4 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, "ECDHE-RSA-RC4-SHA", "LOW ECDHE aRSA RC4 SHA SHA1"},
	{tls.TLS_RSA_WITH_RC4_128_SHA, "RC4-SHA", "LOW kRSA aRSA RC4 SHA SHA1"},
}

// cipherSynonyms are other spellings of OpenSSL's words.
var cipherSynonyms = map[string]string{
	"EECDH": "ECDHE", "kEECDH": "ECDHE", "kECDHE": "ECDHE", "ECDH": "ECDHE", "ECDSA": "aECDSA", "RSA": "kRSA",
}

// cipherAbsent are words of OpenSSL for families that crypto/tls does not have: excluding them is nothing to do, and
// including them adds nothing.
var cipherAbsent = []string{
	"aNULL", "eNULL", "NULL", "COMPLEMENTOFDEFAULT", "COMPLEMENTOFALL", "EXPORT", "EXP", "DES", "MD5", "PSK", "kPSK", "aPSK",
	"SRP", "kSRP", "aSRP", "DSS", "aDSS", "DH", "kDHE", "kEDH", "DHE", "EDH", "ADH", "AECDH", "IDEA", "SEED", "CAMELLIA",
	"CAMELLIA128", "CAMELLIA256", "ARIA", "ARIA128", "ARIA256", "GOST", "aGOST", "kGOST", "RC2", "AESCCM", "AESCCM8", "SSLv2", "SSLv3",
	"TLSv1", "TLSv1.0", "kDHEPSK", "kECDHEPSK", "kRSAPSK",
}

// cipherShortcuts are PgBouncer's words for a whole setting.
var cipherShortcuts = map[string]string{
	"secure": "ECDHE+AEAD",
	"fast":   "ECDHE+AEAD:kRSA+AESGCM",
	"normal": "HIGH:!kRSA",
	"all":    "ALL",
}

// parseCiphers reads client_tls_ciphers and server_tls_ciphers: one of PgBouncer's words, or a cipher list in OpenSSL's
// syntax. nil means the defaults of crypto/tls. The order does not matter: crypto/tls has its own.
func parseCiphers(key, s string) ([]uint16, error) {
	if s == "" || s == "default" {
		return nil, nil
	}
	if list, ok := cipherShortcuts[s]; ok {
		s = list
	}
	var ids, banned []uint16
	for _, item := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":, ;", r) }) {
		if strings.HasPrefix(item, "@") {
			if item != "@STRENGTH" && !strings.HasPrefix(item, "@SECLEVEL=") {
				return nil, fmt.Errorf("%s: unknown command %q", key, item)
			}
			continue
		}
		op, words := byte(0), item
		if strings.ContainsRune("!-+", rune(item[0])) {
			op, words = item[0], item[1:]
		}
		match, err := matchCiphers(words)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, id := range match {
			switch {
			case op == '!':
				banned = append(banned, id)
				fallthrough
			case op == '-':
				ids = slices.DeleteFunc(ids, func(x uint16) bool { return x == id })
			case op == 0 && !slices.Contains(ids, id) && !slices.Contains(banned, id):
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: %q leaves no cipher", key, s)
	}
	return ids, nil
}

// matchCiphers returns the suites that all words (joined by +) stand for.
func matchCiphers(words string) (ids []uint16, err error) {
	all := strings.Split(words, "+")
	for _, c := range ciphers {
		ok := true
		for _, w := range all {
			ok = ok && c.is(w)
		}
		if ok {
			ids = append(ids, c.id)
		}
	}
	if ids == nil {
		for _, w := range all {
			if !knownCipherWord(w) {
				return nil, fmt.Errorf("unknown cipher %q", w)
			}
		}
	}
	return ids, nil
}

func (c *cipher) is(word string) bool {
	if s, ok := cipherSynonyms[word]; ok {
		word = s
	}
	switch word {
	case "ALL":
		return true
	case "DEFAULT":
		return !c.is("LOW") && !c.is("MEDIUM")
	}
	return c.name == word || slices.Contains(strings.Fields(c.words), word) || tls.CipherSuiteName(c.id) == word
}

func knownCipherWord(w string) bool {
	return slices.Contains(cipherAbsent, w) || slices.ContainsFunc(ciphers[:], func(c cipher) bool { return c.is(w) })
}

// checkTLS13Ciphers accepts a setting that leaves TLS 1.3 as crypto/tls has it: the suites of that version cannot be
// chosen, and a setting that is not obeyed must not look as if it were.
func checkTLS13Ciphers(key, s string) error {
	if s == "" {
		return nil
	}
	need := []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	have := strings.Split(s, ":")
	for _, h := range have {
		if !slices.Contains(need, h) {
			return fmt.Errorf("%s: unknown cipher %q; there are %s", key, h, strings.Join(need, ":"))
		}
	}
	for _, n := range need {
		if !slices.Contains(have, n) {
			return fmt.Errorf("%s: the cipher suites of TLS 1.3 cannot be chosen one by one: leave it empty, or list all of %s",
				key, strings.Join(need, ":"))
		}
	}
	return nil
}

// curves are the names of key exchange groups, OpenSSL's and others.
var curves = map[string]tls.CurveID{
	"prime256v1": tls.CurveP256, "secp256r1": tls.CurveP256, "P-256": tls.CurveP256,
	"secp384r1": tls.CurveP384, "P-384": tls.CurveP384,
	"secp521r1": tls.CurveP521, "P-521": tls.CurveP521,
	"X25519": tls.X25519, "x25519": tls.X25519, "X25519MLKEM768": tls.X25519MLKEM768,
}

// parseCurves reads client_tls_ecdhcurve. nil means the defaults of crypto/tls.
func parseCurves(key, s string) ([]tls.CurveID, error) {
	if s == "" || s == "auto" {
		return nil, nil
	}
	var out []tls.CurveID
	for _, name := range strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id, ok := curves[name]
		if !ok {
			return nil, fmt.Errorf("%s: %q is not auto, prime256v1, secp384r1, secp521r1, X25519 or X25519MLKEM768", key, name)
		}
		out = append(out, id)
	}
	if out == nil {
		return nil, fmt.Errorf("%s: no curve in %q", key, s)
	}
	return out, nil
}
